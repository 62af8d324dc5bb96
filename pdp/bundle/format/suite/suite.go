// Package suite holds the decoded form of decision tests: the files tests/*.yaml of a policy bundle.
//
// The structs mirror the files key for key; docs/schema/tests.schema.json is generated from them. pdp/bundle decodes
// them so that a typo is found when a bundle is loaded, pdp/decisiontest says what they mean and runs them. It imports
// nothing of this module and has no logic beyond reading instants.
package suite

// Suite is one file of decision tests.
type Suite struct {
	// Suite is the suite's name.
	Suite string `yaml:"suite"`
	// Now is the instant at which every case begins, 2026-01-01T12:00:00Z where it is left out.
	Now *Moment `yaml:"now"`
	// Tokens are bearer tokens by name; they are signed with throw-away keys that stand in for the authenticators'.
	Tokens map[string]Token `yaml:"tokens"`
	// Certificates are client certificates by name, as a gateway that verified them reports them.
	Certificates map[string]certificate `yaml:"certificates"`
	// Subjects are asserted subjects by name, for tests of rules that leave credentials out.
	Subjects map[string]subject `yaml:"subjects"`
	// Cases are the tests.
	Cases []Case `yaml:"cases"`
	// Matrix says who can do what, compared with a golden file.
	Matrix *matrix `yaml:"matrix"`
}

// Token is a bearer token.
type Token struct {
	// Extends names the token that this one is made from; what is said here replaces what is said there, claim by claim.
	Extends string `yaml:"extends"`
	// Authenticator is the name of the jwt authenticator whose key signs the token.
	Authenticator string `yaml:"authenticator"`
	// Claims are the token's claims. iss, jti, client_id, iat and exp are filled in where they are left out.
	Claims map[string]any `yaml:"claims"`
	// Omit lists claims that the token does not have.
	Omit []string `yaml:"omit"`
	// Exp, Nbf and Iat are the claims of these names as instants: +5min is five minutes after now. Exp is +5min and iat
	// is now where they are left out.
	Exp *Moment `yaml:"exp"`
	Nbf *Moment `yaml:"nbf"`
	Iat *Moment `yaml:"iat"`
	// AuthTime is when the subject logged in, the claim auth_time; there is none where it is left out.
	AuthTime *Moment `yaml:"auth_time"`
	// Header replaces members of the token's header, such as typ and kid.
	Header map[string]any `yaml:"header"`
	// Raw is the token as it is sent, instead of one that is made.
	Raw string `yaml:"raw"`
	// DPoP binds the token to a throw-away key (RFC 9449): it comes with the scheme DPoP and, with each request, a proof that fits.
	DPoP bool `yaml:"dpop"`
	// Certificate binds the token to a certificate of the suite (RFC 8705), which requests must name as well.
	Certificate string `yaml:"certificate"`
}

// Certificate is a client certificate that the gateway verified.
type certificate struct {
	// Subject is the distinguished name.
	Subject string `yaml:"subject"`
	// SANs are the subject alternative names: URIs hold "://", e-mail names "@", others are DNS names.
	SANs []string `yaml:"sans"`
	// NotBefore and NotAfter bound the validity, an hour around now where they are left out.
	NotBefore *Moment `yaml:"not_before"`
	NotAfter  *Moment `yaml:"not_after"`
}

// Subject is a subject that is taken as established: no credential is verified for it.
type subject struct {
	// Key is the whole key, KIND:AUTHENTICATOR:ID; or the parts are given.
	Key string `yaml:"key"`
	// Kind is user (default), service or anonymous; Authenticator names one of the bundle's.
	Kind          string `yaml:"kind"`
	Authenticator string `yaml:"authenticator"`
	// ID is the subject's name as the authenticator gives it.
	ID string `yaml:"id"`
	// Tenant, Roles, Scopes, Issuer and ACR are what the authenticator would say.
	Tenant string   `yaml:"tenant"`
	Roles  []string `yaml:"roles"`
	Scopes []string `yaml:"scopes"`
	Issuer string   `yaml:"issuer"`
	ACR    string   `yaml:"acr"`
	AMR    []string `yaml:"amr"`
	// AuthTime is when the subject logged in.
	AuthTime *Moment `yaml:"auth_time"`
	// Claims are the verified claims.
	Claims map[string]any `yaml:"claims"`
}

