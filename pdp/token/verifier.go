package token

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode"
)

// The type of RFC 9068 access tokens, that of tokens older than it, and that of RFC 9449 proofs.
const (
	typeAccess = "at+jwt"
	typeLegacy = "jwt"
	typeProof  = "dpop+jwt"
)

const (
	defaultLeeway      = 30 * time.Second
	maxLeeway          = 120 * time.Second
	defaultMaxLifetime = 24 * time.Hour
	maxIdentifier      = 256
)

// Config is what one issuer's tokens must look like.
type Config struct {
	// Issuer is the exact iss; mandatory.
	Issuer string
	// Algorithms are the exact values of alg to accept; mandatory. Those with
	// secrets (HS…) and those with public keys exclude each other.
	Algorithms []string
	// Types are the values of typ to accept, by default at+jwt alone. JWT stands
	// for tokens without a typ too, and still refuses ID tokens and logout tokens.
	Types []string
	// Leeway is what nbf and iat may lie ahead: nil means 30 s, at most 120 s.
	Leeway *time.Duration
	// MaxLifetime is how far exp may lie ahead; 0 means 24 h.
	MaxLifetime time.Duration
	// Opaque says that the tokens are no JWS but known to the issuer alone, who is asked about them: then there are no
	// Algorithms, Types and MaxLifetime, and [Verifier.CheckAnswer] is the only check.
	Opaque bool
	// WithoutAudience accepts opaque tokens without aud. An aud that is there must fit all the same.
	WithoutAudience bool
}

// Verifier verifies the tokens of one issuer. It is immutable and holds no keys.
type Verifier struct {
	issuer      string
	algorithms  []string
	types       []string
	leeway      time.Duration
	maxLifetime time.Duration

	withoutAudience bool
}

// NewVerifier checks a configuration and makes its verifier.
func NewVerifier(c Config) (*Verifier, error) {
	v := &Verifier{issuer: c.Issuer, algorithms: slices.Clone(c.Algorithms), leeway: defaultLeeway, maxLifetime: c.MaxLifetime}
	if c.Issuer == "" {
		return nil, errors.New("the issuer is missing")
	}
	if c.Leeway != nil {
		v.leeway = *c.Leeway
	}
	if v.leeway < 0 || v.leeway > maxLeeway {
		return nil, errors.New("the leeway is not between 0 and 120 s")
	}
	if c.Opaque {
		return newOpaque(v, c)
	}
	if c.WithoutAudience {
		return nil, errors.New("only opaque tokens may come without an audience")
	}
	if err := checkAlgorithms(c.Algorithms); err != nil {
		return nil, err
	}
	if v.maxLifetime == 0 {
		v.maxLifetime = defaultMaxLifetime
	}
	if v.maxLifetime < 0 {
		return nil, errors.New("the longest lifetime is negative")
	}
	types := c.Types
	if len(types) == 0 {
		types = []string{typeAccess}
	}
	for _, t := range types {
		name := normaliseType(t)
		if name == "" || !isPrintable(t, maxType) {
			return nil, fmt.Errorf("%q is not a token type", t)
		}
		if isPurpose(name) {
			return nil, fmt.Errorf("tokens of type %q are not credentials", t)
		}
		v.types = append(v.types, name)
	}
	return v, nil
}

// Leeway is how far the issuer's clock may be ahead.
func (v *Verifier) Leeway() time.Duration { return v.leeway }

func checkAlgorithms(list []string) error {
	if len(list) == 0 {
		return errors.New("the list of algorithms is empty")
	}
	for _, name := range list {
		a, ok := algorithms[name]
		if !ok {
			return fmt.Errorf("%q is not a supported algorithm", name)
		}
		if first := algorithms[list[0]]; (a.keyType == keyTypeSecret) != (first.keyType == keyTypeSecret) {
			return errors.New("algorithms with secrets and with public keys exclude each other")
		}
	}
	return nil
}

// isPurpose says whether a type is of tokens made for something other than access.
func isPurpose(name string) bool {
	return name == "logout+jwt" || name == typeProof || name == "secevent+jwt"
}

// Audiences are the audiences of a service: a token must be for one of them.
// The zero value accepts no token.
type Audiences struct {
	names []string
}

// NewAudiences makes a list of audiences, which must not be empty.
func NewAudiences(names ...string) (Audiences, error) {
	if len(names) == 0 || slices.Contains(names, "") {
		return Audiences{}, errors.New("the list of audiences is empty or holds an empty name")
	}
	return Audiences{names: slices.Clone(names)}, nil
}

// Verified is a token whose issuer and signature are established. It may be kept
// as long as the issuer has the key; [Verifier.Check] is due on every use.
type Verified struct {
	header     Header
	claims     Claims
	thumbprint [sha256.Size]byte
}

// Header returns the token's header.
func (t *Verified) Header() Header { return t.header }

// KeyThumbprint returns the thumbprint of the key that verified the token.
func (t *Verified) KeyThumbprint() [sha256.Size]byte { return t.thumbprint }

// Expires returns the exp, the zero time when it is missing or malformed.
func (t *Verified) Expires() time.Time { return t.claims.Expires() }

// SelectKey checks algorithm and issuer and returns the one key that may verify
// the token.
func (v *Verifier) SelectKey(t *Token, keys *KeySet) (*Key, error) {
	return v.selectKey(t.header, t.issuer, keys)
}

