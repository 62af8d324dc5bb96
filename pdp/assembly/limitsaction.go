package assembly

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/limitsapi"
	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/descriptors"
	"github.com/durward-pdp/durward/ratelimiter"
)

// recordTimeout bounds the wait until a record is written.
const recordTimeout = 2 * time.Second

// staleRefusals bounds how long a replica refuses from memory what the store would admit.
const staleRefusals = time.Second

// counter is one counter that an operator means.
type counter struct {
	limitsapi.Place
	charge ratelimiter.Charge
	values []limitsapi.Value
	open   func(name string) bool // whether records show values of that name anyway
}

// peek answers what one counter says of one unit more. Who looked is recorded.
func (a *limitsAdmin) peek(r *http.Request, who caller) (any, *refusal) {
	query := r.URL.Query()
	t := limitsapi.Target{Bundle: query.Get("bundle"), Service: query.Get("service"), Domain: query.Get("domain"), Limit: query.Get("limit"), Class: query.Get("class")}
	for _, text := range query["key"] {
		name, value, there := strings.Cut(text, "=")
		t.Key = append(t.Key, limitsapi.Value{Name: name, Value: value, Missing: !there})
	}
	c, no := a.find(&t)
	if no != nil {
		return nil, no
	}
	d, err := a.limiter.Peek(r.Context(), []ratelimiter.Charge{c.charge})
	outcome := "done"
	if err != nil || len(d.Limits) != 1 {
		outcome = "failed"
	}
	do, no := a.begin(r, who, "limits.peek", c)
	if no != nil {
		return nil, no
	}
	if no := do.record(outcome); no != nil {
		return nil, no
	}
	if outcome == "failed" {
		return nil, &refusal{http.StatusServiceUnavailable, "the counters did not answer"}
	}
	return peekView(c, &d.Limits[0]), nil
}

func peekView(c *counter, s *ratelimiter.Status) limitsapi.Peek {
	out := limitsapi.Peek{
		Place: c.Place, Rate: rateOf(s.Limit), Algorithm: s.Limit.Algorithm().String(), Room: s.Room, Remaining: s.Remaining,
		RetryAfterMS: ceilMillis(s.Retry), FullMS: ceilMillis(s.Full), Degraded: s.Degraded,
	}
	out.Used = max(out.Burst-out.Remaining, 0)
	return out
}

// ceilMillis rounds up, so that a wait is never told too short.
func ceilMillis(d time.Duration) int64 {
	return int64((d + time.Millisecond - time.Nanosecond) / time.Millisecond)
}

// unblock clears one counter. It is recorded before, or not done.
func (a *limitsAdmin) unblock(r *http.Request, who caller) (any, *refusal) {
	var t limitsapi.Target
	if no := readDocument(r.Body, &t); no != nil {
		return nil, no
	}
	c, no := a.find(&t)
	if no != nil {
		return nil, no
	}
	do, no := a.begin(r, who, "limits.unblock", c)
	if no != nil {
		return nil, no
	}
	if no := do.requested(); no != nil {
		return nil, no
	}
	cleared, err := a.limiter.Clear(r.Context(), c.charge.Key)
	if err != nil {
		return nil, do.failed(&refusal{http.StatusServiceUnavailable, "the counters did not answer: the counter may be there still"})
	}
	if no := do.done("the counter is cleared"); no != nil {
		return nil, no
	}
	return limitsapi.Unblock{Place: c.Place, Cleared: cleared, StaleMS: staleRefusals.Milliseconds()}, nil
}

// readDocument decodes one JSON document and refuses what it does not know.
func readDocument(body io.Reader, into any) *refusal {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil && d.More() {
		err = errors.New("there is more behind it")
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", limitsapi.MaxBody)}
	case err != nil:
		return &refusal{http.StatusBadRequest, fmt.Sprintf("the body is no such document: %v", err)}
	}
	return nil
}