// Case is one test: a request and what is expected of it, or steps that share counters and a clock.
type Case struct {
	// Name says what must hold.
	Name string `yaml:"name"`
	// Given is how the world is from the beginning of the case.
	Given *given `yaml:"given"`
	// Request is the request, Expect what its verdict must be.
	Request *Request `yaml:"request"`
	Expect  *Expect  `yaml:"expect"`
	// Steps are requests one after the other, instead of one request.
	Steps []Step `yaml:"steps"`
}

// Step is one request of a case, once or several times.
type Step struct {
	// At is when the step happens, as an offset from now; a step does not happen before the one above it.
	At *Moment `yaml:"at"`
	// Given changes how the world is from this step on.
	Given *given `yaml:"given"`
	// Repeat is how often the request is made, 1 where it is left out; every verdict must be as expected.
	Repeat *int `yaml:"repeat"`
	// Request is the request, Expect what its verdicts must be.
	Request *Request `yaml:"request"`
	Expect  *Expect  `yaml:"expect"`
}

// Given is how the world around the engine is.
type given struct {
	// Redis is up (default) or down: whether the shared counters answer.
	Redis string `yaml:"redis"`
}

// Request is one request as a gateway reports it.
type Request struct {
	// Method is GET where it is left out.
	Method string `yaml:"method"`
	// Scheme is how the client reached the gateway, https where it is left out.
	Scheme string `yaml:"scheme"`
	// Host is the authority.
	Host string `yaml:"host"`
	// Path is the raw request target: path and query, nothing decoded.
	Path string `yaml:"path"`
	// Protocol is HTTP/1.1 where it is left out.
	Protocol string `yaml:"protocol"`
	// Token names a token of the suite; it comes in one Authorization: Bearer line, or where a header's value says {token}.
	Token string `yaml:"token"`
	// Proof says where the proof differs from one that fits. The token must be bound to a key (dpop).
	Proof *proof `yaml:"proof"`
	// Certificate names a certificate of the suite.
	Certificate string `yaml:"certificate"`
	// Subject names a subject of the suite that is taken as established.
	Subject string `yaml:"subject"`
	// Headers are header lines of different names. Lines are more of them in order, for repeated names.
	Headers map[string]string `yaml:"headers"`
	Lines   []Line            `yaml:"lines"`
	// Body is the body's text, BodyFile a file beside the suite that holds it.
	Body     *string `yaml:"body"`
	BodyFile string  `yaml:"body_file"`
	// Size is the body's size in bytes where the gateway forwards none of it, or only the first part.
	Size *int64 `yaml:"size"`
	// Address is the client's address, 192.0.2.1 where it is left out; unknown for none.
	Address string `yaml:"address"`
	// SNI is the server name of the TLS handshake.
	SNI string `yaml:"sni"`
	// Adapter is the protocol by which the gateway asks, ext_authz where it is left out.
	Adapter string `yaml:"adapter"`
	// Extensions are attributes that the gateway's configuration adds.
	Extensions map[string]string `yaml:"extensions"`
	// Operation asks about an action on a resource, instead of an HTTP request.
	Operation *operation `yaml:"operation"`
	// Domain, Descriptors and HitsAddend ask for limits of ratelimits/ alone, as Envoy's rate limit protocol does.
	Domain      string       `yaml:"domain"`
	Descriptors []Descriptor `yaml:"descriptors"`
	// HitsAddend is what each descriptor costs that does not say so itself, 1 where it is left out.
	HitsAddend int64 `yaml:"hits_addend"`
}

