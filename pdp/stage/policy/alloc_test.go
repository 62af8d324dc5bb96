//go:build !race

// The race detector allocates and empties pools.

package policy

import (
	"testing"
)

// TestAllocations pins what a decision allocates: the three attributes' values and nothing for each rule.
func TestAllocations(t *testing.T) {
	for _, n := range []int{10, 1000} {
		p, f := rbacOf(t, n)
		ctx := t.Context()
		allocations := testing.AllocsPerRun(200, func() {
			if d, err := p.decide(ctx, f); !d.allowed || err != nil {
				t.Fatalf("got %+v, %v", d, err)
			}
		})
		if allocations > 4 {
			t.Errorf("a decision over %d rules allocates %v times", n, allocations)
		}
	}
}
