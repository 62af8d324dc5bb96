package route

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCanonicalPath(t *testing.T) {
	tests := []struct {
		in, want string // "" for a refusal
		found    traits
	}{
		{"/", "/", 0},
		{"/a/b", "/a/b", 0},
		{"/%61dmin", "/admin", 0},
		{"/%7e%2D%5f%2e%41", "/~-_.A", 0},
		{"/a%3ab%3Ac", "/a%3Ab%3Ac", 0},
		{"/caf%c3%a9", "/caf%C3%A9", 0},
		{"/100%25", "/100%25", 0},
		{"/100%25z", "/100%25z", 0},
		{"/100%25/a", "/100%25/a", 0},
		{"/a!$&'()*+,=:@b", "/a!$&'()*+,=:@b", 0},
		{"/...", "/...", 0},
		{"/.a/b./..c", "/.a/b./..c", 0},
		{"/a/b/", "/a/b/", hasTrailingSlash},
		{"/a%2fb", "/a%2Fb", hasEncodedSlash},
		{"/a;x=1/b", "/a;x=1/b", hasParameters},
		{"/a%3bx/b", "/a%3Bx/b", hasParameters},
		{"/a;..;/b", "/a;..;/b", hasParameters},
		{"/a;x%2fb;y/", "/a;x%2Fb;y/", hasEncodedSlash | hasParameters | hasTrailingSlash},

		{"", "", 0}, {"a", "", 0}, {"*", "", 0}, {"admin", "", 0}, {"http://h/a", "", 0}, {"pkg.Svc/Method", "", 0},
		{"//", "", 0}, {"//a", "", 0}, {"/a//b", "", 0}, {"/a//", "", 0},
		{"/.", "", 0}, {"/..", "", 0}, {"/a/.", "", 0}, {"/a/..", "", 0}, {"/a/../b", "", 0}, {"/a/./b", "", 0}, {"/../a", "", 0},
		{"/%2e", "", 0}, {"/%2E%2e/a", "", 0}, {"/.%2e/a", "", 0}, {"/a/%2e./b", "", 0},
		{"/..;/a", "", 0}, {"/a/..;x=1", "", 0}, {"/.;/a", "", 0}, {"/%2e%2e;/a", "", 0}, {"/..%3b/a", "", 0}, {"/;/a", "", 0}, {"/;x", "", 0}, {"/a/;", "", 0},
		{"/a%2f..%2fb", "", 0}, {"/a%2f%2e%2e", "", 0}, {"/..%2fadmin", "", 0}, {"/%2fa", "", 0}, {"/a%2f", "", 0}, {"/a%2f/b", "", 0}, {"/a/%2f", "", 0}, {"/a%2f%2fb", "", 0}, {"/a;%2f..;/b", "", 0},
		{`/a\b`, "", 0}, {"/a%5cb", "", 0}, {"/a%5C", "", 0}, {`/..\a`, "", 0},
		{"/a%00b", "", 0}, {"/a%0ab", "", 0}, {"/a%1f", "", 0}, {"/a%7f", "", 0}, {"/a\x00", "", 0}, {"/a\x1f", "", 0}, {"/a\x7f", "", 0}, {"/a b", "", 0}, {"/a\tb", "", 0},
		{"/é", "", 0}, {"/\xff", "", 0}, {"/a%c2%85", "", 0}, {"/%c0%af", "", 0}, {"/%c0%ae%c0%ae/a", "", 0}, {"/%ff", "", 0}, {"/%e2%82", "", 0},
		{"/a%252fb", "", 0}, {"/a%252Fb", "", 0}, {"/%2561", "", 0}, {"/%25%32%66", "", 0}, {"/%25%2541", "", 0}, {"/%2525", "", 0}, {"/%252e%252e/a", "", 0},
		{"/%", "", 0}, {"/%a", "", 0}, {"/%zz", "", 0}, {"/a%2", "", 0}, {"/%u002f", "", 0}, {"/%%32f", "", 0},
		{"/a#b", "", 0}, {"/a?b", "", 0}, {`/a"b`, "", 0}, {"/a<b>", "", 0}, {"/a|b", "", 0}, {"/a^b", "", 0}, {"/a`b", "", 0}, {"/{id}", "", 0}, {"/[a]", "", 0},
		{"/" + strings.Repeat("a", maxPath), "", 0},
		{"/" + strings.Repeat("a", maxPath-1), "/" + strings.Repeat("a", maxPath-1), 0},
	}
	for _, tt := range tests {
		got, found, ok := canonicalPath(tt.in)
		if got != tt.want || ok != (tt.want != "") || found != tt.found {
			t.Errorf("%.40q: got %.40q %b %v, want %.40q %b", tt.in, got, found, ok, tt.want, tt.found)
		}
	}
}

