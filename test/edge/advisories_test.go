package edge

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestAdvisories holds one test for each class of mistake that decision services and gateways were published for.
func TestAdvisories(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *edge){
		"path-query-split":     pathQuerySplit,     // CVE-2026-32811
		"path-normalisation":   pathNormalisation,  // CVE-2026-42274, CVE-2026-33494, CVE-2025-66490, CVE-2025-47952
		"encoded-slash-case":   encodedSlashCase,   // CVE-2026-42272
		"host-case":            hostCase,           // CVE-2026-42273
		"forwarded-for":        forwardedFor,       // CVE-2026-57210, CVE-2026-33495, CVE-2026-35051
		"header-name-variants": headerNameVariants, // CVE-2026-33433, CVE-2026-54763, CVE-2026-29054
		"grpc-path-no-slash":   grpcPathNoSlash,    // CVE-2026-33186
		"aud-unset":            audUnset,           // CVE-2026-55689
		"token-header-alloc":   tokenHeaderAlloc,   // CVE-2025-30204
		"hop-by-hop":           hopByHop,           // GHSA-w9mr-28mw-j8hg
		"fail-open-secret":     failOpenSecret,     // CVE-2026-54762
		"metadata-in-logs":     metadataInLogs,     // GHSA-xr7q-jx4m-x55m
		"ipv4-mapped":          ipv4Mapped,         // GHSA-7jmw-8259-q9jx
		"windows-startup-log":  startupLog,         // CVE-2026-40091, CVE-2023-46255
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, common.watch(t))
		})
	}
}

// pathQuerySplit: the query is no part of the path that is decided about.
func pathQuerySplit(t *testing.T, e *edge) {
	client, reader := e.connect(t), e.issuer.token(t, "query", "reader")
	for path, want := range map[string]string{
		"/a/b": "allow 200 allowed", "/admin": "deny 403 no_matching_rule", "/public/x": "allow 200 allowed", "/nowhere": "deny 403 no_route",
	} {
		for _, query := range []string{"", "?", "?x=1", "?x=/public/x", "?/../public/x", "?x=/../../a/b", "??", "?/a/b", "?x=%2e%2e%2fadmin", "?x;y=1"} {
			e.put(t, client, ask(path+query, authorization(reader))).want(t, path+query, want)
			got := e.send(t, rawDoor, request("GET", "edge.example.com", path+query, bearer(reader)))
			if allowed := got.arrived != nil; allowed != strings.HasPrefix(want, "allow") || got.id == "" {
				t.Errorf("%s: status %d through the gateway, want %s", path+query, got.status, want)
			}
		}
	}
}

// pathNormalisation: no spelling gets a laxer decision than the path that it may stand for.
func pathNormalisation(t *testing.T, e *edge) {
	client := e.connect(t)
	reader, root := e.issuer.token(t, "normal", "reader"), e.issuer.token(t, "root")
	for spelling, want := range map[string]string{
		"/public/../admin": "path_ambiguous", "/public/%2e%2e/admin": "path_ambiguous", "//admin": "path_ambiguous", "/admin/.": "path_ambiguous",
		"/admin;x=1": "path_ambiguous", "/public/..%2fadmin": "path_ambiguous", "/public/..%2Fadmin": "path_ambiguous", "/public/..;/admin": "path_ambiguous",
		"/%61dmin": "no_matching_rule", "/%41dmin": "no_route", "/public/%2e%2e%5cadmin": "path_ambiguous", "/\\admin": "path_ambiguous",
		"/.": "path_ambiguous", "/..": "path_ambiguous", "": "malformed_request", "admin": "path_ambiguous", "/public/\x00/../admin": "path_ambiguous",
	} {
		status := "403"
		switch want {
		case "path_ambiguous", "malformed_request":
			status = "400"
		}
		// In header lines control characters are refused before the path is read.
		if strings.Contains(spelling, "\x00") {
			want = "header_invalid"
		}
		outcome := "deny " + status + " " + want
		e.put(t, client, ask(spelling, authorization(reader))).want(t, strconv.Quote(spelling), outcome)
		if status == "400" {
			e.put(t, client, ask(spelling, authorization(root))).want(t, strconv.Quote(spelling)+" by root", outcome)
			e.put(t, client, ask(spelling)).want(t, strconv.Quote(spelling)+" by nobody", outcome)
		}
	}
}

