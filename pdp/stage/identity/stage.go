package identity

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Name is the stage's name: its point in the stage table and the key of its part in a compiled service.
const Name = "identity"

// ErrNotCompiled is returned for a case whose service or route this stage did not compile.
var ErrNotCompiled = errors.New("establish the subject: the route has no compiled identity settings")

// Stage establishes subjects. It is safe for concurrent use.
type Stage struct {
	options Options
	cache   *tokenCache // nil for none
}

// New returns the stage.
func New(o Options) *Stage {
	if o.Introspector == nil {
		o.Introspector = introspection.New(introspection.Options{})
	}
	return &Stage{options: o, cache: newTokenCache(o.TokenCache)}
}

// Name returns the stage's name.
func (*Stage) Name() string { return Name }

// part is one service's identity settings, compiled. It is immutable.
type part struct {
	routes       []requirement      // by the route's index
	issuers      map[string]*issuer // by the exact iss
	opaque       *opaque            // nil where opaque tokens are not accepted
	certificates []*certificates    // in the order of identity.accept
	keyrings     []*keyring         // the same; each has a prefix of its own
	audiences    token.Audiences
	challenges   challenges
	places       places
	cache        *tokenCache
	definitions  [sha256.Size]byte // of all authenticators that are accepted
	proofs       *proofs           // nil where the service takes none
	metadata     metadata
	blocks       *blocks.List // nil where nothing is blocked
	keyOffered   func()       // may be nil
}

// requirement is what one route needs of a subject.
type requirement struct {
	mode   mode
	scopes []string
	bound  bool // only credentials that are bound
	// revocation is what happens where this replica does not know recently enough what is blocked.
	revocation revocation
	// challenge is the WWW-Authenticate of a subject that lacks a scope.
	challenge string
	// assurance is the login strength; the zero assurance needs none.
	assurance assurance
}

// anybody says whether who has no credentials may pass an optional route.
func (r *requirement) anybody() bool {
	return r.mode == modeOptional && len(r.scopes) == 0 && !r.assurance.needed()
}

// mode says whether a route needs credentials. The zero mode does.
type mode uint8

const (
	modeRequired mode = iota
	modeOptional
	modeNone
)

// refusal is why no subject could be established; the zero refusal is none. The detail holds nothing that came with
// the request.
type refusal struct {
	reason verdict.Reason
	detail string
}

func (r refusal) is() bool { return r.reason != "" }

// Compile builds what a service's routes need: a verifier for each accepted authenticator, and mode and scopes of
// each route.
func (s *Stage) Compile(b *format.Bundle, service *format.Service) (any, format.Problems) {
	c := &compiler{options: &s.options, bundle: b, service: service, part: &part{issuers: map[string]*issuer{}, challenges: newChallenges(service), cache: s.cache, blocks: s.options.Blocks}}
	c.authenticators()
	c.audiences()
	c.places()
	c.proofs()
	c.metadata()
	c.routes()
	c.define()
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	s.open(c.part)
	return c.part, nil
}

// open begins to fetch what the part needs. A part that is refused fetches nothing.
func (s *Stage) open(p *part) {
	p.keyOffered = s.options.KeyOffered
	for _, i := range p.issuers {
		if i.keys.file == nil && s.options.Keys != nil {
			i.keys.source = s.options.Keys.Source(i.keys.place)
		}
	}
}

// Evaluate sets the case's subject, or denies. An error means that the case's service was not compiled for this stage.
func (s *Stage) Evaluate(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	c.Subject = subject.Anonymous()
	p, ok := pipeline.Part[*part](c, Name)
	if !ok || c.Match.Route == nil {
		return pipeline.Stop, ErrNotCompiled
	}
	i := c.Match.Route.Index
	if i < 0 || i >= len(p.routes) {
		return pipeline.Stop, ErrNotCompiled
	}
	route := &p.routes[i]
	if c.Match.Route.Public || route.mode == modeNone {
		return pipeline.Continue, nil
	}
	who, r := p.establish(ctx, c, route)
	if !r.is() {
		r = s.use(ctx, p, c, who)
	}
	if r.is() {
		return p.deny(c, route, r), nil
	}
	return pipeline.Continue, nil
}

