package dpop

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	// field is the name of the header field, typ that of the proofs in it.
	field = "dpop"
	typ   = "dpop+jwt"
	// maxProof bounds a proof, maxJTI its name, in bytes.
	maxProof = 8 << 10
	maxJTI   = 256
	// The default window of iat around now, and its bounds.
	defaultWindow, minWindow, maxWindow = time.Minute, time.Second, 10 * time.Minute
	defaultAhead, maxAhead              = 5 * time.Second, time.Minute
	// markPrefix keeps the marks of proofs apart from others.
	markPrefix = "dpop:"
)

// DefaultAlgorithms are the algorithms of proofs where no others are named.
func DefaultAlgorithms() []string { return []string{"ES256", "EdDSA", "Ed25519", "PS256", "RS256"} }

// Options say which proofs are good. The zero Options take the defaults.
type Options struct {
	// Algorithms are the values of alg to accept; empty takes [DefaultAlgorithms].
	Algorithms []string
	// Window is how far back a proof may have been made, Ahead how far ahead by clocks that differ; nil takes 60 s and 5 s.
	Window, Ahead *time.Duration
	// Nonces, if not nil, are what every proof must hold one of.
	Nonces *Nonces
}

// Verifier verifies proofs. It is immutable.
type Verifier struct {
	algorithms    []string
	window, ahead time.Duration
	nonces        *Nonces
	exp, nbf      token.Path
}

// Errors of options.
var (
	errWindow = errors.New("the window is not between 1s and 10min")
	errAhead  = errors.New("the time ahead is not between 0s and 60s")
)

// New checks the options and makes the verifier.
func New(o Options) (*Verifier, error) {
	v := &Verifier{algorithms: slices.Clone(o.Algorithms), window: defaultWindow, ahead: defaultAhead, nonces: o.Nonces}
	if len(v.algorithms) == 0 {
		v.algorithms = DefaultAlgorithms()
	}
	if err := token.CheckProofAlgorithms(v.algorithms); err != nil {
		return nil, err
	}
	if o.Window != nil {
		v.window = *o.Window
	}
	if o.Ahead != nil {
		v.ahead = *o.Ahead
	}
	if v.window < minWindow || v.window > maxWindow {
		return nil, errWindow
	}
	if v.ahead < 0 || v.ahead > maxAhead {
		return nil, errAhead
	}
	var errs [2]error
	v.exp, errs[0] = token.ParsePath("exp")
	v.nbf, errs[1] = token.ParsePath("nbf")
	return v, errors.Join(errs[:]...)
}

// Algorithms returns the values of alg that are accepted, for challenges.
func (v *Verifier) Algorithms() []string { return slices.Clone(v.algorithms) }

// Nonce returns what a client is told to put into its next proof; "" where no nonces are wanted.
func (v *Verifier) Nonce(now time.Time) string {
	if v.nonces == nil {
		return ""
	}
	return v.nonces.at(now)
}

// Use is the use of a token for a request.
type Use struct {
	// Request is the request as the gateway saw it; its DPoP field holds the proof.
	Request *request.Request
	// Token is the token as it was sent, Thumbprint the jkt that it is bound to.
	Token, Thumbprint string
	// Now is the instant of the decision.
	Now time.Time
}

// Verified is a proof that is sound. Whether it was used before is for its caller to find out.
type Verified struct {
	// Mark is the key under which the use is marked, Lasts how long the mark must be kept.
	Mark  string
	Lasts time.Duration
	// Nonce is what the client should put into its next proof, "" where it knows one that is fresh enough.
	Nonce string
}

// Refusal is why a proof is refused. Nothing in it comes from the request.
type Refusal struct {
	// Reason is one of the list of reasons, Detail a text for operators.
	Reason verdict.Reason
	Detail string
}

// Error returns the reason and the detail.
func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

func invalid(detail string) *Refusal { return &Refusal{verdict.ProofInvalid, detail} }

