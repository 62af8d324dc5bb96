// Package format holds the decoded form of a policy bundle, format 1, and the strict reader of its files.
//
// The structs mirror the files key for key; the JSON Schemas under docs/schema are generated from them. They
// hold no logic beyond decoding and positions: what the keys mean is the business of the stages, which each
// compile their part. It imports nothing of this module, and the stages, route and bundle packages may import it.
package format

// Bundle is bundle.yaml together with the services beside it.
type Bundle struct {
	// Format is the format's major version, 1.
	Format int `yaml:"format"`
	// Requires is the least format, "1.0", that the bundle needs.
	Requires string `yaml:"requires"`
	// Name is the bundle's name: part of every limit key and record.
	Name string `yaml:"name"`
	// Authenticators are the ways to establish a subject, by name.
	Authenticators map[string]Authenticator `yaml:"authenticators"`
	// Guards are deny-only policies that stand before every service's own.
	Guards []Policy `yaml:"guards"`
	// LimitDefinitions are limits whose counters all services share.
	LimitDefinitions map[string]Limit `yaml:"limit_definitions"`
	// Record says what else may appear in records.
	Record Record `yaml:"record"`

	// Services are the decoded services/*/service.yaml, ordered by name.
	Services []*Service `yaml:"-"`
	// Files are the files of the bundle.
	Files *Files `yaml:"-"`
	// File is bundle.yaml itself, for positions.
	File *File `yaml:"-"`
}

// Authenticator is one way to establish a subject.
type Authenticator struct {
	// Kind is jwt, introspection, api_key or mtls.
	Kind string `yaml:"kind"`
	// Issuer is the exact iss of the tokens.
	Issuer string `yaml:"issuer"`
	// Algorithms is the allow-list of JWS algorithms.
	Algorithms []string `yaml:"algorithms"`
	// JWKS says where the issuer's keys are.
	JWKS JWKS `yaml:"jwks"`
	// Types are the accepted typ values; empty means at+jwt.
	Types []string `yaml:"types"`
	// Leeway is the tolerated clock difference, 30s where the key is left out.
	Leeway Duration `yaml:"leeway"`
	// MaxLifetime is how far exp may lie ahead, 24h where the key is left out.
	MaxLifetime Duration `yaml:"max_lifetime"`
	// Subject says which claims name the subject.
	Subject SubjectClaims `yaml:"subject"`
	// Roles says which roles the authenticator may assert.
	Roles *Roles `yaml:"roles"`
	// Introspection, for introspection, says where and how the issuer is asked about its opaque tokens.
	Introspection introspection `yaml:"introspection"`
	// SANs, for mtls, are the subject alternative names that are accepted: exact names, URIs that end in "*", DNS names that begin
	// with "*.".
	SANs []string `yaml:"sans"`
	// SPIFFE, for mtls, are the SPIFFE ids that are accepted.
	SPIFFE *spiffe `yaml:"spiffe"`
	// Logout, for jwt, takes logout tokens of the issuer (OpenID Connect Back-Channel Logout); nil takes none.
	Logout *logout `yaml:"logout"`
	// Prefix, for api_key, is the label of its keys: dwk_LABEL_ is what they begin with, dwk_ where it is left out.
	Prefix string `yaml:"prefix"`
	// Keys, for api_key, says where its keys are written down.
	Keys keySource `yaml:"keys"`
}

// SPIFFE are SPIFFE ids of one trust domain.
type spiffe struct {
	// TrustDomain is the name of the trust domain.
	TrustDomain string `yaml:"trust_domain"`
	// Paths are patterns of paths, /ns/{ns}/sa/{sa} or /ns/shop/*. What stands in the place of {ns} is the claim ns.
	Paths []string `yaml:"paths"`
}

// Logout says which logout tokens of an issuer are taken.
type logout struct {
	// Audiences are the aud values of which a logout token must hold one: the client ids that users log in at.
	Audiences []string `yaml:"audiences"`
	// Ends is what a logout token ends that names a session: session (default), or subject, all sessions of the subject, for issuers
	// whose access tokens have no sid.
	Ends string `yaml:"ends"`
}

