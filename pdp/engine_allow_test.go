package pdp

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestMethodNotAllowedSaysWhichAre: a 405 carries the methods that the path has (RFC 9110, section 15.5.6).
func TestMethodNotAllowedSaysWhichAre(t *testing.T) {
	f := newFixture(t)
	f.publish(t)
	r := get("/orders/7")
	r.Method = "DELETE"
	v := f.engine.Decide(t.Context(), r)
	if diff := cmp.Diff([]verdict.Field{{Name: "allow", Value: "GET"}}, v.Obligations.SetResponse); diff != "" || v.HTTPStatus() != 405 {
		t.Errorf("status %d, response headers %s", v.HTTPStatus(), diff)
	}
	if v := f.engine.Decide(t.Context(), get("/other")); len(v.Obligations.SetResponse) > 0 {
		t.Errorf("an unlisted path tells %v", v.Obligations.SetResponse)
	}
}

// TestVerdictNamesTheSubject: a gateway is told whom the decision is about, also where it is denied.
func TestVerdictNamesTheSubject(t *testing.T) {
	f := newFixture(t)
	if v := f.engine.Decide(t.Context(), get("/orders/7")); v.Subject != subject.AnonymousKey {
		t.Errorf("without a snapshot: subject %q", v.Subject)
	}
	f.publish(t)
	f.policy = func(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
		c.Subject = subject.Subject{Key: "user:corp:alice"}
		return c.Deny(verdict.NoMatchingRule), nil
	}
	if v := f.engine.Decide(t.Context(), get("/orders/7")); v.Allowed() || v.Subject != "user:corp:alice" {
		t.Errorf("a denial: subject %q", v.Subject)
	}
	if v := f.engine.Decide(t.Context(), &request.Request{Descriptors: &request.Descriptors{}}); v.Subject != "" {
		t.Errorf("descriptors: subject %q", v.Subject)
	}
}
