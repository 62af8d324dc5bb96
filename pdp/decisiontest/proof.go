package decisiontest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// proofs are what a client remembers between the requests of a case: how many proofs it made, and the nonce that it was given last.
type proofs struct {
	count int
	nonce string
}

// see takes a nonce over, as a client does.
func (p *proofs) see(v *verdict.Verdict) {
	for _, f := range v.Obligations.SetResponse {
		if f.Name == "dpop-nonce" {
			p.nonce = f.Value
		}
	}
}

// newProofKey makes a throw-away key for a token of the suite.
func (l *loader) newProofKey(at string) *token.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		l.add(at+".dpop", "", "a key cannot be made: %v", err)
		return nil
	}
	signer, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: "unused", Random: rand.Reader})
	if err != nil {
		l.add(at+".dpop", "", "a key cannot be made: %v", err)
		return nil
	}
	return signer
}

// bindingOf returns the cnf (RFC 7800) of a token.
func (l *loader) bindingOf(name string, t *suite.Token) map[string]any {
	binding := map[string]any{}
	if p := l.suite.people[name]; p != nil && p.key != nil {
		thumbprint := p.key.PublicKey().Thumbprint()
		binding["jkt"] = encoded(thumbprint[:])
	}
	if t.Certificate != "" {
		if known := l.namesOf("certificates"); !slices.Contains(known, t.Certificate) {
			l.unknown("$.tokens."+name+".certificate", "the suite's certificates hold no %q", t.Certificate, known)
		}
		thumbprint := certificateThumbprint(t.Certificate)
		binding["x5t#S256"] = encoded(thumbprint[:])
	}
	return binding
}

// certificateThumbprint stands for the hash of a certificate that has no encoding.
func certificateThumbprint(name string) [sha256.Size]byte { return sha256.Sum256([]byte(name)) }

func encoded(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// checkProof refuses changes of a proof that is not made.
func (l *loader) checkProof(at string, in *suite.Request) {
	if in.Proof == nil {
		return
	}
	if p := l.suite.people[in.Token]; in.Token == "" || p == nil || p.key == nil {
		l.add(at, "", "only a token with dpop: true comes with a proof")
	}
	made := in.Proof.Header != nil || in.Proof.Claims != nil || in.Proof.Omit != nil || in.Proof.Iat != nil
	switch {
	case in.Proof.Raw != "" && (made || in.Proof.Absent), in.Proof.Absent && made:
		l.add(at, "", "a proof is made, raw, or absent")
	case in.Proof.Scheme != "" && in.Proof.Scheme != "DPoP" && in.Proof.Scheme != "Bearer":
		l.add(at+".scheme", "", "scheme is DPoP or Bearer")
	}
}

// prove adds the proof of a person whose token is bound to a key.
func (p *person) prove(parts *Parts, in *suite.Request, made *proofs) error {
	if p.key == nil || in.Operation != nil {
		return nil
	}
	parts.Scheme = "DPoP"
	if in.Proof != nil {
		parts.Scheme = orDefault(in.Proof.Scheme, parts.Scheme)
		if parts.Proof = in.Proof.Raw; parts.Proof != "" || in.Proof.Absent {
			return nil
		}
	}
	header, claims := p.proofOf(parts, in, made)
	var err error
	if parts.Proof, err = p.key.SignProof(header, claims); err != nil {
		return fmt.Errorf("make a proof for the token %s: %w", p.name, err)
	}
	return nil
}

// proofOf returns what fits the request, with the changes that it says.
func (p *person) proofOf(parts *Parts, in *suite.Request, made *proofs) (header, claims map[string]any) {
	path, _, _ := strings.Cut(in.Path, "?")
	hash := sha256.Sum256([]byte(parts.Token))
	made.count++
	claims = map[string]any{
		"jti": p.name + "-" + strconv.Itoa(made.count), "htm": orDefault(in.Method, defaultMethod), "htu": "https://" + in.Host + path,
		"iat": parts.Time.Unix(), "ath": encoded(hash[:]),
	}
	if made.nonce != "" {
		claims["nonce"] = made.nonce
	}
	if in.Proof == nil {
		return nil, claims
	}
	if in.Proof.Iat != nil {
		claims["iat"] = in.Proof.Iat.After(parts.Time).Unix()
	}
	maps.Copy(claims, in.Proof.Claims)
	for _, name := range in.Proof.Omit {
		delete(claims, name)
	}
	return in.Proof.Header, claims
}
