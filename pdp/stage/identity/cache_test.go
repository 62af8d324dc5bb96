package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// compiledBy compiles the files for a stage.
func compiledBy(t testing.TB, stage *Stage, files map[string]string) *pipeline.Service {
	t.Helper()
	b, s := load(t, files)
	compiled, problems := stage.Compile(b, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return &pipeline.Service{Parts: map[string]any{Name: compiled}}
}

// answer is what a decision is made of.
func answerOf(t testing.TB, w *world, stage *Stage, service *pipeline.Service, raw string, now time.Time) string {
	t.Helper()
	c := w.bearer(routeWrite, raw)
	c.Service, c.Now = service, now
	c.Service.Route = w.service.Route
	outcome, err := stage.Evaluate(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s %q %+v %+v", outcome, c.Verdict.Reason, c.Verdict.Explanation.Detail, c.Subject, c.Verdict.Obligations)
}

// T29: whatever changes between two uses of a token, a cache that saw it before answers like a stage without one.
func TestCacheChangesNoAnswer(t *testing.T) {
	t.Run("T29", func(t *testing.T) {
		w := newWorld(t)
		cachedStage, plain := New(Options{TokenCache: 1 << 20}), New(Options{})
		otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		other := func(before, after string, path string) map[string]string {
			return replaced(t, w.files, path, before, after)
		}
		rotated := maps.Clone(w.files)
		rotated["keys/corp.jwks.json"] = jwks(t, signer(t, otherKey, "ES256", "corp-2"))
		sameKid := maps.Clone(w.files)
		sameKid["keys/corp.jwks.json"] = jwks(t, signer(t, otherKey, "ES256", "corp-1"))
		renamed := maps.Clone(w.files)
		renamed["keys/corp.jwks.json"] = jwks(t, signer(t, w.corpKey, "ES256", "corp-2"))
		variants := []map[string]string{
			w.files, rotated, sameKid, renamed,
			other("[orders-api, refunds-api]", "[refunds-api]", "services/orders/service.yaml"),
			other("accept: [corp, partner,", "accept: [partner,", "services/orders/service.yaml"),
			other("allow: [reader, writer]", "allow: [writer]", "bundle.yaml"),
			other("tenant: tenant", "tenant: org", "bundle.yaml"),
			other("algorithms: [Ed25519]", "algorithms: [EdDSA]", "bundle.yaml"),
			other("max_lifetime: 1h", "max_lifetime: 1min", "bundle.yaml"),
			other("types: [at+jwt, JWT]", "types: [at+jwt]", "bundle.yaml"),
			other("name: acme", "name: other", "bundle.yaml"),
			other(`scopes: ["orders:read", "orders:write"]`, `scopes: ["orders:read"]`, "services/orders/service.yaml"),
		}
		var tokens []string
		for _, changes := range []claims{
			{}, {"scope": "orders:read orders:write"}, {"aud": "refunds-api", "scope": "orders:read"}, {"tenant": "a", "org": "b"},
			{"realm_access": claims{"roles": []string{"reader", "writer"}}, "scope": "orders:read orders:write"},
			{"nbf": testNow.Unix() + 60}, {"exp": testNow.Unix() + 7200}, {"cnf": claims{"x5t#S256": "x"}}, {"tenant": 7},
		} {
			tokens = append(tokens, w.mint(t, changes), w.mintPartner(t, "JWT", changes))
		}
		services, plainly := make([]*pipeline.Service, len(variants)), make([]*pipeline.Service, len(variants))
		for i, files := range variants {
			services[i], plainly[i] = compiledBy(t, cachedStage, files), compiledBy(t, plain, files)
		}
		r := mathrand.New(mathrand.NewPCG(1, 2))
		different := map[string]bool{}
		for range 20_000 {
			i, raw := r.IntN(len(variants)), tokens[r.IntN(len(tokens))]
			now := testNow.Add(time.Duration(r.IntN(1200)-300) * time.Second)
			got, want := answerOf(t, w, cachedStage, services[i], raw, now), answerOf(t, w, plain, plainly[i], raw, now)
			if got != want {
				t.Fatalf("variant %d:\n%s\n%s", i, got, want)
			}
			different[want] = true
		}
		stats := cachedStage.CacheStats()
		if stats.Hits < 5_000 || len(different) < 30 {
			t.Errorf("%d hits, %d different answers: too little happened", stats.Hits, len(different))
		}
		t.Logf("%d hits, %d misses, %d different answers", stats.Hits, stats.Misses, len(different))
	})
}

// TestCachedTokensFollowTheLeeway: a leeway of zero and one that is left out have the same definition, and so share entries.
func TestCachedTokensFollowTheLeeway(t *testing.T) {
	w := stepUpWorld(t)
	strict := replaced(t, w.files, "bundle.yaml", "kind: jwt\n    issuer: https://idp", "kind: jwt\n    leeway: 0s\n    issuer: https://idp")
	offered := 0
	stage := New(Options{TokenCache: 1 << 20, KeyOffered: func() { offered++ }})
	parts := []*pipeline.Service{compiledBy(t, stage, w.files), compiledBy(t, stage, strict)}
	raw, err := w.corp.SignWith(map[string]any{"typ": "at+jwt", "jku": "https://elsewhere.example"}, goodClaims(claims{"auth_time": testNow.Unix() + 10}))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for i, want := range []verdict.Reason{"", verdict.AssuranceLow} {
			c := w.bearer(routeAge, raw)
			parts[i].Route = w.service.Route
			c.Service = parts[i]
			if must(stage.Evaluate(t.Context(), c)) == pipeline.Continue != (want == "") || c.Verdict.Reason != want {
				t.Errorf("service %d: %q, want %q", i, c.Verdict.Reason, want)
			}
		}
	}
	if stats := stage.CacheStats(); stats.Hits != 3 || stats.Entries != 1 || offered != 4 {
		t.Errorf("%+v, %d keys offered, want 3 hits of one entry and 4", stats, offered)
	}
}

// TestCacheKeysHoldEveryInput: two definitions that differ in any field never share an entry.
func TestCacheKeysHoldEveryInput(t *testing.T) {
	sum := func(name string, a format.Authenticator, names ...string) [32]byte {
		t.Helper()
		got, err := definitionsOf(&format.Bundle{Name: name, Authenticators: map[string]format.Authenticator{"corp": a, "co": {}, "rp": {}}}, names)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	seen := map[[32]byte]string{}
	add := func(what string, key [32]byte) {
		t.Helper()
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s share a key", what, other)
		}
		seen[key] = what
	}
	add("nothing", sum("acme", format.Authenticator{}, "corp"))
	add("another bundle", sum("acm", format.Authenticator{}, "corp"))
	add("letters moved from the bundle", sum("ac", format.Authenticator{}, "corp"))
	add("no authenticator", sum("acme", format.Authenticator{}))
	add("two authenticators", sum("acme", format.Authenticator{}, "co", "rp"))
	add("in another order", sum("acme", format.Authenticator{}, "rp", "co"))
	fill(t, reflect.TypeFor[format.Authenticator](), func(what string, a reflect.Value) {
		add(what, sum("acme", a.Interface().(format.Authenticator), "corp"))
	})
	if len(seen) < 18 {
		t.Errorf("%d keys; was every field filled?", len(seen))
	}
	definitions := sum("acme", format.Authenticator{}, "corp")
	a, b := sumOf("a"), sumOf("b")
	if keyOf(definitions, a) == keyOf(definitions, b) || keyOf(definitions, a) == keyOf(sum("acme", format.Authenticator{}), a) {
		t.Error("tokens or definitions share an entry")
	}
}

// fill calls with one value for each field of a struct, at any depth, in which that field alone is set.
func fill(t *testing.T, root reflect.Type, with func(what string, value reflect.Value)) {
	t.Helper()
	var walk func(what string, typ reflect.Type, wrap func(reflect.Value) reflect.Value)
	walk = func(what string, typ reflect.Type, wrap func(reflect.Value) reflect.Value) {
		v := reflect.New(typ).Elem()
		switch typ.Kind() {
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(1)
		case reflect.Slice:
			walk(what+"[]", typ.Elem(), func(e reflect.Value) reflect.Value {
				list := reflect.MakeSlice(typ, 1, 1)
				list.Index(0).Set(e)
				return wrap(list)
			})
			return
		case reflect.Pointer:
			walk(what, typ.Elem(), func(e reflect.Value) reflect.Value {
				p := reflect.New(typ.Elem())
				p.Elem().Set(e)
				return wrap(p)
			})
			return
		case reflect.Struct:
			for i := range typ.NumField() {
				if !typ.Field(i).IsExported() {
					continue
				}
				walk(what+"."+typ.Field(i).Name, typ.Field(i).Type, func(e reflect.Value) reflect.Value {
					s := reflect.New(typ).Elem()
					s.Field(i).Set(e)
					return wrap(s)
				})
			}
			return
		default:
			t.Fatalf("%s: a %s, which this test cannot fill", what, typ.Kind())
		}
		with(what, wrap(v))
	}
	walk("", root, func(v reflect.Value) reflect.Value { return v })
}

// TestCacheKeepsNoFailures: what is refused is looked at anew each time, and takes no room.
func TestCacheKeepsNoFailures(t *testing.T) {
	w := newWorld(t)
	good := w.mint(t, nil)
	for _, raw := range []string{
		"x", "a.b.c", good[:len(good)-4] + "AAAA", w.mint(t, claims{"iss": "https://else.example.com"}), w.mint(t, claims{"aud": "x"}), w.mint(t, claims{"exp": 1}),
		w.mint(t, claims{"tenant": 1}), strings.Repeat("x", 9000),
	} {
		c := w.bearer(routeRead, raw)
		if w.evaluate(t, c) != pipeline.Stop {
			t.Errorf("%.20s: accepted", raw)
		}
	}
	if stats := w.stage.CacheStats(); stats.Entries != 0 || stats.Hits != 0 {
		t.Errorf("%+v", stats)
	}
	w.wantSubject(t, w.bearer(routeRead, good), alice)
	if stats := w.stage.CacheStats(); stats.Entries != 1 || stats.Hits != 1 {
		t.Errorf("%+v", stats)
	}
	c := w.bearer(routeRead, good)
	c.Now = testNow.Add(300 * time.Second)
	w.wantDenied(t, c, verdict.TokenExpired)
}

// TestCacheIsBounded: a flood of good tokens pushes others out and takes no more than its bytes, and those in use stay, however the
// claims are made.
func TestCacheIsBounded(t *testing.T) {
	const size, flood = 2 << 20, 3000
	long := make([]any, 300)
	for i := range long {
		long[i] = claims{"a": i}
	}
	for name, shape := range map[string]claims{
		"usual":         {"realm_access": claims{"roles": []string{"reader", "writer", "x"}, "more": claims{"a": 1, "b": []int{1, 2, 3}}}},
		"small objects": {"x": long[:100]},
		"numbers":       {"x": make([]int, 500)},
		"one text":      {"x": strings.Repeat("x", 4000)},
		"bare":          {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.stage = New(Options{TokenCache: size})
			w.service.Parts = compiledBy(t, w.stage, w.files).Parts
			used := w.mint(t, claims{"sub": "used"})
			use := func(raw string) {
				if c := w.bearer(routeRead, raw); must(w.stage.Evaluate(t.Context(), c)) != pipeline.Continue {
					t.Fatal(c.Verdict.Reason)
				}
			}
			use(used)
			before := heap()
			for i := range flood {
				changes := claims{"jti": fmt.Sprint(i)}
				maps.Copy(changes, shape)
				use(w.mint(t, changes))
				if i%20 == 0 {
					use(used)
				}
			}
			grown, stats := heap()-before, w.stage.CacheStats()
			if stats.Bytes > size || stats.Entries < 30 || stats.Entries >= flood {
				t.Errorf("%+v", stats)
			}
			if grown > stats.Bytes {
				t.Errorf("%d bytes on the heap are accounted for as %d", grown, stats.Bytes)
			}
			if stats.Entries > 400 && stats.Hits < flood/20-1 {
				t.Errorf("%d hits: what is in use was pushed out", stats.Hits)
			}
			t.Logf("%d entries, %d bytes each on the heap, %d accounted for", stats.Entries, grown/int64(stats.Entries), stats.Bytes/int64(stats.Entries))
		})
	}
}