// begin returns an action with a counter, of which nothing is recorded yet.
func (a *limitsAdmin) begin(r *http.Request, who caller, what string, c *counter) (*action, *refusal) {
	do, no := a.journal.begin(r, who.name, what)
	if no != nil {
		return nil, no
	}
	e := do.event
	e.Bundle, e.Service, e.Domain, e.Counter = c.Bundle, c.Service, c.Domain, c.Counter
	if c.Domain == "" { // the path of a domain's rule may hold values of requests
		e.Limit = c.Limit
	}
	for _, v := range c.values {
		shown := v.Value
		switch {
		case v.Missing:
		case holdsCredential(c.Domain, v.Name):
			shown, e.Counter = maskedValue, "" // nor a hash, with which guesses could be tried
		case !c.open(v.Name):
			sum := sha256.Sum256([]byte(v.Value))
			shown = "sha256:" + hex.EncodeToString(sum[:])
		}
		e.Key = append(e.Key, audit.EventValue{Name: v.Name, Value: shown, Missing: v.Missing})
	}
	return do, nil
}

// find returns the one counter that a target names.
func (a *limitsAdmin) find(t *limitsapi.Target) (*counter, *refusal) {
	var found []*place
	for _, p := range a.places() {
		if p.isMeant(t) && (p.domain != "") == (t.Domain != "") {
			found = append(found, p)
		}
	}
	switch {
	case t.Domain == "" && t.Limit == "":
		return nil, &refusal{http.StatusBadRequest, "name a limit, or a domain"}
	case t.Domain != "" && (t.Limit != "" || t.Service != "" || t.Class != ""):
		return nil, &refusal{http.StatusBadRequest, "a domain stands alone: a descriptor says which of its limits is meant"}
	case len(found) == 0:
		return nil, &refusal{http.StatusNotFound, "there is no such limit in force"}
	case len(found) > 1:
		var places []string
		for _, p := range found {
			places = append(places, strings.TrimSuffix(p.bundle+"/"+p.service, "/"))
		}
		return nil, &refusal{http.StatusBadRequest, "several limits have this name; say which bundle and service: " + strings.Join(places, ", ")}
	case t.Domain != "":
		return found[0].descriptor(t)
	}
	return found[0].counter(t)
}

// counter returns the counter of a limit for the values of a target, which may stand in any order.
func (p *place) counter(t *limitsapi.Target) (*counter, *refusal) {
	limit, ok := p.info.Class(t.Class)
	if !ok {
		return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("the limit %s has no class %q", p.name(), t.Class)}
	}
	wrong := &refusal{http.StatusBadRequest, fmt.Sprintf("the limit %s counts by %s: name each once, with its value", p.name(), listOf(p.info.By))}
	if len(t.Key) != len(p.info.By) {
		return nil, wrong
	}
	c := &counter{Place: limitsapi.Place{Bundle: p.bundle, Service: p.service, Limit: p.name()}, open: inRecords}
	var values []ratelimiter.Value
	for _, name := range p.info.By {
		i := slices.IndexFunc(t.Key, func(v limitsapi.Value) bool { return v.Name == name })
		if i < 0 {
			return nil, wrong
		}
		v := t.Key[i]
		c.values = append(c.values, v)
		values = append(values, ratelimiter.Value{Text: v.Value, Missing: v.Missing})
	}
	c.charge = ratelimiter.Charge{Limit: limit, Key: p.info.Keys.Key(values...), Cost: 1}
	c.Counter = c.charge.Key.Digest()
	return c, nil
}

// descriptor returns the counter that one hit of a descriptor would be charged at.
func (p *place) descriptor(t *limitsapi.Target) (*counter, *refusal) {
	pairs := make([]request.Pair, len(t.Key))
	for i, v := range t.Key {
		pairs[i] = request.Pair{Key: v.Name, Value: v.Value}
	}
	charge, path, err := descriptors.Counter(p.compiled, pairs)
	switch {
	case err != nil:
		return nil, &refusal{http.StatusBadRequest, err.Error()}
	case charge.Limit == nil:
		return nil, &refusal{http.StatusNotFound, "no limit of the domain holds for this descriptor"}
	}
	none := func(string) bool { return false } // records show no values of descriptors
	return &counter{Place: limitsapi.Place{Bundle: p.bundle, Domain: p.domain, Limit: path, Counter: charge.Key.Digest()}, charge: charge, values: t.Key, open: none}, nil
}

func listOf(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// inRecords reports whether the record of each decision shows an attribute, whatever the bundle lists.
func inRecords(name string) bool {
	switch family, rest, _ := strings.Cut(name, "."); family {
	case "subject", "client", "route", "action":
		return true
	case "request":
		return slices.Contains([]string{"method", "scheme", "host", "protocol"}, rest)
	}
	return false
}
