package replay

import (
	"testing"
)

const listing = "name: acme\nrecord: {headers: [x-listed, cookie], claims: [org.units, plan]}\n"

func TestKnowledge(t *testing.T) {
	b := bundleWith(t, listing, "service: orders\n")
	whole := recordFrom(t, whole)
	gate := recordFrom(t, `{"decision_id":"d","time":"2026-01-02T03:04:05Z","effect":"deny","reason":"limit_exceeded","stage":"limits.gate","request":{"method":"[masked]","host":"[masked]"},`+
		`"action":"[masked]","resource":{"type":"[masked]","id":"[masked]"}}`)
	open := recordFrom(t, `{"decision_id":"d","time":"2026-01-02T03:04:05Z","effect":"allow","reason":"allowed","request":{"path":"/x","headers":[{"name":"x-listed","value":"[masked]"}],`+
		`"query":[{"name":"hidden","value":"[masked]"}]}}`)
	for _, c := range []struct {
		record    *Record
		attribute string
		want      Knowledge
	}{
		{whole, "subject.key", Known},
		{whole, "client.network", Known},
		{whole, "route.name", Known},
		{whole, "request.method", Known},
		{whole, "request.size", Known},
		{whole, "params.id", Known},
		{whole, "params.part", Unknown},
		{whole, "request.path", Unknown},
		{whole, "resource.id", Unknown},
		{whole, "resource.type", Known},
		{whole, "request.query.page", Known},
		{whole, "request.query.Page", Unknown}, // another parameter, which may have been left out
		{whole, "request.header.user-agent", Known},
		{whole, "request.header.x-listed", Assumed},
		{whole, "request.header.x-other", Unknown},
		{whole, "request.header.cookie", Unknown}, // listed, and never recorded
		{whole, "claims.org.units", Known},
		{whole, "claims.org.id.deeper", Known},
		{whole, "claims.plan", Assumed},
		{whole, "claims.plan.deeper", Assumed},
		{whole, "claims.planned", Unknown},
		{whole, "claims.hidden", Unknown},
		{whole, "extensions.x", Unknown},
		{whole, "resource.properties.x", Known},
		{gate, "subject.key", Unknown},
		{gate, "claims.plan", Unknown},
		{gate, "request.method", Unknown},
		{gate, "request.host", Unknown},
		{gate, "action", Unknown},
		{gate, "resource.type", Unknown},
		{gate, "resource.id", Unknown},
		{gate, "client.address", Known},
		{open, "request.header.x-listed", Unknown},
		{open, "request.query.hidden", Unknown},
		{open, "request.query.absent", Known},
		{open, "request.path", Known},
		{open, "action", Known},
	} {
		if got := c.record.Of(b, c.attribute); got != c.want {
			t.Errorf("%s: %d, want %d", c.attribute, got, c.want)
		}
	}
}

func TestDenied(t *testing.T) {
	for text, want := range map[string]struct {
		denied  bool
		skipped bool
	}{
		`"effect":"allow","reason":"allowed"`:                                                      {false, false},
		`"effect":"allow","reason":"allowed","dry_run":true`:                                       {false, true},
		`"effect":"allow","reason":"allowed","adapter":"ratelimit"`:                                {false, true},
		`"effect":"deny","reason":"limit_exceeded","stage":"limits.take"`:                          {false, false},
		`"effect":"deny","reason":"limits_unavailable","stage":"limits.take"`:                      {false, false},
		`"effect":"deny","reason":"attribute_missing","stage":"limits.gate","route":"r"`:           {false, false},
		`"effect":"deny","reason":"token_expired","stage":"identity","route":"r"`:                  {true, false},
		`"effect":"deny","reason":"no_matching_rule","stage":"policy","route":"r"`:                 {true, false},
		`"effect":"deny","reason":"no_route","stage":"route"`:                                      {false, true},
		`"effect":"deny","reason":"deadline","stage":"policy","route":"r","degraded":true`:         {false, true},
		`"effect":"deny","reason":"audit_unavailable","stage":"audit","route":"r","degraded":true`: {false, true},
	} {
		r := recordFrom(t, `{"decision_id":"d","time":"2026-01-02T03:04:05Z",`+text+`}`)
		if denied, obstacle := r.Denied(); denied != want.denied || (obstacle != "") != want.skipped {
			t.Errorf("%s: %t %q", text, denied, obstacle)
		}
	}
}
