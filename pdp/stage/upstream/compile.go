package upstream

import (
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/route"
)

// maxName bounds a header name.
const maxName = 128

// alwaysRemoved are client headers that some servers let override the method, path or host that was decided about,
// or that only a gateway may set. A client's certificate stands for a subject, which is decided here and told in headers of its own.
var alwaysRemoved = []string{
	"x-http-method", "x-http-method-override", "x-method-override", "x-original-method", "x-forwarded-method",
	"x-original-url", "x-original-uri", "x-original-path", "x-original-host", "x-rewrite-url", "x-forwarded-uri",
	"x-forwarded-client-cert", "client-cert", "client-cert-chain",
	"x-envoy-auth-partial-body", "x-envoy-original-path", "x-envoy-original-host",
}

// framing are names that no policy may set: they steer the connection, not the API.
var framing = []string{
	"host", "content-length", "transfer-encoding", "content-encoding", "connection", "proxy-connection", "keep-alive",
	"te", "trailer", "upgrade", "expect", "http2-settings",
}

// compiler collects the problems of one service.
type compiler struct {
	service  *format.Service
	part     *part
	problems format.Problems
}

// Compile checks a service's upstream headers and names what is removed.
func (s *Stage) Compile(_ *format.Bundle, service *format.Service) (any, format.Problems) {
	c := &compiler{service: service, part: &part{guarded: map[string]bool{}}}
	params := paramNames(service)
	for _, name := range sortedKeys(service.Upstream.Headers) {
		c.header(name, service.Upstream.Headers[name], params)
	}
	c.token(s.minter, params)
	for i := range service.Upstream.Remove {
		c.remove(service.Upstream.Remove[i])
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	for _, name := range alwaysRemoved {
		if !slices.Contains(c.part.remove, name) {
			c.part.remove = append(c.part.remove, name)
		}
	}
	for _, name := range c.part.remove {
		if !c.part.guarded[folded(name)] {
			c.part.guarded[folded(name)] = false
		}
	}
	return c.part, nil
}

func (c *compiler) problem(yamlPath, message string) {
	if c.service.File == nil {
		c.problems = append(c.problems, format.Problem{Message: message})
		return
	}
	c.problems = append(c.problems, c.service.File.Problem(yamlPath, message))
}

func (c *compiler) header(name string, source format.Attribute, params []string) {
	at := "$.upstream.headers." + name
	if message := refuseName(name); message != "" {
		c.problem(at, message)
		return
	}
	if c.part.guarded[folded(name)] {
		c.problem(at, name+" reaches some servers under the name of another header here")
	}
	c.part.guarded[folded(name)] = true
	h := header{name: name}
	var err error
	if h.attribute, err = attribute.Compile(source.Name, params); err != nil {
		c.problem(at, err.Error())
		return
	}
	if h.attribute.IsObject() {
		c.problem(at, source.Name+" is a whole object, which no header can carry")
	}
	if source.Missing != nil {
		h.missing = *source.Missing
		if !visible(h.missing) || len(h.missing) > maxValue {
			c.problem(at, "missing must be visible ASCII and not empty; without it the header is removed")
		}
	}
	c.part.headers = append(c.part.headers, h)
}

// refuseName says why a header cannot be set; "" when it can.
func refuseName(name string) string {
	alias := folded(name)
	switch {
	case !isToken(name) || len(name) >= maxName:
		return "is no header name in lower case"
	case slices.Contains(framing, alias) || strings.HasPrefix(alias, "proxy-"):
		return name + " steers the connection and cannot be set"
	case strings.HasPrefix(alias, "x-envoy-"):
		return "names that begin with x-envoy- belong to the gateway"
	case alias == DecisionHeader:
		return name + " is set to the decision's id always"
	case slices.Contains(alwaysRemoved, alias):
		return name + " is removed from every request and cannot be set"
	}
	return ""
}

func (c *compiler) remove(written string) {
	at, name := "$.upstream.remove", strings.ToLower(written)
	switch {
	case !isToken(name) || len(name) >= maxName:
		c.problem(at, "an entry is no header name")
	case slices.Contains(framing, folded(name)):
		c.problem(at, name+" steers the connection and cannot be removed")
	case name == DecisionHeader || c.part.guarded[folded(name)]:
		c.problem(at, name+" is set and cannot be removed as well")
	case slices.Contains(c.part.remove, name):
		c.problem(at, name+" stands twice")
	default:
		c.part.remove = append(c.part.remove, name)
	}
}

// paramNames are the parameters of any route: a header may be missing on the others.
func paramNames(s *format.Service) []string {
	all := []string{}
	for i := range s.Routes {
		// A template that cannot be read is reported by the route compiler.
		if names, err := route.Params(s.Routes[i].Path); err == nil {
			all = append(all, names...)
		}
	}
	return all
}

func folded(name string) string { return string(fold(nil, name)) }

// isToken accepts lower-case tokens (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

func sortedKeys(m map[string]format.Attribute) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
