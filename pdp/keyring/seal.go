package keyring

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	sealVersion = 1
	keySize     = 32
	nameSize    = 8
	maxSealers  = 2
)

// ErrSealed is wrapped by errors about what cannot be opened: it was sealed with another key, for another purpose, or changed.
var ErrSealed = errors.New("cannot be opened with the sealing keys of this server")

// Sealer encrypts private keys for a place that must not know them (AES-256-GCM). It is immutable.
type Sealer struct {
	keys []sealingKey // the first seals, all open
}

type sealingKey struct {
	name [nameSize]byte // says which key sealed, and nothing of it
	aead cipher.AEAD
}

// ParseSealer reads one or two keys, a line each, of 32 random bytes in base64, as `openssl rand -base64 32` prints them. The first
// seals, both open. Errors quote nothing.
func ParseSealer(text string) (*Sealer, error) {
	s := &Sealer{}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		if err != nil || len(raw) != keySize {
			return nil, fmt.Errorf("line %d is not 32 bytes in base64 (openssl rand -base64 32 makes them)", i+1)
		}
		if i >= maxSealers {
			return nil, errors.New("there are more than two keys")
		}
		if err := s.add(raw); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// NewSealer returns a sealer with a key of its own, for a server that shares nothing.
func NewSealer() (*Sealer, error) {
	raw := make([]byte, keySize)
	if _, err := rand.Read(raw); err != nil {
		return nil, err
	}
	s := &Sealer{}
	return s, s.add(raw)
}

func (s *Sealer) add(raw []byte) error {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	k := sealingKey{aead: aead}
	sum := sha256.Sum256(append([]byte("durward: the name of a sealing key\x00"), raw...))
	copy(k.name[:], sum[:])
	for _, other := range s.keys {
		if other.name == k.name {
			return errors.New("one key stands twice")
		}
	}
	s.keys = append(s.keys, k)
	return nil
}

// seal encrypts for a place: what is sealed for another does not open there.
func (s *Sealer) seal(place string, plain []byte) ([]byte, error) {
	k := s.keys[0]
	out := append([]byte{sealVersion}, k.name[:]...)
	nonce := make([]byte, k.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	out = append(out, nonce...)
	return k.aead.Seal(out, nonce, plain, boundTo(place)), nil
}

func (s *Sealer) open(place string, sealed []byte) ([]byte, error) {
	if len(sealed) < 1+nameSize || sealed[0] != sealVersion {
		return nil, ErrSealed
	}
	name, rest := sealed[1:1+nameSize], sealed[1+nameSize:]
	for _, k := range s.keys {
		if !bytes.Equal(k.name[:], name) {
			continue
		}
		if len(rest) < k.aead.NonceSize() {
			return nil, ErrSealed
		}
		plain, err := k.aead.Open(nil, rest[:k.aead.NonceSize()], rest[k.aead.NonceSize():], boundTo(place))
		if err != nil {
			return nil, ErrSealed
		}
		return plain, nil
	}
	return nil, ErrSealed
}

func boundTo(place string) []byte {
	return []byte("durward: signing key of upstream tokens, ES256\x00" + place)
}
