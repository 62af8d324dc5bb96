package introspection

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
	"weak"

	"github.com/durward-pdp/durward/pdp/egress"
)

// Fetcher is the way out. It must be safe for concurrent use.
type Fetcher interface {
	// Allows says why a bundle may not fetch a URL, nil where it may.
	Allows(bundle string, u *url.URL) error
	// ShowsCertificate says whether a client certificate is shown there.
	ShowsCertificate(bundle string, u *url.URL) bool
	// Do sends a request for a bundle, within the request's context, and reads an answer of at most limit bytes.
	Do(r *http.Request, bundle string, limit int64) (*egress.Response, error)
}

// Secrets hands out what a bundle only names. It must be safe for concurrent use and must not block for long.
type Secrets interface {
	// Secret returns a secret that the bundle may use, as it is now. Its errors are fit for the bundle's author.
	Secret(bundle, name string) (string, error)
}

// Options are what a Client needs. Without a Fetcher nothing is asked, and without Secrets none are looked for: tools check bundles
// so.
type Options struct {
	Fetcher Fetcher
	Secrets Secrets
	// Clock is the time, and may be nil without a Fetcher; Random the source of the ids of assertions.
	Clock  func() time.Time
	Random io.Reader
	// Patient lets calls take as long as they take: for tools whose server is in the same process.
	Patient bool
	// Observe, if not nil, is told of everything that happens. It must be safe for concurrent use and must not block.
	Observe func(Event)
	// MaxAnswers and MaxBytes bound what is remembered of active tokens, MaxInactive how many others; 0 means 50,000, 64 MiB and
	// 20,000, and negative none.
	MaxAnswers, MaxInactive int
	MaxBytes                int64
}

// Event is something that happened.
type Event struct {
	// Bundle and Authenticator name who asked.
	Bundle, Authenticator string
	// Source says where an answer came from.
	Source Source
	// Outcome is how it ended, Took how long a call took; Error is nil for answers.
	Outcome Outcome
	Took    time.Duration
	Error   *Error
	// Circuit is whether the server is left alone now.
	Circuit bool
}

// Source says where an answer came from.
type Source string

// Sources. A call is counted once, and the decisions that waited for it are Joined, but for the one that began it.
const (
	Call   Source = "call"
	Cached Source = "cached"
	Joined Source = "joined"
	// None is for a question that was refused at once.
	None Source = "none"
)

// Client asks authorization servers and remembers what they said. It is safe for concurrent use.
type Client struct {
	options          Options
	active, inactive *cache

	mu        sync.Mutex
	endpoints map[key]weak.Pointer[Endpoint] // as long as a bundle uses them
}

// New returns a client that knows no server yet.
func New(o Options) *Client {
	preset := func(n, otherwise int) int {
		if n == 0 {
			n = otherwise
		}
		return max(n, 0)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
	}
	if o.Clock == nil && o.Fetcher == nil {
		o.Clock = func() time.Time { return time.Time{} }
	}
	return &Client{
		options:   o,
		active:    newCache(preset(o.MaxAnswers, 50_000), o.MaxBytes),
		inactive:  newCache(preset(o.MaxInactive, 20_000), o.MaxBytes),
		endpoints: map[key]weak.Pointer[Endpoint]{},
	}
}