// Introspection says where an issuer is asked about its opaque tokens (RFC 7662), and for how long its answers hold.
type introspection struct {
	// URL is the https URL of the introspection endpoint.
	URL string `yaml:"url"`
	// Client is who asks.
	Client introspectionClient `yaml:"client"`
	// Cache is for how long an active token is taken for active at most, 30s where the key is left out; 0s asks every time.
	Cache *Duration `yaml:"cache"`
	// NegativeCache is the same for tokens that are not active, 5s where the key is left out.
	NegativeCache *Duration `yaml:"negative_cache"`
	// Timeout bounds each call, 500ms where the key is left out.
	Timeout *Duration `yaml:"timeout"`
	// WithoutAudience says what becomes of tokens for which the answer names no audience: deny (default) or allow.
	WithoutAudience string `yaml:"without_audience"`
}

// IntrospectionClient is who asks an issuer about tokens.
type introspectionClient struct {
	// ID is the client's name at the issuer.
	ID string `yaml:"id"`
	// Authentication is how the client proves it: basic, private_key_jwt or mtls.
	Authentication string `yaml:"authentication"`
	// Secret names the secret of the server's settings that holds the password, or the private key in PEM. mtls has none.
	Secret string `yaml:"secret"`
	// KeyID is the kid of assertions, for private_key_jwt; the key's thumbprint (RFC 7638) where it is left out.
	KeyID string `yaml:"key_id"`
	// Audience is whom assertions are for, for private_key_jwt: issuer (default) or endpoint.
	Audience string `yaml:"audience"`
}

// keySource is where the keys of an authenticator are; exactly one member is set.
type keySource struct {
	// File is a file of the bundle.
	File string `yaml:"file"`
	// Table takes those that operators make with "durward keys create".
	Table bool `yaml:"table"`
}

// JWKS is the source of an issuer's keys: exactly one of file, url and discovery.
type JWKS struct {
	// File is a JWKS file of the bundle.
	File string `yaml:"file"`
	// URL is an https URL of a JWKS.
	URL string `yaml:"url"`
	// Discovery takes the URL from the issuer's metadata.
	Discovery bool `yaml:"discovery"`
	// MaxStale is how long fetched keys serve on after they were due for renewal, 24h where the key is left out.
	MaxStale *Duration `yaml:"max_stale"`
}

// SubjectClaims names the claims, as dotted paths, that describe the subject.
type SubjectClaims struct {
	// ID defaults to sub; Tenant and Scopes (default scope) may be empty.
	ID     string `yaml:"id"`
	Tenant string `yaml:"tenant"`
	Scopes string `yaml:"scopes"`
}

// Roles maps a claim to roles.
type Roles struct {
	// From is the dotted path of the claim.
	From string `yaml:"from"`
	// Allow lists the roles that pass; others are dropped. "*" allows all.
	Allow []string `yaml:"allow"`
}

// Record says which request parts may appear in records.
type Record struct {
	// Headers, Query and Params are names; Claims are dotted paths of claims.
	Headers []string `yaml:"headers"`
	Query   []string `yaml:"query"`
	Params  []string `yaml:"params"`
	Claims  []string `yaml:"claims"`
}

// Service is services/NAME/service.yaml.
type Service struct {
	// Name is the service's name; it equals its directory's.
	Name string `yaml:"service"`
	// Match lists the hosts, with path prefixes, that the service answers for.
	Match []Match `yaml:"match"`
	// TLS is required (default) or optional.
	TLS string `yaml:"tls"`
	// Path relaxes the canonical form of paths.
	Path Path `yaml:"path"`
	// Identity says who may call.
	Identity Identity `yaml:"identity"`
	// Policies must all allow.
	Policies []Policy `yaml:"policies"`
	// Upstream says what the API behind receives.
	Upstream Upstream `yaml:"upstream"`
	// CORS answers preflights.
	CORS *cors `yaml:"cors"`
	// Defaults hold for routes that do not say otherwise.
	Defaults Defaults `yaml:"defaults"`
	// LimitDefinitions are the service's own limits.
	LimitDefinitions map[string]Limit `yaml:"limit_definitions"`
	// Routes are the declared paths and methods.
	Routes []Route `yaml:"routes"`
	// Unmatched is the status of an undeclared path: 403 (default) or 404.
	Unmatched int `yaml:"unmatched"`
	// Candidate is evaluated beside the policy.
	Candidate *candidate `yaml:"candidate"`
	// Observe turns policy denials of routes into alarms for a while.
	Observe []observe `yaml:"observe"`

	// File is the service.yaml, for positions; Dir is its directory inside the bundle ("services/orders").
	File *File  `yaml:"-"`
	Dir  string `yaml:"-"`
}

