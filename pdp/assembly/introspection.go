package assembly

import (
	"cmp"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
)

// newIntrospector opens what asks issuers about opaque tokens.
func newIntrospector(fetcher introspection.Fetcher, s *secrets, random io.Reader, m *metrics) *introspection.Client {
	outages := &introspectionLog{logger: s.logger, clock: s.clock, known: map[[2]string]*issuerHealth{}}
	client := introspection.New(introspection.Options{
		Fetcher: fetcher, Secrets: s, Clock: s.clock, Random: random,
		Observe: func(e introspection.Event) {
			m.introspection.event(e)
			outages.event(e)
		},
	})
	m.watchAnswers(func() int {
		active, inactive, _ := client.Use()
		return active + inactive
	})
	return client
}

// maxIssuerLines is how many lines about an authenticator the log holds in a minute at most: whoever finds a token that the issuer stumbles
// over could have it told of an outage and its end with every other request.
const maxIssuerLines = 10

// introspectionLog tells the log how issuers stand, without a line for every call that fails.
type introspectionLog struct {
	logger *slog.Logger
	clock  func() time.Time

	mu    sync.Mutex
	known map[[2]string]*issuerHealth // by bundle and authenticator
}

// issuerHealth is what the log was told of an issuer.
type issuerHealth struct {
	outcome introspection.Outcome // "" while it is well
	since   time.Time
	told    time.Time // the last line

	minute time.Time // when the count began
	lines  int
}

// may says whether another line may be written, and counts it.
func (h *issuerHealth) may(now time.Time) bool {
	if now.Sub(h.minute) >= time.Minute {
		h.minute, h.lines = now, 0
	}
	h.lines++
	return h.lines <= maxIssuerLines
}

// event takes what happened. Only calls tell something new.
func (l *introspectionLog) event(e introspection.Event) {
	if e.Source != introspection.Call {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	who, now := [2]string{e.Bundle, e.Authenticator}, l.clock()
	issuer := l.known[who]
	switch {
	case issuer == nil && e.Error == nil:
		return
	case issuer == nil:
		issuer = &issuerHealth{}
		l.known[who] = issuer
	}
	fields := []any{"bundle", e.Bundle, "authenticator", e.Authenticator}
	if e.Error == nil {
		if issuer.outcome != "" && issuer.may(now) {
			l.logger.Info("issuer answers about tokens again", append(fields, "after", now.Sub(issuer.since).Round(time.Millisecond).String())...)
		}
		issuer.outcome = ""
		return
	}
	if issuer.outcome == e.Outcome && now.Sub(issuer.told) < stillDown {
		return
	}
	if issuer.outcome == "" {
		issuer.since = now
	}
	issuer.outcome = e.Outcome
	if issuer.may(now) {
		issuer.told = now
		l.tell(e.Outcome, append(fields, "outcome", string(e.Outcome), "error", e.Error.Error(), "cause", text(e.Error.Unwrap())))
	}
}

// tell says what an outcome means for an operator.
func (l *introspectionLog) tell(o introspection.Outcome, fields []any) {
	switch o {
	case introspection.Unauthorized:
		l.logger.Error("issuer does not accept this client: the secret or certificate is wrong", fields...)
	case introspection.Forbidden:
		l.logger.Error("issuer does not let this client ask about a token: the client may not introspect, or a filter before the issuer refuses the token", fields...)
	case introspection.Refused, introspection.Malformed:
		l.logger.Error("issuer gives no sound answer about a token: requests with such tokens are denied", fields...)
	default:
		l.logger.Error("issuer cannot be asked about tokens: requests with new ones are denied", fields...)
	}
}

// endpoints returns where the services of a snapshot have tokens introspected, in order.
func endpoints(s *pipeline.Snapshot) []*introspection.Endpoint {
	var out []*introspection.Endpoint
	for _, service := range s.Services {
		if e := identity.Endpoint(service); e != nil && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *introspection.Endpoint) int {
		x, y := a.Config(), b.Config()
		return cmp.Or(cmp.Compare(x.Bundle, y.Bundle), cmp.Compare(x.Authenticator, y.Authenticator))
	})
	return out
}

// endpointView is what configz shows of an endpoint.
type endpointView struct {
	Bundle         string `json:"bundle"`
	Authenticator  string `json:"authenticator"`
	URL            string `json:"url"`
	Client         string `json:"client"`
	Authentication string `json:"authentication"`
	Circuit        string `json:"circuit"`
}

// introspectionView is what configz shows of introspection.
type introspectionView struct {
	Endpoints []endpointView `json:"endpoints"`
	// Active and Inactive are the answers that are remembered, Bytes about what they take.
	Active   int   `json:"active"`
	Inactive int   `json:"inactive"`
	Bytes    int64 `json:"bytes"`
}

func viewIntrospection(client *introspection.Client, s *pipeline.Snapshot) introspectionView {
	view := introspectionView{Endpoints: []endpointView{}}
	if client == nil || s == nil {
		return view
	}
	view.Active, view.Inactive, view.Bytes = client.Use()
	for _, e := range endpoints(s) {
		c := e.Config()
		circuit := "closed"
		if e.CircuitOpen() {
			circuit = "open"
		}
		view.Endpoints = append(view.Endpoints, endpointView{
			Bundle: c.Bundle, Authenticator: c.Authenticator, URL: c.URL, Client: c.ClientID, Authentication: string(c.Authentication), Circuit: circuit,
		})
	}
	return view
}
