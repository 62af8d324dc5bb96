package network

import (
	"net/netip"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/state/memory"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// settler notes whether a denial is charged.
type settler struct{ charged bool }

func (s *settler) Settle(*pipeline.Case) { s.charged = true }

// TestNetwork: on a public route, and with what the replica knew an hour ago.
func TestNetwork(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	list, err := blocks.New(blocks.Options{Clock: clock, Open: func(changed func([]state.Record, bool)) (*state.Table, error) {
		return state.NewTable(state.TableOptions{Store: memory.New(clock), Name: blocks.Table, Clock: clock, Changed: changed})
	}})
	if err != nil {
		t.Fatal(err)
	}
	in, _, err := list.Put(t.Context(), blocks.Block{Kind: blocks.Network, Value: "192.0.2.0/24", Reason: "flood", By: "ops", Made: now, Until: now.Add(2 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	decide := func(list *blocks.List, client string, at time.Time) (*pipeline.Case, bool) {
		t.Helper()
		s := &settler{}
		p, err := pipeline.New(pipeline.Options{Steps: []pipeline.Step{{Point: "network", Stage: New(list)}}, Settler: s, Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		c := &pipeline.Case{Facts: attribute.Facts{Request: &request.Request{}, Match: route.Match{Route: &route.Route{Public: true}}, Now: at}, Service: &pipeline.Service{}}
		if client != "" {
			c.Request.Client = netip.MustParseAddr(client)
		}
		p.Run(t.Context(), c)
		return c, s.charged
	}
	for _, row := range []struct {
		list   *blocks.List
		client string
		after  time.Duration
		denied bool
	}{
		{list, "192.0.2.7", 0, true}, {list, "192.0.2.7", time.Hour, true}, {list, "192.0.2.7", 2 * time.Hour, false},
		{list, "192.0.3.7", 0, false}, {list, "2001:db8::1", 0, false}, {list, "", 0, false}, {nil, "192.0.2.7", 0, false},
	} {
		c, charged := decide(row.list, row.client, now.Add(row.after))
		if c.Verdict.Allowed() == row.denied || charged {
			t.Errorf("%+v: %s %s, charged %v", row, c.Verdict.Effect, c.Verdict.Reason, charged)
		}
		if row.denied && (c.Verdict.Reason != verdict.NetworkBlocked || c.Verdict.HTTPStatus() != 403 || c.Verdict.Explanation.Detail != "block "+in.ID()+": flood" || c.IsOutage()) {
			t.Errorf("%+v: %+v", row, c.Verdict)
		}
	}
	c := &pipeline.Case{Facts: attribute.Facts{Request: &request.Request{Client: netip.MustParseAddr("198.51.100.1")}, Now: now}}
	stage := New(list)
	if n := testing.AllocsPerRun(100, func() {
		if outcome, err := stage.Evaluate(t.Context(), c); outcome != pipeline.Continue || err != nil {
			t.Error(outcome, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