// Match is a host, exact or "*.example.com" for one label, with an optional path prefix.
type Match struct {
	Host   string `yaml:"host"`
	Prefix string `yaml:"prefix"`
}

// Path relaxes one class of ambiguous paths each; empty values are the strict defaults.
type Path struct {
	// EncodedSlash is refuse (default) or keep.
	EncodedSlash string `yaml:"encoded_slash"`
	// Parameters is refuse (default) or keep: ";" in a segment.
	Parameters string `yaml:"parameters"`
	// TrailingSlash is strict (default) or ignore.
	TrailingSlash string `yaml:"trailing_slash"`
	// Case is sensitive (default) or insensitive.
	Case string `yaml:"case"`
}

// Identity says which credentials a service takes.
type Identity struct {
	// Mode is required (default), optional or none.
	Mode string `yaml:"mode"`
	// Accept names authenticators.
	Accept []string `yaml:"accept"`
	// Audiences are the aud values of which a token must hold one.
	Audiences []string `yaml:"audiences"`
	// Credentials are where a credential is taken from: authorization (default), header:NAME, cookie:NAME.
	Credentials []string `yaml:"credentials"`
	// ResourceMetadata is the https URL of the service's protected resource metadata (RFC 9728), named in challenges.
	ResourceMetadata string `yaml:"resource_metadata"`
	// Require is empty, or bound for a service that takes only credentials bound to a key or certificate of the client.
	Require string `yaml:"require"`
	// DPoP says how tokens that are bound to a key are taken (RFC 9449); without it they are refused.
	DPoP *dpop `yaml:"dpop"`
	// Metadata describes the service as a protected resource, in the place of ResourceMetadata: the server publishes it.
	Metadata *resourceMetadata `yaml:"metadata"`
	// Revocation says what to do where this replica does not know recently enough what is blocked; nil is the default.
	Revocation *revocation `yaml:"revocation"`
}

// DPoP says how proofs of possession are checked.
type dpop struct {
	// Algorithms is the allow-list of proofs; empty means ES256, EdDSA, Ed25519, PS256 and RS256.
	Algorithms []string `yaml:"algorithms"`
	// Window is how far back a proof may have been made, 1 minute where the key is left out.
	Window *Duration `yaml:"window"`
	// Ahead is how far ahead, for clocks that differ: 5 seconds where the key is left out.
	Ahead *Duration `yaml:"ahead"`
	// Nonce is none (default), or required: every proof must hold a nonce that the server gave lately.
	Nonce string `yaml:"nonce"`
	// OnError is what happens while nobody knows whether a proof was used before: deny (default) or allow.
	OnError string `yaml:"on_error"`
}

// ResourceMetadata is what protected resource metadata (RFC 9728, section 2) say besides what the service says elsewhere.
type resourceMetadata struct {
	// Resource is the resource's identifier, an https URL whose host and path are the service's.
	Resource string `yaml:"resource"`
	// Name is what people call the resource, Documentation an https URL of what developers should read.
	Name          string `yaml:"name"`
	Documentation string `yaml:"documentation"`
	// CertificateBound says that clients may bring tokens that are bound to their TLS certificate.
	CertificateBound bool `yaml:"certificate_bound"`
}

// Revocation is the failure mode of blocks.
type revocation struct {
	// OnError is stale (a service's default: what was known counts, and a replica that never knew denies), deny or allow.
	OnError string `yaml:"on_error"`
	// MaxAge is how old what a replica knows may be, 60s where a service leaves the key out.
	MaxAge *Duration `yaml:"max_age"`
}

// Policy is a Casbin model with its rules.
type Policy struct {
	Name string `yaml:"name"`
	// Model is the path of the model, relative to the service's directory or absolute inside the bundle ("/shared/…").
	Model string `yaml:"model"`
	// Rules are the paths of rule files.
	Rules []string `yaml:"rules"`
	// Request maps the names of the model's request_definition to attributes.
	Request map[string]Attribute `yaml:"request"`
	// TokenRoles feeds the subject's roles into a role relation.
	TokenRoles *TokenRoles `yaml:"token_roles"`
	// Matching makes patterns of the names or domains in the links of role relations, by relation.
	Matching map[string]matching `yaml:"matching"`
	// MaxCost is the estimated time of a decision above which the load fails; 1ms where the key is left out.
	MaxCost *Duration `yaml:"max_cost"`
}