// TestPathOptions holds each option against all classes: it relaxes its own and no other.
func TestPathOptions(t *testing.T) {
	classes := map[string]struct {
		options pathOptions
		targets map[string]string
	}{
		"encoded_slash": {pathOptions{keepEncodedSlash: true}, map[string]string{"/a%2fb": "/a%2Fb", "/A%2F%41": "/A%2FA"}},
		"parameters":    {pathOptions{keepParameters: true}, map[string]string{"/a;x/b": "/a;x/b", "/a%3b": "/a%3B"}},
		"none":          {pathOptions{}, map[string]string{}},
	}
	never := []string{"/a/../b", "/a//b", "/..;/a", `/a\b`, "/a%5cb", "/a%00b", "/a%252fb", "/a%2f..%2fb", "/%", "a", "*"}
	for name, class := range classes {
		for other, inputs := range classes {
			for in, want := range inputs.targets {
				path, found, ok := canonicalPath(in)
				if ok {
					path, ok = class.options.accept(path, found)
				}
				if ok != (name == other) || ok && path != want {
					t.Errorf("%s: %s: got %q %v", name, in, path, ok)
				}
			}
		}
	}
	all := pathOptions{keepEncodedSlash: true, keepParameters: true, ignoreTrailingSlash: true, foldCase: true}
	for _, in := range never {
		if path, found, ok := canonicalPath(in); ok {
			t.Errorf("%s: %q %b passes", in, path, found)
		}
	}
	for in, want := range map[string]string{
		"/A/B/": "/a/b", "/": "/", "/A%3AB%c3%b1": "", "/A;X%2fY/": "/a;x%2Fy", "/%E2%84%AA": "", "/%C3%89": "", "/%E6%97%A5": "/%E6%97%A5",
	} {
		path, found, ok := canonicalPath(in)
		if ok {
			path, ok = all.accept(path, found)
		}
		if path != want || ok != (want != "") {
			t.Errorf("%s with all options: got %q %v, want %q", in, path, ok, want)
		}
	}
}

