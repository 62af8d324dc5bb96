package policy

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
)

// largePolicy is a policy of n rules for services and roles, ten rules a role, and n/10 subjects with three roles each.
func largePolicy(t testing.TB, n int, paths bool) (*compiled, func(r *rand.Rand) *attribute.Facts) {
	var rules strings.Builder
	roles := max(n/10, 1)
	for i := range n {
		object := fmt.Sprintf("order%d", i)
		if paths {
			object = fmt.Sprintf("/service%d/items/:id", i)
		}
		fmt.Fprintf(&rules, "p, role%d, %s, %s\n", i%roles, object, []string{"GET", "POST"}[i%2])
	}
	for i := range n / 10 {
		for j := range 3 {
			fmt.Fprintf(&rules, "g, user:corp:%d, role%d\n", i, (i+j*7)%roles)
		}
	}
	s := setup{rules: rules.String()}
	if paths {
		s.model = rbacWith(matcher, "g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	p := s.mustCompile(t).policies[0]
	took := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d rules: built in %v, %d bytes a rule, %s", n, took, int64(after.HeapAlloc-before.HeapAlloc)/int64(n), p.plan.text)
	return p, func(r *rand.Rand) *attribute.Facts {
		i := r.IntN(n)
		object := fmt.Sprintf("order%d", i)
		if paths {
			object = fmt.Sprintf("/service%d/items/%d", i, r.IntN(1000))
		}
		f := asks{sub: fmt.Sprintf("user:corp:%d", i%roles), obj: object, act: []string{"GET", "POST"}[r.IntN(2)]}.facts()
		return &f
	}
}

// BenchmarkIndex decides random requests; half of them are allowed.
func BenchmarkIndex(b *testing.B) {
	for _, paths := range []bool{false, true} {
		for _, n := range []int{1000, 10000, 100000, 1000000} {
			b.Run(fmt.Sprintf("paths=%v/%d", paths, n), func(b *testing.B) {
				p, newFacts := largePolicy(b, n, paths)
				r := rand.New(rand.NewPCG(1, 2))
				requests := make([]*attribute.Facts, 1<<14)
				for i := range requests {
					requests[i] = newFacts(r)
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					_, _ = p.decide(b.Context(), requests[i&(len(requests)-1)])
					i++
				}
			})
		}
	}
}
