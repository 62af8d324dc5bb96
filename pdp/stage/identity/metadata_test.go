package identity

import (
	"strings"
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

// TestDerivedMetadata: challenges name where the server publishes the document (RFC 9728, section 3.1).
func TestDerivedMetadata(t *testing.T) {
	for resource, want := range map[string]string{
		"https://resource.example.com":           "https://resource.example.com/.well-known/oauth-protected-resource",
		"https://resource.example.com/":          "https://resource.example.com/.well-known/oauth-protected-resource",
		"https://resource.example.com/resource1": "https://resource.example.com/.well-known/oauth-protected-resource/resource1",
		"https://resource.example.com:8443/a/b/": "https://resource.example.com:8443/.well-known/oauth-protected-resource/a/b/",
	} {
		s := describing(resource)
		if got := metadataURL(s); got != want {
			t.Errorf("%s: %s, want %s", resource, got, want)
		}
		if got := challenge(s); got != `Bearer realm="orders", resource_metadata="`+want+`"` {
			t.Error(got)
		}
	}
}

// describing returns a service with metadata of the resource.
func describing(resource string) *format.Service {
	s := &format.Service{}
	file := &format.File{Path: "service.yaml", Data: []byte("service: orders\nmatch: [{host: resource.example.com}, {host: \"*.example.net\", prefix: /orders}]\n" +
		"identity: {accept: [corp], metadata: {resource: \"" + resource + "\"}}\n")}
	format.Decode(file, s)
	s.File = file
	return s
}

// TestBearerMethods: where Authorization is no place for tokens, the document names no method of RFC 6750.
func TestBearerMethods(t *testing.T) {
	for elsewhere, want := range map[bool]bool{false: true, true: false} {
		c := &compiler{bundle: &format.Bundle{Authenticators: map[string]format.Authenticator{"corp": {Kind: "jwt"}}}, service: describing("https://resource.example.com"), part: &part{places: places{elsewhere: elsewhere}}}
		c.metadata()
		if document := string(c.part.metadata.document); strings.Contains(document, `"bearer_methods_supported":["header"]`) != want || strings.Contains(document, "bearer_methods") != want {
			t.Errorf("elsewhere %v: %s", elsewhere, document)
		}
	}
}

// TestMetadataProblems: the resource is the service's own, and every text can stand in a header or a document.
func TestMetadataProblems(t *testing.T) {
	bundle := &format.Bundle{Authenticators: map[string]format.Authenticator{"corp": {Kind: "jwt"}, "mesh": {Kind: "mtls"}}}
	problems := func(s *format.Service) string {
		c := &compiler{bundle: bundle, service: s, part: &part{}}
		c.metadata()
		if (c.part.metadata.document == nil) != (len(c.problems) > 0) {
			t.Errorf("%s: document %q with %v", s.Identity.Metadata.Resource, c.part.metadata.document, c.problems)
		}
		if len(c.problems) == 0 {
			return ""
		}
		return c.problems[0].Message
	}
	const form, elsewhere = "resource must be", "no host and prefix under match covers"
	for resource, want := range map[string]string{
		"https://resource.example.com": "", "https://resource.example.com/a": "", "https://RESOURCE.example.com:8443": "",
		"https://a.example.net/orders": "", "https://a.example.net/orders/x": "", "https://a.example.net/orders/": "",
		"":                                "resource is missing",
		"http://resource.example.com":     form,
		"resource.example.com":            form,
		"https://u@resource.example.com":  form,
		"https://resource.example.com#":   form,
		"https://resource.example.com/?":  form,
		"https://resource.example.com/%2": form, "https://resource.example.com/a%2fb": form,
		"https://resource.example.com/a;b": form, "https://resource.example.com//a": form, "https://resource.example.com/../a": form,
		"https://resource.example.com/\u00e9": form, "https://resource.example.com/a|b": form, "https://resource.example.com/{id}": form, "https://*.example.net/orders": form,
		"https://a.example.net": elsewhere, "https://a.example.net/ordersx": elsewhere, "https://a.example.net/": elsewhere,
		"https://a.b.example.net/orders": elsewhere, "https://example.net/orders": elsewhere, "https://resource.example.com.evil.example": elsewhere,
	} {
		if got := problems(describing(resource)); want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", resource, got, want)
		}
	}
	for want, change := range map[string]func(*format.Service){
		"write resource_metadata or metadata": func(s *format.Service) { s.Identity.ResourceMetadata = "https://a.example/x" },
		"the service accepts none":            func(s *format.Service) { s.Identity.Accept = []string{"mesh"} },
		"documentation must be":               func(s *format.Service) { s.Identity.Metadata.Documentation = "http://docs.example.com" },
		"longer than 1024 bytes":              func(s *format.Service) { s.Identity.Metadata.Name = strings.Repeat("x", 1025) },
	} {
		s := describing("https://resource.example.com")
		change(s)
		c := &compiler{bundle: bundle, service: s, part: &part{}}
		if c.metadata(); len(c.problems) != 1 || !strings.Contains(c.problems[0].Message, want) {
			t.Errorf("%v, want %s", c.problems, want)
		}
	}
}