func TestOptionsInRoutes(t *testing.T) {
	s := service("s", []string{"h"}, "GET /P/{id}", "GET /P/{id}/{rest...}", "GET /Q")
	s.Path.EncodedSlash, s.Path.Parameters, s.Path.TrailingSlash, s.Path.Case = "keep", "keep", "ignore", "insensitive"
	tab := table(t, compiled(t, "b", s))
	for target, want := range map[string]string{
		"/p/Group%2fName":  "s /P/{id} id=group/name",
		"/p/a/b%2fc/d%20e": "s /P/{id}/{rest...} id=a rest=b%2Fc/d e", // a kept slash never equals a real one
		"/q/":              "s /Q",
		"/%51":             "s /Q",
		"/q;v=1":           "path_ambiguous",
		"/p/a;v=1":         "s /P/{id} id=a;v=1",
		"/p/a%2f../b":      "path_ambiguous",
	} {
		if got := outcome(tab.Match(get("h", target))); got != want {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
}

// site is a service whose routes tell all relevant paths apart, in each of the combinations of path options.
func sites(t testing.TB) map[string]*Table {
	out := map[string]*Table{}
	for name, p := range map[string][4]string{
		"strict":   {},
		"slash":    {"keep", "", "", ""},
		"params":   {"", "keep", "", ""},
		"trailing": {"", "", "ignore", ""},
		"case":     {"", "", "", "insensitive"},
		"all":      {"keep", "keep", "ignore", "insensitive"},
	} {
		s := service("s", []string{"h"}, "GET /", "GET /admin", "GET /public", "GET /public/{x}", "GET /a/b", "GET /a", "GET /{x}", "GET /{x}/{y}", "GET /{x}/{y}/{rest...}")
		s.Path.EncodedSlash, s.Path.Parameters, s.Path.TrailingSlash, s.Path.Case = p[0], p[1], p[2], p[3]
		out[name] = table(t, compiled(t, "b", s))
	}
	return out
}

// TestGatewaySpellings: what a client sends reaches the engine as sent, or as a gateway that normalises paths
// rewrote it. The decision is the same for both, or the spelling is refused.
func TestGatewaySpellings(t *testing.T) {
	tests := []struct{ sent, rewritten string }{ // rewritten "" where such a gateway answers 400 itself
		{"/a/../admin", "/admin"}, {"/%2e%2e/admin", "/admin"}, {"/a/%2e%2e/admin", "/admin"}, {"/a;/../admin", "/admin"}, {"/a/..;/admin", "/admin"},
		{"/a//b", "/a/b"}, {"//admin", "/admin"}, {`/a\b`, "/a/b"}, {"/%61dmin", "/admin"}, {"/%61%64min?x=1", "/admin?x=1"},
		{"/a%2fb", ""}, {"/a%5cb", ""}, {"/a%00b", ""},
		{"/a%252fb", "/a%252fb"}, {"/a;jsess=1/b", "/a;jsess=1/b"}, {"/ADMIN", "/ADMIN"}, {"/a/b/", "/a/b/"}, {"/a?", "/a?"}, {"/a?x=/../b", "/a?x=/../b"},
		{"/a#frag", ""}, {"/\xc3\xa9", ""}, {"?x", ""}, {"admin", ""}, {"*", ""}, {"http://h/a", "/a"}, {"/%", "/%"}, {"/%zz", "/%zz"},
		{"/public/../admin", "/admin"}, {"/public/%2e%2e/admin", "/admin"}, {"/admin/.", "/admin/"}, {"/admin/./", "/admin/"}, {"/public/..%2fadmin", ""},
	}
	for name, tab := range sites(t) {
		for _, tt := range tests {
			raw := tab.Match(get("h", tt.sent))
			if raw.Reason == "path_ambiguous" {
				continue
			}
			if tt.rewritten == "" && !strings.Contains(tt.sent, "%2f") {
				t.Errorf("%s: %q: %s, a gateway would refuse it", name, tt.sent, outcome(raw))
			}
			if clean := tab.Match(get("h", tt.rewritten)); tt.rewritten != "" && (outcome(raw) != outcome(clean) || raw.Path != clean.Path) {
				t.Errorf("%s: %q: %s, but %q: %s", name, tt.sent, outcome(raw), tt.rewritten, outcome(clean))
			}
		}
	}
	strict := sites(t)["strict"]
	for _, tt := range []struct{ target, want string }{
		{"/a/../admin", "path_ambiguous"}, {"//admin", "path_ambiguous"}, {"/a%252fb", "path_ambiguous"}, {"/a;jsess=1/b", "path_ambiguous"},
		{"/%61dmin", "s /admin"}, {"/ADMIN", "s /{x} x=ADMIN"}, {"/a/b/", "no_route"}, {"/a?", "s /a"}, {"/a?x=/../b", "s /a"}, {"/%zz", "path_ambiguous"},
	} {
		if got := outcome(strict.Match(get("h", tt.target))); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.target, got, tt.want)
		}
	}
}