func (v *Verifier) selectKey(h Header, issuer string, keys *KeySet) (*Key, error) {
	if !slices.Contains(v.algorithms, h.Algorithm) {
		return nil, refuse(reasonAlgorithm, "not an algorithm of this issuer")
	}
	if issuer != v.issuer {
		return nil, refuse(reasonIssuer, "not the configured issuer")
	}
	if keys == nil {
		return nil, refuse(reasonKeyUnknown, "the issuer has no keys")
	}
	return keys.choose(h)
}

// Confirm says whether Verify would verify the token again with these keys: the
// key that it would take is the one that did. Nil is yes.
func (v *Verifier) Confirm(t *Verified, keys *KeySet) error {
	key, err := v.selectKey(t.header, t.claims.Issuer(), keys)
	if err != nil {
		return err
	}
	if key.thumbprint != t.thumbprint {
		return refuse(reasonKeyUnknown, "the key was replaced by another one")
	}
	return nil
}

// Verify checks algorithm, issuer, key and signature.
func (v *Verifier) Verify(t *Token, keys *KeySet) (*Verified, error) {
	key, err := v.SelectKey(t, keys)
	if err != nil {
		return nil, err
	}
	if !key.verify(t.header.Algorithm, t.signed, t.signature) {
		return nil, refuse(reasonSignature, "the signature does not match")
	}
	return &Verified{header: t.header, claims: Claims{members: t.claims}, thumbprint: key.thumbprint}, nil
}

// Check applies to a verified token what depends on the use and the instant:
// type, required claims, audience and times.
func (v *Verifier) Check(t *Verified, audiences Audiences, now time.Time) (Claims, error) {
	if err := v.checkType(t); err != nil {
		return Claims{}, err
	}
	if t.claims.Issuer() != v.issuer {
		return Claims{}, refuse(reasonIssuer, "not the configured issuer")
	}
	if err := checkIdentifiers(t); err != nil {
		return Claims{}, err
	}
	if err := checkAudience(t.claims.members, audiences); err != nil {
		return Claims{}, err
	}
	if err := v.checkTimes(t, now); err != nil {
		return Claims{}, err
	}
	return t.claims, nil
}

func (v *Verifier) checkType(t *Verified) error {
	name := t.header.Type
	if name == "" {
		name = typeLegacy
	}
	if !slices.Contains(v.types, name) {
		return refuse(reasonType, "not a type of token that this issuer may present")
	}
	if name == typeAccess {
		return nil
	}
	// Outside RFC 9068 the type alone does not tell what a token is for: an ID
	// token carries nonce or hashes (OpenID Connect Core section 2), a logout
	// token or security event carries events (RFC 8417 section 2.2).
	for _, marker := range []string{"nonce", "at_hash", "c_hash", "events"} {
		if _, ok := t.claims.members[marker]; ok {
			return refuse(reasonType, "an ID token, logout token or security event")
		}
	}
	return nil
}

// checkIdentifiers requires what RFC 9068 section 2.2 requires of its own tokens
// and bounds the identifiers of all.
func checkIdentifiers(t *Verified) error {
	if t.header.Type == typeAccess {
		for _, name := range identifiers {
			if _, present := t.claims.members[name]; !present {
				return refuse(reasonClaim, "sub, client_id or jti is missing")
			}
		}
	}
	return checkNames(t.claims.members)
}

// identifiers are the claims that name subject, client and token.
var identifiers = [...]string{"sub", "client_id", "jti"}

// checkNames bounds the identifiers that are there.
func checkNames(members map[string]any) error {
	for _, name := range identifiers {
		value, present := members[name]
		if !present {
			continue
		}
		text, ok := value.(string)
		if !ok || text == "" || len(text) > maxIdentifier || hasControl(text) {
			return refuse(reasonMalformed, "sub, client_id or jti is not a string of 1 to 256 bytes without control characters")
		}
	}
	return nil
}

func hasControl(text string) bool {
	for _, r := range text {
		if unicode.IsControl(r) {
			return true
		}
	}
	return false
}

func checkAudience(members map[string]any, audiences Audiences) error {
	value, present := members["aud"]
	if !present {
		return refuse(reasonClaim, "aud is missing")
	}
	if text, ok := value.(string); ok { // the usual case, without a slice
		if slices.Contains(audiences.names, text) {
			return nil
		}
		return refuse(reasonAudience, "not for an audience of this service")
	}
	list, ok := stringsOf(value)
	if !ok {
		return refuse(reasonMalformed, "aud is not a string or an array of strings")
	}
	for _, name := range list {
		if slices.Contains(audiences.names, name) {
			return nil
		}
	}
	return refuse(reasonAudience, "not for an audience of this service")
}

func (v *Verifier) checkTimes(t *Verified, now time.Time) error {
	exp, hasExp, err := timeOf(t.claims.members, "exp")
	if err != nil {
		return err
	}
	nbf, hasNbf, err := timeOf(t.claims.members, "nbf")
	if err != nil {
		return err
	}
	iat, hasIat, err := timeOf(t.claims.members, "iat")
	if err != nil {
		return err
	}
	latest := now.Add(v.leeway)
	switch {
	case !hasExp:
		return refuse(reasonClaim, "exp is missing")
	case !hasIat && t.header.Type == typeAccess:
		return refuse(reasonClaim, "iat is missing")
	case !exp.After(now):
		return refuse(reasonExpired, "exp has come")
	case hasNbf && nbf.After(latest):
		return refuse(reasonNotYetValid, "nbf lies ahead")
	case hasIat && iat.After(latest):
		return refuse(reasonNotYetValid, "iat lies ahead")
	case exp.After(now.Add(v.maxLifetime)):
		return refuse(reasonLifetime, "exp lies too far ahead")
	}
	return nil
}