// encodedSlashCase: %2f and %2F are one, refused or kept.
func encodedSlashCase(t *testing.T, e *edge) {
	client, reader := e.connect(t), e.issuer.token(t, "slash", "reader")
	for _, slash := range []string{"%2f", "%2F"} {
		e.put(t, client, ask("/things/a"+slash+"b", authorization(reader))).want(t, slash, "deny 400 path_ambiguous")
		for _, c := range []struct{ path, subject, want string }{
			{"/files/a" + slash + "b", reader, "allow 200 allowed"},
			{"/files/a" + slash + "b", "", "deny 401 token_missing"},
			{"/open/a" + slash + "b", "", "allow 200 allowed"},
			{"/open" + slash + "b", "", "deny 403 no_route"},
			{"/open/.." + slash + "files" + slash + "a", "", "deny 400 path_ambiguous"},
		} {
			q := ask(c.path)
			q.host = "files.example.com"
			if c.subject != "" {
				q.lines = [][2]string{authorization(c.subject)}
			}
			got := e.put(t, client, q)
			got.want(t, c.path, c.want)
			if params := got.record.text("params"); strings.HasPrefix(c.want, "allow") && !strings.Contains(got.record.text("request.params"), "value:a/b") {
				t.Errorf("%s: recorded parameters %q %q", c.path, params, got.record.text("request.params"))
			}
		}
	}
}

// hostCase: one host, however it is written; what is no host is refused.
func hostCase(t *testing.T, e *edge) {
	client, reader := e.connect(t), e.issuer.token(t, "host", "reader")
	for host, want := range map[string]string{
		"plain.example.com": "allow 200 allowed", "PLAIN.Example.COM": "allow 200 allowed", "plain.example.com.": "allow 200 allowed",
		"plain.example.com:443": "allow 200 allowed", "Plain.example.com.:8443": "allow 200 allowed",
		"plain.example.com..": "deny 400 host_invalid", "plain.example.com:x": "deny 400 host_invalid", "me@plain.example.com": "deny 400 host_invalid",
		"plain.example.com,edge.example.com": "deny 400 duplicate_header", "plain.example.com/": "deny 400 host_invalid", "": "deny 400 host_invalid",
		"sub.plain.example.com": "deny 403 no_service", "plain.example.co": "deny 403 no_service", "plаin.example.com": "deny 400 host_invalid",
	} {
		q := ask("/a/b", authorization(reader))
		q.host = host
		got := e.put(t, client, q)
		got.want(t, host, want)
		if strings.HasPrefix(want, "allow") && got.record.text("request.host") != "plain.example.com" {
			t.Errorf("%s is recorded as %s", host, got.record.text("request.host"))
		}
	}
	for _, host := range []string{"PLAIN.Example.COM", "plain.example.com.", "plain.example.com:443"} {
		e.allowed(t, e.send(t, rawDoor, request("GET", host, "/a/b", bearer(reader))))
		e.denied(t, e.send(t, rawDoor, request("GET", host, "/admin", bearer(reader))), 403, "no_matching_rule", "access_denied")
	}
}

