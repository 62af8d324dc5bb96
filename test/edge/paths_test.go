package edge

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// byEnvoy stands for an answer of the gateway's own, without a decision.
const byEnvoy = "answered by the gateway"

// outcome is a status with a reason, or with byEnvoy.
type outcome struct {
	status int
	reason string
}

var (
	passes    = outcome{200, "allowed"}
	noRule    = outcome{403, "no_matching_rule"}
	noRoute   = outcome{403, "no_route"}
	noService = outcome{403, "no_service"}
	ambiguous = outcome{400, "path_ambiguous"}
	rejected  = outcome{400, byEnvoy}
)

// pathTable is what a reader gets who may see /a/b and not /admin: where the gateway normalises paths, and where not.
var pathTable = []struct {
	target           string
	normalising, raw outcome
}{
	{"/a/b", passes, passes},
	{"/admin", noRule, noRule},
	{"/admin/x", noRule, noRule},
	{"/a/../admin", noRule, ambiguous},
	{"/%2e%2e/admin", noRule, ambiguous},
	{"/a/%2e%2e/admin", noRule, ambiguous},
	{"/a/%2E%2e/admin", noRule, ambiguous},
	{"/a/.%2e/admin", noRule, ambiguous},
	{"/./admin", noRule, ambiguous},
	{"/admin/.", noRoute, ambiguous},
	{"/a;/../admin", noRule, ambiguous},
	{"/a/..;/admin", noRule, ambiguous},
	{"/a/..;x=1/admin", noRule, ambiguous},
	{"//admin", noRule, ambiguous},
	{"///admin", noRule, ambiguous},
	{"/a//b", passes, ambiguous},
	{`/a\b`, passes, ambiguous},
	{`/public\..\admin`, noRule, ambiguous},
	{"/%61dmin", noRule, noRule},
	{"/%61/b", passes, passes},
	{"/a%2fb", rejected, ambiguous},
	{"/a%2Fb", rejected, ambiguous},
	{"/a%5cb", rejected, ambiguous},
	{"/a%00b", rejected, ambiguous},
	{"/a%252fb", ambiguous, ambiguous},
	{"/%2561dmin", ambiguous, ambiguous},
	{"/a;jsess=1/b", ambiguous, ambiguous},
	{"/admin;x=1", ambiguous, ambiguous},
	{"/ADMIN", noRoute, noRoute},
	{"/a/b/", noRoute, noRoute},
	{"/a/b?", passes, passes},
	{"/a/b?x=/../../admin", passes, passes},
	{"/a/b?x=%2e%2e%2fadmin;y", passes, passes},
	{"/admin?x=/../a/b", noRule, noRule},
	{"/a#frag", rejected, rejected},
	{"?x", rejected, rejected},
	{"admin", rejected, rejected},
	{"/a/\xc3\xa9", rejected, rejected},
	{"/%", ambiguous, ambiguous},
	{"/%zz", ambiguous, ambiguous},
	{"*", rejected, rejected},
	{"https://edge.example.com/admin", noRule, noRule},
	{"https://edge.example.com/a/../admin", noRule, ambiguous},
	{"https://other.test/abs", noService, noService},

	// Tricks on a public route.
	{"/public/x", passes, passes},
	{"/public", noRoute, noRoute},
	{"/publicx", noRoute, noRoute},
	{"/public/../admin", noRule, ambiguous},
	{"/public/%2e%2e/admin", noRule, ambiguous},
	{"/public/..%2fadmin", rejected, ambiguous},
	{"/public/%2e%2e%2fadmin", rejected, ambiguous},
	{"/public/..%5cadmin", rejected, ambiguous},
	{"/public/%252e%252e/admin", ambiguous, ambiguous},
	{"/public/..;/admin", noRule, ambiguous},
	{"/public/.;/../admin", noRule, ambiguous},
	{"/public/;/../../admin", noRule, ambiguous},
	{"/public/x;/admin", ambiguous, ambiguous},
	{"/public//../admin", passes, ambiguous}, // /public/admin to the gateway, which resolves dots first
	{"/public//admin", passes, ambiguous},
	{"/public/x/../../admin", noRule, ambiguous},
	{"/public/%c0%ae%c0%ae/admin", ambiguous, ambiguous},
	{"/public/%u002e%u002e/admin", ambiguous, ambiguous},
	{"/public/x%00/../admin", rejected, ambiguous},
	{"/public/x%0d%0a", ambiguous, ambiguous},
}