// TestPathCVEs holds the classes of published advisories against whole matches.
func TestPathCVEs(t *testing.T) {
	tab := sites(t)["strict"]
	t.Run("path-query-split", func(t *testing.T) { // CVE-2026-32811
		for _, query := range []string{"", "?", "?x=1", "?/public", "?x=/../admin", "?a?b", "?%zz&;=/"} {
			if got := outcome(tab.Match(get("h", "/admin"+query))); got != "s /admin" {
				t.Errorf("/admin%s: %s", query, got)
			}
		}
		for _, query := range []string{"?x#y", "?a b", "?\x00", "?\xff", "?" + strings.Repeat("q", maxQuery+1)} {
			if got := outcome(tab.Match(get("h", "/admin"+query))); got != "path_ambiguous" {
				t.Errorf("/admin%.10q: %s", query, got)
			}
		}
	})
	t.Run("path-normalisation", func(t *testing.T) { // CVE-2026-42274, CVE-2026-33494, CVE-2025-66490, CVE-2026-40912, …
		for _, target := range []string{"/public/../admin", "/public/%2e%2e/admin", "//admin", "/admin/.", "/admin;x=1", "/public/..%2fadmin", "/public/..%2Fadmin", "/public/..;/admin", "/./admin", `/public\..\admin`} {
			if got := outcome(tab.Match(get("h", target))); got != "path_ambiguous" {
				t.Errorf("%s: %s", target, got)
			}
		}
	})
	t.Run("encoded-slash-case", func(t *testing.T) { // CVE-2026-42272
		for name, tab := range sites(t) {
			for _, target := range []string{"/public%2fadmin", "/a/x%2fy/z", "/a%2f..%2fadmin"} {
				lower, upper := tab.Match(get("h", target)), tab.Match(get("h", strings.ReplaceAll(target, "%2f", "%2F")))
				if outcome(lower) != outcome(upper) || lower.Path != upper.Path {
					t.Errorf("%s: %s: %s, with %%2F %s", name, target, outcome(lower), outcome(upper))
				}
			}
		}
	})
	t.Run("grpc-path-no-slash", func(t *testing.T) { // CVE-2026-33186
		for _, target := range []string{"pkg.Svc/Method", "admin", ""} {
			if got := outcome(tab.Match(get("h", target))); got != "path_ambiguous" {
				t.Errorf("%q: %s", target, got)
			}
		}
	})
}

// normalised is what a lenient server may make of a path: backslashes are slashes, unreserved characters decoded,
// slashes merged, path parameters of dot segments dropped, dot segments removed. Written apart from the code under test.
func normalised(path string) string {
	path = strings.ReplaceAll(path, `\`, "/")
	var undone strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			if raw, err := url.PathUnescape(path[i : i+3]); err == nil {
				if strings.Trim(raw, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~") == "" {
					undone.WriteString(raw)
				} else {
					undone.WriteString(strings.ToUpper(path[i : i+3]))
				}
				i += 2
				continue
			}
		}
		undone.WriteByte(path[i])
	}
	var kept []string
	parts := strings.Split(undone.String(), "/")
	for i, part := range parts {
		stem, _, _ := strings.Cut(part, ";")
		last := i == len(parts)-1
		switch {
		case stem == "..":
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
		case stem == "." || part == "":
		default:
			kept = append(kept, part)
			last = false
		}
		if last && len(kept) > 0 {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

// checkPath asserts the properties that hold for every path.
func checkPath(t *testing.T, raw string) {
	t.Helper()
	path, found, ok := canonicalPath(raw)
	if !ok {
		if path != "" {
			t.Fatalf("%q: refused with %q", raw, path)
		}
		return
	}
	if again, f, ok := canonicalPath(path); !ok || again != path || f != found {
		t.Fatalf("%q: %q becomes %q %v", raw, path, again, ok)
	}
	if lenient := normalised(raw); lenient != path {
		t.Fatalf("%q: accepted as %q, a lenient server reads %q", raw, path, lenient)
	}
	if once, err := url.PathUnescape(raw); err != nil || once != decode(path) {
		t.Fatalf("%q: decodes to %q, its canonical form %q to %q (%v)", raw, once, path, decode(path), err)
	} else if twice, err := url.PathUnescape(once); err == nil && twice != once {
		t.Fatalf("%q: decodes twice, to %q and %q", raw, once, twice)
	}
	strict, ok := pathOptions{}.accept(path, found)
	for bits := range 16 {
		o := pathOptions{bits&1 > 0, bits&2 > 0, bits&4 > 0, bits&8 > 0}
		relaxed, relaxedOK := o.accept(path, found)
		if relaxedOK {
			if again, ok := acceptRaw(o, relaxed); !ok || again != relaxed {
				t.Fatalf("%q with %+v: %q becomes %q %v", raw, o, relaxed, again, ok)
			}
		}
		if ok && !o.foldCase && !o.ignoreTrailingSlash && (!relaxedOK || relaxed != strict) {
			t.Fatalf("%q: strict %q, with %+v %q %v", raw, strict, o, relaxed, relaxedOK)
		}
	}
	if ok && (strings.ContainsAny(strict, `;\?#`) || strings.Contains(decode(strict), "//") ||
		strings.Count(decode(strict), "/") != strings.Count(strict, "/")) {
		t.Fatalf("%q: %q is not strict", raw, strict)
	}
}

