package keys

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/egress"
	"github.com/durward-pdp/durward/pdp/token"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// issuer is a server over TLS that says what a test wants, and counts.
type issuer struct {
	server *httptest.Server

	mu       sync.Mutex
	answers  map[string]http.HandlerFunc // by path
	requests map[string][]*http.Request  // by path
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{answers: map[string]http.HandlerFunc{}, requests: map[string][]*http.Request{}}
	i.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		i.requests[r.URL.Path] = append(i.requests[r.URL.Path], r)
		answer := i.answers[r.URL.Path]
		i.mu.Unlock()
		if answer == nil {
			http.NotFound(w, r)
			return
		}
		answer(w, r)
	}))
	i.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	i.server.StartTLS()
	t.Cleanup(i.server.Close)
	return i
}

// on sets the answer of a path.
func (i *issuer) on(path string, answer http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answers[path] = answer
}

// says sets a body, with header fields as names and values in turn.
func (i *issuer) says(path, body string, header ...string) {
	i.on(path, func(w http.ResponseWriter, _ *http.Request) {
		for n := 0; n+1 < len(header); n += 2 {
			w.Header().Set(header[n], header[n+1])
		}
		_, _ = io.WriteString(w, body)
	})
}

// hangsUp is an answer that is none.
func hangsUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func (i *issuer) count(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.requests[path])
}

func (i *issuer) last(path string) *http.Request {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests[path][len(i.requests[path])-1]
}

// world is a store with a moved clock and an issuer.
type world struct {
	t      testing.TB
	issuer *issuer
	clock  *clock
	client *egress.Client
	store  *Store

	mu     sync.Mutex
	states []State // after each fetch
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, issuer: newIssuer(t), clock: &clock{now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}}
	roots := x509.NewCertPool()
	roots.AddCert(w.issuer.server.Certificate())
	client, err := egress.New([]egress.Host{{Name: w.host(), Private: true, Roots: roots}, {Name: "public.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w.client = client
	w.store = New(Options{Fetcher: client, Clock: w.clock.Now, Observe: func(_, after State) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.states = append(w.states, after)
	}})
	t.Cleanup(w.store.Close)
	return w
}

func (w *world) host() string { return strings.TrimPrefix(w.issuer.server.URL, "https://") }

// byURL is the source of the set at /keys.
func (w *world) byURL() *Source {
	return w.store.Source(Place{Bundle: "acme", Issuer: "https://idp.example.com", URL: w.issuer.server.URL + "/keys"})
}

// byDiscovery is the source that the metadata of an issuer with this path leads to.
func (w *world) byDiscovery(path string) *Source {
	return w.store.Source(Place{Bundle: "acme", Issuer: w.issuer.server.URL + path})
}

// metadata are those of an issuer with this path and keys at /keys.
func (w *world) metadata(path string) string {
	return `{"issuer":"` + w.issuer.server.URL + path + `","jwks_uri":"` + w.issuer.server.URL + `/keys","Issuer":"x"}`
}

// settled waits until no fetch of the source runs, and returns how it stands.
func (w *world) settled(s *Source) State {
	w.t.Helper()
	s.mu.Lock()
	done := s.done
	s.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-time.After(time.Minute):
			w.t.Fatal("a fetch does not end")
		}
	}
	return s.state(s.Current())
}

// due moves the clock to when the source is due, has the store look, and waits for what comes of it.
func (w *world) due(s *Source) State {
	w.t.Helper()
	w.clock.advance(s.Current().due.Sub(w.clock.Now()))
	w.store.refresh()
	return w.settled(s)
}

// ids are the ids of the keys that may be used now.
func (w *world) ids(s *Source, maxStale time.Duration) string {
	set := s.Current().Set(w.clock.Now(), maxStale)
	if set == nil {
		return "none"
	}
	var out []string
	for _, k := range set.Keys() {
		out = append(out, k.ID())
	}
	return strings.Join(out, " ")
}

// next asks for news of what is known, with plenty of time.
func (w *world) next(s *Source) (*Known, bool) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	return s.Next(ctx, s.Current())
}

// set writes a set of new keys with these ids.
func set(t testing.TB, ids ...string) string {
	t.Helper()
	var signers []*token.Signer
	for _, id := range ids {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: id, Random: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		signers = append(signers, s)
	}
	data, err := token.MarshalKeySet(signers...)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// eventually waits for something that no channel tells of.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
