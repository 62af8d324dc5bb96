package main

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/assembly/blocksapi"
)

// TestFillFrom: a wish of "-" takes claim and issuer of the token, and keeps an issuer that was written.
func TestFillFrom(t *testing.T) {
	e := base64.RawURLEncoding.EncodeToString
	raw := "Bearer " + e([]byte(`{"alg":"ES256"}`)) + "." + e([]byte(`{"iss":"https://idp.example.com","jti":"7"}`)) + ".AAAA\n"
	for _, tc := range []struct {
		name         string
		wish         blocksapi.Put
		claim        string
		value, iss   string
		read, failed bool
	}{
		{"its claim and issuer", blocksapi.Put{Value: "-"}, "jti", "7", "https://idp.example.com", true, false},
		{"an issuer that is written", blocksapi.Put{Value: "-", Issuer: "x"}, "jti", "7", "x", true, false},
		{"no such claim", blocksapi.Put{Value: "-"}, "sid", "", "", false, true},
		{"a value", blocksapi.Put{Value: "8", Issuer: "x"}, "jti", "8", "x", false, false},
	} {
		got, err := fillFrom(strings.NewReader(raw), &tc.wish, tc.claim, "block something else")
		if (err != nil) != tc.failed || (got != nil) != tc.read || tc.wish.Value != tc.value || tc.wish.Issuer != tc.iss {
			t.Errorf("%s: %+v, token %v, error %v", tc.name, tc.wish, got != nil, err)
		}
	}
}
