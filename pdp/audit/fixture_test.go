package audit

import (
	"net/netip"
	"time"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

var instant = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)

// fullEntry is a denial by a limit with everything that a record can hold.
func fullEntry() *Entry {
	service := &route.Service{Bundle: "acme", Name: "orders", Revision: "sha256:77"}
	return &Entry{
		Time: instant,
		Took: 1234 * time.Microsecond,
		Request: &request.Request{
			Adapter: "native", Caller: "shop", CorrelationID: "c-1", Mode: request.Dry,
			Method: "POST", Scheme: "https", Host: "Orders.example.com", Protocol: "HTTP/2",
			Target: "/orders/7/private?page=2&x=unlisted-query-value",
			Header: request.Header{
				{Name: "authorization", Value: "Bearer planted-credential-1"},
				{Name: "user-agent", Value: "probe/1.0"},
				{Name: "cookie", Value: "sid=planted-credential-2; theme=dark"},
			},
			Body:        request.Body{Bytes: []byte("planted-body"), Size: 12, Partial: true},
			Peer:        request.Peer{Address: netip.MustParseAddrPort("198.51.100.7:4711"), Principal: "spiffe://lab/client"},
			Client:      netip.MustParseAddr("203.0.113.9"),
			SNI:         "orders.example.com",
			Certificate: &request.Certificate{Subject: "CN=client", DNSNames: []string{"client.lab"}, NotAfter: instant.Add(time.Hour), Thumbprint: [32]byte{1, 2}, Unseen: true},
		},
		Match: &route.Match{
			Service: service,
			Route:   &route.Route{Service: service, Name: "read", Template: "/orders/{id}/{part}"},
			Params:  []route.Param{{Name: "id", Value: "7"}, {Name: "part", Value: "unlisted-param-value"}},
			Host:    "orders.example.com", Path: "/orders/7/unlisted-param-value", Query: "page=2&x=unlisted-query-value",
		},
		Subject: &subject.Subject{
			Key: "user:corp:alice", Kind: subject.KindUser, Authenticator: "corp", ID: "alice", Issuer: "https://idp.example.com",
			Tenant: "t1", Roles: []string{"reader", "writer"}, DroppedRoles: 3, Scopes: []string{"orders:read"},
			ACR: "urn:example:mfa", AMR: []string{"pwd", "otp"}, AuthTime: instant.Add(-time.Minute),
			Claims: map[string]any{"email": "planted-claim", "org": map[string]any{"units": []any{"shop", 7.0}}}, TokenID: "jti-1", KeyID: "kid-1",
			Binding: "dpop", KeyThumbprint: "jkt-1",
		},
		Verdict: &verdict.Verdict{
			Reason: verdict.LimitExceeded, DecisionID: "d1", Stage: "limits.take", Degraded: true, RetryAfter: 1500 * time.Microsecond,
			Obligations: verdict.Obligations{SetUpstream: []verdict.Field{{Name: "x-token", Value: "planted-minted-token"}}},
			Explanation: verdict.Explanation{
				Bundle: "acme", Revision: "sha256:77", Policy: "main", Rule: "policy.csv:3", RuleID: "ab12", Limit: "per-subject", Detail: "a detail",
				Credential: [32]byte{3, 4},
				Observed:   verdict.NoMatchingRule,
				Candidate:  &verdict.Candidate{Policy: "main", Reason: verdict.RuleDenied, Rule: "policy.next.csv:4", RuleID: "cd34", Disagrees: true},
				Limits:     []verdict.LimitState{{Name: "per-subject", Quota: 100, Remaining: 1, Window: time.Minute, RetryAfter: 2 * time.Millisecond, Refused: true, Shadow: true, Degraded: true, Leased: true}},
			},
		},
		Action: "orders:read", ResourceType: "order", ResourceID: "7",
		Headers: []string{"User-Agent", "authorization", "cookie"}, Query: []string{"page"}, Params: []string{"id"}, Claims: []string{"org.units", "org.missing", "org.units.deeper", "absent"},
		Steps: []Step{{Point: "identity", Took: 40 * time.Microsecond}},
	}
}

// allowEntry is a plain allow of about the usual size.
func allowEntry() *Entry {
	e := fullEntry()
	e.Request.Certificate = nil
	e.Verdict = &verdict.Verdict{Effect: verdict.Allow, Reason: verdict.Allowed, DecisionID: "d2", Explanation: e.Verdict.Explanation}
	return e
}
