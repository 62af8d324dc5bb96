package identity

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/token"
)

// compiler builds one service's part and collects what is wrong with it. The keys that each kind of authenticator may
// have, and references, are checked before; what would open a door if that were forgotten is checked here again.
type compiler struct {
	options  *Options
	bundle   *format.Bundle
	service  *format.Service
	part     *part
	problems format.Problems
}

// inBundle reports a problem at a path of bundle.yaml, inService at one of service.yaml.
func (c *compiler) inBundle(path, message string) {
	c.problems = append(c.problems, c.bundle.File.Problem(path, message))
}

func (c *compiler) inService(path, message string) {
	c.problems = append(c.problems, c.service.File.Problem(path, message))
}

func (c *compiler) authenticators() {
	for i, name := range c.service.Identity.Accept {
		at := fmt.Sprintf("$.identity.accept[%d]", i)
		a, ok := c.bundle.Authenticators[name]
		switch {
		case !ok:
			c.inService(at, fmt.Sprintf("the bundle has no authenticator %q", name))
		case a.Kind == "jwt":
			c.jwt(name, &a, at)
		case a.Kind == "introspection":
			c.introspection(name, &a, at)
		case a.Kind == "mtls":
			c.mtls(name, &a)
		case a.Kind == "api_key":
			c.apiKeys(name, &a, at)
		default:
			c.inBundle("$.authenticators."+name+".kind", fmt.Sprintf("this version has no authenticators of kind %q, only jwt, introspection, mtls and api_key", a.Kind))
		}
	}
}

// define hashes what the cache of tokens must tell apart.
func (c *compiler) define() {
	var err error
	if c.part.definitions, err = definitionsOf(c.bundle, c.service.Identity.Accept); err != nil {
		c.inService("$.identity.accept", err.Error())
	}
}

func (c *compiler) jwt(name string, a *format.Authenticator, accepted string) {
	path := "$.authenticators." + name
	i := &issuer{authenticator: name, verifier: c.verifier(name, a), keys: c.keys(path, a), claims: c.claims(path, a)}
	i.roles.allowed, i.roles.any = c.roles(path, a)
	i.logout, i.maxLifetime = c.logout(path, a), lifetimeOf(a)
	if other, clash := c.part.issuers[a.Issuer]; clash && a.Issuer != "" {
		c.inService(accepted, fmt.Sprintf("the authenticators %q and %q have the same issuer: a token would have two meanings",
			other.authenticator, name))
		return
	}
	c.part.issuers[a.Issuer] = i
}

// verifier checks what tokens must look like, each setting at its own place.
func (c *compiler) verifier(name string, a *format.Authenticator) *token.Verifier {
	path := "$.authenticators." + name
	before := len(c.problems)
	if a.Issuer == "" {
		c.inBundle(path+".issuer", "the issuer is missing: tokens are taken from one exact iss alone")
	}
	if len(a.Algorithms) == 0 {
		c.inBundle(path+".algorithms", "the list of algorithms is missing or empty")
	}
	for i, algorithm := range a.Algorithms {
		at := fmt.Sprintf("%s.algorithms[%d]", path, i)
		if strings.HasPrefix(algorithm, "HS") {
			c.inBundle(at, fmt.Sprintf("%s needs a secret that issuer and server share, and the keys here are public", algorithm))
		} else {
			c.tryConfig(at, token.Config{Algorithms: []string{algorithm}})
		}
	}
	for i, typ := range a.Types {
		c.tryConfig(fmt.Sprintf("%s.types[%d]", path, i), token.Config{Types: []string{typ}})
	}
	config := token.Config{Issuer: a.Issuer, Algorithms: a.Algorithms, Types: a.Types, MaxLifetime: time.Duration(a.MaxLifetime)}
	if a.Leeway != 0 || c.isWritten("authenticators", name, "leeway") {
		leeway := time.Duration(a.Leeway)
		config.Leeway = &leeway
		c.tryConfig(path+".leeway", token.Config{Leeway: &leeway})
	}
	if a.MaxLifetime <= 0 && c.isWritten("authenticators", name, "max_lifetime") {
		c.inBundle(path+".max_lifetime", "a max_lifetime of zero would accept no token")
	}
	if len(c.problems) > before {
		return nil
	}
	v, err := token.NewVerifier(config)
	if err != nil {
		c.inBundle(path, err.Error())
	}
	return v
}

// tryConfig reports what is wrong with one setting, with the others as they may be.
func (c *compiler) tryConfig(at string, config token.Config) {
	config.Issuer = "https://issuer.example"
	if config.Algorithms == nil {
		config.Algorithms = []string{"ES256"}
	}
	if _, err := token.NewVerifier(config); err != nil {
		c.inBundle(at, err.Error())
	}
}

// isWritten says whether bundle.yaml holds a key: a duration of zero that is written there is not the default.
func (c *compiler) isWritten(path ...string) bool {
	found := false
	c.bundle.File.Walk(func(at []string, _ format.Position, _ string) { found = found || slices.Equal(at, path) })
	return found
}

