package bundle

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// checker holds a bundle's parts against each other and collects what does not fit.
type checker struct {
	bundle   *format.Bundle
	options  *Options
	used     map[string]bool // files that something refers to
	problems format.Problems

	// refs are the paths that each service refers to, and under nil those of bundle.yaml; current is whose turn it is.
	refs    map[*format.Service][]string
	current *format.Service
}

// check finds what is wrong with a bundle whose files are each fine, and which files its parts refer to. What a stage
// alone can judge is its compiler's business. Services in stock are not looked at again.
func check(b *format.Bundle, stock *stock, o *Options) *checker {
	c := &checker{bundle: b, options: o, used: map[string]bool{}, refs: map[*format.Service][]string{}}
	c.head()
	for _, name := range slices.Sorted(maps.Keys(b.Authenticators)) {
		c.authenticator(name)
	}
	guards := map[string]bool{}
	for i := range b.Guards {
		c.policy(part{b.File, fmt.Sprintf("$.guards[%d]", i), ""}, &b.Guards[i], guards)
	}
	for _, name := range slices.Sorted(maps.Keys(b.LimitDefinitions)) {
		c.limit(part{b.File, "$.limit_definitions." + name, ""}, name, b.LimitDefinitions[name])
	}
	c.record()
	if len(b.Services) == 0 && len(domainFiles(b.Files)) == 0 {
		c.add(part{b.File, "", ""}, "", "the bundle has no services")
	}
	for _, s := range b.Services {
		if old := stock.find(s.Dir); old != nil {
			for _, p := range old.refs {
				c.used[p] = true
			}
			continue
		}
		c.current = s
		c.service(s)
	}
	for _, name := range b.Files.Paths() {
		if placeOf(name) == referredPlace && !c.used[name] {
			c.problems = append(c.problems, format.Problem{Position: format.Position{File: name}, Message: "nothing in the bundle refers to this file"})
		}
	}
	return c
}

// part is a place in a file, for problems and for paths that are relative to it.
type part struct {
	file *format.File
	at   string // its YAML path
	dir  string
}

// add reports a problem below the part.
func (c *checker) add(p part, below, message string, arguments ...any) {
	c.problems = append(c.problems, p.file.Problem(p.at+below, fmt.Sprintf(message, arguments...)))
}

func (c *checker) head() {
	b, top := c.bundle, part{c.bundle.File, "$", ""}
	if b.Format != formatMajor {
		c.add(top, ".format", "format: %d is mandatory", formatMajor)
	}
	if b.Requires != "" && !requiresPattern.MatchString(b.Requires) {
		c.add(top, ".requires", "%q is no version of the format; write \"%d.%d\"", b.Requires, formatMajor, formatMinor)
	}
	if !namePattern.MatchString(b.Name) {
		c.add(top, ".name", "the bundle needs a name; %s", nameRule)
	}
}

func (c *checker) authenticator(name string) {
	a, p := c.bundle.Authenticators[name], part{c.bundle.File, "$.authenticators." + name, ""}
	if !namePattern.MatchString(name) {
		c.add(p, "", "%q is no name of an authenticator; %s", name, nameRule)
	}
	tokens := map[string]bool{
		"issuer": a.Issuer != "", "algorithms": len(a.Algorithms) > 0, "jwks": a.JWKS != (format.JWKS{}), "types": len(a.Types) > 0,
		"leeway": a.Leeway != 0, "max_lifetime": a.MaxLifetime != 0, "subject.id": a.Subject.ID != "", "subject.scopes": a.Subject.Scopes != "", "logout": a.Logout != nil,
		"introspection": !reflect.ValueOf(a.Introspection).IsZero(),
	}
	switch a.Kind {
	case "jwt":
		for _, key := range []string{"issuer", "algorithms", "jwks"} {
			if !tokens[key] {
				c.add(p, "", "an authenticator of kind jwt needs %s", key)
			}
		}
		if len(a.SANs) > 0 {
			c.add(p, ".sans", "sans has no meaning for an authenticator of kind jwt")
		}
		if a.SPIFFE != nil {
			c.add(p, ".spiffe", "spiffe has no meaning for an authenticator of kind jwt")
		}
		if tokens["introspection"] {
			c.add(p, ".introspection", "introspection has no meaning for an authenticator of kind jwt")
		}
	case "introspection":
		for _, key := range []string{"issuer", "introspection"} {
			if !tokens[key] {
				c.add(p, "", "an authenticator of kind introspection needs %s", key)
			}
		}
		tokens["sans"], tokens["spiffe"] = len(a.SANs) > 0, a.SPIFFE != nil
		for _, key := range []string{"algorithms", "jwks", "max_lifetime", "sans", "spiffe", "types"} {
			if tokens[key] {
				c.add(p, "."+key, "%s has no meaning for an authenticator of kind introspection", key)
			}
		}
	case "mtls":
		for _, key := range slices.Sorted(maps.Keys(tokens)) {
			if tokens[key] {
				c.add(p, "."+key, "%s has no meaning for an authenticator of kind mtls", key)
			}
		}
	case "api_key":
		tokens["subject.tenant"], tokens["spiffe"] = a.Subject.Tenant != "", a.SPIFFE != nil
		for _, key := range slices.Sorted(maps.Keys(tokens)) {
			if tokens[key] {
				c.add(p, "."+key, "%s has no meaning for an authenticator of kind api_key", key)
			}
		}
	default:
		c.add(p, ".kind", "an authenticator needs a kind: jwt, introspection, mtls or api_key")
	}
	c.apiKeys(p, &a)
	if a.JWKS.File != "" {
		c.refer(p, ".jwks.file", a.JWKS.File)
	}
}

