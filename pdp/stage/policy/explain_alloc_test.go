//go:build !race

// The race detector allocates.

package policy

import (
	"testing"

	"github.com/durward-pdp/durward/pdp/request"
)

// TestExplanationCostsOnlyTheAsking compares what the stage allocates for a request that does not ask why with what its
// parts do: the decision, and the note of its rule.
func TestExplanationCostsOnlyTheAsking(t *testing.T) {
	p, f := rbacOf(t, 1000)
	service := &part{policies: nil, same: nil}
	service.policies = append(service.policies, p)
	service.same = append(service.same, nil)
	ctx := t.Context()
	d, err := p.decide(ctx, f)
	if err != nil || !d.allowed {
		t.Fatalf("%+v, %v", d, err)
	}
	c := asks{}.newCase(service)
	c.Facts = *f
	parts := testing.AllocsPerRun(200, func() {
		d, _ = p.decide(ctx, f)
		explain(c, p, d)
	})
	stage := New()
	var none, asked float64
	none = testing.AllocsPerRun(200, func() {
		if _, err := stage.Evaluate(ctx, c); err != nil {
			t.Fatal(err)
		}
	})
	c.Request.Explain = request.ExplainDecision
	asked = testing.AllocsPerRun(200, func() {
		if _, err := stage.Evaluate(ctx, c); err != nil {
			t.Fatal(err)
		}
	})
	if none > parts || asked <= none {
		t.Errorf("the parts of a decision allocate %v times, the stage %v times, and %v times with an explanation", parts, none, asked)
	}
}

func BenchmarkExplain(b *testing.B) {
	for name, n := range map[string]int{"1000": 1000, "1000000": 1_000_000} {
		p, f := rbacOf(b, n)
		f.Action = "nothing"
		d, err := p.decide(b.Context(), f)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				q := inquiry{wanted: request.ExplainDecision, answers: []response{{policy: p, decision: d}}}
				q.explain(b.Context(), f)
			}
		})
	}
}
