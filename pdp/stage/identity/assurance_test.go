package identity

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const stepUpYAML = `service: orders
match:
  - {host: orders.example.com}
identity: {mode: required, accept: [corp, partner, mesh], audiences: [orders-api]}
routes:
  - {name: class, path: /class, methods: [GET], assurance: {acr: [phrh, "urn:example:mfa"]}}
  - {name: methods, path: /methods, methods: [GET], assurance: {amr: [pwd, otp]}}
  - {name: age, path: /age, methods: [GET], assurance: {max_age: 10min}}
  - {name: all, path: /all, methods: [GET], scopes: [pay], assurance: {acr: [phr], amr: [hwk], max_age: 5s}}
  - {name: anybody, path: /anybody, methods: [GET], identity: optional, assurance: {acr: [phr]}}
`

// The routes of stepUpYAML by index.
const (
	routeClass = iota
	routeMethods
	routeAge
	routeAll
	routeAnybody
)

func stepUpWorld(t testing.TB) *world {
	t.Helper()
	return worldOf(t, bundleYAML, stepUpYAML)
}

const wantStepUp = `Bearer realm="orders", error="insufficient_user_authentication", ` +
	`error_description="The operation needs a stronger or more recent authentication"`

// testAssurance compares logins with what routes need, at the edges of each.
func testAssurance(t *testing.T) {
	w := stepUpWorld(t)
	ago := func(d time.Duration) int64 { return testNow.Add(-d).Unix() }
	enough := claims{"scope": "pay", "acr": "phr", "amr": []string{"hwk"}, "auth_time": ago(5 * time.Second)}
	with := func(change claims) claims {
		out := claims{}
		for _, m := range []claims{enough, change} {
			for name, value := range m {
				out[name] = value
			}
		}
		return out
	}
	for _, row := range []struct {
		name   string
		route  int
		claims claims
		lacks  string // "" where it is enough
		ask    string // further parameters of the challenge
	}{
		{"the first class", routeClass, claims{"acr": "phrh"}, "", ""},
		{"the last class", routeClass, claims{"acr": "urn:example:mfa"}, "", ""},
		{"another class", routeClass, claims{"acr": "urn:example:pwd"}, "acr", `, acr_values="phrh urn:example:mfa"`},
		{"the class in another case", routeClass, claims{"acr": "PHRH"}, "acr", `, acr_values="phrh urn:example:mfa"`},
		{"both classes in one text", routeClass, claims{"acr": "phrh urn:example:mfa"}, "acr", `, acr_values="phrh urn:example:mfa"`},
		{"no class", routeClass, nil, "acr", `, acr_values="phrh urn:example:mfa"`},

		{"the methods", routeMethods, claims{"amr": []string{"otp", "mfa", "pwd"}}, "", ""},
		{"one of the methods", routeMethods, claims{"amr": []string{"pwd"}}, "amr", ""},
		{"no methods", routeMethods, nil, "amr", ""},
		{"the methods of no login", routeMethods, claims{"amr": []string{}}, "amr", ""},

		{"now", routeAge, claims{"auth_time": ago(0)}, "", ""},
		{"just young enough", routeAge, claims{"auth_time": ago(10 * time.Minute)}, "", ""},
		{"a second too old", routeAge, claims{"auth_time": ago(10*time.Minute + time.Second)}, "a recent auth_time", `, max_age="600"`},
		{"no time", routeAge, nil, "auth_time", `, max_age="600"`},
		{"before all time", routeAge, claims{"auth_time": 0}, "a recent auth_time", `, max_age="600"`},
		{"ahead within the leeway", routeAge, claims{"auth_time": ago(-30 * time.Second)}, "", ""},
		{"ahead beyond the leeway", routeAge, claims{"auth_time": ago(-31 * time.Second)}, "an auth_time that has passed", `, max_age="600"`},

		{"all", routeAll, enough, "", ""},
		{"all but the class", routeAll, with(claims{"acr": "phrh"}), "acr", `, acr_values="phr", max_age="5"`},
		{"all but the methods", routeAll, with(claims{"amr": "pwd"}), "amr", `, acr_values="phr", max_age="5"`},
		{"all but the time", routeAll, with(claims{"auth_time": ago(6 * time.Second)}), "a recent auth_time", `, acr_values="phr", max_age="5"`},
		{"nothing", routeAll, claims{"scope": "pay"}, "acr, amr, auth_time", `, acr_values="phr", max_age="5"`},
		{"the class, where nobody must", routeAnybody, claims{"acr": "phr"}, "", ""},
		{"another class, where nobody must", routeAnybody, claims{"acr": "pwd"}, "acr", `, acr_values="phr"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := w.bearer(row.route, w.mint(t, row.claims))
			if row.lacks == "" {
				w.wantSubject(t, c, "user:corp:alice-marker")
				return
			}
			wantLacks(t, w, c, row.lacks, wantStepUp+row.ask)
			if c.Subject.Key != "user:corp:alice-marker" {
				t.Errorf("the record's subject is %q", c.Subject.Key)
			}
		})
	}
	t.Run("an authenticator without leeway", func(t *testing.T) {
		c := w.bearer(routeAge, w.mintPartner(t, "JWT", claims{"auth_time": ago(-time.Second)}))
		wantLacks(t, w, c, "an auth_time that has passed", wantStepUp+`, max_age="600"`)
	})
	t.Run("without a scope", func(t *testing.T) {
		c := w.bearer(routeAll, w.mint(t, nil))
		if w.evaluate(t, c) != pipeline.Stop || c.Verdict.Reason != verdict.ScopeMissing {
			t.Errorf("reason %s, want that the scope comes first", c.Verdict.Reason)
		}
	})
	t.Run("a certificate", func(t *testing.T) {
		c := w.newCase(routeAge)
		c.Request.Certificate = certificate("spiffe://example.com/ns/prod/web")
		wantLacks(t, w, c, "auth_time", wantStepUp+`, max_age="600"`)
	})
	t.Run("nobody, where nobody must be", func(t *testing.T) {
		w.wantDenied(t, w.newCase(routeAnybody), verdict.TokenMissing)
	})
	t.Run("a given subject", func(t *testing.T) {
		given := &subject.Subject{Key: "user:corp:eve", Kind: subject.KindUser, Authenticator: "corp", ID: "eve", AuthTime: testNow.Add(-time.Minute)}
		c := w.newCase(routeAge)
		c.Given = given
		w.wantSubject(t, c, "user:corp:eve")
		given.AuthTime = testNow.Add(-time.Hour)
		c = w.newCase(routeAge)
		c.Given = given
		wantLacks(t, w, c, "a recent auth_time", wantStepUp+`, max_age="600"`)
	})
}

// TestAssuranceOfKnownTokens: a token that was verified before is no token whose login is young enough.
func TestAssuranceOfKnownTokens(t *testing.T) {
	w := stepUpWorld(t)
	raw := w.mint(t, claims{"auth_time": testNow.Add(-9 * time.Minute).Unix(), "exp": testNow.Add(time.Hour).Unix()})
	w.wantSubject(t, w.bearer(routeAge, raw), "user:corp:alice-marker")
	later := w.bearer(routeAge, raw)
	later.Now = testNow.Add(2 * time.Minute)
	wantLacks(t, w, later, "a recent auth_time", wantStepUp+`, max_age="600"`)
	wantLacks(t, w, w.bearer(routeClass, raw), "acr", wantStepUp+`, acr_values="phrh urn:example:mfa"`)
	if hits := w.stage.cache.hits.Load(); hits != 5 { // every case is judged twice
		t.Errorf("%d hits of the cache", hits)
	}
}

// TestStepUpBesideProofs: where proofs are taken, the client is asked in the scheme that it used, and offered the other one.
func TestStepUpBesideProofs(t *testing.T) {
	w := worldOf(t, bundleYAML, strings.Replace(stepUpYAML, "audiences: [orders-api]", "audiences: [orders-api], dpop: {algorithms: [ES256]}", 1))
	wantLacks(t, w, w.bearer(routeAge, w.mint(t, nil)), "auth_time", wantStepUp+`, max_age="600", DPoP realm="orders", algs="ES256"`)
}

// wantLacks fails unless the case stops for its login, with a challenge that says what the route needs, and with what is
// lacking for the record alone.
func wantLacks(t testing.TB, w *world, c *pipeline.Case, lacks, challenge string) {
	t.Helper()
	if w.evaluate(t, c) != pipeline.Stop || c.Verdict.Reason != verdict.AssuranceLow || c.Verdict.HTTPStatus() != 401 {
		t.Fatalf("%d %s (%s), want a login that lacks %s", c.Verdict.HTTPStatus(), c.Verdict.Reason, c.Verdict.Explanation.Detail, lacks)
	}
	if detail := c.Verdict.Explanation.Detail; !strings.HasPrefix(detail, "authenticator ") || !strings.HasSuffix(detail, ": the login lacks "+lacks) {
		t.Errorf("detail %q, want that it lacks %s", detail, lacks)
	}
	want := []verdict.Field{{Name: "www-authenticate", Value: challenge}}
	if got := c.Verdict.Obligations.SetResponse; !slices.Equal(got, want) {
		t.Errorf("response fields %q, want %q", got, want)
	}
	wantNoLeak(t, c)
}

// TestStepUpChallenges writes the two examples of RFC 9470, sections 3 and 6.2, but for their description, which is the
// server's own, and the realm.
func TestStepUpChallenges(t *testing.T) {
	s := &format.Service{Name: "orders"}
	for want, a := range map[string]assurance{
		`, acr_values="myACR"`: {acr: []string{"myACR"}},
		`, max_age="5"`:        {maxAge: 5 * time.Second},
	} {
		if got := assuranceChallenge(s, &a); got != wantStepUp+want {
			t.Errorf("%s, want %s", got, wantStepUp+want)
		}
	}
	s.Identity.ResourceMetadata = "https://a.example/.well-known/oauth-protected-resource"
	if got := assuranceChallenge(s, &assurance{amr: []string{"otp"}}); got != wantStepUp+`, resource_metadata="`+s.Identity.ResourceMetadata+`"` {
		t.Error(got)
	}
}

func TestAssuranceProblems(t *testing.T) {
	files := map[string]string{"bundle.yaml": bundleYAML, "services/orders/service.yaml": stepUpYAML}
	corp := newWorld(t)
	files["keys/corp.jwks.json"], files["keys/partner.jwks.json"] = corp.files["keys/corp.jwks.json"], corp.files["keys/partner.jwks.json"]
	const service = "services/orders/service.yaml"
	for name, row := range map[string]struct{ before, after, want string }{
		"sound":      {"max_age: 5s", "max_age: 366d", ""},
		"nothing":    {"{max_age: 10min}", "{}", service + ":8:45: assurance asks for nothing: write acr, amr or max_age"},
		"at no time": {"{max_age: 10min}", "{max_age: 0s}", service + ":8:66: max_age is a whole number of seconds, from 1s to 366d"},
		// Zero is not the lack of a max_age: it would ask for a new login each time.
		"at no time, beside a class": {"max_age: 5s", "max_age: 0s", service + ":9:105: max_age is a whole number of seconds, from 1s to 366d"},
		"parts of seconds": {"max_age: 5s", "max_age: 1500ms",
			service + ":9:105: max_age is a whole number of seconds, from 1s to 366d"},
		"too long": {"max_age: 5s", "max_age: 367d", service + ":9:105: max_age is a whole number of seconds, from 1s to 366d"},
		"a space": {"[phrh,", `["ph rh",`,
			service + `:6:67: "ph rh" is no name of a login's strength: 1 to 256 printable ASCII characters without space, quote and backslash`},
		"a quote":     {"[pwd, otp]", `[pwd, 'o"tp']`, service + `:7:76: "o\"tp" is no name of a login's strength: 1 to 256 printable ASCII characters without space, quote and backslash`},
		"twice":       {"[pwd, otp]", "[pwd, pwd]", service + `:7:76: "pwd" stands twice`},
		"too many":    {"[pwd, otp]", "[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]", service + ":7:65: more than 16 names"},
		"no tokens":   {"accept: [corp, partner, mesh], audiences: [orders-api]", "accept: [mesh]", service + ":6:49: no token is accepted here, and only tokens tell of a login"},
		"no identity": {"identity: optional", "identity: none", service + ":10:69: no token is accepted here, and only tokens tell of a login"},
	} {
		t.Run(name, func(t *testing.T) {
			got := problemsOf(t, replaced(t, files, service, row.before, row.after))
			if row.want == "" && len(got) > 0 || row.want != "" && (len(got) == 0 || got[0] != row.want) {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}
