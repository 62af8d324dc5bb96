//go:build !race

// The race detector allocates and empties pools.

package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestAllocations: a decision by an index that leaves no condition to evaluate allocates nothing, whether it allows or
// denies and however many rules there are.
func TestAllocations(t *testing.T) {
	for _, paths := range []bool{false, true} {
		for _, n := range []int{200, 2000} {
			p, newFacts := largePolicy(t, n, paths)
			ctx, r := t.Context(), rand.New(rand.NewPCG(1, 1))
			allowed := map[bool]int{}
			for range 40 {
				f := newFacts(r)
				allocations := testing.AllocsPerRun(50, func() {
					d, err := p.decide(ctx, f)
					if allowed[d.allowed]++; err != nil || d.failure != nil {
						t.Fatalf("got %+v, %v", d, err)
					}
				})
				if allocations > 0 {
					t.Errorf("paths %v: a decision over %d rules allocates %v times", paths, n, allocations)
				}
			}
			if len(allowed) != 2 {
				t.Errorf("paths %v, %d rules: not both allowed and denied: %v", paths, n, allowed)
			}
		}
	}
}

// TestMatchingAllocations: roles through patterns allocate nothing either, however many links there are.
func TestMatchingAllocations(t *testing.T) {
	for _, n := range []int{10, 1000} {
		var rules strings.Builder
		for i := range n {
			fmt.Fprintf(&rules, "p, group%d, read\ng, /path%d/:id, group%d\n", i, i, i)
		}
		model := strings.NewReplacer("r = sub, obj, act", "r = obj, act", "p = sub, obj, act", "p = obj, act", matcher, "g(r.obj, p.obj) && r.act == p.act").Replace(rbacModel)
		p := setup{model: model, rules: rules.String(), matching: namesBy("keyMatch2"), request: map[string]string{"obj": "resource.id", "act": "action"}}.mustCompile(t).policies[0]
		f := asks{obj: fmt.Sprintf("/path%d/7", n-2), act: "read"}.facts()
		ctx := t.Context()
		allocations := testing.AllocsPerRun(200, func() {
			if d, err := p.decide(ctx, &f); !d.allowed || err != nil {
				t.Fatalf("got %+v, %v", d, err)
			}
		})
		if allocations > 0 {
			t.Errorf("a decision over %d links allocates %v times", n, allocations)
		}
	}
}
