package identity

import (
	"testing"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestResourceMetadata: every challenge of a service that has metadata names it (RFC 9728, section 5.1).
func TestResourceMetadata(t *testing.T) {
	const suffix = `, resource_metadata="https://api.example.com/.well-known/oauth-protected-resource"`
	s := &format.Service{Name: "orders"}
	plain := newChallenges(s)
	plainScope := scopeChallenge(s, []string{"a"})
	s.Identity.ResourceMetadata = "https://api.example.com/.well-known/oauth-protected-resource"
	named := newChallenges(s)
	for _, public := range []verdict.Public{verdict.CredentialsRequired, verdict.InvalidRequest, verdict.InvalidToken} {
		if got, want := named.of(public), plain.of(public)+suffix; got != want {
			t.Errorf("%s: %s, want %s", public, got, want)
		}
	}
	if got, want := scopeChallenge(s, []string{"a"}), plainScope+suffix; got != want {
		t.Errorf("scope: %s, want %s", got, want)
	}
}

func TestResourceMetadataMustBeAURL(t *testing.T) {
	for text, sound := range map[string]bool{
		"": true, "https://a.example/x": true, "https://a.example:8443/x?y=1": true,
		"http://a.example/x": false, "a.example": false, "https:///x": false, "https://u@a.example/": false,
		"https://a.example/#f": false, "https://a.example/\"": false, "https://a.example/\u00e9": false, "https://a.example/ x": false,
	} {
		s := &format.Service{Name: "orders", File: &format.File{Path: "service.yaml"}}
		s.Identity.ResourceMetadata = text
		c := &compiler{service: s}
		c.metadata()
		if got := len(c.problems) == 0; got != sound {
			t.Errorf("%q: accepted %v, want %v", text, got, sound)
		}
	}
}
