package assembly

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/descriptors"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/limits"
	"github.com/durward-pdp/durward/pdp/stage/upstream"
	statememory "github.com/durward-pdp/durward/pdp/state/memory"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
)

// offlineBudget bounds one decision of a tool. It is long: a tool on a busy machine must not be told of deadlines that
// no server would meet.
const offlineBudget = 30 * time.Second

// errDown is what the counters of a session say while they are out.
var errDown = errors.New("the shared counters are down")

// OfflineOptions say what an Offline engine is made of.
type OfflineOptions struct {
	// Contents are the files of one bundle by slash-separated path; bundle.ReadDirectory gives those of a directory.
	Contents map[string][]byte
	// TestKeys puts throw-away keys in the place of the bundle's, so that Mint can make tokens. The bundle's own keys
	// are checked all the same, and the revision stays that of Contents.
	TestKeys bool
	// Keys, if not nil, is a key set in the place of every issuer's.
	Keys []byte
	// Random is the source of decision ids and signatures; nil takes the system's.
	Random io.Reader
}

// Offline holds one bundle, compiled as a server would compile it, for tools that decide without a server. It is
// immutable and safe for concurrent use.
type Offline struct {
	random   io.Reader
	stages   stages
	snapshot *pipeline.Snapshot
	decoded  *format.Bundle
	mint     *mint
	issuers  *standIn // of opaque tokens
	keys     *keyMint
}

