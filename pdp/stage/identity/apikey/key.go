package apikey

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

const (
	scheme       = "dwk_"
	maxLabel     = 8
	idLength     = 16
	secretLength = 43 // 62^43 > 2^256
	sumLength    = 6  // 62^6 > 2^32
	tailLength   = secretLength + sumLength

	minLength = len(scheme) + idLength + 1 + tailLength
	maxLength = minLength + maxLabel + 1

	alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// Pattern is the regular expression of all keys, for scanners that look for secrets where none belong.
const Pattern = `\bdwk_(?:[a-z][a-z0-9]{0,7}_)?[0-9A-Za-z]{16}_[0-9A-Za-z]{49}\b`

// ErrMalformed is returned for a text that is no key, or one with a typing error.
var ErrMalformed = errors.New("no API key, or one with a typing error")

var errLabel = fmt.Errorf("the label of keys is 1 to %d lower-case letters and digits, the first a letter", maxLabel)

// Key is a text that has the form of a key. Its parts share the memory of the text.
type Key struct {
	// Prefix is dwk_, or dwk_LABEL_; ID names the record.
	Prefix, ID string
}

// Resembles reports whether a credential is an API key by its beginning, whatever its authenticator.
func Resembles(raw string) bool { return strings.HasPrefix(raw, scheme) }

// Prefix returns what the keys with a label begin with, "" for those without.
func Prefix(label string) (string, error) {
	if label == "" {
		return scheme, nil
	}
	if !isLabel(label) {
		return "", errLabel
	}
	return scheme + label + "_", nil
}

func isLabel(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return text != "" && len(text) <= maxLabel
}

// Parse reads a key. It allocates nothing, whatever comes. The error is [ErrMalformed].
func Parse(raw string) (Key, error) {
	if len(raw) < minLength || len(raw) > maxLength || !Resembles(raw) {
		return Key{}, ErrMalformed
	}
	tail := len(raw) - tailLength
	id := tail - 1 - idLength
	k := Key{Prefix: raw[:id], ID: raw[id : tail-1]}
	if k.Prefix != scheme {
		label, ok := strings.CutSuffix(k.Prefix[len(scheme):], "_")
		if !ok || !isLabel(label) {
			return Key{}, ErrMalformed
		}
	}
	if raw[tail-1] != '_' || !isBase62(k.ID) || !isBase62(raw[tail:]) {
		return Key{}, ErrMalformed
	}
	end := len(raw) - sumLength
	if sum := checksum(raw[:end]); string(sum[:]) != raw[end:] {
		return Key{}, ErrMalformed
	}
	return k, nil
}

// IsID reports whether a text could be the id of a key.
func IsID(text string) bool { return len(text) == idLength && isBase62(text) }

func isBase62(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// checksum is the CRC-32 (IEEE) of what stands before it, in base 62 with leading zeros.
func checksum(text string) (out [sumLength]byte) {
	sum := uint32(0xffffffff)
	for i := range len(text) { // crc32.Update wants bytes, of which there are none without a copy
		sum = crc32.IEEETable[(sum^uint32(text[i]))&0xff] ^ sum>>8
	}
	sum = ^sum
	for i := range out {
		out[sumLength-1-i] = alphabet[sum%62]
		sum /= 62
	}
	return out
}

// New makes a key of a prefix, which [Prefix] returned. Random must be a source of secrets.
func New(random io.Reader, prefix string) (text string, k Key, err error) {
	parts := make([]byte, idLength+secretLength)
	if err := fill(random, parts); err != nil {
		return "", Key{}, fmt.Errorf("make an API key: %w", err)
	}
	body := prefix + string(parts[:idLength]) + "_" + string(parts[idLength:])
	sum := checksum(body)
	text = body + string(sum[:])
	k, err = Parse(text)
	return text, k, err
}

// fill draws characters of the base 62, each as likely as the others.
func fill(random io.Reader, out []byte) error {
	var drawn [64]byte
	for n := 0; n < len(out); {
		if _, err := io.ReadFull(random, drawn[:]); err != nil {
			return err
		}
		for _, b := range drawn {
			if b < 248 && n < len(out) { // 248 is 4*62
				out[n] = alphabet[b%62]
				n++
			}
		}
	}
	clear(drawn[:])
	return nil
}
