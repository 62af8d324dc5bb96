package introspection

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"testing"
	"testing/quick"
	"time"

	"github.com/durward-pdp/durward/pdp/token"
)

// TestRemembered: for how long an answer is used.
func TestRemembered(t *testing.T) {
	exp := func(d time.Duration) string {
		return fmt.Sprintf(`{"active":true,"sub":"alice","exp":%d}`, testNow.Add(d).Unix())
	}
	for _, row := range []struct {
		name    string
		answer  string
		until   time.Duration // the answer is used a nanosecond before, and not then; 0 for never
		changes func(*Config)
	}{
		{"without an end", `{"active":true,"sub":"alice"}`, 30 * time.Second, nil},
		{"that ends later", exp(time.Hour), 30 * time.Second, nil},
		{"that ends soon", exp(10 * time.Second), 10 * time.Second, nil},
		{"that has ended", exp(0), 0, nil},
		{"with an end that is none", `{"active":true,"sub":"alice","exp":"x"}`, 30 * time.Second, nil}, // no check lets it pass
		{"active, never", `{"active":true,"sub":"alice"}`, 0, func(c *Config) { c.TTL = 0 }},
		{"inactive", `{"active":false}`, 5 * time.Second, nil},
		{"inactive, never", `{"active":false}`, 0, func(c *Config) { c.NegativeTTL = 0 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			if row.changes != nil {
				row.changes(&w.config)
			}
			w.answers(row.answer)
			e := w.open(t)
			first, err := w.ask(t, e, "tok-1")
			if err != nil {
				t.Fatal(err)
			}
			if row.until == 0 {
				_, _ = w.ask(t, e, "tok-1")
				w.wantCalls(t, 2)
				return
			}
			w.advance(row.until - time.Nanosecond)
			if again, err := w.ask(t, e, "tok-1"); err != nil || again.Active != first.Active {
				t.Errorf("%v, error %v", again, err)
			}
			w.wantCalls(t, 1)
			w.advance(time.Nanosecond)
			_, _ = w.ask(t, e, "tok-1")
			w.wantCalls(t, 2)
		})
	}
}

// TestClockPutBack: how old an answer is is unknown then.
func TestClockPutBack(t *testing.T) {
	w := newWorld(t)
	e := w.open(t)
	w.wantActive(t, e, "tok-1")
	w.advance(-time.Second)
	w.wantActive(t, e, "tok-1")
	w.wantCalls(t, 2)
}

// TestRevoked: an answer that changed is seen when the old one is too old, in both directions.
func TestRevoked(t *testing.T) {
	w := newWorld(t)
	e := w.open(t)
	w.wantActive(t, e, "tok-1")
	w.answers(`{"active":false}`)
	w.wantActive(t, e, "tok-1")
	w.advance(30 * time.Second)
	if a, err := w.ask(t, e, "tok-1"); err != nil || a.Active {
		t.Errorf("%v, error %v", a, err)
	}
	w.answers(`{"active":true,"sub":"alice"}`)
	w.advance(5 * time.Second)
	w.wantActive(t, e, "tok-1")
	w.wantCalls(t, 3)
}