// NewOffline compiles a bundle. What is the operator's to choose is taken for chosen: how the client's address is found,
// and that the bundle may observe. The error is format.Problems where the bundle is wrong.
func NewOffline(o OfflineOptions) (*Offline, error) {
	if o.Random == nil {
		o.Random = rand.Reader
	}
	// The limits stage that compiles never counts: each session has one of its own.
	counting, limiter, err := newCounting(func() time.Time { return time.Time{} }, nil)
	if err != nil {
		return nil, err
	}
	if err := closeLimiter(limiter); err != nil {
		return nil, err
	}
	nonces, err := throwAwayNonces(o.Random)
	if err != nil {
		return nil, err
	}
	minter, err := newOfflineIssuer(o.Random)
	if err != nil {
		return nil, err
	}
	issuers, introspector, err := newStandIn(o.Random)
	if err != nil {
		return nil, err
	}
	off := &Offline{random: o.Random, issuers: issuers}
	credentials := identity.Options{Nonces: nonces, Introspector: introspector}
	if o.TestKeys {
		if off.keys, err = newKeyMint(o.Random); err != nil {
			return nil, err
		}
		credentials.APIKeys = off.keys.forStage()
	}
	off.stages = stagesWith(counting, credentials)
	off.stages.upstream = upstream.New(upstream.Options{Minter: minter})
	compilers := off.stages.compilers()
	identityAt := slices.Index(compilers, bundle.Compiler(off.stages.identity))
	switch {
	case o.TestKeys:
		off.mint = newMint(o.Random)
		compilers[identityAt] = testKeys{off.stages.identity, off.mint}
	case o.Keys != nil:
		compilers[identityAt] = givenKeys{off.stages.identity, o.Keys}
	}
	snapshot, problems := bundle.Build(o.Contents, bundle.Options{Compilers: compilers, Domains: off.stages.descriptors, ClientAddress: true, Observe: true})
	if len(problems) == 0 {
		off.snapshot = snapshot
		off.decoded, problems = bundle.Parse(o.Contents)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return off, nil
}

// Info returns the bundle's name and revision.
func (o *Offline) Info() pipeline.BundleInfo { return o.snapshot.Bundles[0] }

// Bundle returns the decoded bundle, to read only.
func (o *Offline) Bundle() *format.Bundle { return o.decoded }

// Mint signs a token as the authenticator's issuer would, with a throw-away key that the engine takes for the issuer's.
// The header may hold any members: alg chooses among the authenticator's algorithms, the first without it, and typ is
// the first type that the authenticator takes. The claims are signed as they are, with the issuer as iss where they have none.
// An authenticator of kind introspection gets an opaque token, about which a stand-in for its issuer answers with the claims, so
// that they must hold active; there is no header.
//
// Of an authenticator of kind api_key it makes an API key. The claims are then the members of its record: owner, kind, tenant, scopes,
// roles, addresses, iat, exp and revoked; or id alone, of a key that the bundle ships. The header must be empty.
func (o *Offline) Mint(authenticator string, header, claims map[string]any) (string, error) {
	if o.mint == nil {
		return "", ErrNoTestKeys
	}
	a, ok := o.decoded.Authenticators[authenticator]
	switch {
	case ok && a.Kind == "jwt":
		return o.mint.token(&a, header, claims)
	case ok && a.Kind == "api_key":
		if len(header) > 0 {
			return "", errors.New("make an API key: a key has no header")
		}
		return o.keys.key(o.decoded, authenticator, &a, claims)
	case ok && a.Kind == "introspection":
		answer := map[string]any{"iss": a.Issuer}
		maps.Copy(answer, claims)
		return o.issuers.token(a.Introspection.URL, answer)
	}
	return "", fmt.Errorf("mint a token: the bundle has no authenticator %q of kind jwt, introspection or api_key", authenticator)
}

// Open begins a session: a frozen clock, and counters that nobody has touched. Close it.
func (o *Offline) Open(now time.Time) (*Session, error) {
	s := &Session{}
	s.SetTime(now)
	shared, err := memory.New(memory.Options{Now: s.now, MaxKeys: sessionKeys})
	if err != nil {
		return nil, err
	}
	s.shared = &outage{Store: shared}
	counting, limiter, err := newCounting(s.now, s.shared)
	if err != nil {
		return nil, err
	}
	s.limiter = limiter
	own := o.stages
	own.limits = counting
	s.marks = &markOutage{Marks: statememory.New(s.now), shared: s.shared}
	own.identity = identity.New(identity.Options{Marks: s.marks})
	if s.engine, err = o.engine(&own, s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.engine.Publish(o.snapshot)
	return s, nil
}

// engine returns an engine for a session, with stages that count in it.
func (o *Offline) engine(own *stages, s *Session) (_ *pdp.Engine, err error) {
	if own.descriptors, err = descriptors.New(descriptors.Options{Limiter: s.limiter, Wait: true}); err != nil {
		return nil, err
	}
	line, err := newPipeline(own, s.now, nil)
	if err != nil {
		return nil, err
	}
	alone, err := newDescriptorPipeline(own, s.now, nil)
	if err != nil {
		return nil, err
	}
	reports, err := newReportPipeline(own, s.now, nil)
	if err != nil {
		return nil, err
	}
	return pdp.New(pdp.Options{Pipeline: line, Descriptors: alone, Reports: reports, Recorder: forgetful{}, Clock: s.now, Random: o.random, Budget: offlineBudget, Release: own.limits.ReleaseLater})
}

// Session decides on an Offline's bundle with counters and a clock of its own. Decisions may run at once.
type Session struct {
	engine  *pdp.Engine
	limiter *ratelimiter.Limiter
	shared  *outage
	marks   *markOutage
	clock   atomic.Pointer[time.Time]
}

// Decide answers as a server would, at the session's time.
func (s *Session) Decide(ctx context.Context, r *request.Request) verdict.Verdict {
	return s.engine.Decide(ctx, r)
}

// DecideAs answers for a subject that is given in place of credentials. What else the route wants of a subject holds.
func (s *Session) DecideAs(ctx context.Context, r *request.Request, who subject.Subject) verdict.Verdict {
	return s.engine.DecideGiven(ctx, r, pdp.Given{Subject: who})
}

// SetTime sets the session's clock.
func (s *Session) SetTime(now time.Time) { s.clock.Store(&now) }

// SetOutage takes the shared counters away, or gives them back as they were.
func (s *Session) SetOutage(redisDown bool) { s.shared.down.Store(redisDown) }

// Close ends the session.
func (s *Session) Close() error { return closeLimiter(s.limiter) }

func (s *Session) now() time.Time { return *s.clock.Load() }

// sessionKeys bounds the counters of a session.
const sessionKeys = 1 << 14

// newCounting returns a limits stage over the shared store; without one, limits are counted nowhere else.
func newCounting(clock func() time.Time, shared ratelimiter.Store) (*limits.Stage, *ratelimiter.Limiter, error) {
	local, err := memory.New(memory.Options{Now: clock, MaxKeys: sessionKeys})
	if err != nil {
		return nil, nil, err
	}
	limiter, err := ratelimiter.New(ratelimiter.Options{Shared: shared, Local: local, Now: clock, DenyCache: sessionKeys, NoLeases: true})
	if err != nil {
		return nil, nil, err
	}
	// A denial is charged before the next decision begins, or answers would depend on a goroutine's haste.
	stage, err := limits.New(limits.Options{Limiter: limiter, Wait: true})
	return stage, limiter, err
}

func closeLimiter(l *ratelimiter.Limiter) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return l.Close(ctx)
}

// outage is a store that can be taken away.
type outage struct {
	ratelimiter.Store
	down atomic.Bool
}

// Take implements ratelimiter.Store.
func (o *outage) Take(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	if o.down.Load() {
		return ratelimiter.Decision{}, errDown
	}
	return o.Store.Take(ctx, charges)
}

// Settle implements ratelimiter.Store.
func (o *outage) Settle(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	if o.down.Load() {
		return ratelimiter.Decision{}, errDown
	}
	return o.Store.Settle(ctx, charges)
}

// Peek implements ratelimiter.Store.
func (o *outage) Peek(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	if o.down.Load() {
		return ratelimiter.Decision{}, errDown
	}
	return o.Store.Peek(ctx, charges)
}

// markOutage are marks that can be taken away with the counters.
type markOutage struct {
	identity.Marks
	shared *outage
}

// Mark implements identity.Marks.
func (o *markOutage) Mark(ctx context.Context, key string, lasts time.Duration) (bool, error) {
	if o.shared.down.Load() {
		return false, errDown
	}
	return o.Marks.Mark(ctx, key, lasts)
}

// forgetful keeps no records.
type forgetful struct{}

// Record implements pdp.Recorder.
func (forgetful) Record(context.Context, *audit.Entry) error { return nil }

// Report returns what is worth knowing of how the bundle's policies run, a line for each remark.
func (o *Offline) Report() []string { return bundle.Report(o.snapshot, "") }

// ValidateBundle checks the bundle in a directory as NewOffline does, and returns its load report too. The error holds
// every problem with its place.
func ValidateBundle(directory string) (pipeline.BundleInfo, []string, error) {
	contents, err := bundle.ReadDirectory(directory)
	if err != nil {
		return pipeline.BundleInfo{}, nil, err
	}
	o, err := NewOffline(OfflineOptions{Contents: contents})
	if err != nil {
		return pipeline.BundleInfo{}, nil, err
	}
	return o.Info(), o.Report(), nil
}