func acceptRaw(o pathOptions, raw string) (string, bool) {
	path, found, ok := canonicalPath(raw)
	if !ok {
		return "", false
	}
	return o.accept(path, found)
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{
		"/", "/a/b?x", "/%2e%2e/a", "/a;x/..;/b", "/a%2fb", "/a%252fb", `/a\b`, "//", "*", "", "/%", "/é", "/%C3%A9", "/A/", "/%3b", "/%2F%2e", "/a%25b", "/x%2F..;", "/@/%40",
	} {
		f.Add(s)
	}
	tables := sites(f)
	f.Fuzz(func(t *testing.T, target string) {
		raw, _, ok := splitTarget(target)
		if ok {
			checkPath(t, raw)
		}
		for name, tab := range tables {
			m := tab.Match(get("h", target))
			if (m.Route == nil) == (m.Reason == "") {
				t.Fatalf("%s: %q: %+v", name, target, m)
			}
			for _, p := range m.Params {
				if p.Value == "" || !soundText(p.Value) {
					t.Fatalf("%s: %q: parameter %q", name, target, p.Value)
				}
			}
			// A gateway may hand over the lenient reading of the same target.
			if m.Reason == "path_ambiguous" || !ok {
				continue
			}
			if clean := tab.Match(get("h", normalised(raw))); outcome(clean) != outcome(m) {
				t.Fatalf("%s: %q: %s, as %q: %s", name, target, outcome(m), normalised(raw), outcome(clean))
			}
		}
	})
}

// TestURLSuite runs the URL parsing tests of web-platform-tests: where a target is accepted, a WHATWG parser reads
// the same path. The suite is no part of this repository: DURWARD_SUITES names where it is.
func TestURLSuite(t *testing.T) {
	root := os.Getenv("DURWARD_SUITES")
	if root == "" {
		t.Skip("left out: DURWARD_SUITES does not say where the suite url-wpt is")
	}
	data, err := os.ReadFile(filepath.Join(root, "url-wpt", "urltestdata.json"))
	if err != nil {
		t.Fatal(err)
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(data, &entries); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, entry := range entries {
		var c struct {
			Input, Protocol, Pathname string
			Failure                   bool
		}
		if entry[0] != '{' || json.Unmarshal(entry, &c) != nil {
			continue
		}
		for _, raw := range []string{c.Input, c.Pathname} {
			checkPath(t, raw)
		}
		target, absolute := originForm(c.Input)
		raw, _, ok := splitTarget(target)
		if !absolute || !ok {
			continue
		}
		checkPath(t, raw)
		path, _, ok := canonicalPath(raw)
		if !ok || c.Failure || c.Protocol != "http:" && c.Protocol != "https:" {
			continue
		}
		// A WHATWG parser keeps escapes as written, so both sides are brought to upper case and undone.
		if want := normalised(c.Pathname); want != path {
			t.Errorf("%q: accepted as %q, WHATWG reads %q", c.Input, path, c.Pathname)
		}
		compared++
	}
	if compared < 40 {
		t.Errorf("only %d targets were accepted and compared: does the test still read the suite?", compared)
	}
	t.Logf("%d of %d entries accepted and read the same way", compared, len(entries))
}

// originForm cuts scheme and authority off an absolute URL, as a client does before it sends the rest.
func originForm(input string) (string, bool) {
	for _, scheme := range []string{"http://", "https://"} {
		if rest, ok := strings.CutPrefix(input, scheme); ok {
			if i := strings.IndexAny(rest, `/?#\`); i >= 0 && rest[i] == '/' {
				return rest[i:], true
			}
		}
	}
	return "", false
}