// forwardedFor: the client's address is the one that the trusted gateway appended, whatever the client claims.
func forwardedFor(t *testing.T, e *edge) {
	// Through the gateway: the same address with and without claims.
	honest := e.allowed(t, e.send(t, edgeDoor, request("GET", "edge.example.com", "/public/x"))).text("request.client_address")
	if honest == "" {
		t.Fatal("no client address is recorded")
	}
	for _, claim := range []string{
		"x-forwarded-for: 203.0.113.66", "x-forwarded-for: 127.0.0.1, 10.0.0.1", "x-forwarded-for: unknown", "x-forwarded-for: ::ffff:10.0.0.1",
		"forwarded: for=203.0.113.66", "x-real-ip: 203.0.113.66", "x-client-ip: 203.0.113.66", "true-client-ip: 203.0.113.66",
		"x-envoy-external-address: 203.0.113.66", "cf-connecting-ip: 203.0.113.66", "x-forwarded-for: 203.0.113.66\r\nx-forwarded-for: 10.0.0.1",
	} {
		found := e.allowed(t, e.send(t, edgeDoor, request("GET", "edge.example.com", "/public/x", claim)))
		if got := found.text("request.client_address"); got != honest {
			t.Errorf("%q: the address is %s, without it %s", claim, got, honest)
		}
	}
	// Claims about the host, the scheme and the path choose nothing either.
	for _, claim := range []string{"x-forwarded-host: files.example.com", "x-forwarded-uri: /public/x", "x-original-url: /public/x", "x-rewrite-url: /public/x", "x-forwarded-method: POST", "x-http-method-override: POST"} {
		e.denied(t, e.send(t, edgeDoor, request("GET", "edge.example.com", "/admin", claim)), 401, "token_missing", "credentials_required")
	}
	// Straight: one hop is trusted, so the last address counts, and only an address.
	client := e.connect(t)
	for value, want := range map[string]string{
		"203.0.113.9": "203.0.113.9", "6.6.6.6, 203.0.113.9": "203.0.113.9", "6.6.6.6,203.0.113.9 ": "203.0.113.9", "203.0.113.9, garbage": "",
		"203.0.113.9,": "", "127.0.0.1.evil.example": "", "203.0.113.9:80, 10.0.0.1x": "", "": "",
	} {
		got := e.put(t, client, ask("/public/x", [2]string{"x-forwarded-for", value}))
		if address := got.record.text("request.client_address"); address != want {
			t.Errorf("x-forwarded-for %q: the address is %q, want %q", value, address, want)
		}
		// A limit by client address does not let an unknown client pass.
		if want == "" {
			e.put(t, client, ask("/counted", [2]string{"x-forwarded-for", value})).want(t, "a limit with x-forwarded-for "+value, "deny 403 attribute_missing")
		}
	}
}

// headerNameVariants: no spelling of a header that Durward sets passes, on no route.
func headerNameVariants(t *testing.T, e *edge) {
	client, reader := e.connect(t), e.issuer.token(t, "variants", "reader")
	for _, path := range []string{"/a/b", "/public/x"} {
		for _, spoof := range spoofs {
			for _, name := range cases(spoof) {
				for _, raw := range []bool{true, false} {
					got := e.putOnce(t, client, ask(path, authorization(reader), [2]string{name, "mallory"}).message(raw))
					got.want(t, path+" with "+name, "allow 200 allowed")
					covered := slices.ContainsFunc(got.GetOkResponse().GetHeadersToRemove(), func(s string) bool { return strings.EqualFold(s, name) })
					for _, h := range got.GetOkResponse().GetHeaders() {
						if strings.EqualFold(h.GetHeader().GetKey(), name) {
							covered = !covered && h.GetAppendAction().String() == "OVERWRITE_IF_EXISTS_OR_ADD" && h.GetHeader().GetValue() != "mallory"
						}
					}
					if !covered {
						t.Errorf("%s: %s is neither removed nor overwritten: %v", path, name, got.GetOkResponse())
					}
				}
			}
		}
	}
	for _, name := range []string{"x_durward_subject", "X-DURWARD_SUBJECT", "x.durward.subject"} {
		e.spoofed(t, rawDoor, "/public/x", "", name+": mallory")
	}
}

// grpcPathNoSlash: a path without its slash is no path.
func grpcPathNoSlash(t *testing.T, e *edge) {
	client, reader := e.connect(t), e.issuer.token(t, "slashless", "reader")
	for _, host := range []string{"grpc.example.com", "edge.example.com"} {
		for _, path := range []string{"edge.Greeter/Admin", "edge.Greeter/Hello", "public/x", "admin", "a/b", "*", "http://edge.example.com/a/b"} {
			q := question{method: "POST", host: host, path: path, lines: [][2]string{authorization(reader), {"content-type", "application/grpc"}, {"te", "trailers"}}}
			e.put(t, client, q).want(t, path, "deny 400 path_ambiguous")
		}
	}
}

