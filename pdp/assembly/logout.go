package assembly

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/ratelimiter/gcra"
)

// logoutPattern is where issuers send logout tokens.
const logoutPattern = "POST /backchannel-logout/{bundle}/{authenticator}"

const (
	// maxLogoutBody bounds a request: the longest token, escaped.
	maxLogoutBody = 32 << 10
	// logoutTimeout bounds what a logout waits for: what is shared, and its record.
	logoutTimeout = 5 * time.Second
	// logoutRate is how many signatures a second are verified for whoever sends them, some percent of a processor; and of each of the last
	// addresses that sent a good one, maxLogoutSenders at most: strangers cannot take an issuer's turn.
	logoutRate       = 100
	maxLogoutSenders = 16
	// reservedBlocks is what logouts leave of the list: whoever logs in and out all day must not keep operators from blocking.
	reservedBlocks = blocks.Most / 10
	// clockSkew is how far the clocks of issuers and replicas may be apart, beyond a token's life.
	clockSkew = 2 * time.Minute
)

// logoutEndpoint takes logout tokens of issuers (OpenID Connect Back-Channel Logout 1.0) and blocks the session, or what was issued to
// the subject before. Nobody is asked who sends them: the signature says it.
type logoutEndpoint struct {
	snapshot func() *pipeline.Snapshot
	list     *blocks.List
	marks    state.Marks
	journal  journal
	logger   *slog.Logger
	count    func(outcome string)
	rate     gcra.Rate

	mu      sync.Mutex
	next    gcra.Instant // of rate, for strangers
	senders []logoutSender
	told    time.Time // when the log last heard of a refusal
}

// logoutSender is an address that sent a good logout token, the latest last.
type logoutSender struct {
	address netip.Addr
	next    gcra.Instant
}

func newLogoutEndpoint(e *logoutEndpoint) (_ *logoutEndpoint, err error) {
	e.rate, err = gcra.New(logoutRate, time.Second, logoutRate)
	return e, err
}

// The outcomes of a logout token, for metrics.
const (
	logoutDone     = "done"
	logoutRefused  = "refused"
	logoutReplayed = "replayed"
	logoutFailed   = "failed"
	logoutBusy     = "busy"
)

func logoutOutcomes() []string {
	return []string{logoutDone, logoutRefused, logoutReplayed, logoutFailed, logoutBusy}
}

// ServeHTTP answers as section 2.8 of the standard says: 200, or 400 for whatever was not done. The texts are fixed.
func (e *logoutEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), logoutTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	w.Header().Set("Cache-Control", "no-store")
	outcome, description := e.logOut(w, r)
	e.count(outcome)
	if outcome == logoutDone {
		w.WriteHeader(http.StatusOK)
		return
	}
	code := "invalid_request"
	if outcome == logoutFailed || outcome == logoutBusy {
		code = "temporarily_unavailable"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

func (e *logoutEndpoint) logOut(w http.ResponseWriter, r *http.Request) (outcome, description string) {
	raw, ok := logoutToken(w, r)
	if !ok {
		return logoutRefused, "the request must be a form with one logout_token"
	}
	sender := originOf(r).peer.Addr()
	if !e.hasRoom(sender) {
		return logoutBusy, "too many logouts at once"
	}
	bundle, authenticator := r.PathValue("bundle"), r.PathValue("authenticator")
	logout, err := e.verify(r.Context(), bundle, authenticator, raw)
	if err != nil {
		e.refused(r, bundle, authenticator, err)
		if why, ok := errors.AsType[*identity.RefusedError](err); ok && why.IsOutage() {
			return logoutFailed, "the issuer's keys are not there; send it again later"
		}
		return logoutRefused, "the logout token is not valid here"
	}
	e.trust(sender)
	b := blockOfLogout(bundle, &logout, e.journal.clock())
	if e.list.Room() < reservedBlocks {
		e.logger.Error("a logout was not carried out: the rest of the list of blocks is for operators", "bundle", bundle, "authenticator", authenticator, "block", b.ID())
		return logoutFailed, "the logout could not be carried out"
	}
	// Before the mark: a token that was seen and had no effect could not be sent again. It always blocks the same until the same time.
	in, _, err := e.list.Put(r.Context(), *b)
	if err != nil {
		e.logger.Error("a logout was not carried out", "bundle", bundle, "authenticator", authenticator, "block", b.ID(), "error", err.Error())
		return logoutFailed, "the logout could not be carried out"
	}
	first, err := e.marks.Mark(r.Context(), logoutMark(bundle, &logout), logout.Expires.Sub(e.journal.clock())+clockSkew)
	if err != nil {
		e.logger.Warn("it is not known whether a logout token was sent before", "bundle", bundle, "authenticator", authenticator, "error", err.Error())
	} else if !first {
		return logoutReplayed, "the logout token was sent before"
	}
	e.record(r, authenticator, &logout, &in)
	return logoutDone, ""
}

// logoutToken reads the one logout_token of a form.
func logoutToken(w http.ResponseWriter, r *http.Request) (string, bool) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return "", false
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLogoutBody)
	if err := r.ParseForm(); err != nil {
		return "", false
	}
	values := r.PostForm["logout_token"]
	if len(values) != 1 || values[0] == "" || r.URL.Query().Has("logout_token") {
		return "", false
	}
	return values[0], true
}