// TokenRoles feeds an attribute's values into a role relation as roles of the subject.
type TokenRoles struct {
	// From is the attribute that lists roles; Relation is g, g2, …; Domain is an attribute, mandatory for relations with domains.
	From     string `yaml:"from"`
	Relation string `yaml:"relation"`
	Domain   string `yaml:"domain"`
}

// Matching names the functions by which names and domains match those in the links of a role relation: keyMatch, keyMatch2,
// keyMatch3, keyMatch4, keyMatch5, regexMatch or globMatch.
type matching struct {
	// Names is for members and roles, also those that rules name; Domains for the domains of links. Empty compares texts.
	Names   string `yaml:"names"`
	Domains string `yaml:"domains"`
}

// Attribute names an attribute, either as a plain string or as a mapping {attr, missing}.
type Attribute struct {
	// Name is the attribute's dotted name.
	Name string `yaml:"attr"`
	// Missing is the value to take when the attribute is missing; nil denies. In limits it is deny, skip or share.
	Missing *string `yaml:"missing"`
}

// Upstream says what the API behind receives.
type Upstream struct {
	// Headers maps header names to attributes.
	Headers map[string]Attribute `yaml:"headers"`
	// Remove lists headers that never pass.
	Remove []string `yaml:"remove"`
	// Token is a short-lived token that Durward signs for the API; nil for none.
	Token *upstreamToken `yaml:"token"`
}

// UpstreamToken is a token for the API, in the place of the client's own.
type upstreamToken struct {
	// Header carries it: authorization, as a bearer token, where it is left out.
	Header string `yaml:"header"`
	// Audience is its aud: the service's first audience, or its name, where it is left out.
	Audience string `yaml:"audience"`
	// TTL is how long it lives, 60s where it is left out, and never longer than the client's token.
	TTL Duration `yaml:"ttl"`
	// Anonymous gives requests without credentials a token too.
	Anonymous bool `yaml:"anonymous"`
	// Claims maps names of claims to attributes.
	Claims map[string]Attribute `yaml:"claims"`
}

// CORS answers preflight requests.
type cors struct {
	Origins []string `yaml:"origins"`
}

// Defaults hold for routes that do not say otherwise.
type Defaults struct {
	Limits []string `yaml:"limits"`
	Body   *Body    `yaml:"body"`
}

// Body bounds a request body.
type Body struct {
	// Max is the largest size; 0 refuses every body, and without it there is no bound.
	Max *Size `yaml:"max"`
	// Types lists the accepted media types; empty for any.
	Types []string `yaml:"types"`
}

// Route is one path template with its methods.
type Route struct {
	Name    string   `yaml:"name"`
	Path    string   `yaml:"path"`
	Methods []string `yaml:"methods"`
	// Access is empty, or public for a route that needs neither identity nor policy.
	Access string `yaml:"access"`
	// Purpose is empty or login.
	Purpose string `yaml:"purpose"`
	// Action is the action's name; empty takes the method.
	Action string `yaml:"action"`
	// Resource describes the resource; nil takes the route itself.
	Resource *Resource `yaml:"resource"`
	// Scopes must all be among the subject's.
	Scopes []string `yaml:"scopes"`
	// Assurance is the login strength that the route needs.
	Assurance *assurance `yaml:"assurance"`
	// Require is empty, or bound for a route that takes only credentials bound to a key or certificate of the client.
	Require string `yaml:"require"`
	// Revocation overrides the service's failure mode of blocks; what it leaves out is the service's.
	Revocation *revocation `yaml:"revocation"`
	// Same lists attributes that must be present and equal.
	Same []Attribute `yaml:"same"`
	// Limits name limits; they are added to the defaults.
	Limits []string `yaml:"limits"`
	Body   *Body    `yaml:"body"`
	// Identity overrides the service's mode: required, optional or none.
	Identity string `yaml:"identity"`
}

