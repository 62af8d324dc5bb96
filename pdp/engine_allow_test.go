package pdp

import (
	"testing"

	"github.com/google/go-cmp/cmp"

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