// Verify does the checks of RFC 9449, section 4.3, but the one for uses before. An error is a [*Refusal].
func (v *Verifier) Verify(u *Use) (Verified, error) {
	raw, count := u.Request.Header.Get(field)
	switch {
	case count == 0:
		return Verified{}, &Refusal{verdict.ProofMissing, "the request has no DPoP field"}
	case count > 1:
		return Verified{}, invalid("more than one DPoP field")
	}
	proof, err := token.ParseProof(raw, maxProof)
	if err != nil {
		return Verified{}, invalid(err.Error())
	}
	if proof.Header().Type != typ {
		return Verified{}, invalid("typ is not dpop+jwt")
	}
	thumbprint := proof.Key().Thumbprint()
	if !equal(base64.RawURLEncoding.EncodeToString(thumbprint[:]), u.Thumbprint) {
		return Verified{}, &Refusal{verdict.TokenBinding, "the token is bound to another key than the proof's"}
	}
	claims, err := proof.Verify(v.algorithms)
	if err != nil {
		return Verified{}, invalid(err.Error())
	}
	return v.check(u, claims, thumbprint)
}

// check looks at the claims of a proof whose signature is sound.
func (v *Verifier) check(u *Use, claims token.Claims, thumbprint [sha256.Size]byte) (Verified, error) {
	members := claims.Members()
	hash := sha256.Sum256([]byte(u.Token))
	htu, _ := members["htu"].(string)
	ath, _ := members["ath"].(string)
	jti, _ := members["jti"].(string)
	switch {
	case members["htm"] != u.Request.Method:
		return Verified{}, invalid("htm is not the request's method")
	case !sameURL(htu, u.Request.Host, u.Request.Target):
		return Verified{}, invalid("htu is not the request's URL")
	case !equal(ath, base64.RawURLEncoding.EncodeToString(hash[:])):
		return Verified{}, invalid("ath is not the hash of the token")
	case jti == "" || len(jti) > maxJTI:
		return Verified{}, invalid("jti is not a string of 1 to 256 bytes")
	}
	if detail := v.checkTimes(claims, u.Now); detail != "" {
		return Verified{}, invalid(detail)
	}
	fresh, refusal := v.checkNonce(members, u.Now)
	if refusal != nil {
		return Verified{}, refusal
	}
	// The mark outlasts the last instant at which a replica whose clock is behind by the time ahead takes the proof.
	return Verified{Mark: markOf(thumbprint, jti), Lasts: v.window + 2*v.ahead, Nonce: fresh}, nil
}

// checkTimes returns what is wrong with the times of a proof, "" for nothing.
func (v *Verifier) checkTimes(claims token.Claims, now time.Time) string {
	iat, ok := claims.IssuedAt()
	earliest, latest := now.Add(-v.window), now.Add(v.ahead)
	switch {
	case !ok || iat.IsZero():
		return "iat is missing or not a number of seconds"
	case iat.Before(earliest):
		return "iat lies too far back"
	case iat.After(latest):
		return "iat lies ahead"
	}
	// RFC 9449 does not ask for them; where they are, RFC 7519 holds.
	if _, there := claims.Lookup(v.exp); there {
		if exp, err := claims.Time(v.exp); err != nil || !exp.After(now) {
			return "exp has come, or is not a number of seconds"
		}
	}
	if _, there := claims.Lookup(v.nbf); there {
		if nbf, err := claims.Time(v.nbf); err != nil || nbf.After(latest) {
			return "nbf lies ahead, or is not a number of seconds"
		}
	}
	return ""
}

// checkNonce says whether the proof holds a nonce that is wanted, and which the client should use next, "" for the same.
func (v *Verifier) checkNonce(members map[string]any, now time.Time) (fresh string, _ *Refusal) {
	value, there := members["nonce"]
	nonce, ok := value.(string)
	switch {
	case there && !ok:
		return "", invalid("nonce is not a string")
	case v.nonces == nil:
		return "", nil
	case !there:
		return "", &Refusal{verdict.ProofNonce, "the proof holds no nonce"}
	}
	good, aged := v.nonces.check(nonce, now)
	switch {
	case !good:
		return "", &Refusal{verdict.ProofNonce, "the nonce is none of this service's, or too old"}
	case aged:
		return v.nonces.at(now), nil
	}
	return "", nil
}

// markOf names a use: the thumbprint has a fixed length, so no two pairs share a name.
func markOf(thumbprint [sha256.Size]byte, jti string) string {
	text := make([]byte, 0, sha256.Size+maxJTI)
	hash := sha256.Sum256(append(append(text, thumbprint[:]...), jti...))
	return markPrefix + base64.RawURLEncoding.EncodeToString(hash[:])
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