// Resource describes what a route acts on; values are attribute names.
type Resource struct {
	Type       string               `yaml:"type"`
	ID         Attribute            `yaml:"id"`
	Properties map[string]Attribute `yaml:"properties"`
}

// Assurance is the login strength that a route needs (RFC 9470). What is written must all hold.
type assurance struct {
	// ACR are the authentication context classes of which the login must have one, in the order in which they are preferred.
	ACR []string `yaml:"acr"`
	// AMR are authentication methods of which the login must have used all.
	AMR []string `yaml:"amr"`
	// MaxAge is how long ago the login may be, in whole seconds, at least one.
	MaxAge *Duration `yaml:"max_age"`
}

// Limit is the definition of a limit.
type Limit struct {
	// Rate is what passes in the long run, the same for all requests. A limit has a rate, a by_class or a concurrency.
	Rate Rate `yaml:"rate"`
	// ByClass is a rate that depends on the class of the request.
	ByClass *byClass `yaml:"by_class"`
	// Concurrency is how many requests go on at a time, in the place of Rate; each counts until it has ended, or for Expires.
	Concurrency int64     `yaml:"concurrency"`
	Expires     *Duration `yaml:"expires"`
	// WithoutRelease says what becomes of callers that do not tell when a request has ended: deny (default) or expire.
	WithoutRelease string `yaml:"without_release"`
	// Burst is what passes at once; the count of the rate where it is left out. Classes have their own.
	Burst     int64       `yaml:"burst"`
	Algorithm string      `yaml:"algorithm"`
	By        []Attribute `yaml:"by"`
	// When are conditions by the name of an attribute. The limit applies to a request for which all of them hold.
	When map[string]condition `yaml:"when"`
	// Cost is a number (int64) or an attribute's name (string).
	Cost any `yaml:"cost"`
	// Count is allowed, denied or all; empty takes the default that By implies.
	Count string `yaml:"count"`
	// At is empty or gate.
	At string `yaml:"at"`
	// Distinct is the attribute whose different values are counted, in the place of requests.
	Distinct *Attribute `yaml:"distinct"`
	// OnError is local_share (default), allow or deny.
	OnError string `yaml:"on_error"`
	Shadow  bool   `yaml:"shadow"`
	// Missing says for all of By, and for Distinct, what a missing attribute does: deny, skip or share.
	Missing string `yaml:"missing"`
	// Lease is the number of units that a replica takes in advance, at most a quarter of the burst, without one of the count.
	Lease int64 `yaml:"lease"`
}

// Condition is what one attribute must be, written as a value, as a list of which it must be one, or as a mapping.
type condition struct {
	// Is lists values of which the attribute must be one. A condition that is written as a value or a list says the same.
	Is values `yaml:"is"`
	// Not lists values that the attribute must not be, nor hold where it is a list.
	Not values `yaml:"not"`
	// Contains is the value that a list must hold.
	Contains values `yaml:"contains"`
	// Present is whether there must be a value.
	Present *bool `yaml:"present"`
}

// Values are a value or a list of values: text (string), numbers (int64, float64), true and false (bool).
type values []any

// ByClass chooses a rate by the class of an attribute.
type byClass struct {
	// Of is the attribute, a single value or a list.
	Of string `yaml:"of"`
	// FirstOf lists the classes with their rates, one in each item. The first that the attribute is, or holds, counts.
	FirstOf []map[string]classRate `yaml:"first_of"`
	// Otherwise is the rate of everybody else.
	Otherwise classRate `yaml:"otherwise"`
}

// ClassRate is the rate of a class, either as plain text or as a mapping {rate, burst}.
type classRate struct {
	Rate  Rate  `yaml:"rate"`
	Burst int64 `yaml:"burst"`
}

// Candidate is a next version of one policy that is evaluated beside it.
type candidate struct {
	// Policy names the policy; it may be left out where there is one.
	Policy string `yaml:"policy"`
	// Model is the path of the next model; empty takes the policy's. Rules are the paths of the next rule files.
	Model string   `yaml:"model"`
	Rules []string `yaml:"rules"`
}

// Observe turns policy denials of a route into alarms until a date.
type observe struct {
	// Route is the route's name; Until the day, YYYY-MM-DD, at whose beginning in UTC it ends.
	Route string `yaml:"route"`
	Until string `yaml:"until"`
}
