package quickstart

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// maxSeen bounds the requests that the API remembers; older ones are forgotten first.
const maxSeen = 1024

// API is the sample orders API. It trusts whoever can reach it, as APIs behind a gateway do: it reads the caller's
// name from x-durward-subject. It is safe for concurrent use.
type API struct {
	mu    sync.Mutex
	seen  []Seen
	next  int // where the oldest of a full seen stands
	calls int64
}

// Seen is a request that reached the API.
type Seen struct {
	// Method, Target and Host are as they stood in the request; Target is not decoded.
	Method, Target, Host string
	// Header holds the request's headers.
	Header http.Header
}

// reply is the body of every answer.
type reply struct {
	// Answer says which handler the request found; Order is its order.
	Answer string `json:"answer"`
	Order  string `json:"order,omitempty"`
	// Call counts the requests that reached the API.
	Call int64 `json:"call"`
	// Target is what a request that found no handler asked for.
	Target string `json:"target,omitempty"`
	// Identity lists the identity headers that arrived; Credentials says whether an Authorization header did.
	Identity    map[string][]string `json:"identity"`
	Credentials bool                `json:"credentials_arrived"`
}

// NewAPI returns an API that has seen nothing.
func NewAPI() *API { return &API{} }

// ServeHTTP answers every request, declared or not. There is no mux: it would answer unclean paths by itself.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := reply{Call: a.note(r), Identity: identity(r.Header), Credentials: r.Header.Get("Authorization") != ""}
	out.Answer, out.Order = handler(r.Method, r.URL.EscapedPath())
	status := http.StatusOK
	if out.Answer == undeclared {
		out.Target, status = r.RequestURI, http.StatusNotFound
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	if id := r.Header.Values("X-Request-Id"); len(id) == 1 {
		// The gateway's name of the request, for whoever looks for it in logs and records.
		header.Set("X-Request-Id", id[0])
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // a client that went away
}

// undeclared is the answer to a request that no handler of the API is for.
const undeclared = "no such thing here"

// handler names what the API does for a request, and the order that it is about.
func handler(method, path string) (answer, order string) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case path == "/health" && method == http.MethodGet:
		return "healthy", ""
	case path == "/login" && method == http.MethodPost:
		return "logged in", ""
	case path == "/orders" && method == http.MethodGet:
		return "all orders", ""
	case segments[0] != "orders" || len(segments) < 2 || segments[1] == "":
		return undeclared, ""
	case len(segments) == 2 && (method == http.MethodGet || method == http.MethodHead):
		return "order", segments[1]
	case len(segments) == 2 && method == http.MethodPut:
		return "order changed", segments[1]
	case len(segments) == 3 && segments[2] == "refund" && method == http.MethodPost:
		return "order refunded", segments[1]
	}
	return undeclared, ""
}

// identity collects the headers that an API might take for the caller's identity, in every spelling.
func identity(h http.Header) map[string][]string {
	out := map[string][]string{}
	for name, values := range h {
		if plain := strings.ReplaceAll(strings.ToLower(name), "_", "-"); strings.HasPrefix(plain, "x-durward-") {
			out[strings.ToLower(name)] = values
		}
	}
	return out
}

// note remembers a request and returns how many there were.
func (a *API) note(r *http.Request) int64 {
	s := Seen{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header.Clone()}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if len(a.seen) < maxSeen {
		a.seen = append(a.seen, s)
	} else {
		a.seen[a.next] = s
		a.next = (a.next + 1) % maxSeen
	}
	return a.calls
}

// Calls returns how many requests reached the API.
func (a *API) Calls() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

// Requests returns the latest requests that reached the API, the oldest first.
func (a *API) Requests() []Seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append(slices.Clone(a.seen[a.next:]), a.seen[:a.next]...)
}