// Open returns the endpoint of a configuration, or what is wrong with it. Equal configurations share one, with the calls in flight and
// the circuit.
func (c *Client) Open(config Config) (*Endpoint, []Problem) {
	at, problems := config.check()
	if len(problems) == 0 {
		problems = c.permit(&config, at)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	k := config.definition()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.endpoints[k].Value(); e != nil {
		return e, nil
	}
	for other, pointer := range c.endpoints {
		if pointer.Value() == nil {
			delete(c.endpoints, other)
		}
	}
	e := &Endpoint{client: c, config: config, definition: k, slots: make(chan struct{}, maxCalls), flights: map[key]*flight{}}
	c.endpoints[k] = weak.Make(e)
	return e, nil
}

// permit checks what the operator must have allowed.
func (c *Client) permit(config *Config, at *url.URL) (problems []Problem) {
	if fetcher := c.options.Fetcher; fetcher != nil {
		if err := fetcher.Allows(config.Bundle, at); err != nil {
			problems = append(problems, Problem{"url", err.Error()})
		} else if config.Authentication == MTLS && !fetcher.ShowsCertificate(config.Bundle, at) {
			problems = append(problems, Problem{"client.authentication", "the server's settings have no certificate for this host (egress.certificate), which mtls needs"})
		}
	}
	if c.options.Secrets == nil || config.Secret == "" {
		return problems
	}
	text, err := c.options.Secrets.Secret(config.Bundle, config.Secret)
	if err == nil && config.Authentication == PrivateKeyJWT {
		_, err = newSigner(text, config.KeyID, c.options.Random)
	}
	if err != nil {
		problems = append(problems, Problem{"client.secret", err.Error()})
	}
	return problems
}

// Use returns how many answers are remembered, of active tokens and of others, and about how many bytes they take.
func (c *Client) Use() (active, inactive int, bytes int64) {
	active, bytes = c.active.use()
	inactive, more := c.inactive.use()
	return active, inactive, bytes + more
}

func (c *Client) observe(e Event) {
	if c.options.Observe != nil {
		c.options.Observe(e)
	}
}

// lookup returns an answer that is remembered.
func (c *Client) lookup(k key) (Answer, bool) {
	now := c.options.Clock()
	if a, ok := c.active.get(k, now); ok {
		return a, true
	}
	return c.inactive.get(k, now)
}

// remember keeps an answer as long as the configuration says, and never beyond the token's exp.
func (c *Client) remember(k key, config *Config, a Answer, asked time.Time) {
	if !a.Active {
		if config.NegativeTTL > 0 {
			c.inactive.put(&entry{key: k, size: overhead, from: asked, until: asked.Add(config.NegativeTTL)})
		}
		return
	}
	until := asked.Add(config.TTL)
	if exp := a.Claims.Expires(); !exp.IsZero() && exp.Before(until) {
		until = exp
	}
	if until.After(asked) {
		c.active.put(&entry{key: k, answer: a, size: overhead + sizeOf(a.Claims.Members()), from: asked, until: until})
	}
}

// Endpoint is one authorization server as one bundle asks it. It is safe for concurrent use.
type Endpoint struct {
	client     *Client
	config     Config
	definition key

	breaker breaker
	signer  assertions
	slots   chan struct{} // one for each call in flight

	mu      sync.Mutex
	flights map[key]*flight
}

// Config returns what the bundle says of the server.
func (e *Endpoint) Config() Config { return e.config }

// CircuitOpen says whether the server is left alone because it failed, or asked for it.
func (e *Endpoint) CircuitOpen() bool { return e.breaker.isOpen() }

// Introspect returns what the server says of a token, from memory where that is recent enough. It waits for the server within ctx,
// and no longer than that leaves time to answer. The call itself goes on until its own timeout: the next decision finds its answer.
// Errors are [*Error], or ctx's own when the caller left.
//
// Answers are as old as the client's clock says, which is ahead of the time at which the decision began: the answer to a question that
// another one asked meanwhile is from then.
func (e *Endpoint) Introspect(ctx context.Context, raw string) (Answer, error) {
	k := e.definition.of(raw)
	if a, ok := e.client.lookup(k); ok {
		e.report(Cached, result{answer: a}, 0)
		return a, nil
	}
	return e.wait(ctx, k, raw)
}

func (e *Endpoint) report(source Source, r result, took time.Duration) {
	e.client.observe(Event{
		Bundle: e.config.Bundle, Authenticator: e.config.Authenticator, Source: source,
		Outcome: r.outcome(), Took: took, Error: r.err, Circuit: e.breaker.isOpen(),
	})
}