// refer checks that a file exists.
func (c *checker) refer(p part, below, ref string) {
	file, ok := c.bundle.Files.Get(p.dir, ref)
	switch {
	case ok && placeOf(file.Path) == referredPlace:
		c.used[file.Path] = true
		c.refs[c.current] = append(c.refs[c.current], file.Path)
	case ok:
		c.add(p, below, "%q is not a file that can be referred to", ref)
	default:
		problem := p.file.Problem(p.at+below, fmt.Sprintf("the bundle has no file %q", ref))
		if len(c.problems) < maxProblems { // to look through all names is dear
			if near := c.nearestFile(p.dir, ref); near != "" {
				problem.Hint = fmt.Sprintf("did you mean %q?", near)
			}
		}
		c.problems = append(c.problems, problem)
	}
}

// nearestFile returns the reference that was probably meant: one spelled nearly so, else a file of that name elsewhere.
func (c *checker) nearestFile(dir, ref string) string {
	var near, elsewhere []string
	for _, name := range c.bundle.Files.Paths() {
		written := "/" + name
		if relative, ok := strings.CutPrefix(written, path.Clean("/"+dir+"/")+"/"); ok && dir != "" && !path.IsAbs(ref) {
			written = relative
		} else if dir == "" && !path.IsAbs(ref) {
			written = name
		}
		near = append(near, written)
		if path.Base(name) == path.Base(ref) {
			elsewhere = append(elsewhere, written)
		}
	}
	if found := format.Nearest(ref, near); found != "" || len(elsewhere) == 0 {
		return found
	}
	return elsewhere[0]
}

func (c *checker) policy(p part, policy *format.Policy, names map[string]bool) {
	switch {
	case !namePattern.MatchString(policy.Name):
		c.add(p, ".name", "a policy needs a name; %s", nameRule)
	case names[policy.Name]:
		c.add(p, ".name", "a second policy named %q", policy.Name)
	}
	names[policy.Name] = true
	if policy.Model == "" {
		c.add(p, "", "a policy needs a model")
	} else {
		c.refer(p, ".model", policy.Model)
	}
	if len(policy.Rules) == 0 {
		c.add(p, "", "a policy needs rules: a list of files")
	}
	for i, rules := range policy.Rules {
		c.refer(p, fmt.Sprintf(".rules[%d]", i), rules)
	}
	for _, name := range slices.Sorted(maps.Keys(policy.Request)) {
		c.attribute(p, ".request."+name, policy.Request[name].Name, use{objects: true})
	}
	if roles := policy.TokenRoles; roles != nil {
		c.attribute(p, ".token_roles.from", roles.From, use{})
		if roles.Domain != "" {
			c.attribute(p, ".token_roles.domain", roles.Domain, use{})
		}
	}
}

// use says where an attribute is used, which decides what it may be.
type use struct {
	params    []string // of the route's path; nil where no one route is meant
	objects   bool     // whole objects may be used
	noSubject string   // why attributes of the subject cannot be known here; "" when they can
}

// attribute compiles an attribute's name and reports why it cannot be used.
func (c *checker) attribute(p part, below, name string, u use) (attribute.Accessor, bool) {
	if name == "" {
		c.add(p, below, "the name of an attribute is missing")
		return attribute.Accessor{}, false
	}
	a, err := attribute.Compile(name, u.params)
	switch {
	case err != nil:
		c.add(p, below, "%v", err)
	case a.IsObject() && !u.objects:
		c.add(p, below, "%q is a whole object; name one attribute of it", name)
	case a.UsesClient() && !c.options.ClientAddress:
		c.add(p, below, "%q cannot be used: the server was not told how the client's address is found (client address: peer, xff or header)", name)
	case a.UsesSubject() && u.noSubject != "":
		c.add(p, below, "%q cannot be used: %s", name, u.noSubject)
	default:
		return a, true
	}
	return attribute.Accessor{}, false
}

// credentials are header names that no record can hold.
var credentials = []string{
	"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "apikey", "x-auth-token", "x-csrf-token", "dpop",
	"x-forwarded-client-cert", "www-authenticate", "proxy-authenticate", "authentication-info", "x-amz-security-token",
}

func (c *checker) record() {
	p := part{c.bundle.File, "$.record", ""}
	for i, name := range c.bundle.Record.Headers {
		at := fmt.Sprintf(".headers[%d]", i)
		switch {
		case !headerPattern.MatchString(name):
			c.add(p, at, "%q is no lower-case header name", name)
		case slices.Contains(credentials, strings.ReplaceAll(name, "_", "-")):
			c.add(p, at, "%q carries credentials, which no record can hold", name)
		}
	}
	for key, names := range map[string][]string{"query": c.bundle.Record.Query, "params": c.bundle.Record.Params, "claims": c.bundle.Record.Claims} {
		for i, name := range names {
			if name == "" {
				c.add(p, fmt.Sprintf(".%s[%d]", key, i), "an empty name")
			}
		}
	}
}

var headerPattern = regexp.MustCompile("^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$")

// upstreamName says why a header cannot be set or removed upstream; "" when it can.
func upstreamName(name string) string {
	switch {
	case strings.HasPrefix(name, ":"):
		return "pseudo headers cannot be changed"
	case strings.ToLower(name) != name:
		return "write header names in lower case"
	case !headerPattern.MatchString(name):
		return "no header name"
	case strings.HasPrefix(name, "x-envoy-"):
		return "headers of the gateway cannot be changed"
	}
	switch name {
	case "content-length", "transfer-encoding", "host", "connection", "keep-alive", "te", "trailer", "upgrade", "proxy-connection",
		"proxy-authenticate", "proxy-authorization", "expect", "http2-settings", "content-encoding", "content-type":
		return "headers that frame or route a message cannot be changed"
	}
	return ""
}
