package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/egress"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity/keys"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// floods is how many bad tokens TestBadTokensLeaveNothing sends; make fuzz sets more.
var floods = flag.Int("tokens", 100_000, "bad tokens that TestBadTokensLeaveNothing sends")

// fetched is a world whose corp has its keys fetched from a server over TLS.
type fetched struct {
	*world
	url string

	mu       sync.Mutex
	now      time.Time
	says     func(http.ResponseWriter)
	requests int
}

func newFetched(t testing.TB, jwks string) *fetched {
	t.Helper()
	f := &fetched{world: newWorld(t), now: testNow}
	f.answer(jwksAnswer(f.files["keys/corp.jwks.json"]))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		f.requests++
		says := f.says
		f.mu.Unlock()
		says(w)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.StartTLS()
	t.Cleanup(server.Close)
	f.url = server.URL
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	client, err := egress.New([]egress.Host{{Name: strings.TrimPrefix(server.URL, "https://"), Private: true, Roots: roots}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	store := keys.New(keys.Options{Fetcher: client, Clock: f.clock})
	t.Cleanup(store.Close)
	f.stage = New(Options{Fetcher: client, Keys: store})
	f.compile(t, jwks)
	return f
}

// compile loads the bundle with other keys of corp; URL stands for the server's.
func (f *fetched) compile(t testing.TB, jwks string) {
	t.Helper()
	b, s := load(t, replaced(t, f.files, "bundle.yaml", "{file: keys/corp.jwks.json}", strings.ReplaceAll(jwks, "URL", f.url)))
	compiled, problems := f.stage.Compile(b, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	f.service.Parts[Name] = compiled
}

func jwksAnswer(body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { _, _ = io.WriteString(w, body) }
}

func hangUp(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func (f *fetched) answer(says func(http.ResponseWriter)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.says = says
}

func (f *fetched) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fetched) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fetched) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// ask decides on a bearer token at the world's time.
func (f *fetched) ask(t testing.TB, ctx context.Context, raw string) *pipeline.Case { //nolint:revive // the test first, as everywhere here
	t.Helper()
	c := f.bearer(routeRead, raw)
	c.Now = f.clock()
	if _, err := f.stage.Evaluate(ctx, c); err != nil {
		t.Error(err)
	}
	return c
}

// want decides on a bearer token and fails unless the reason is that one, "" for a subject.
func (f *fetched) want(t testing.TB, raw string, reason verdict.Reason) {
	t.Helper()
	c := f.ask(t, t.Context(), raw)
	if c.Verdict.Reason != reason || c.IsOutage() != (reason == verdict.KeysUnavailable) || (reason == "") != !c.Subject.IsAnonymous() {
		t.Errorf("%s (%s), outage %v, subject %q; want %q", c.Verdict.Reason, c.Verdict.Explanation.Detail, c.IsOutage(), c.Subject.Key, reason)
	}
	if reason == verdict.KeysUnavailable && len(c.Verdict.Obligations.SetResponse) > 0 {
		t.Errorf("a challenge for an outage: %v", c.Verdict.Obligations)
	}
	wantNoLeak(t, c)
}

// with is a token of corp with another key id.
func (f *fetched) with(t testing.TB, kid string, exp time.Duration) string {
	t.Helper()
	raw, err := f.corp.SignWith(map[string]any{"typ": "at+jwt", "kid": kid}, goodClaims(claims{"exp": testNow.Add(exp).Unix()}))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestFetchedKeys goes through the life of an issuer: down at the start, up, rotated, down again for too long.
func TestFetchedKeys(t *testing.T) {
	f := newFetched(t, `{url: "URL/keys", max_stale: 1h}`)
	f.want(t, f.mint(t, nil), "") // so that its first request is not counted later
	f.answer(hangUp)
	f.advance(-keys.Window)
	f.compile(t, `{url: "URL/other", max_stale: 1h}`) // another source, which never had keys
	f.advance(keys.Window)
	good := f.with(t, "corp-1", 20*time.Hour)

	f.want(t, good, verdict.KeysUnavailable)
	f.want(t, forge(t, `{"alg":"HS256","typ":"at+jwt"}`, goodClaims(nil), nil), verdict.TokenAlgorithm) // whatever the keys are
	f.want(t, strings.Replace(good, ".", "!", 1), verdict.TokenMalformed)

	f.answer(jwksAnswer(f.files["keys/corp.jwks.json"]))
	f.advance(keys.Window)
	f.want(t, good, "")
	f.want(t, f.with(t, "corp-2", time.Hour), verdict.TokenKeyUnknown)

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	next := signer(t, key, "ES256", "corp-2")
	rotated := sign(t, next, "at+jwt", goodClaims(claims{"exp": testNow.Add(20 * time.Hour).Unix()}))
	f.answer(jwksAnswer(jwks(t, f.corp, next)))
	before := f.count()
	f.want(t, rotated, verdict.TokenKeyUnknown) // within the window
	f.advance(keys.Window)
	f.want(t, rotated, "")
	f.want(t, good, "")
	f.answer(jwksAnswer(jwks(t, next)))
	f.advance(keys.Window)
	f.want(t, f.with(t, "corp-3", time.Hour), verdict.TokenKeyUnknown) // makes it fetch
	f.want(t, good, verdict.TokenKeyUnknown)                           // the removed key
	f.want(t, rotated, "")
	if n := f.count() - before; n != 2 {
		t.Errorf("%d requests for two changes", n)
	}

	f.answer(hangUp)
	f.advance(time.Hour + 5*time.Minute)
	f.want(t, rotated, "")
	f.want(t, good, verdict.TokenKeyUnknown)
	f.advance(time.Second)
	f.want(t, rotated, verdict.KeysUnavailable)
	f.want(t, good, verdict.KeysUnavailable)
	f.answer(jwksAnswer(jwks(t, next)))
	f.advance(keys.Window)
	f.want(t, rotated, "")
}

// testCachedTokensEndWithTheirKeys: what the cache holds is worth no more than the keys that the source has now.
func testCachedTokensEndWithTheirKeys(t *testing.T) {
	f := newFetched(t, `{url: "URL/keys", max_stale: 1h}`)
	f.stage = New(Options{Fetcher: f.stage.options.Fetcher, Keys: f.stage.options.Keys, TokenCache: 1 << 20})
	f.compile(t, `{url: "URL/keys", max_stale: 1h}`)
	good := f.with(t, "corp-1", 20*time.Hour)
	f.want(t, good, "")
	f.want(t, good, "")
	hits := f.stage.CacheStats().Hits
	if hits == 0 {
		t.Error("nothing was kept")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f.answer(jwksAnswer(jwks(t, signer(t, key, "ES256", "corp-1")))) // another key under the same id
	f.advance(keys.Window)
	f.want(t, f.with(t, "corp-3", time.Hour), verdict.TokenKeyUnknown) // makes it fetch
	f.want(t, good, verdict.TokenSignature)
	f.answer(jwksAnswer(f.files["keys/corp.jwks.json"]))
	f.advance(keys.Window)
	f.want(t, f.with(t, "corp-4", time.Hour), verdict.TokenKeyUnknown)
	f.want(t, good, "")
	f.answer(hangUp)
	f.advance(time.Hour + 5*time.Minute + time.Second)
	f.want(t, good, verdict.KeysUnavailable)
}

// TestLogoutWithFetchedKeys: logout tokens are verified with the keys that the source has, and nobody calls them bad for want of keys.
func TestLogoutWithFetchedKeys(t *testing.T) {
	f := newFetched(t, `{url: "URL/keys"}`)
	f.answer(hangUp)
	f.advance(-keys.Window)
	f.compile(t, `{url: "URL/logout"}`+"\n    logout: {audiences: [web]}")
	f.advance(keys.Window)
	raw := sign(t, f.corp, "logout+jwt", goodClaims(claims{
		"client_id": nil, "aud": "web", "sid": "s-1", "exp": testNow.Unix() + 120, "events": claims{"http://schemas.openid.net/event/backchannel-logout": claims{}},
	}))
	want := func(reason verdict.Reason) {
		t.Helper()
		got, err := CheckLogout(t.Context(), f.service, "corp", raw, f.clock())
		refused, ok := errors.AsType[*RefusedError](err)
		if reason == "" && (err != nil || got.Session != "s-1") || reason != "" && (!ok || refused.Reason != reason || refused.IsOutage() != (reason == verdict.KeysUnavailable)) {
			t.Errorf("%+v, %v; want %q", got, err, reason)
		}
	}
	want(verdict.KeysUnavailable)
	f.answer(jwksAnswer(f.files["keys/corp.jwks.json"]))
	f.advance(keys.Window)
	want("")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f.answer(jwksAnswer(jwks(t, signer(t, key, "ES256", "corp-2"))))
	f.advance(keys.Window)
	f.want(t, f.with(t, "corp-3", time.Hour), verdict.TokenKeyUnknown) // makes it fetch
	want(verdict.TokenKeyUnknown)
}

// TestWaitingForKeys: who comes while a fetch runs waits for it, and no longer than its own time; then nobody says that the key is unknown.
func TestWaitingForKeys(t *testing.T) {
	f := newFetched(t, `{url: "URL/keys"}`)
	good := f.mint(t, nil)
	f.want(t, good, "")
	release := make(chan struct{})
	f.answer(func(w http.ResponseWriter) {
		<-release
		jwksAnswer(f.files["keys/corp.jwks.json"])(w)
	})
	f.advance(keys.Window)
	unknown := f.with(t, "corp-2", time.Hour)
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if c := f.ask(t, ctx, unknown); c.Verdict.Reason != verdict.KeysUnavailable || !c.IsOutage() {
			t.Errorf("%s while the issuer was asked", c.Verdict.Reason)
		}
		cancel()
		f.want(t, good, "") // waits for nothing
	}
	close(release)
	f.want(t, unknown, verdict.TokenKeyUnknown)
	if n := f.count(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// TestWithoutNetwork: tools have no keys to fetch, and say so.
func TestWithoutNetwork(t *testing.T) {
	f := newFetched(t, `{url: "URL/keys"}`)
	f.stage = New(Options{})
	f.compile(t, `{discovery: true}`)
	f.want(t, f.mint(t, nil), verdict.KeysUnavailable)
}

// TestEgressMustAllow: what the operator does not name is refused at load, with what would allow it.
func TestEgressMustAllow(t *testing.T) {
	f := newFetched(t, `{url: "URL/keys"}`)
	before := f.count()
	for jwks, want := range map[string]string{
		`{url: "https://evil.example.com:8443/keys"}`: `bundle.yaml:8:17: "evil.example.com:8443" may not be fetched: egress in the server's settings does not name the host for this bundle` +
			` (to allow it the operator adds to durward.yaml: egress: [{host: "evil.example.com:8443", bundles: [acme]}])`,
		`{discovery: true}`: `bundle.yaml:8:23: "idp.example.com" may not be fetched: egress in the server's settings does not name the host for this bundle` +
			` (to allow it the operator adds to durward.yaml: egress: [{host: "idp.example.com", bundles: [acme]}])`,
	} {
		b, s := load(t, replaced(t, f.files, "bundle.yaml", "{file: keys/corp.jwks.json}", jwks))
		_, problems := f.stage.Compile(b, s)
		if len(problems) != 1 {
			t.Fatalf("%s: %v", jwks, problems)
		}
		if text, _, _ := strings.Cut(problems[0].Error(), "\n"); text != want {
			t.Errorf("%s: %s\nwant %s", jwks, text, want)
		}
	}
	if n := f.count(); n > before+1 {
		t.Errorf("%d requests", n-before)
	}
}

// TestKeysOfTokensAreNeverFollowed: no connection is made anywhere, whatever a token offers; the tokens are counted.
func TestKeysOfTokensAreNeverFollowed(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var dialled atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			_ = conn.Close()
		}
	}()
	host := listener.Addr().String()
	client, err := egress.New([]egress.Host{{Name: host, Private: true}, {Name: "idp.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	fetcher := &counting{Fetcher: client}
	store := keys.New(keys.Options{Fetcher: fetcher, Clock: func() time.Time { return testNow }})
	offered := 0
	w := newWorld(t)
	w.stage = New(Options{Fetcher: fetcher, Keys: store, KeyOffered: func() { offered++ }})
	b, s := load(t, w.files)
	compiled, problems := w.stage.Compile(b, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.service.Parts[Name] = compiled

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	evil := signer(t, key, "ES256", "evil")
	jwk := strings.TrimSuffix(strings.TrimPrefix(jwks(t, evil), `{"keys":[`), "]}")
	sent := 0
	for name, value := range map[string]any{
		"jku": "https://" + host + "/keys", "x5u": "https://" + host + "/chain", "jwk": jwkOf(t, jwk), "x5c": []string{base64.StdEncoding.EncodeToString([]byte("der"))},
	} {
		for kid, reason := range map[string]verdict.Reason{"evil": verdict.TokenKeyUnknown, "corp-1": verdict.TokenSignature} {
			raw, err := evil.SignWith(map[string]any{"typ": "at+jwt", "kid": kid, name: value}, goodClaims(nil))
			if err != nil {
				t.Fatal(err)
			}
			w.wantDenied(t, w.bearer(routeRead, raw), reason)
			sent += 2 // every case is judged twice
		}
		good, err := w.corp.SignWith(map[string]any{"typ": "at+jwt", name: value}, goodClaims(nil))
		if err != nil {
			t.Fatal(err)
		}
		w.wantSubject(t, w.bearer(routeRead, good), "user:corp:alice-marker")
		sent += 2
	}
	store.Close()
	_ = listener.Close()
	if dialled.Load() != 0 || fetcher.calls.Load() != 0 || offered != sent {
		t.Errorf("%d connections, %d fetches, %d of %d tokens counted", dialled.Load(), fetcher.calls.Load(), offered, sent)
	}
}

func jwkOf(t testing.TB, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	for pair := range strings.SplitSeq(strings.Trim(text, "{}"), ",") {
		name, value, _ := strings.Cut(pair, ":")
		out[strings.Trim(name, `"`)] = strings.Trim(value, `"`)
	}
	return out
}

// counting counts what is fetched.
type counting struct {
	Fetcher
	calls atomic.Int32
}

func (c *counting) Do(r *http.Request, bundle string, limit int64) (*egress.Response, error) {
	c.calls.Add(1)
	return c.Fetcher.Do(r, bundle, limit)
}

func (c *counting) Allows(bundle string, u *url.URL) error { return c.Fetcher.Allows(bundle, u) }

// testBadTokensLeaveNothing: however many tokens come with made-up key ids, each looking real, the issuer is asked once in a window, and nothing
// of them is kept.
func testBadTokensLeaveNothing(t *testing.T) {
	f := newFetched(t, `{url: "URL/keys"}`)
	f.want(t, f.mint(t, nil), "")
	payload := strings.Split(f.mint(t, nil), ".")[1]
	send := func(n int) {
		var random [64 + 16]byte
		for range n {
			_, _ = rand.Read(random[:])
			header := encode(`{"alg":"ES256","typ":"at+jwt","kid":"` + hex.EncodeToString(random[64:]) + `"}`)
			raw := header + "." + payload + "." + base64.RawURLEncoding.EncodeToString(random[:64])
			c := f.bearer(routeRead, raw)
			if _, err := f.stage.Evaluate(t.Context(), c); err != nil || c.Verdict.Reason != verdict.TokenKeyUnknown {
				t.Fatalf("%s, error %v", c.Verdict.Reason, err)
			}
		}
	}
	send(*floods / 100) // what the first ones need is needed once
	before, requests := heap(), f.count()
	const windows = 10
	for range windows {
		f.advance(keys.Window)
		var sending sync.WaitGroup
		for range 4 {
			sending.Go(func() { send(*floods / windows / 4) })
		}
		sending.Wait()
	}
	if n := f.count() - requests; n != windows {
		t.Errorf("%d requests in %d windows", n, windows)
	}
	if after := heap(); after > before+256<<10 {
		t.Errorf("%d tokens left %d bytes behind", *floods, after-before)
	} else {
		t.Logf("%d tokens: %d bytes before, %d after", *floods, before, after)
	}
	runtime.KeepAlive(f)
}

// TestFetchedKeysCostNothing: where the keys are from changes nothing of what a decision allocates.
func TestFetchedKeysCostNothing(t *testing.T) {
	f := newFetched(t, `{url: "URL/keys"}`)
	raw := f.mint(t, nil)
	f.want(t, raw, "")
	parsed, err := token.Parse(raw, 0)
	if err != nil {
		t.Fatal(err)
	}
	part, _ := f.service.Parts[Name].(*part)
	corp := part.issuers["https://idp.example.com"]
	file := issuerKeys{file: corp.keys.set(testNow)}
	measure := func(k *issuerKeys) float64 {
		return testing.AllocsPerRun(100, func() {
			if _, _, err := k.verify(t.Context(), corp.verifier, parsed, testNow); err != nil {
				t.Fatal(err)
			}
		})
	}
	if fetched, shipped := measure(&corp.keys), measure(&file); fetched != shipped {
		t.Errorf("%v allocations with keys that were fetched, %v with those of a file", fetched, shipped)
	}
}
