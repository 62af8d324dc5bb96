package token

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxSetSize = 256 << 10
	maxSetKeys = 64
)

// KeySet is the keys of one issuer. It is immutable.
type KeySet struct {
	keys     []*Key
	byID     map[string]*Key
	unusable []UnusableKey
}

// UnusableKey is a key of a set that was passed over.
type UnusableKey struct {
	// Line and Column are where the key begins, counted from 1, in bytes.
	Line, Column int
	// Foreign says that the key is sound but not for verifying tokens: another
	// use, type or algorithm. Other unusable keys are weak or contradict themselves.
	Foreign bool
	// Err says why, without quoting the key.
	Err error
}

// KeySetError is why a whole set was refused. Its text quotes nothing of the set.
type KeySetError struct {
	// Line and Column are where, counted from 1, in bytes.
	Line, Column int
	// Err says why.
	Err error
}

// Error returns the place and the cause.
func (e *KeySetError) Error() string {
	return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
}

// Unwrap returns the cause.
func (e *KeySetError) Unwrap() error { return e.Err }

// ParseKeySet reads a JWK set (RFC 7517) of public keys. Keys that cannot be
// used are passed over and listed by [KeySet.Unusable]; the whole set is refused,
// with a [*KeySetError], when it is not strict JSON, too large, holds a secret or
// a private key, names two keys alike, or has no usable key.
func ParseKeySet(data []byte) (*KeySet, error) { return parseSet(data, false) }

// parseSecretSet reads a JWK set of HMAC secrets, and nothing but secrets, under
// the rules of [ParseKeySet].
func parseSecretSet(data []byte) (*KeySet, error) { return parseSet(data, true) }

// Len returns the number of usable keys.
func (s *KeySet) Len() int { return len(s.keys) }

// Unusable lists the keys that were passed over, in the order of the set.
func (s *KeySet) Unusable() []UnusableKey { return append([]UnusableKey(nil), s.unusable...) }

// Contains says whether a usable key of the set has this thumbprint.
func (s *KeySet) Contains(thumbprint [sha256.Size]byte) bool {
	for _, k := range s.keys {
		if k.thumbprint == thumbprint {
			return true
		}
	}
	return false
}

// choose finds the one key for a header: by its kid or, without one, the only
// key that fits. Keys are never tried in turn.
func (s *KeySet) choose(h Header) (*Key, error) {
	if h.KeyID != "" {
		k := s.byID[h.KeyID]
		if k == nil {
			return nil, refuse(reasonKeyUnknown, "the issuer has no such key")
		}
		if !k.fits(h.Algorithm) {
			return nil, refuse(reasonAlgorithm, "the key is not for this algorithm")
		}
		return k, nil
	}
	var found *Key
	for _, k := range s.keys {
		if !k.fits(h.Algorithm) {
			continue
		}
		if found != nil {
			return nil, refuse(reasonKeyUnknown, "no kid, and several keys would fit")
		}
		found = k
	}
	if found == nil {
		return nil, refuse(reasonKeyUnknown, "no kid, and no key would fit")
	}
	return found, nil
}

// setBuilder collects the keys of a set.
type setBuilder struct {
	data    []byte
	secrets bool
	set     *KeySet
	ids     map[string]bool
}

func parseSet(data []byte, secrets bool) (*KeySet, error) {
	b := &setBuilder{data: data, secrets: secrets, set: &KeySet{byID: map[string]*Key{}}, ids: map[string]bool{}}
	if len(data) > maxSetSize {
		return nil, b.refuse(0, errors.New("the set is larger than 256 KiB"))
	}
	members, syntax := parseObject(data)
	if syntax != nil {
		return nil, b.refuse(syntax.offset, syntax)
	}
	keys, ok := members["keys"].([]any)
	if !ok {
		return nil, b.refuse(0, errors.New(`"keys" is missing or not an array`))
	}
	if len(keys) > maxSetKeys {
		return nil, b.refuse(0, errors.New("more than 64 keys"))
	}
	offsets := keyOffsets(data)
	for i, key := range keys {
		if err := b.add(key, offsets[i]); err != nil {
			return nil, err
		}
	}
	if len(b.set.keys) > 0 {
		return b.set, nil
	}
	if len(b.set.unusable) > 0 {
		first := b.set.unusable[0]
		return nil, &KeySetError{Line: first.Line, Column: first.Column, Err: fmt.Errorf("no usable key: %w", first.Err)}
	}
	return nil, b.refuse(0, errors.New("no usable key: the set is empty"))
}

func (b *setBuilder) add(value any, offset int64) error {
	jwk, ok := value.(map[string]any)
	if !ok {
		return b.refuse(offset, errors.New("a key is not an object"))
	}
	if err := b.checkKind(jwk); err != nil {
		return b.refuse(offset, err)
	}
	if id, ok := jwk["kid"].(string); ok {
		if b.ids[id] {
			return b.refuse(offset, errors.New("two keys have the same kid"))
		}
		b.ids[id] = true
	}
	key, err := parseKey(jwk)
	if err != nil {
		line, column := position(b.data, offset)
		b.set.unusable = append(b.set.unusable,
			UnusableKey{Line: line, Column: column, Foreign: errors.Is(err, errForeign), Err: err})
		return nil
	}
	b.set.keys = append(b.set.keys, key)
	if key.id != "" {
		b.set.byID[key.id] = key
	}
	return nil
}

// checkKind keeps secrets and public keys apart: a set that holds both invites
// the confusion of RFC 8725 section 2.1, and a private key in a public file is a leak.
func (b *setBuilder) checkKind(jwk map[string]any) error {
	if isSecret := jwk["kty"] == keyTypeSecret; isSecret != b.secrets {
		if isSecret {
			return errors.New("a secret (kty oct) in a set of public keys")
		}
		return errors.New("a key that is not a secret in a set of secrets")
	}
	if b.secrets {
		return nil
	}
	if holdsPrivate(jwk) {
		return errors.New("a private key in a set of public keys")
	}
	return nil
}

// holdsPrivate says whether a JWK has a member that only private keys and secrets have.
func holdsPrivate(jwk map[string]any) bool {
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if _, ok := jwk[name]; ok {
			return true
		}
	}
	return false
}

func (b *setBuilder) refuse(offset int64, err error) error {
	line, column := position(b.data, offset)
	return &KeySetError{Line: line, Column: column, Err: err}
}

// keyOffsets returns where each element of "keys" begins. The text has been
// parsed before, so that nothing in it can fail here.
func keyOffsets(data []byte) []int64 {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	var offsets []int64
	_, err := d.ReadToken() // the object
	for err == nil && d.PeekKind() == jsontext.KindString {
		var name jsontext.Token
		if name, err = d.ReadToken(); err != nil {
			break
		}
		if name.String() != "keys" {
			err = d.SkipValue()
			continue
		}
		_, err = d.ReadToken() // the array
		for err == nil && d.PeekKind() != jsontext.KindEndArray {
			var element jsontext.Value
			if element, err = d.ReadValue(); err == nil {
				offsets = append(offsets, d.InputOffset()-int64(len(element)))
			}
		}
		break
	}
	return offsets
}