// TestCacheKeyConfusion: two questions that differ in anything never share an answer.
func TestCacheKeyConfusion(t *testing.T) {
	t.Run("cache-key-confusion", func(t *testing.T) {
		base := Config{
			Bundle: "acme", Authenticator: "idp", URL: "https://idp.example.com/i", Issuer: "https://idp.example.com", ClientID: "a",
			Authentication: Basic, Secret: "s", KeyID: "k", Audience: "u", TTL: 1, NegativeTTL: 2, Timeout: 3,
		}
		seen := map[key]string{base.definition().of("tok-1"): "the base", base.definition().of("u"): "another token"}
		fields := reflect.TypeFor[Config]()
		for i := range fields.NumField() {
			changed := base
			switch v := reflect.ValueOf(&changed).Elem().Field(i); v.Kind() {
			case reflect.String:
				v.SetString(v.String() + "x")
			case reflect.Int64:
				v.SetInt(v.Int() + 10)
			default:
				t.Fatalf("a field of kind %s is not looked at", v.Kind())
			}
			k := changed.definition().of("tok-1")
			if other, twice := seen[k]; twice {
				t.Errorf("%s shares an answer with %s", fields.Field(i).Name, other)
			}
			seen[k] = fields.Field(i).Name
		}
		property := func(a, b Config, s, u string) bool {
			same := a == b && s == u
			return (a.definition().of(s) == b.definition().of(u)) == same
		}
		if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
			t.Error(err)
		}
		// What one field ends with the next one may begin with: bytes that move between neighbours make another key.
		moved := func(text string, cut, other uint8) bool {
			i, j := int(cut)%(len(text)+1), int(other)%(len(text)+1)
			a, b := base, base
			a.Bundle, a.Authenticator = text[:i], text[i:]
			b.Bundle, b.Authenticator = text[:j], text[j:]
			return (a.definition() == b.definition()) == (i == j)
		}
		if err := quick.Check(moved, &quick.Config{MaxCount: 2000}); err != nil {
			t.Error(err)
		}
	})
}

// TestNothingIsShared: the same token, asked about under two configurations of one server, is two questions.
func TestNothingIsShared(t *testing.T) {
	w := newWorld(t)
	w.secrets["other/idp"], w.secrets["acme/second"] = "x", "y"
	w.wantActive(t, w.open(t), "tok-1")
	for i, change := range []func(*Config){
		func(c *Config) { c.Bundle = "other" }, func(c *Config) { c.ClientID = "second" }, func(c *Config) { c.URL += "?x" },
		func(c *Config) { c.Secret = "second" }, func(c *Config) { c.Issuer += "/" }, func(c *Config) { c.Authenticator = "idp2" },
		func(c *Config) { c.TTL = time.Minute },
	} {
		before := w.config
		change(&w.config)
		w.wantActive(t, w.open(t), "tok-1")
		w.wantCalls(t, i+2)
		w.config = before
	}
	// A bundle that is loaded again and says the same goes on with what is known, and with the calls and the circuit.
	if one, other := w.open(t), w.open(t); one != other {
		t.Error("two endpoints of one configuration")
	}
	runtime.GC()
	w.wantActive(t, w.open(t), "tok-1")
	w.wantCalls(t, 8)
}

// TestEndpointsAreForgotten: a server that no bundle names any more leaves nothing behind.
func TestEndpointsAreForgotten(t *testing.T) {
	w := newWorld(t)
	for i := range 100 {
		w.config.Issuer = fmt.Sprintf("https://%d.example.com", i)
		if e := w.open(t); e.Config().Issuer != w.config.Issuer {
			t.Fatal("another endpoint")
		}
		runtime.GC()
	}
	w.client.mu.Lock()
	defer w.client.mu.Unlock()
	if n := len(w.client.endpoints); n > 3 {
		t.Errorf("%d endpoints are kept", n)
	}
}

// TestBounds: neither answers nor tokens that nobody knows make a client larger than allowed, and a flood of the latter pushes out
// none of the former.
func TestBounds(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options) { o.MaxAnswers, o.MaxInactive, o.MaxBytes = 10, 5, 1<<20 })
	e := w.open(t)
	for i := range 10 {
		w.wantActive(t, e, tokenName(i))
	}
	w.answers(`{"active":false}`)
	for i := range 50 {
		_, _ = w.ask(t, e, "junk-"+tokenName(i))
	}
	if active, inactive, bytes := w.client.Use(); active != 10 || inactive != 5 || bytes > 1<<20 {
		t.Errorf("%d active, %d inactive, %d bytes", active, inactive, bytes)
	}
	w.wantActive(t, e, tokenName(0)) // now the one used last
	w.wantCalls(t, 60)
	w.answers(`{"active":true,"sub":"alice"}`)
	w.wantActive(t, e, "one-more")
	w.wantActive(t, e, tokenName(0))
	w.wantCalls(t, 61)
	w.wantActive(t, e, tokenName(1)) // which had to leave
	w.wantCalls(t, 62)
}