// establish finds the request's one credential, verifies it, sets the subject and returns what is proven, nil for nobody. A subject
// that is given stands for all credentials.
func (p *part) establish(ctx context.Context, c *pipeline.Case, route *requirement) (*proven, refusal) {
	var found shown
	reason := verdict.Reason("")
	if c.Given == nil {
		found, reason = p.credential(c)
	}
	if reason != "" {
		return nil, refusal{reason: reason}
	}
	var who proven
	var r refusal
	switch {
	case c.Given != nil && !c.Given.IsAnonymous():
		who, r = p.fromGiven(c.Given)
	case found.raw != "":
		who, r = p.fromCredential(ctx, c, found.raw)
	case c.Given == nil && c.Request.Certificate != nil && len(p.certificates) > 0:
		who, r = p.fromCertificate(c.Request.Certificate, c.Now)
	case route.anybody():
		return nil, refusal{}
	default:
		return nil, refusal{reason: verdict.TokenMissing}
	}
	if r.is() {
		return nil, r
	}
	judged := who // a copy, so that who is nobody costs nothing
	judged.shown = found
	return &judged, p.judge(c, route, &judged)
}

// fromCredential makes a subject of a raw credential, by the authenticator that its form belongs to, and notes its hash for the record.
func (p *part) fromCredential(ctx context.Context, c *pipeline.Case, raw string) (proven, refusal) {
	sum := sumOf(raw)
	c.Verdict.Explanation.Credential = sum
	switch form := formOf(raw); {
	case form == formAPIKey:
		return p.fromAPIKey(c, raw)
	case form == formOpaque && p.opaque != nil:
		return p.fromOpaque(ctx, c, raw)
	case form == formJWS && p.opaque != nil && len(p.issuers) == 0:
		return proven{}, refusal{reason: verdict.TokenMalformed, detail: "no accepted authenticator takes tokens that are signed"}
	}
	return p.fromToken(ctx, c, raw, sum)
}

// judge sets the case's subject if its credential is good, and says whether it is good enough.
func (p *part) judge(c *pipeline.Case, route *requirement, who *proven) refusal {
	for _, fails := range goodChecks {
		if r := fails(p, c, route, who); r.is() {
			r.detail = about(who.Authenticator, who.KeyID) + r.detail
			return r
		}
	}
	c.Subject = who.Subject
	for _, fails := range enoughChecks {
		if r := fails(p, c, route, who); r.is() {
			return r
		}
	}
	return refusal{}
}

// about begins the detail of a refusal: which authenticator and key, "" for none, it is about.
func about(authenticator, key string) string {
	if key != "" {
		authenticator += ", key " + key
	}
	return "authenticator " + authenticator + ": "
}

// deny records the refusal, and tells the client no more than RFC 6750 asks for. Where other credentials would not help there is no
// challenge.
func (p *part) deny(c *pipeline.Case, route *requirement, r refusal) pipeline.Outcome {
	c.Verdict.Explanation.Detail = r.detail
	public := r.reason.Public()
	if public == verdict.Unavailable {
		return c.Outage(r.reason)
	}
	if public == verdict.AccessDenied {
		return c.Deny(r.reason)
	}
	challenge := p.challenges.of(public)
	switch r.reason {
	case verdict.ScopeMissing:
		challenge = route.challenge
	case verdict.AssuranceLow:
		challenge = route.assurance.challenge
	default:
	}
	if p.proofs != nil {
		challenge = p.proofs.challenge(c, route, r.reason, challenge, p.challenges.missing)
		if r.reason == verdict.ProofNonce {
			setNonce(c, p.proofs.verifier.Nonce(c.Now))
		}
	}
	c.Verdict.Obligations.SetResponse = append(c.Verdict.Obligations.SetResponse,
		verdict.Field{Name: "www-authenticate", Value: challenge})
	return c.Deny(r.reason)
}
