package identity

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
)

// MetadataPath is where the metadata of a protected resource stand on its host, in front of the resource's own path (RFC 9728,
// section 3).
const MetadataPath = "/.well-known/oauth-protected-resource"

// maxMetadataText bounds the texts that a service says of itself.
const maxMetadataText = 1024

// metadata are the protected resource metadata of a service; the zero metadata are none.
type metadata struct {
	path     string // of the resource
	document []byte
}

// resourceDocument is the JSON form (RFC 9728, section 2). Members without a value are left out, as it demands.
type resourceDocument struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported,omitempty"`
	Name                 string   `json:"resource_name,omitempty"`
	Documentation        string   `json:"resource_documentation,omitempty"`
	CertificateBound     bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	ProofAlgorithms      []string `json:"dpop_signing_alg_values_supported,omitempty"`
}

// Metadata returns the protected resource metadata of a service that was compiled by the stage, as JSON, and the path of the
// resource, "" for a whole host. Without metadata the document is nil. It must not be changed.
func (*Stage) Metadata(s *pipeline.Service) (path string, document []byte) {
	if s == nil {
		return "", nil
	}
	p, ok := s.Parts[Name].(*part)
	if !ok {
		return "", nil
	}
	return p.metadata.path, p.metadata.document
}

// metadataURL is where a service's metadata stand; "" for nowhere.
func metadataURL(s *format.Service) string {
	if s.Identity.ResourceMetadata != "" || s.Identity.Metadata == nil {
		return s.Identity.ResourceMetadata
	}
	u, err := url.Parse(s.Identity.Metadata.Resource)
	if err != nil {
		return "" // reported where it is read
	}
	return "https://" + u.Host + MetadataPath + resourcePath(u)
}

// resourcePath is the path of a resource behind MetadataPath: the slash alone is left out (RFC 9728, section 3.1).
func resourcePath(u *url.URL) string {
	if u.Path == "/" {
		return ""
	}
	return u.Path
}

// metadata reads what the service says of itself as a protected resource.
func (c *compiler) metadata() {
	const external, own = "$.identity.resource_metadata", "$.identity.metadata"
	if text := c.service.Identity.ResourceMetadata; text != "" && !isPublicURL(text) {
		c.inService(external, "resource_metadata must be an https URL in ASCII, without user and fragment")
	}
	written := c.service.Identity.Metadata
	if written == nil {
		return
	}
	if c.service.Identity.ResourceMetadata != "" {
		c.inService(external, "the address of metadata is derived from its resource; write resource_metadata or metadata")
	}
	if !c.takes("jwt", "introspection") {
		c.inService(own, "metadata tell clients where to get tokens, and the service accepts none")
	}
	if written.Documentation != "" && !isPublicURL(written.Documentation) {
		c.inService(own+".documentation", "documentation must be an https URL in ASCII, without user and fragment")
	}
	if len(written.Name) > maxMetadataText {
		c.inService(own+".name", "the name is longer than 1024 bytes")
	}
	u := c.resource(own, written.Resource)
	if u == nil {
		return
	}
	var methods, proofs []string
	if !c.part.places.elsewhere { // "header" is the field Authorization (RFC 6750, section 2.1)
		methods = []string{"header"}
	}
	if c.part.proofs != nil {
		proofs = c.part.proofs.verifier.Algorithms()
	}
	document, err := json.Marshal(resourceDocument{
		Resource: written.Resource, AuthorizationServers: c.authorizationServers(), Scopes: c.scopesOfRoutes(), BearerMethods: methods,
		Name: written.Name, Documentation: written.Documentation, CertificateBound: written.CertificateBound, ProofAlgorithms: proofs,
	})
	if err != nil {
		c.inService(own, err.Error())
		return
	}
	c.part.metadata = metadata{path: resourcePath(u), document: document}
}

// resource reads the identifier of the resource; nil after a problem. Its metadata are asked for on its host and below its
// path, so both must be the service's.
func (c *compiler) resource(own, text string) *url.URL {
	if text == "" {
		c.inService(own, "resource is missing: the https URL by which clients and authorization servers know the service")
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || !isPublicURL(text) || strings.ContainsAny(text, "?%;*<>^`{|}") || strings.Contains(u.Path, "//") || hasDotSegment(u.Path) {
		c.inService(own+".resource", "resource must be an https URL in ASCII, without user, query, fragment, escapes and dot segments")
		return nil
	}
	if !slices.ContainsFunc(c.service.Match, func(m format.Match) bool { return answersFor(m, u) }) {
		c.inService(own+".resource", "no host and prefix under match covers the resource, so that others would be asked for its metadata")
		return nil
	}
	return u
}

// answersFor says whether a URL lies under a claim of the service.
func answersFor(m format.Match, u *url.URL) bool {
	host, claimed := strings.ToLower(u.Hostname()), strings.ToLower(m.Host)
	if parent, wildcard := strings.CutPrefix(claimed, "*."); wildcard {
		_, rest, _ := strings.Cut(host, ".")
		host, claimed = rest, parent
	}
	rest, below := strings.CutPrefix(u.Path, strings.TrimSuffix(m.Prefix, "/"))
	return host == claimed && below && (rest == "" || rest[0] == '/')
}

// isPublicURL says whether a text is an https URL that headers and documents can carry.
func isPublicURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.Fragment == "" && len(text) <= maxMetadataText &&
		!strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' || r == '#' })
}

// authorizationServers are the issuers of accepted tokens that clients can ask: those that are https URLs (RFC 8414, section 2).
func (c *compiler) authorizationServers() []string {
	var out []string
	for _, name := range c.service.Identity.Accept {
		issuer := c.bundle.Authenticators[name].Issuer
		if isPublicURL(issuer) && !strings.Contains(issuer, "?") && !slices.Contains(out, issuer) {
			out = append(out, issuer)
		}
	}
	return out
}

func (c *compiler) scopesOfRoutes() []string {
	var out []string
	for i := range c.service.Routes {
		out = append(out, c.service.Routes[i].Scopes...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
