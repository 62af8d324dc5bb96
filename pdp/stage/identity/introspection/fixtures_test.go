package introspection

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/egress"
)

var testNow = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// asked is a question that a server was asked.
type asked struct {
	method, path, token, hint, contentType, accept, authorization string
	form                                                          map[string][]string
	certificate                                                   *x509.Certificate
}

// world is a client and the authorization server that it asks, over TLS.
type world struct {
	client *Client
	config Config
	server *httptest.Server

	mu      sync.Mutex
	now     time.Time
	asked   []asked
	events  []Event
	secrets map[string]string
	answer  http.HandlerFunc
}

// Secret implements Secrets.
func (w *world) Secret(bundle, name string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, ok := w.secrets[bundle+"/"+name]
	if !ok {
		return "", errors.New("no such secret")
	}
	return text, nil
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) calls() []asked {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]asked(nil), w.asked...)
}

// count returns how many events came from a source with an outcome.
func (w *world) count(s Source, o Outcome) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events {
		if e.Source == s && e.Outcome == o {
			n++
		}
	}
	return n
}

// answers makes the server answer with a JSON text.
func (w *world) answers(text string) {
	w.replies(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Type", "application/json")
		_, _ = out.Write([]byte(text))
	})
}

func (w *world) replies(f http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	q := asked{
		method: r.Method, path: r.URL.Path, token: r.PostForm.Get("token"), hint: r.PostForm.Get("token_type_hint"),
		contentType: r.Header.Get("Content-Type"), accept: r.Header.Get("Accept"), authorization: r.Header.Get("Authorization"), form: r.PostForm,
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		q.certificate = r.TLS.PeerCertificates[0]
	}
	w.mu.Lock()
	w.asked = append(w.asked, q)
	answer := w.answer
	w.mu.Unlock()
	answer(out, r)
}

// newWorld starts a server. Changes are made to the options before the client is.
func newWorld(t *testing.T, changes ...func(*world, *Options)) *world {
	t.Helper()
	w := &world{now: testNow, secrets: map[string]string{"acme/idp": "s3cret"}}
	w.answers(`{"active":true,"sub":"alice"}`)
	w.server = httptest.NewUnstartedServer(w)
	w.server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	w.config = Config{
		Bundle: "acme", Authenticator: "idp", URL: w.server.URL + "/introspect", Issuer: "https://idp.example.com",
		ClientID: "durward", Authentication: Basic, Secret: "idp", TTL: 30 * time.Second, NegativeTTL: 5 * time.Second, Timeout: 5 * time.Second,
	}
	o := Options{Fetcher: w.fetcher(t, true, nil), Secrets: w, Clock: w.clock, Random: rand.Reader, Observe: func(e Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}}
	for _, change := range changes {
		change(w, &o)
	}
	w.client = New(o)
	return w
}

// fetcher is the real way out, to the server alone.
func (w *world) fetcher(t *testing.T, private bool, certificate *tls.Certificate) *egress.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(w.server.Certificate())
	c, err := egress.New([]egress.Host{{Name: strings.TrimPrefix(w.server.URL, "https://"), Private: private, Roots: roots, Certificate: certificate, Bundles: []string{"acme", "other"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (w *world) open(t testing.TB) *Endpoint {
	t.Helper()
	e, problems := w.client.Open(w.config)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return e
}

// ask introspects a token, with a deadline that a busy machine keeps.
func (w *world) ask(t testing.TB, e *Endpoint, raw string) (Answer, error) {
	t.Helper()
	return e.Introspect(t.Context(), raw)
}

// wantActive asks and fails unless the token is active.
func (w *world) wantActive(t testing.TB, e *Endpoint, raw string) {
	t.Helper()
	if a, err := w.ask(t, e, raw); err != nil || !a.Active || a.Claims.Subject() != "alice" {
		t.Errorf("%s: active %v, subject %q, error %v", raw, a.Active, a.Claims.Subject(), err)
	}
}

// wantError asks and fails unless nothing can be known.
func (w *world) wantError(t testing.TB, e *Endpoint, raw string, want Outcome) *Error {
	t.Helper()
	a, err := w.ask(t, e, raw)
	got, ok := errors.AsType[*Error](err)
	if !ok || got.Outcome != want || a.Active {
		t.Fatalf("%s: active %v, error %v, want %s", raw, a.Active, err, want)
	}
	for _, leak := range []string{raw, "s3cret", "evil"} {
		if strings.Contains(err.Error(), leak) {
			t.Errorf("%v holds %q", err, leak)
		}
	}
	return got
}

func (w *world) wantCalls(t testing.TB, want int) {
	t.Helper()
	if got := len(w.calls()); got != want {
		t.Errorf("the server was asked %d times, want %d", got, want)
	}
}

func pemOf(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func tokenName(i int) string { return fmt.Sprintf("token-%d", i) }
