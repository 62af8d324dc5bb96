package identity

import (
	"fmt"
	"maps"
	"slices"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/identity/apikey"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// APIKeys are what API keys are checked with.
type APIKeys struct {
	// Hasher is nil where the operator named no hash key; no bundle with authenticators of kind api_key loads then.
	Hasher *apikey.Hasher
	// Table holds the keys of the shared table.
	Table *apikey.Book
	// StandIn lets the table stand in for the keys that bundles ship too, as decision tests do: they cannot know a secret of those.
	StandIn bool
}

// keyring is an authenticator of kind api_key. It is immutable.
type keyring struct {
	verifier apikey.Verifier
	roles    roleFilter
	shared   bool // whether its keys are in the shared table
}

// roleFilter says which roles an authenticator may assert.
type roleFilter struct {
	allowed map[string]bool
	any     bool
}

// KeyAuthenticator is an authenticator whose keys an operator can make and revoke.
type KeyAuthenticator struct {
	Name string
	// Prefix is what its keys begin with.
	Prefix string
	// Roles are those that its keys may have, sorted; "*" among them is any.
	Roles []string
}

// KeyAuthenticators returns the authenticators of a compiled service that take keys of the shared table, sorted by name.
func KeyAuthenticators(s *pipeline.Service) []KeyAuthenticator {
	p, ok := s.Parts[Name].(*part)
	if !ok {
		return nil
	}
	var out []KeyAuthenticator
	for _, k := range p.keyrings {
		if k.shared {
			out = append(out, KeyAuthenticator{Name: k.verifier.Authenticator, Prefix: k.verifier.Prefix, Roles: slices.Sorted(maps.Keys(k.roles.allowed))})
		}
	}
	slices.SortFunc(out, func(a, b KeyAuthenticator) int { return cmpText(a.Name, b.Name) })
	return out
}

func cmpText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// fromAPIKey makes a subject of an API key. A key names its authenticator by its prefix.
func (p *part) fromAPIKey(c *pipeline.Case, raw string) (proven, refusal) {
	if len(p.keyrings) == 0 {
		return proven{}, refusal{verdict.TokenMalformed, "no accepted authenticator takes API keys"}
	}
	k, err := apikey.Parse(raw)
	i := slices.IndexFunc(p.keyrings, func(ring *keyring) bool { return ring.verifier.Prefix == k.Prefix })
	if i < 0 {
		if err != nil {
			return proven{}, refusal{verdict.APIKeyUnknown, "the text is no key: its form or its checksum is wrong"}
		}
		return proven{}, refusal{verdict.APIKeyUnknown, "no accepted authenticator has keys with this prefix"}
	}
	return p.keyrings[i].prove(c, raw)
}

// prove checks a key of the authenticator.
func (k *keyring) prove(c *pipeline.Case, raw string) (proven, refusal) {
	found := k.verifier.Verify(raw, c.Request.Client, c.Now)
	if reason, failed := keyReasons[found.Failure]; failed {
		return proven{}, refusal{reason, about(k.verifier.Authenticator, found.ID) + found.Detail}
	}
	if c.Request.Mode != request.Dry {
		k.verifier.Note(found, c.Now)
	}
	r := found.Record
	out := proven{issued: r.Created, Subject: subject.Subject{
		Key: subject.Key(r.Kind, k.verifier.Authenticator, r.Owner), Kind: r.Kind, Authenticator: k.verifier.Authenticator, ID: r.Owner,
		Tenant: r.Tenant, Scopes: r.Scopes, TokenID: r.ID, KeyID: r.ID,
	}}
	out.Roles, out.DroppedRoles = k.roles.filter(r.Roles)
	return out, refusal{}
}

// keyReasons are the reasons of what can be wrong with a key.
var keyReasons = map[apikey.Failure]verdict.Reason{
	apikey.Unknown: verdict.APIKeyUnknown, apikey.Expired: verdict.APIKeyExpired, apikey.Revoked: verdict.TokenRevoked,
	apikey.Address: verdict.APIKeyAddress, apikey.Unavailable: verdict.KeysUnavailable,
}

// keyringOf returns the accepted authenticator of kind api_key with that name; nil when there is none.
func (p *part) keyringOf(authenticator string) *keyring {
	for _, k := range p.keyrings {
		if k.verifier.Authenticator == authenticator {
			return k
		}
	}
	return nil
}

// apiKeys compiles an authenticator of kind api_key.
func (c *compiler) apiKeys(name string, a *format.Authenticator, accepted string) {
	path := "$.authenticators." + name
	prefix, err := apikey.Prefix(a.Prefix)
	if err != nil {
		c.inBundle(path+".prefix", err.Error())
		return
	}
	k := &keyring{shared: a.Keys.Table, verifier: apikey.Verifier{Prefix: prefix, Bundle: c.bundle.Name, Authenticator: name}}
	if a.Roles != nil && a.Roles.From != "" {
		c.inBundle(path+".roles.from", "roles are written down with each key; there are no claims to take them from")
	}
	k.roles.allowed, k.roles.any = c.allowedRoles(path, a)
	if (a.Keys.File != "") == a.Keys.Table {
		c.inBundle(path+".keys", "keys come from one place: keys: {file: PATH} or keys: {table: true}")
		return
	}
	var shipped *apikey.Book
	if a.Keys.File != "" {
		shipped = c.shippedKeys(path, name, a, &k.roles)
	}
	c.withKeys(path, k, shipped)
	for _, other := range c.part.keyrings {
		if other.verifier.Prefix == prefix {
			c.inService(accepted, fmt.Sprintf("the keys of the authenticators %q and %q both begin with %s: give one of them another prefix",
				other.verifier.Authenticator, name, prefix))
		}
	}
	c.part.keyrings = append(c.part.keyrings, k)
}

// withKeys gives an authenticator what checks its keys. Tools have nothing, and then nobody can tell whether a key is good.
func (c *compiler) withKeys(path string, k *keyring, shipped *apikey.Book) {
	if c.options.APIKeys == nil {
		return
	}
	if c.options.APIKeys.Hasher == nil {
		c.inBundle(path+".kind", "this server has no hash keys, by which API keys are known: api_keys.hash_keys in durward.yaml")
		return
	}
	k.verifier.Hasher, k.verifier.Book = c.options.APIKeys.Hasher, shipped
	if k.shared || c.options.APIKeys.StandIn {
		k.verifier.Book = c.options.APIKeys.Table
	}
}

// shippedKeys reads the keys that the bundle ships.
func (c *compiler) shippedKeys(path, name string, a *format.Authenticator, roles *roleFilter) *apikey.Book {
	file, ok := c.bundle.Files.Get("", a.Keys.File)
	if !ok {
		c.inBundle(path+".keys.file", fmt.Sprintf("the bundle has no file %q", a.Keys.File))
		return nil
	}
	records, problems := apikey.ReadFile(file, c.bundle.Name, name)
	if len(problems) > 0 {
		c.problems = append(c.problems, problems...)
		return nil
	}
	for i := range records {
		r := &records[i]
		if c.options.APIKeys != nil && c.options.APIKeys.Hasher != nil && !c.options.APIKeys.StandIn && !c.options.APIKeys.Hasher.Knows(r.HashKey) {
			c.problems = append(c.problems, file.Problem(fmt.Sprintf("$.keys[%d].hash_key", i), fmt.Sprintf("this server has no hash key %q: api_keys.hash_keys in durward.yaml", r.HashKey)))
		}
		if _, dropped := roles.filter(r.Roles); dropped > 0 {
			c.problems = append(c.problems, file.Problem(fmt.Sprintf("$.keys[%d].roles", i), fmt.Sprintf("the authenticator %q may not assert all of these roles: roles.allow in bundle.yaml", name)))
		}
	}
	return apikey.NewBook(apikey.BookOptions{}, records...)
}