// claims reads where the parts of a subject stand in a token.
func (c *compiler) claims(path string, a *format.Authenticator) claimPaths {
	var out claimPaths
	rolesFrom := ""
	if a.Roles != nil {
		rolesFrom = a.Roles.From
	}
	for _, row := range []struct {
		path         *token.Path
		text, preset string
		at           string
	}{
		{&out.id, a.Subject.ID, "sub", ".subject.id"},
		{&out.tenant, a.Subject.Tenant, "", ".subject.tenant"},
		{&out.scopes, a.Subject.Scopes, "scope", ".subject.scopes"},
		{&out.roles, rolesFrom, "", ".roles.from"},
		{&out.acr, "", "acr", ""},
		{&out.amr, "", "amr", ""},
		{&out.authTime, "", "auth_time", ""},
		{&out.binding, "", "cnf", ""},
		{&out.session, "", "sid", ""},
	} {
		if row.text == "" {
			row.text = row.preset
		}
		if row.text == "" {
			continue
		}
		parsed, err := token.ParsePath(row.text)
		if err != nil {
			c.inBundle(path+row.at, err.Error())
			continue
		}
		*row.path = parsed
	}
	return out
}

// roles reads which roles the authenticator may assert.
func (c *compiler) roles(path string, a *format.Authenticator) (allowed map[string]bool, any bool) {
	if a.Roles == nil {
		return nil, false
	}
	if a.Roles.From == "" {
		c.inBundle(path+".roles", "from is missing: it names the claim that holds the roles")
	}
	return c.allowedRoles(path, a)
}

// allowedRoles reads the list of roles that may be asserted.
func (c *compiler) allowedRoles(path string, a *format.Authenticator) (allowed map[string]bool, any bool) {
	if a.Roles == nil {
		return nil, false
	}
	if len(a.Roles.Allow) == 0 {
		c.inBundle(path+".roles", `allow is missing: it lists the roles that the authenticator may assert, "*" for all`)
	}
	allowed = make(map[string]bool, len(a.Roles.Allow))
	for i, role := range a.Roles.Allow {
		if !isIdentifier(role) || subject.IsKeyShaped(role) {
			c.inBundle(fmt.Sprintf("%s.roles.allow[%d]", path, i),
				fmt.Sprintf("%q can be no role: a role is 1 to 256 bytes without control characters and looks unlike the key of a subject", role))
		}
		allowed[role] = true
	}
	return allowed, allowed["*"]
}

// audiences reads whom tokens must be meant for. Where tokens are accepted it cannot be left out.
func (c *compiler) audiences() {
	names := c.service.Identity.Audiences
	if len(names) == 0 && !c.takes("jwt", "introspection") {
		return
	}
	audiences, err := token.NewAudiences(names...)
	if err != nil {
		c.inService("$.identity.audiences", "audiences are mandatory for tokens: "+err.Error())
	}
	c.part.audiences = audiences
}

// takes reports whether the service accepts an authenticator of one of the kinds.
func (c *compiler) takes(kinds ...string) bool {
	return slices.ContainsFunc(c.service.Identity.Accept, func(name string) bool { return slices.Contains(kinds, c.bundle.Authenticators[name].Kind) })
}

// routes reads mode and scopes of each route.
func (c *compiler) routes() {
	preset := c.mode("$.identity.mode", c.service.Identity.Mode, modeRequired)
	c.requirable("$.identity.require", c.service.Identity.Require)
	c.part.routes = make([]requirement, len(c.service.Routes))
	revoked := c.serviceRevocation()
	unmet := false
	for i := range c.service.Routes {
		r := &c.service.Routes[i]
		at := fmt.Sprintf("$.routes[%d]", i)
		mode := c.mode(at+".identity", r.Identity, preset)
		c.scopes(at, r.Scopes, mode)
		c.part.routes[i] = requirement{mode: mode, scopes: slices.Clone(r.Scopes), challenge: scopeChallenge(c.service, r.Scopes), bound: c.bound(at, r, mode),
			assurance: c.assurance(at, r, mode), revocation: c.routeRevocation(at, r, mode, revoked)}
		unmet = unmet || r.Access != "public" && mode != modeNone && len(c.service.Identity.Accept) == 0
	}
	if unmet {
		c.inService("$.identity.accept", "accept names no authenticator, and routes that are not public need one; name one, or write mode: none")
	}
}

func (c *compiler) scopes(at string, scopes []string, m mode) {
	if len(scopes) > 0 && len(c.service.Identity.Accept) > 0 && (m == modeNone || !c.takes("jwt", "introspection", "api_key")) {
		c.inService(at+".scopes", "neither tokens nor keys are accepted here, so nobody could have the scopes")
	}
	for i, s := range scopes {
		if !isScope(s) {
			c.inService(fmt.Sprintf("%s.scopes[%d]", at, i), fmt.Sprintf("%q is no scope: printable ASCII without space, quote and backslash", s))
		}
	}
}

// bound says whether a route takes only credentials that are bound to a key or certificate.
func (c *compiler) bound(at string, r *format.Route, m mode) bool {
	c.requirable(at+".require", r.Require)
	if r.Require != "" && (r.Access == "public" || m == modeNone) {
		c.inService(at+".require", "no credential is looked at here, so none could be required to be bound")
	}
	return r.Require != "" || c.service.Identity.Require != ""
}

func (c *compiler) requirable(at, text string) {
	if text != "" && text != "bound" {
		c.inService(at, fmt.Sprintf("%q is nothing that can be required of a credential; write bound", text))
	}
}

func (c *compiler) mode(at, text string, preset mode) mode {
	switch text {
	case "":
		return preset
	case "required":
		return modeRequired
	case "optional":
		return modeOptional
	case "none":
		return modeNone
	}
	c.inService(at, fmt.Sprintf("%q is no mode; write required, optional or none", text))
	return preset
}