// Proof is a DPoP proof, but for what fits the request: a new jti, htm, htu, iat, ath, and the nonce that the service gave last.
type proof struct {
	// Header and Claims replace members of a proof that fits.
	Header map[string]any `yaml:"header"`
	Claims map[string]any `yaml:"claims"`
	// Omit lists claims that the proof does not have.
	Omit []string `yaml:"omit"`
	// Iat is when the proof was made: now, where it is left out.
	Iat *Moment `yaml:"iat"`
	// Raw is the proof as it is sent, instead of one that is made.
	Raw string `yaml:"raw"`
	// Absent sends none.
	Absent bool `yaml:"absent"`
	// Scheme is that of the token: DPoP (default) or Bearer.
	Scheme string `yaml:"scheme"`
}

// Descriptor is one descriptor of a rate limit request.
type Descriptor struct {
	// Entries lead from the outermost level inwards.
	Entries []entry `yaml:"entries"`
	// HitsAddend is the descriptor's own cost; 0 looks and charges nothing.
	HitsAddend *int64 `yaml:"hits_addend"`
	// Limit is a limit that the gateway brings, and that holds in the place of the domain's.
	Limit *override `yaml:"limit"`
}

// Entry is a pair of a descriptor.
type entry struct {
	Key   string `yaml:"key"`
	Value string `yaml:"value"`
}

// Override is a limit that a gateway brings.
type override struct {
	RequestsPerUnit int64 `yaml:"requests_per_unit"`
	// Unit is second, minute, hour, day, week, month or year.
	Unit string `yaml:"unit"`
}

// Line is one header line.
type Line struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}

// Operation is a question without an HTTP request.
type operation struct {
	// Service declares the action.
	Service string `yaml:"service"`
	Action  string `yaml:"action"`
	// ResourceType, ResourceID and Properties describe the resource.
	ResourceType string            `yaml:"resource_type"`
	ResourceID   string            `yaml:"resource_id"`
	Properties   map[string]string `yaml:"properties"`
}

// Expect is what a verdict must be. What is left out may be anything; at least one key stands here.
type Expect struct {
	// Decision is allow or deny.
	Decision string `yaml:"decision"`
	// Status is the HTTP status: 200 for an allow.
	Status int `yaml:"status"`
	// Reason is the exact reason, PublicReason what the client is told.
	Reason       string `yaml:"reason"`
	PublicReason string `yaml:"public_reason"`
	// Rule is where the deciding rule stands, path:line; RuleID is its stable hash.
	Rule   string `yaml:"rule"`
	RuleID string `yaml:"rule_id"`
	// Policy is the policy that decided, Stage the stage that denied, Limit the limit that refused.
	Policy string `yaml:"policy"`
	Stage  string `yaml:"stage"`
	Limit  string `yaml:"limit"`
	// Remaining is what limits have left afterwards, by name.
	Remaining map[string]int64 `yaml:"remaining"`
	// Upstream are headers that the API behind receives, UpstreamAbsent those that it does not.
	Upstream       map[string]string `yaml:"upstream"`
	UpstreamAbsent []string          `yaml:"upstream_absent"`
	// UpstreamToken are claims of the token that the API behind receives, by name. Claims that do not stand here may be anything.
	UpstreamToken map[string]any `yaml:"upstream_token"`
	// Response are headers that the gateway adds to the response, ResponseAbsent those that it does not.
	Response       map[string]string `yaml:"response"`
	ResponseAbsent []string          `yaml:"response_absent"`
	// RetryAfter is how many seconds the client is told to wait; 0 for not at all.
	RetryAfter *int64 `yaml:"retry_after"`
	// Degraded is whether a failure mode decided in the place of something that failed.
	Degraded *bool `yaml:"degraded"`
	// Change is text that the smallest change that would allow must hold.
	Change string `yaml:"change"`
}

// Matrix is a table of who can do what. Nothing is charged for it.
type matrix struct {
	// Subjects names tokens, certificates and subjects of the suite, and anonymous.
	Subjects []string `yaml:"subjects"`
	// Services and Routes are what is looked at; all where they are left out.
	Services []string `yaml:"services"`
	Routes   []string `yaml:"routes"`
	// Params are example values of path parameters by name; others are example.
	Params map[string]string `yaml:"params"`
	// Golden is the CSV file beside the suite that holds the expected table.
	Golden string `yaml:"golden"`
}