// hasRoom says whether one more signature may be verified now for whoever sends it.
func (e *logoutEndpoint) hasRoom(sender netip.Addr) bool {
	now := e.journal.clock().UnixMicro()
	e.mu.Lock()
	defer e.mu.Unlock()
	next := &e.next
	if i := e.sender(sender); i >= 0 {
		next = &e.senders[i].next
	}
	taken, ok := e.rate.Take(*next, now, 1)
	if ok {
		*next = taken
	}
	return ok
}

// trust gives a sender of a good token a rate of its own, in the place of the one that sent none for the longest time.
func (e *logoutEndpoint) trust(sender netip.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := logoutSender{address: sender, next: e.next}
	if i := e.sender(sender); i >= 0 {
		known = e.senders[i]
		e.senders = slices.Delete(e.senders, i, i+1)
	} else if len(e.senders) == maxLogoutSenders {
		e.senders = slices.Delete(e.senders, 0, 1)
	}
	e.senders = append(e.senders, known)
}

func (e *logoutEndpoint) sender(address netip.Addr) int {
	return slices.IndexFunc(e.senders, func(s logoutSender) bool { return s.address == address })
}

// verify checks the token with the keys of the authenticator, as any service of the bundle has it.
func (e *logoutEndpoint) verify(ctx context.Context, bundle, authenticator, raw string) (identity.Logout, error) {
	s := e.snapshot()
	if s == nil {
		return identity.Logout{}, identity.ErrNoLogout
	}
	for at, compiled := range s.Services {
		if at.Bundle != bundle {
			continue
		}
		logout, err := identity.CheckLogout(ctx, compiled, authenticator, raw, e.journal.clock())
		if !errors.Is(err, identity.ErrNoLogout) {
			return logout, err
		}
	}
	return identity.Logout{}, identity.ErrNoLogout
}

// refused tells the log, at most once a second: whoever wants may send what is refused.
func (e *logoutEndpoint) refused(r *http.Request, bundle, authenticator string, err error) {
	now := e.journal.clock()
	e.mu.Lock()
	tell := now.Sub(e.told) >= time.Second
	if tell {
		e.told = now
	}
	e.mu.Unlock()
	if !tell {
		return
	}
	fields := []any{"peer", originOf(r).peer.String(), "cause", err.Error()}
	if refused, ok := errors.AsType[*identity.RefusedError](err); ok { // else the names are a stranger's text
		fields = append(fields, "bundle", bundle, "authenticator", authenticator, "detail", refused.Detail)
	}
	e.logger.Warn("a logout token was refused", fields...)
}

// blockOfLogout blocks the session; without one, what was issued to the subject before. It depends on the token alone, so that a token
// that is sent twice means the same. Times of issue are whole seconds: one that is equal may be of the session that ends.
func blockOfLogout(bundle string, l *identity.Logout, now time.Time) *blocks.Block {
	b := &blocks.Block{
		Kind: blocks.Session, Bundle: bundle, Issuer: l.Issuer, Value: l.Session, Reason: "the issuer told of a logout", By: "issuer", Made: now,
		Until: l.Issued.Add(l.MaxLifetime + clockSkew),
	}
	if l.Session == "" || l.WholeSubject && l.Subject != "" {
		b.Kind, b.Value, b.Before = blocks.Subject, l.Subject, l.Issued.Truncate(time.Second).Add(time.Second)
	}
	return b
}

// logoutMark names a logout token among those of all issuers.
func logoutMark(bundle string, l *identity.Logout) string {
	h := sha256.New()
	for _, part := range []string{bundle, l.Issuer, l.ID} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		_, _ = h.Write(length[:])
		_, _ = h.Write([]byte(part))
	}
	return "logout:" + hex.EncodeToString(h.Sum(nil))
}

// record notes what was done. It was right to do it whether or not it can be recorded.
func (e *logoutEndpoint) record(r *http.Request, authenticator string, l *identity.Logout, b *blocks.Block) {
	event, no := e.journal.event(r, "", "logout")
	if no == nil {
		describe(event, b)
		event.Key = slices.Concat([]audit.EventValue{{Name: "authenticator", Value: authenticator}, {Name: "jti", Value: l.ID}}, event.Key)
		no = e.journal.record(r, event, "done")
	}
	if no != nil {
		e.logger.Error("a logout is carried out and not recorded", "block", b.ID(), "cause", no.text)
	}
}

// publicHandlers are what the public listener answers.
func (s *Server) publicHandlers() (map[string]http.Handler, error) {
	endpoint, err := newLogoutEndpoint(&logoutEndpoint{
		snapshot: s.engine.Snapshot, list: s.parts.blocks, marks: s.parts.state, journal: s.journal(), logger: s.options.Logger, count: s.metrics.logout,
	})
	if err != nil {
		return nil, err
	}
	handlers := s.parts.handlers()
	handlers[logoutPattern] = endpoint
	documents := resourceMetadata{identity: s.parts.stages.identity, snapshot: s.engine.Snapshot}
	maps.Copy(handlers, documents.handlers())
	return handlers, nil
}