// tokenHeaderAlloc: a million dots are refused before anybody splits at them.
func tokenHeaderAlloc(t *testing.T, e *edge) {
	client := e.connect(t)
	million := strings.Repeat(".", 1_000_000)
	sound := e.issuer.token(t, "long", "reader")
	for name, c := range map[string]struct{ token, want string }{
		"1e6 dots":            {million, "deny 431 header_too_large"},
		"1 MB token":          {sound + strings.Repeat("A", 1<<20), "deny 431 header_too_large"},
		"8000 dots":           {million[:8000], "deny 401 token_malformed"},
		"12000 dots":          {million[:12000], "deny 401 token_too_long"},
		"a good token padded": {sound + million[:9000], "deny 401 token_too_long"},
	} {
		e.put(t, client, ask("/a/b", authorization(c.token))).want(t, name, c.want)
	}
	// What splits at a million dots takes 16 MB for the pieces alone. The server has other work meanwhile, so that a
	// generous bound is compared with many requests.
	const rounds, perRequest = 20, 8 << 20
	heavy := ask("/a/b", authorization(million)).message(false)
	before := e.allocated(t)
	for range rounds {
		e.putOnce(t, client, heavy)
	}
	used := (e.allocated(t) - before) / rounds
	t.Logf("%d bytes allocated for each request of 1 MB", used)
	if used > perRequest {
		t.Errorf("%d bytes are allocated for each request of 1 MB", used)
	}
}

var allocatedLine = regexp.MustCompile(`(?m)^go_memstats_alloc_bytes_total (\S+)$`)

// allocated is how much the first replica has allocated since it started.
func (e *edge) allocated(t *testing.T) int64 {
	t.Helper()
	response, err := http.Get("http://" + e.Replicas[0].Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body strings.Builder
	if err := response.Write(&body); err != nil {
		t.Fatal(err)
	}
	found := allocatedLine.FindStringSubmatch(body.String())
	if found == nil {
		t.Fatal("the metrics do not say how much is allocated")
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(value)
}

// hopByHop: a client cannot make a hop drop what Durward sets.
func hopByHop(t *testing.T, e *edge) {
	client, reader := e.connect(t), e.issuer.token(t, "hop", "reader")
	for _, field := range []string{"connection", "Connection", "proxy-connection"} {
		for _, options := range []string{"x-durward-subject", "close, X-Durward-Roles", "x-durward-decision-id", "x_durward_subject", "x-edge-tier,close", "X-Durward-Anything"} {
			e.put(t, client, ask("/a/b", authorization(reader), [2]string{field, options})).want(t, options, "deny 400 header_invalid")
		}
		e.put(t, client, ask("/a/b", authorization(reader), [2]string{field, "keep-alive, x-other"})).want(t, "another option", "allow 200 allowed")
	}
	for _, door := range []string{edgeDoor, rawDoor} {
		for _, option := range []string{"x-durward-subject", "X-Durward-Roles, close", "x-edge-tier"} {
			text := request("GET", "edge.example.com", "/a/b", bearer(reader))
			got := e.send(t, door, strings.Replace(text, "connection: close", "connection: "+option+", close", 1))
			if got.arrived == nil {
				e.denied(t, got, 400, "header_invalid", "invalid_request")
				continue
			}
			// The gateway took the option out, and our headers stayed.
			seen := e.arrival(t, got.id).Header
			if seen.Get("x-durward-subject") != "hop" || seen.Get("x-durward-roles") != "reader" || seen.Get("x-edge-tier") != "gold" {
				t.Errorf("connection %s: the API got %v", option, seen)
			}
		}
		text := strings.Replace(request("GET", "edge.example.com", "/a/b", bearer(reader)), "connection: close", "connection: authorization, close", 1)
		if got := e.send(t, door, text); got.arrived != nil && got.arrived.Identity["x-durward-subject"][0] != "hop" {
			t.Errorf("connection: authorization changed the subject: %v", got.arrived)
		}
	}
}