func must(outcome pipeline.Outcome, err error) pipeline.Outcome {
	if err != nil {
		panic(err)
	}
	return outcome
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestCacheHitAllocations: a known token costs one allocation, for what is judged.
func TestCacheHitAllocations(t *testing.T) {
	w := newWorld(t)
	c, context := w.bearer(routeRead, w.mint(t, claims{"realm_access": claims{"roles": []string{"reader"}}, "scope": "a b"})), t.Context()
	got := testing.AllocsPerRun(100, func() {
		if must(w.stage.Evaluate(context, c)) != pipeline.Continue {
			t.Fatal(c.Verdict.Reason)
		}
	})
	if got > 1 {
		t.Errorf("%v allocations, want at most 1", got)
	}
}

// TestConcurrentCache is for the race detector: many readers and writers of few tokens.
func TestConcurrentCache(t *testing.T) {
	w := newWorld(t)
	w.stage = New(Options{TokenCache: 64 << 10})
	w.service.Parts = compiledBy(t, w.stage, w.files).Parts
	var tokens []string
	for i := range 64 {
		tokens = append(tokens, w.mint(t, claims{"sub": fmt.Sprint("s", i)}))
	}
	done := make(chan string, 8)
	for g := range 8 {
		go func() {
			r, wrong := mathrand.New(mathrand.NewPCG(1, uint64(g))), ""
			for range 500 {
				i := r.IntN(len(tokens))
				c := w.bearer(routeRead, tokens[i])
				if must(w.stage.Evaluate(t.Context(), c)) != pipeline.Continue || c.Subject.ID != fmt.Sprint("s", i) {
					wrong = c.Subject.ID
				}
			}
			done <- wrong
		}()
	}
	for range 8 {
		if wrong := <-done; wrong != "" {
			t.Errorf("another subject: %s", wrong)
		}
	}
}

// TestConfirm: a key that left the set, or its place, verifies nothing any more.
func TestConfirm(t *testing.T) {
	w := newWorld(t)
	v, err := token.NewVerifier(token.Config{Issuer: "https://idp.example.com", Algorithms: []string{"ES256"}})
	if err != nil {
		t.Fatal(err)
	}
	set := func(s *token.Signer) *token.KeySet {
		keys, err := token.ParseKeySet([]byte(jwks(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	parsed, err := token.Parse(w.mint(t, nil), 0)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := v.Verify(parsed, set(w.corp))
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{
		"the same":         v.Confirm(verified, set(w.corp)) == nil,
		"another kid":      v.Confirm(verified, set(signer(t, w.corpKey, "ES256", "corp-2"))) == nil,
		"under the kid":    v.Confirm(verified, set(signer(t, otherKey, "ES256", "corp-1"))) == nil,
		"no keys any more": v.Confirm(verified, nil) == nil,
	}
	if difference := cmp.Diff(map[string]bool{"the same": true, "another kid": false, "under the kid": false, "no keys any more": false}, got); difference != "" {
		t.Error(difference)
	}
}
