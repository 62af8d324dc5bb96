package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
)

const (
	minModulusBits = 2048
	maxModulusBits = 8192
	maxExponent    = math.MaxInt32 // the largest that crypto/rsa takes
	minSecret      = 32            // bytes, for the smallest hash
	maxSecret      = 1024
)

// errForeign marks a key that is sound but not for verifying signatures here,
// which RFC 7517 section 5 tells readers of a set to pass over.
var errForeign = errors.New("not for verifying tokens")

// parseKey reads one JWK. Texts of its errors quote nothing of the key.
func parseKey(jwk map[string]any) (*Key, error) {
	var r memberReader
	r.jwk = jwk
	k := &Key{id: r.text("kid"), algorithm: r.text("alg"), keyType: r.text("kty")}
	use := r.text("use")
	ops := r.operations()
	if r.err != nil {
		return nil, r.err
	}
	switch {
	case k.keyType == "":
		return nil, errors.New("kty is missing")
	case !isPrintable(k.id, maxKeyID):
		return nil, errors.New("kid is not a short printable string")
	case use != "" && use != "sig":
		return nil, fmt.Errorf("use is not sig: %w", errForeign)
	case ops != nil && !slices.Contains(ops, "verify"):
		return nil, fmt.Errorf("key_ops lacks verify: %w", errForeign)
	case use != "" && slices.ContainsFunc(ops, func(op string) bool { return op != "verify" && op != "sign" }):
		return nil, errors.New("use and key_ops disagree")
	}
	if err := parseMaterial(k, &r); err != nil {
		return nil, err
	}
	if k.algorithm != "" {
		if _, known := algorithms[k.algorithm]; !known {
			return nil, fmt.Errorf("alg is not a supported signature algorithm: %w", errForeign)
		}
		if !k.fits(k.algorithm) {
			return nil, errors.New("alg does not fit the key's type, curve or size")
		}
	}
	k.thumbprint = thumbprint(publicMembers(k.material))
	return k, nil
}

func parseMaterial(k *Key, r *memberReader) error {
	var err error
	switch k.keyType {
	case keyTypeRSA:
		k.material, err = parseRSA(r)
	case keyTypeEC:
		k.curve = r.text("crv")
		k.material, err = parseEC(k.curve, r)
	case keyTypeOKP:
		k.curve = r.text("crv")
		k.material, err = parseEd25519(k.curve, r)
	case keyTypeSecret:
		k.material, err = parseSecret(r)
	default:
		err = fmt.Errorf("kty is not supported: %w", errForeign)
	}
	return err
}

func parseRSA(r *memberReader) (*rsa.PublicKey, error) {
	n, e := r.integer("n", maxModulusBits/8), r.integer("e", 4)
	if r.err != nil {
		return nil, r.err
	}
	switch bits := n.BitLen(); {
	case bits < minModulusBits:
		return nil, errors.New("the RSA modulus is shorter than 2048 bits")
	case bits > maxModulusBits:
		return nil, errors.New("the RSA modulus is longer than 8192 bits")
	case n.Bit(0) == 0:
		return nil, errors.New("the RSA modulus is even")
	case e.Bit(0) == 0 || e.Cmp(big.NewInt(3)) < 0 || e.Cmp(big.NewInt(maxExponent)) > 0:
		return nil, errors.New("the RSA exponent is not an odd number from 3 to 2^31-1")
	case hasROCAFingerprint(n):
		return nil, errors.New("the RSA modulus has the fingerprint of CVE-2017-15361")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

func parseEC(curveName string, r *memberReader) (*ecdsa.PublicKey, error) {
	var curve elliptic.Curve
	switch curveName {
	case curveP256:
		curve = elliptic.P256()
	case curveP384:
		curve = elliptic.P384()
	case curveP521:
		curve = elliptic.P521()
	default:
		return nil, fmt.Errorf("crv is not supported: %w", errForeign)
	}
	size := (curve.Params().BitSize + 7) / 8
	point := append([]byte{4}, r.octets("x", size)...)
	point = append(point, r.octets("y", size)...)
	if r.err != nil {
		return nil, r.err
	}
	if len(point) != 1+2*size {
		return nil, errors.New("a coordinate has not the length of the curve")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, errors.New("the point is not on the curve")
	}
	return key, nil
}

func parseEd25519(curveName string, r *memberReader) (ed25519.PublicKey, error) {
	if curveName != curveEd25519 {
		return nil, fmt.Errorf("crv is not supported: %w", errForeign)
	}
	x := r.octets("x", ed25519.PublicKeySize)
	switch {
	case r.err != nil:
		return nil, r.err
	case len(x) != ed25519.PublicKeySize:
		return nil, errors.New("x has not the length of the curve")
	case hasSmallOrder(x):
		return nil, errors.New("the point has a small order: anyone could sign")
	}
	return ed25519.PublicKey(x), nil
}

func parseSecret(r *memberReader) ([]byte, error) {
	secret := r.octets("k", maxSecret)
	if r.err != nil {
		return nil, r.err
	}
	if len(secret) < minSecret {
		return nil, errors.New("the secret is shorter than 32 bytes")
	}
	return secret, nil
}

// memberReader reads members of a JWK and keeps the first error.
type memberReader struct {
	jwk map[string]any
	err error
}

// text returns a string member, empty when it is absent.
func (r *memberReader) text(name string) string {
	value, present := r.jwk[name]
	if !present {
		return ""
	}
	text, ok := value.(string)
	if !ok || text == "" {
		r.fail(name + " is not a string, or is empty")
	}
	return text
}

// octets returns a mandatory base64url member of at most size bytes.
func (r *memberReader) octets(name string, size int) []byte {
	text, ok := r.jwk[name].(string)
	if !ok || text == "" {
		r.fail(name + " is missing or not a string")
		return nil
	}
	if len(text) > (size*8+5)/6 {
		r.fail(name + " is too long")
		return nil
	}
	data, ok := decodeBase64(text)
	if !ok {
		r.fail(name + " is not strict base64url")
	}
	return data
}

// integer returns a mandatory Base64urlUInt member. A leading zero octet is let
// pass, as RFC 7518 section 6.3.1.1 warns that some writers add it.
func (r *memberReader) integer(name string, size int) *big.Int {
	return new(big.Int).SetBytes(r.octets(name, size+1))
}

// operations returns key_ops, nil when it is absent.
func (r *memberReader) operations() []string {
	value, present := r.jwk["key_ops"]
	if !present {
		return nil
	}
	list, ok := value.([]any)
	if !ok {
		r.fail("key_ops is not an array")
		return nil
	}
	ops := make([]string, 0, len(list))
	for _, element := range list {
		op, ok := element.(string)
		if !ok || slices.Contains(ops, op) {
			r.fail("key_ops holds a duplicate or something that is not a string")
			return nil
		}
		ops = append(ops, op)
	}
	return ops
}

func (r *memberReader) fail(text string) {
	if r.err == nil {
		r.err = errors.New(text)
	}
}
