package identity

import (
	"runtime"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// A header full of dots once cost golang-jwt memory in proportion to it (CVE-2025-30204).
func TestHeaderAllocation(t *testing.T) {
	w := newWorld(t)
	t.Run("token-header-alloc", func(t *testing.T) {
		for _, row := range []struct {
			name, value string
			reason      verdict.Reason
		}{
			{"dots", "Bearer " + strings.Repeat(".", 1_000_000), verdict.TokenTooLong},
			{"dots of a token's length", "Bearer " + strings.Repeat(".", 8000), verdict.TokenMalformed},
			{"commas", "Bearer " + strings.Repeat(",", 1_000_000), verdict.CredentialsClash},
			{"commas behind another scheme", "Basic " + strings.Repeat(",", 1_000_000), verdict.TokenMissing},
			{"spaces", "Bearer x" + strings.Repeat(" ", 1_000_000) + "y", verdict.CredentialsMalformed},
		} {
			t.Run(row.name, func(t *testing.T) {
				w.wantDenied(t, w.authorization(routeRead, row.value), row.reason)
				if n := w.bytesPerRun(t, row.value); n > 512 {
					t.Errorf("%d bytes allocated", n)
				}
			})
		}
	})
}

// bytesPerRun measures what one evaluation allocates.
func (w *world) bytesPerRun(t *testing.T, value string) uint64 {
	const runs = 50
	c, context := w.authorization(routeRead, value), t.Context()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		c.Verdict = verdict.Verdict{}
		if outcome, err := w.stage.Evaluate(context, c); outcome != pipeline.Stop || err != nil {
			t.Fatal(outcome, err)
		}
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / runs
}

// What an attacker can send without end must stay cheap.
func TestRefusalAllocations(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct {
		name  string
		c     *pipeline.Case
		limit float64
	}{
		{"missing", w.newCase(routeRead), 1},
		{"another scheme", w.authorization(routeRead, "Basic YTpi"), 1},
		{"two lines", w.authorization(routeRead, "Bearer a", "Bearer b"), 1},
		{"no token", w.bearer(routeRead, strings.Repeat("x", 100)), 3},
		{"overlong", w.bearer(routeRead, strings.Repeat("x", 9000)), 3},
		{"anonymous", w.newCase(routeBrowse), 0},
		{"public", w.bearer(routeHealth, "x"), 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			context := t.Context()
			got := testing.AllocsPerRun(100, func() {
				row.c.Verdict = verdict.Verdict{}
				if _, err := w.stage.Evaluate(context, row.c); err != nil {
					t.Fatal(err)
				}
			})
			if got > row.limit {
				t.Errorf("%v allocations, want at most %v", got, row.limit)
			}
		})
	}
}

func FuzzAuthorization(f *testing.F) {
	w := newWorld(f)
	good := w.mint(f, nil)
	for _, seed := range []string{
		"", "Bearer", "Bearer " + good, "bearer  " + good + " ", "Bearer " + good + "," + good, "Basic YTpi", "Basic YTpi, Bearer " + good, "Bearer a.b.c",
		"Bearer " + w.mint(f, claims{"exp": 1}), "\tBearer\x00x", "Bearer ...", "DPoP x", "Bearer " + good[:len(good)-1],
	} {
		f.Add(seed, "a=1")
	}
	f.Add("Bearer "+good, "access%5Ftoken=x")
	f.Fuzz(func(t *testing.T, value, query string) {
		c := w.authorization(routeRead, value)
		c.Match.Query = query
		outcome, err := w.stage.Evaluate(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		fields := c.Verdict.Obligations.SetResponse
		if outcome == pipeline.Continue {
			scheme, raw, _ := strings.Cut(strings.Trim(value, " \t"), " ")
			if !strings.EqualFold(scheme, "Bearer") || strings.TrimLeft(raw, " ") != good || c.Subject.Key != alice || len(fields) != 0 {
				t.Fatalf("%q is %q", value, c.Subject.Key)
			}
			return
		}
		if c.Subject.Key != subject.AnonymousKey || !c.Verdict.Reason.Known() {
			t.Fatalf("subject %q, reason %q", c.Subject.Key, c.Verdict.Reason)
		}
		if len(fields) != 1 || fields[0].Value != wantMissing && fields[0].Value != wantRequest && fields[0].Value != wantToken {
			t.Fatalf("response fields %q", fields)
		}
		wantNoLeak(t, c)
	})
}
