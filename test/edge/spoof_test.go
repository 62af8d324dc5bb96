package edge

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/deploy/quickstart"
)

// spoofs are client-sent copies of headers that Durward sets or that only it may set. Every one is sent in every case.
var spoofs = []string{
	"x-durward-subject", "x-durward-roles", "x-durward-decision-id", "x-durward-anything", "x-edge-tier",
	"x_durward_subject", "x-durward_subject", "x_durward-roles", "x_edge_tier", "x.durward.subject", "x-durward-subject_",
}

// cases returns a header name in the cases that clients use.
func cases(name string) []string {
	title := []byte(name)
	for i := range title {
		if (i == 0 || strings.IndexByte("-_.", title[i-1]) >= 0) && 'a' <= title[i] && title[i] <= 'z' {
			title[i] -= 'a' - 'A'
		}
	}
	return []string{name, strings.ToUpper(name), string(title)}
}

// identityLike says whether some server could take a name for one of the headers that Durward sets. A name with more
// behind it is another name.
func identityLike(name string) bool {
	folded := strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return '-'
		}
		return r
	}, strings.ToLower(name))
	return strings.HasPrefix(folded, "x-durward-") || folded == "x-edge-tier"
}

// TestSpoofedIdentityHeaders sends them one by one and all at once, on a protected and on a public route, with both
// encodings of headers. What arrives is what Durward set, in its spelling, and nothing else.
func TestSpoofedIdentityHeaders(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	reader := e.issuer.token(t, "spoof", "reader")
	for _, door := range []string{rawDoor, rawJoinedDoor} {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			var all []string
			for _, spoof := range spoofs {
				for i, name := range cases(spoof) {
					line := name + ": mallory"
					all = append(all, line)
					e.spoofed(t, door, "/public/x", "", line)
					if i == 0 {
						e.spoofed(t, door, "/a/b", "spoof", line, bearer(reader))
						e.spoofed(t, door, "/a/b", "spoof", line, line, bearer(reader)) // twice
					}
				}
			}
			e.spoofed(t, door, "/public/x", "", all...)
			e.spoofed(t, door, "/a/b", "spoof", append(all, bearer(reader))...)
		})
	}
	for _, door := range []string{edgeDoor, joinedDoor} {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			for _, spoof := range spoofs {
				if !strings.Contains(spoof, "_") {
					e.spoofed(t, door, "/public/x", "", spoof+": mallory")
					e.spoofed(t, door, "/a/b", "spoof", spoof+": mallory", bearer(reader))
					continue
				}
				// The shipped gateway takes no underscores.
				got := e.send(t, door, request("GET", "edge.example.com", "/public/x", spoof+": mallory"))
				e.pathOutcome(t, spoof, rejected, got)
			}
		})
	}
}

// spoofed sends a request with forged lines and looks at what the API got.
func (e *edge) spoofed(t *testing.T, door, target, subject string, lines ...string) {
	t.Helper()
	got := e.send(t, door, request("GET", "edge.example.com", target, lines...))
	e.allowed(t, got)
	if got.arrived == nil {
		return
	}
	want := map[string][]string{decisionHeader: {got.id}, "x-edge-tier": {"gold"}}
	if subject != "" {
		want["x-durward-subject"], want["x-durward-roles"] = []string{subject}, []string{"reader"}
	}
	seen := e.arrival(t, got.id)
	for name, values := range seen.Header {
		if !identityLike(name) {
			continue
		}
		if name = strings.ToLower(name); !slices.Equal(values, want[name]) {
			t.Errorf("%s %q: the API got %s: %q, want %q", target, lines, name, values, want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("%s %q: the API did not get %q; it got %q", target, lines, want, seen.Header)
	}
	if got.arrived.Credentials {
		t.Errorf("%s: the token reached the API", target)
	}
}

// arrival finds what the API got by a decision.
func (e *edge) arrival(t testing.TB, id string) quickstart.Seen {
	t.Helper()
	for _, seen := range e.API.Requests() {
		if seen.Header.Get(decisionHeader) == id {
			return seen
		}
	}
	t.Errorf("the API got nothing with decision %s", id)
	return quickstart.Seen{Header: http.Header{}}
}

// TestRepeatedSingleHeaders sends what must come once twice.
func TestRepeatedSingleHeaders(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	reader := bearer(e.issuer.token(t, "twice", "reader"))
	root := bearer(e.issuer.token(t, "root"))
	for _, door := range []string{edgeDoor, joinedDoor, rawDoor, rawJoinedDoor} {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			for name, text := range map[string]string{
				"two tokens":            request("GET", "edge.example.com", "/a/b", reader, root),
				"the same token twice":  request("GET", "edge.example.com", "/a/b", reader, reader),
				"basic and bearer":      request("GET", "edge.example.com", "/a/b", "authorization: Basic YTpi", reader),
				"tokens behind a comma": request("GET", "edge.example.com", "/a/b", reader+", Bearer x"),
				"on a public route":     request("GET", "edge.example.com", "/public/x", reader, root),
				"two hosts":             request("GET", "edge.example.com", "/a/b", reader, "host: other.example.com"),
				"the same host twice":   request("GET", "edge.example.com", "/public/x", "host: edge.example.com"),
				"hosts behind a comma":  request("GET", "edge.example.com,other.example.com", "/public/x"),
			} {
				got := e.send(t, door, text)
				if t.Failed() {
					t.Log(name)
				}
				e.denied(t, got, 400, "duplicate_header", "invalid_request")
			}
		})
	}
}