// TestPathSpellings sends every spelling as nobody, as a reader and as root, to gateways that normalise and that do
// not, with both encodings of headers. What nobody and root get follows from what the reader gets; the check at the
// end is that nothing reached the API that was not allowed.
func TestPathSpellings(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	reader, root := e.issuer.token(t, "rita", "reader"), e.issuer.token(t, "root")
	for _, door := range []string{edgeDoor, joinedDoor, rawDoor, rawJoinedDoor} {
		// Each listener in a goroutine of its own, each request on a connection of its own.
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			for _, c := range pathTable {
				want := c.normalising
				if door == rawDoor || door == rawJoinedDoor {
					want = c.raw
				}
				name := fmt.Sprintf("%q", c.target)
				e.pathOutcome(t, name+" by a reader", want, e.send(t, door, request("GET", "edge.example.com", c.target, bearer(reader))))
				if want == noRule {
					want = passes
				}
				e.pathOutcome(t, name+" by root", want, e.send(t, door, request("GET", "edge.example.com", c.target, bearer(root))))
				nobody := e.send(t, door, request("GET", "edge.example.com", c.target))
				if want == passes {
					e.nobodyPasses(t, name, nobody)
					continue
				}
				e.pathOutcome(t, name+" by nobody", want, nobody)
			}
		})
	}
}

func (e *edge) pathOutcome(t *testing.T, name string, want outcome, got *reply) {
	t.Helper()
	if want.reason == byEnvoy {
		if got.status != want.status || got.id != "" || got.arrived != nil {
			t.Errorf("%s: status %d, decision %q, want %d of the gateway's own", name, got.status, got.id, want.status)
		}
		return
	}
	if got.id == "" {
		t.Errorf("%s: status %d without a decision: %.200s", name, got.status, got.body)
		return
	}
	found := e.record(t, got.id)
	if found.text("reason") != want.reason || found.text("status") != fmt.Sprint(want.status) || (want == passes) != (got.arrived != nil) {
		t.Errorf("%s: status %d, record %s %s, want %d %s", name, got.status, found.text("status"), found.text("reason"), want.status, want.reason)
	}
	if got.arrived == nil && got.status != want.status {
		t.Errorf("%s: status %d, want %d", name, got.status, want.status)
	}
}

// nobodyPasses checks what nobody gets where somebody passes: what is public, and nothing else.
func (e *edge) nobodyPasses(t *testing.T, name string, got *reply) {
	t.Helper()
	if got.id == "" {
		t.Errorf("%s by nobody: status %d without a decision", name, got.status)
		return
	}
	found := e.record(t, got.id)
	public := found.text("route") == "public"
	if public != (got.arrived != nil) || !public && found.text("reason") != "token_missing" {
		t.Errorf("%s by nobody: status %d, record %s %s by route %s", name, got.status, found.text("effect"), found.text("reason"), found.text("route"))
	}
}

// TestMethods sends methods that no route declares, in the method's place and in headers that some APIs obey.
func TestMethods(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	undeclared := outcome{405, "method_not_allowed"}
	root := bearer(e.issuer.token(t, "root"))
	for method, want := range map[string]outcome{
		"GET": passes, "HEAD": undeclared, "POST": undeclared, "DELETE": undeclared, "PROPFIND": undeclared, "TRACE": undeclared,
		"OPTIONS": undeclared, "get": rejected, "FOO": rejected,
	} {
		e.pathOutcome(t, method, want, e.send(t, rawDoor, request(method, "edge.example.com", "/admin", root)))
	}
	// The gateway has no route for an asterisk.
	e.pathOutcome(t, "OPTIONS *", outcome{404, byEnvoy}, e.send(t, rawDoor, request("OPTIONS", "edge.example.com", "*", root)))

	overrides := []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL", "X-Original-URI"}
	for _, name := range overrides {
		got := e.send(t, rawDoor, request("GET", "edge.example.com", "/public/x", name+": DELETE", strings.ReplaceAll(name, "-", "_")+": /admin"))
		e.allowed(t, got)
		for sent := range e.arrival(t, got.id).Header {
			if strings.EqualFold(strings.ReplaceAll(sent, "_", "-"), name) {
				t.Errorf("%s reached the API", sent)
			}
		}
	}
}

// TestPathsUnderLoad interleaves spellings of one path with allowed requests on many connections: a decision must
// never be taken for another's.
func TestPathsUnderLoad(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	reader := e.issuer.token(t, "rita", "reader")
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 5 {
				for target, want := range map[string]outcome{"/a/b": passes, "/admin": noRule, "/public/../admin": ambiguous, "/public/x": passes} {
					got, err := e.trySend(t, rawDoor, request("GET", "edge.example.com", target, bearer(reader)))
					if err != nil {
						t.Error(err)
						return
					}
					e.pathOutcome(t, target, want, got)
				}
			}
		})
	}
	clients.Wait()
}
