package token

import (
	"encoding/base64"
	"strings"
)

// The bounds of what a token may carry.
const (
	// DefaultMaxLength is the length in bytes that a token may have when no
	// other bound is given to [Parse].
	DefaultMaxLength = 8 << 10
	// ceilingMaxLength is the largest bound that [Parse] accepts.
	ceilingMaxLength = 16 << 10

	maxKeyID = 128
	maxType  = 64
)

// Header is what a token says about itself. None of it is verified.
type Header struct {
	// Algorithm is the exact alg, one that this package can verify.
	Algorithm string
	// Type is the typ in lower case without a leading "application/", empty
	// when the header has none.
	Type string
	// KeyID is the kid, empty when the header has none.
	KeyID string
	// IgnoredKeys names the members of the header that offer a key (jku, x5u,
	// jwk, x5c). They are never used; the names are for counting.
	IgnoredKeys []string
}

// Token is a well-formed token of which nothing is verified yet.
type Token struct {
	compact
	claims map[string]any
	issuer string
}

// compact is a JWS in compact form: header, payload of any kind, signature.
type compact struct {
	header    Header
	jwk       any    // the header's jwk, nil without one; for proofs alone
	signed    string // header and payload as sent, with the dot
	payload   []byte
	signature []byte
}

// Parse reads a compact token of at most maxLength bytes (0 means
// [DefaultMaxLength]; more than [ceilingMaxLength] counts as the ceiling).
// Length, characters and dots are checked before anything is allocated for a part.
func Parse(raw string, maxLength int) (*Token, error) {
	jws, err := parseCompact(raw, maxLength)
	if err != nil {
		return nil, err
	}
	claims, syntax := parseObject(jws.payload)
	if syntax != nil {
		return nil, refuse(reasonMalformed, "the payload is not one strict JSON object")
	}
	t := &Token{compact: jws, claims: claims}
	if iss, ok := claims["iss"]; ok {
		if t.issuer, ok = iss.(string); !ok {
			return nil, refuse(reasonMalformed, "iss is not a string")
		}
	}
	t.payload, t.jwk = nil, nil // the claims are decoded, and keys that a token brings are never used; do not keep them
	return t, nil
}

// Header returns the token's header.
func (t *Token) Header() Header { return t.header }

// Issuer returns the iss, empty when there is none. It is unverified and good
// for one thing: choosing the [Verifier].
func (t *Token) Issuer() string { return t.issuer }

func parseCompact(raw string, maxLength int) (compact, error) {
	first, second, err := findParts(raw, maxLength)
	if err != nil {
		return compact{}, err
	}
	jws := compact{signed: raw[:second]}
	data, ok := decodeBase64(raw[:first])
	if !ok {
		return compact{}, refuse(reasonMalformed, "the header is not strict base64url")
	}
	if jws.header, jws.jwk, err = parseHeader(data); err != nil {
		return compact{}, err
	}
	if jws.payload, ok = decodeBase64(raw[first+1 : second]); !ok {
		return compact{}, refuse(reasonMalformed, "the payload is not strict base64url")
	}
	if jws.signature, ok = decodeBase64(raw[second+1:]); !ok {
		return compact{}, refuse(reasonMalformed, "the signature is not strict base64url")
	}
	if len(jws.signature) == 0 {
		return compact{}, refuse(reasonMalformed, "the signature is empty")
	}
	return jws, nil
}

// findParts returns the places of the two dots.
func findParts(raw string, maxLength int) (first, second int, err error) {
	if maxLength <= 0 {
		maxLength = DefaultMaxLength
	}
	if len(raw) > min(maxLength, ceilingMaxLength) {
		return 0, 0, refuse(reasonTooLong, "longer than the limit")
	}
	dots := 0
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '.':
			if dots++; dots == 1 {
				first = i
			} else if dots == 2 {
				second = i
			} else {
				return 0, 0, refuse(reasonMalformed, "more than three parts")
			}
		case !isBase64URL(c):
			return 0, 0, refuse(reasonMalformed, "a character outside base64url")
		}
	}
	if dots != 2 {
		return 0, 0, refuse(reasonMalformed, "fewer than three parts")
	}
	return first, second, nil
}

func isBase64URL(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// decodeBase64 decodes unpadded base64url with zero trailing bits, so that
// every octet string has exactly one spelling.
func decodeBase64(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") { // which encoding/base64 skips, even when strict
		return nil, false
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return data, err == nil
}

func parseHeader(data []byte) (h Header, jwk any, err error) {
	members, syntax := parseObject(data)
	if syntax != nil {
		return Header{}, nil, refuse(reasonMalformed, "the header is not one strict JSON object")
	}
	// RFC 7515 section 4.1.11 and RFC 7797: no extension is understood here.
	for _, name := range []string{"crit", "b64", "zip"} {
		if _, ok := members[name]; ok {
			return Header{}, nil, refuse(reasonCritical, "the header demands an extension")
		}
	}
	alg, ok := members["alg"].(string)
	if !ok {
		return Header{}, nil, refuse(reasonMalformed, "alg is missing or not a string")
	}
	if _, known := algorithms[alg]; !known {
		return Header{}, nil, refuse(reasonAlgorithm, "not a supported algorithm")
	}
	h.Algorithm = alg
	if typ, present := members["typ"]; present {
		text, isText := typ.(string)
		if h.Type = normaliseType(text); !isText || h.Type == "" || !isPrintable(text, maxType) {
			return Header{}, nil, refuse(reasonMalformed, "typ is not a media type")
		}
	}
	if kid, present := members["kid"]; present {
		if h.KeyID, ok = kid.(string); !ok || h.KeyID == "" || !isPrintable(h.KeyID, maxKeyID) {
			return Header{}, nil, refuse(reasonMalformed, "kid is not a short printable string")
		}
	}
	for _, name := range []string{"jku", "x5u", "jwk", "x5c"} {
		if _, present := members[name]; present {
			h.IgnoredKeys = append(h.IgnoredKeys, name)
		}
	}
	return h, members["jwk"], nil
}

// normaliseType makes the spellings of a typ that RFC 7515 section 4.1.9 calls
// equal the same.
func normaliseType(typ string) string {
	return strings.TrimPrefix(strings.ToLower(typ), "application/")
}

func isPrintable(s string, maxLength int) bool {
	if len(s) > maxLength {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
