package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// Key is one verification key of a [KeySet]. It is immutable.
type Key struct {
	id         string
	algorithm  string // what the key is pinned to, empty when it says nothing
	keyType    string
	curve      string
	material   any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or []byte
	thumbprint [sha256.Size]byte
}

// ID returns the kid, empty when the key has none.
func (k *Key) ID() string { return k.id }

// Thumbprint returns the SHA-256 thumbprint of RFC 7638. It names the key; that
// of a secret is derived from the secret and belongs in no log.
func (k *Key) Thumbprint() [sha256.Size]byte { return k.thumbprint }

// fits says whether the key may verify tokens with this algorithm.
func (k *Key) fits(name string) bool {
	a, ok := algorithms[name]
	if !ok || a.keyType != k.keyType || a.curve != k.curve {
		return false
	}
	if k.algorithm != "" && !sameAlgorithm(k.algorithm, name) {
		return false
	}
	if secret, ok := k.material.([]byte); ok && len(secret) < a.hash.Size() {
		return false // RFC 7518 section 3.2
	}
	return true
}

// verify checks a signature. The algorithm must fit the key.
func (k *Key) verify(name, signed string, signature []byte) bool {
	return k.fits(name) && algorithms[name].method.Verify(signed, signature, k.material) == nil
}

// publicMembers returns the members of RFC 7638 section 3.2, all but kty, in
// the unique spelling of RFC 7518: minimal integers, coordinates of full length.
func publicMembers(material any) (keyType string, m jwkMembers) {
	text := base64.RawURLEncoding.EncodeToString
	switch key := material.(type) {
	case *rsa.PublicKey:
		var e [8]byte
		binary.BigEndian.PutUint64(e[:], uint64(key.E)) //nolint:gosec // parsed keys have an exponent from 3 to 2^31-1
		return keyTypeRSA, jwkMembers{N: text(key.N.Bytes()), E: text(trimZeros(e[:]))}
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			return "", jwkMembers{}
		}
		x, y := point[1:1+len(point)/2], point[1+len(point)/2:]
		return keyTypeEC, jwkMembers{Crv: key.Params().Name, X: text(x), Y: text(y)}
	case ed25519.PublicKey:
		return keyTypeOKP, jwkMembers{Crv: curveEd25519, X: text(key)}
	case []byte:
		return keyTypeSecret, jwkMembers{K: text(key)}
	default:
		return "", jwkMembers{}
	}
}

// jwkMembers are the members that define a key, in RFC 7638's order.
type jwkMembers struct {
	Crv, E, K, N, X, Y string
}

// thumbprint hashes the canonical JSON of RFC 7638. No member needs escaping.
func thumbprint(keyType string, m jwkMembers) [sha256.Size]byte {
	text := make([]byte, 0, 512)
	add := func(name, value string) {
		if value == "" {
			return
		}
		if len(text) > 0 {
			text = append(text, ',')
		}
		text = append(text, `"`+name+`":"`+value+`"`...)
	}
	add("crv", m.Crv)
	add("e", m.E)
	add("k", m.K)
	add("kty", keyType)
	add("n", m.N)
	add("x", m.X)
	add("y", m.Y)
	return sha256.Sum256([]byte("{" + string(text) + "}"))
}

func trimZeros(b []byte) []byte {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	return b
}