// TestBytes: large answers are bounded by their size.
func TestBytes(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options) { o.MaxBytes = 100_000 })
	e := w.open(t)
	w.replies(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(out, `{"active":true,"sub":"alice","a":%q}`, make([]byte, 2500)) // \x00 takes 4 bytes here, and is no JSON
	})
	w.wantError(t, e, "tok-1", Malformed)
	w.replies(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(out, `{"active":true,"sub":"alice","a":"%020000d"}`, 1)
	})
	for i := range 20 {
		w.wantActive(t, e, tokenName(i))
	}
	if active, _, bytes := w.client.Use(); active < 2 || active > 5 || bytes > 100_000 {
		t.Errorf("%d active, %d bytes", active, bytes)
	}
	// One that is larger than all of it pushes nobody out.
	w.replies(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(out, `{"active":true,"sub":"alice","a":[%s]}`, repeat("1", 10_000))
	})
	before, _, _ := w.client.Use()
	w.wantActive(t, e, "huge")
	if active, _, _ := w.client.Use(); active != before {
		t.Errorf("%d answers of %d are left", active, before)
	}
	tiny := newWorld(t, func(_ *world, o *Options) { o.MaxBytes = 600 })
	tiny.wantActive(t, tiny.open(t), "tok-1")
	if active, _, bytes := tiny.client.Use(); active != 0 || bytes != 0 {
		t.Errorf("an answer beyond the bound is kept: %d, %d bytes", active, bytes)
	}
}

// TestSizeOf: the estimate is no less than what claims take.
func TestSizeOf(t *testing.T) {
	for name, text := range map[string]string{
		"plain":         `{"active":true,"sub":"alice","scope":"a b c","aud":["x","y"],"exp":1767225600}`,
		"empty lists":   `{"a":[` + repeat("[]", 2000) + `]}`,
		"empty objects": `{"a":[` + repeat("{}", 2000) + `]}`,
		"numbers":       `{"a":[` + repeat("1", 4000) + `]}`,
		"short texts":   `{"a":[` + repeat(`"a"`, 4000) + `]}`,
		"objects":       `{"a":[` + repeat(`{"a":{"b":1}}`, 1000) + `]}`,
	} {
		const copies = 20
		held := make([]token.Claims, copies)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range held {
			claims, err := token.ParseClaims([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			held[i] = claims
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		taken := int64(after.HeapAlloc-before.HeapAlloc) / copies
		if estimate := overhead + sizeOf(held[0].Members()); estimate < taken {
			t.Errorf("%s: estimated %d bytes, taken %d", name, estimate, taken)
		}
		runtime.KeepAlive(held)
	}
}

func repeat(text string, n int) string {
	out := make([]byte, 0, n*(len(text)+1))
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, text...)
	}
	return string(out)
}

// TestHitAllocations: a remembered answer costs two, of the hash that finds it.
func TestHitAllocations(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options) { o.Observe, o.Random = nil, rand.Reader })
	e := w.open(t)
	w.wantActive(t, e, "tok-1")
	ctx := t.Context()
	allocations := testing.AllocsPerRun(100, func() {
		if a, err := e.Introspect(ctx, "tok-1"); err != nil || !a.Active {
			t.Fatal(err)
		}
	})
	if allocations > 2 {
		t.Errorf("%v allocations", allocations)
	}
	w.wantCalls(t, 1)
}

// BenchmarkRemembered is one decision's question about a token that is known.
func BenchmarkRemembered(b *testing.B) {
	client := New(Options{Clock: func() time.Time { return testNow }})
	e, problems := client.Open(Config{
		Bundle: "acme", Authenticator: "idp", URL: "https://idp.example.com/introspect", Issuer: "https://idp.example.com",
		ClientID: "durward", Authentication: Basic, Secret: "idp", TTL: time.Minute, Timeout: time.Second,
	})
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	claims, err := token.ParseClaims([]byte(`{"active":true,"sub":"alice"}`))
	if err != nil {
		b.Fatal(err)
	}
	raw := repeat("opaque", 8)
	client.remember(e.definition.of(raw), &e.config, Answer{Active: true, Claims: claims}, testNow)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if a, err := e.Introspect(b.Context(), raw); err != nil || !a.Active {
			b.Fatal(a, err)
		}
	}
}
