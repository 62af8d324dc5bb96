package identity

import (
	"slices"
	"testing"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestGivenSubjects: a given subject stands for credentials, and for nothing else that a route wants.
func TestGivenSubjects(t *testing.T) {
	w := newWorld(t)
	made := func(kind, authenticator, id string, scopes ...string) *subject.Subject {
		return &subject.Subject{Key: subject.Key(kind, authenticator, id), Kind: kind, Authenticator: authenticator, ID: id, Scopes: scopes}
	}
	other := made(subject.KindUser, "corp", "alice")
	other.Key = subject.Key(subject.KindUser, "corp", "bob")
	anonymous := subject.Anonymous()
	for _, tc := range []struct {
		name  string
		route int
		given *subject.Subject
		want  verdict.Reason // "" goes on
		as    string
	}{
		{"a user", routeRead, made("user", "corp", "alice"), "", "user:corp:alice"},
		{"of another issuer", routeRead, made("user", "partner", "alice"), "", "user:partner:alice"},
		{"a workload", routeRead, made("service", "mesh", "billing.example.com"), "", "service:mesh:billing.example.com"},
		{"without the scopes", routeWrite, made("user", "corp", "alice", "orders:read"), verdict.ScopeMissing, "user:corp:alice"},
		{"with the scopes", routeWrite, made("user", "corp", "alice", "orders:write", "orders:read"), "", "user:corp:alice"},
		{"an authenticator that nobody knows", routeRead, made("user", "idp", "alice"), verdict.TokenIssuer, "anonymous"},
		{"a user of a certificate's authenticator", routeRead, made("user", "mesh", "alice"), verdict.TokenIssuer, "anonymous"},
		{"a workload of a token's authenticator", routeRead, made("service", "corp", "alice"), verdict.CertificateBad, "anonymous"},
		{"no kind", routeRead, made("robot", "corp", "alice"), verdict.TokenClaim, "anonymous"},
		{"no id", routeRead, made("user", "corp", ""), verdict.TokenClaim, "anonymous"},
		{"another's key", routeRead, other, verdict.TokenClaim, "anonymous"},
		{"nobody", routeRead, &anonymous, verdict.TokenMissing, "anonymous"},
		{"nobody where nobody is fine", routeBrowse, &anonymous, "", "anonymous"},
		{"nobody where a scope is wanted", routeBasket, &anonymous, verdict.TokenMissing, "anonymous"},
		{"a public route knows no subject", routeHealth, made("user", "corp", "alice"), "", "anonymous"},
		{"nor does one without identity", routeOpen, made("user", "corp", "alice"), "", "anonymous"},
	} {
		c := w.newCase(tc.route)
		c.Given = tc.given
		outcome, err := w.stage.Evaluate(t.Context(), c)
		if err != nil || (outcome == pipeline.Continue) != (tc.want == "") || c.Verdict.Reason != tc.want || c.Subject.Key != tc.as {
			t.Errorf("%s: outcome %d, %q (%s), subject %q, error %v", tc.name, outcome, c.Verdict.Reason, c.Verdict.Explanation.Detail, c.Subject.Key, err)
		}
	}
}

// TestGivenStandsForAllCredentials: neither a bad token nor a certificate beside a given subject is looked at.
func TestGivenStandsForAllCredentials(t *testing.T) {
	w := newWorld(t)
	anonymous := subject.Anonymous()
	c := w.newCase(routeBrowse)
	c.Given = &anonymous
	c.Request.Certificate = &request.Certificate{DNSNames: []string{"billing.example.com"}, NotBefore: testNow, NotAfter: testNow}
	c.Request.Header = request.Header{{Name: "authorization", Value: "Bearer x"}}
	if outcome, err := w.stage.Evaluate(t.Context(), c); err != nil || outcome != pipeline.Continue || !c.Subject.IsAnonymous() {
		t.Errorf("outcome %d, %q, subject %q, error %v", outcome, c.Verdict.Reason, c.Subject.Key, err)
	}
}

// TestGivenRolesAreFiltered: what the authenticator may not assert is dropped from a given subject too, which stays as
// it was.
func TestGivenRolesAreFiltered(t *testing.T) {
	w := newWorld(t)
	given := subject.Subject{Key: "user:corp:alice", Kind: "user", Authenticator: "corp", ID: "alice", DroppedRoles: 1,
		Roles: []string{"admin", "reader", "user:corp:root", "writer"}}
	c := w.newCase(routeRead)
	c.Given = &given
	if _, err := w.stage.Evaluate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Subject.Roles, []string{"reader", "writer"}) || c.Subject.DroppedRoles != 3 {
		t.Errorf("roles %q, %d dropped", c.Subject.Roles, c.Subject.DroppedRoles)
	}
	if len(given.Roles) != 4 || given.DroppedRoles != 1 {
		t.Errorf("the given subject became %+v", given)
	}
	given.Key, given.Kind, given.Authenticator = "service:mesh:alice", "service", "mesh"
	c = w.newCase(routeRead)
	c.Given = &given
	if _, err := w.stage.Evaluate(t.Context(), c); err != nil || c.Subject.Roles != nil || c.Subject.DroppedRoles != 5 {
		t.Errorf("a workload's roles %q, %d dropped, error %v", c.Subject.Roles, c.Subject.DroppedRoles, err)
	}
}
