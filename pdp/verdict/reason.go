package verdict

// Reason is a code of the list below. The list is append-only: codes are never renamed or reused.
type Reason string

// Public is what a client may learn: coarse enough that it tells an attacker nothing about keys, tokens and rules.
type Public string

// Public reasons. The first three are RFC 6750, section 3.1.
const (
	InvalidRequest      Public = "invalid_request"
	InvalidToken        Public = "invalid_token"
	InsufficientScope   Public = "insufficient_scope"
	InvalidProof        Public = "invalid_dpop_proof" // RFC 9449, sections 7.1 and 9
	UseNonce            Public = "use_dpop_nonce"
	InsufficientLogin   Public = "insufficient_user_authentication" // RFC 9470, section 3
	CredentialsRequired Public = "credentials_required"
	AccessDenied        Public = "access_denied"
	NotFound            Public = "not_found"
	MethodNotAllowed    Public = "method_not_allowed"
	TooLarge            Public = "request_too_large"
	UnsupportedMedia    Public = "unsupported_media_type"
	TLSRequired         Public = "tls_required"
	QuotaExceeded       Public = "quota_exceeded"
	Unavailable         Public = "temporarily_unavailable"
)

// Info is what the list says of a reason.
type Info struct {
	// Status is the HTTP status of a denial for this reason.
	Status int
	// Public is what the client is told.
	Public Public
	// Text is one line for operators.
	Text string
}

// Reasons of the engine itself.
const (
	Allowed           Reason = "allowed"
	NotGranted        Reason = "not_granted"
	NoSnapshot        Reason = "no_snapshot"
	Deadline          Reason = "deadline"
	Cancelled         Reason = "cancelled"
	Internal          Reason = "internal"
	AuditUnavailable  Reason = "audit_unavailable"
	MalformedRequest  Reason = "malformed_request"
	CallerNotTrusted  Reason = "caller_not_trusted"
	DuplicateHeader   Reason = "duplicate_header"
	StageFailed       Reason = "stage_failed"
	NoService         Reason = "no_service"
	NoRoute           Reason = "no_route"
	ActionUnknown     Reason = "action_unknown"
	RouteMethod       Reason = "method_not_allowed"
	PathAmbiguous     Reason = "path_ambiguous"
	HostInvalid       Reason = "host_invalid"
	PlainText         Reason = "tls_required"
	HeaderTooLarge    Reason = "header_too_large"
	HeaderInvalid     Reason = "header_invalid"
	BodyTooLarge      Reason = "body_too_large"
	BodyPartial       Reason = "body_partial"
	BodyType          Reason = "body_type"
	BodyEncoding      Reason = "body_encoding"
	TokenMissing      Reason = "token_missing"
	CredentialsClash  Reason = "credentials_ambiguous"
	TokenTooLong      Reason = "token_too_long"
	TokenMalformed    Reason = "token_malformed"
	TokenAlgorithm    Reason = "token_algorithm"
	TokenCritical     Reason = "token_critical"
	TokenType         Reason = "token_type"
	TokenIssuer       Reason = "token_issuer"
	TokenAudience     Reason = "token_audience"
	TokenKeyUnknown   Reason = "token_key_unknown"
	TokenSignature    Reason = "token_signature"
	TokenExpired      Reason = "token_expired"
	TokenNotYet       Reason = "token_not_yet_valid"
	TokenLifetime     Reason = "token_lifetime"
	TokenClaim        Reason = "token_claim"
	CertificateBad    Reason = "certificate_invalid"
	ScopeMissing      Reason = "insufficient_scope"
	KeysUnavailable   Reason = "keys_unavailable"
	NoMatchingRule    Reason = "no_matching_rule"
	RuleDenied        Reason = "rule_denied"
	GuardDenied       Reason = "guard_denied"
	SameMismatch      Reason = "attributes_differ"
	AttributeMissing  Reason = "attribute_missing"
	AttributeMany     Reason = "attribute_ambiguous"
	PolicyError       Reason = "policy_error"
	LimitExceeded     Reason = "limit_exceeded"
	LimitsUnavailable Reason = "limits_unavailable"
	HeaderUnsafe      Reason = "header_value_unsafe"

	CredentialsMalformed Reason = "credentials_malformed"
	CredentialsInQuery   Reason = "credentials_in_query"
	TokenBinding         Reason = "token_binding"
	CostInvalid          Reason = "limit_cost_invalid"
	ReportedFailure      Reason = "reported_failure"
	PermitsUnsupported   Reason = "permits_unsupported"

	UpstreamToken            Reason = "upstream_token_unavailable"
	ProofMissing             Reason = "proof_missing"
	ProofInvalid             Reason = "proof_invalid"
	ProofReplayed            Reason = "proof_replayed"
	ProofNonce               Reason = "proof_nonce"
	ProofUnavailable         Reason = "proof_unavailable"
	BindingRequired          Reason = "binding_required"
	CrossSite                Reason = "cross_site"
	TokenInactive            Reason = "token_inactive"
	IntrospectionUnavailable Reason = "introspection_unavailable"
	AssuranceLow             Reason = "assurance_insufficient"
	TokenRevoked             Reason = "token_revoked"
	SubjectBlocked           Reason = "subject_blocked"
	NetworkBlocked           Reason = "network_blocked"
	RevocationsUnavailable   Reason = "revocations_unavailable"
	APIKeyUnknown            Reason = "api_key_unknown"
	APIKeyExpired            Reason = "api_key_expired"
	APIKeyAddress            Reason = "api_key_address"
)

// reasons is the whole list. Its order is the order of the documentation.
var reasons = map[Reason]Info{
	Allowed:           {200, "", "the policy or a public route granted the request"},
	NotGranted:        {403, AccessDenied, "no stage granted the request"},
	NoSnapshot:        {503, Unavailable, "no policy is loaded yet"},
	Deadline:          {503, Unavailable, "the decision did not finish in time"},
	Cancelled:         {503, Unavailable, "the caller gave up"},
	Internal:          {503, Unavailable, "an internal fault; see the log"},
	AuditUnavailable:  {503, Unavailable, "the record could not be kept and the configuration demands one"},
	MalformedRequest:  {400, InvalidRequest, "the caller's message could not be read as a request"},
	CallerNotTrusted:  {403, AccessDenied, "the caller may not assert what its message holds"},
	DuplicateHeader:   {400, InvalidRequest, "a header that must be single came more than once"},
	StageFailed:       {503, Unavailable, "a stage failed and its failure mode is closed"},
	NoService:         {403, AccessDenied, "no service answers for this host and path"},
	NoRoute:           {403, AccessDenied, "the service declares no such path"},
	ActionUnknown:     {403, AccessDenied, "no route, or more than one, declares this action"},
	RouteMethod:       {405, MethodNotAllowed, "the path does not declare this method"},
	PathAmbiguous:     {400, InvalidRequest, "the path can be read in more than one way"},
	HostInvalid:       {400, InvalidRequest, "the host is missing, repeated or not a host name"},
	PlainText:         {403, TLSRequired, "the request reached the gateway without TLS"},
	HeaderTooLarge:    {431, TooLarge, "too many header lines, or too many bytes in them"},
	HeaderInvalid:     {400, InvalidRequest, "a header holds control characters or a name that is no token"},
	BodyTooLarge:      {413, TooLarge, "the body is larger than the route allows"},
	BodyPartial:       {413, TooLarge, "the gateway cut the body and the route needs all of it"},
	BodyType:          {415, UnsupportedMedia, "the content type is not one that the route declares"},
	BodyEncoding:      {415, UnsupportedMedia, "the body is compressed and the route checks bodies"},
	TokenMissing:      {401, CredentialsRequired, "the route needs credentials and none came"},
	CredentialsClash:  {400, InvalidRequest, "more than one credential came"},
	TokenTooLong:      {401, InvalidToken, "the token is longer than allowed"},
	TokenMalformed:    {401, InvalidToken, "the token is not a strict JWS"},
	TokenAlgorithm:    {401, InvalidToken, "the algorithm is not on the authenticator's list"},
	TokenCritical:     {401, InvalidToken, "the token demands an extension that is not understood"},
	TokenType:         {401, InvalidToken, "the token is of another kind"},
	TokenIssuer:       {401, InvalidToken, "no accepted authenticator has this issuer"},
	TokenAudience:     {401, InvalidToken, "the token is for another audience"},
	TokenKeyUnknown:   {401, InvalidToken, "the issuer has no such key"},
	TokenSignature:    {401, InvalidToken, "the signature does not verify"},
	TokenExpired:      {401, InvalidToken, "the token has expired"},
	TokenNotYet:       {401, InvalidToken, "the token is not valid yet"},
	TokenLifetime:     {401, InvalidToken, "the token lives longer than allowed"},
	TokenClaim:        {401, InvalidToken, "a claim is missing or of the wrong type"},
	CertificateBad:    {401, InvalidToken, "the client certificate cannot be read, is out of its time, or does not name one accepted subject"},
	ScopeMissing:      {403, InsufficientScope, "the token lacks a scope of the route"},
	KeysUnavailable:   {503, Unavailable, "the keys to check the credential with, an issuer's or those of the table of API keys, are not available"},
	NoMatchingRule:    {403, AccessDenied, "no rule allows it"},
	RuleDenied:        {403, AccessDenied, "a rule denies it"},
	GuardDenied:       {403, AccessDenied, "a guard denies it"},
	SameMismatch:      {403, AccessDenied, "two attributes that must be equal are not"},
	AttributeMissing:  {403, AccessDenied, "a rule or key reads an attribute that is missing"},
	AttributeMany:     {400, InvalidRequest, "an attribute that must be single came more than once"},
	PolicyError:       {403, AccessDenied, "a rule could not be evaluated for this request"},
	LimitExceeded:     {429, QuotaExceeded, "a limit has no room"},
	LimitsUnavailable: {503, Unavailable, "the counters cannot be reached and the limit denies then"},
	HeaderUnsafe:      {403, AccessDenied, "an attribute cannot be carried in a header"},

	CredentialsMalformed: {400, InvalidRequest, "what stands where the credential belongs is not one token, or in the Authorization field not a scheme and one token"},
	CredentialsInQuery:   {400, InvalidRequest, "the query carries a token, where none is taken from"},
	TokenBinding:         {401, InvalidToken, "the token is bound to a key or certificate that did not come with it"},
	CostInvalid:          {400, InvalidRequest, "the cost of the request for a limit is no whole number, or above the limit's burst"},
	ReportedFailure:      {403, AccessDenied, "no decision: the API behind let a request fail that was allowed, and reported it"},
	UpstreamToken:        {503, Unavailable, "there is no key to sign the token for the API behind with"},
	PermitsUnsupported:   {403, AccessDenied, "a limit on concurrency wants permits back, and the caller does not say that it gives any back"},

	ProofMissing:             {401, InvalidProof, "the token is bound to a key, and no DPoP proof came with it"},
	ProofInvalid:             {401, InvalidProof, "the DPoP proof is not sound, or for another token, method, URL or time"},
	ProofReplayed:            {401, InvalidProof, "the DPoP proof was used before"},
	ProofNonce:               {401, UseNonce, "the DPoP proof lacks a nonce of the service, or the nonce is too old"},
	ProofUnavailable:         {503, Unavailable, "whether the DPoP proof was used before cannot be found out"},
	BindingRequired:          {401, InvalidToken, "the route takes only credentials that are bound to a key or certificate of the client"},
	CrossSite:                {403, AccessDenied, "a browser sent the credential in a cookie along with a request that another site made"},
	TokenInactive:            {401, InvalidToken, "the issuer says that the token is not active: expired, revoked, or none of its own"},
	IntrospectionUnavailable: {503, Unavailable, "the issuer could not be asked about an opaque token, or its answer is not sound"},
	AssuranceLow:             {401, InsufficientLogin, "the subject's login is weaker or older than the route wants"},
	TokenRevoked:             {401, InvalidToken, "the token, its session or the key behind it is blocked, or it was issued before a time that is; a new login may help"},
	SubjectBlocked:           {403, AccessDenied, "the subject is blocked, or the client that the token was issued to; a new login does not help"},
	NetworkBlocked:           {403, AccessDenied, "the client's address is in a network that is blocked"},
	RevocationsUnavailable:   {503, Unavailable, "this replica does not know what is blocked, or not recently enough, and the service denies then"},
	APIKeyUnknown:            {401, InvalidToken, "there is no such API key: unknown, mistyped, of another authenticator, or with a wrong secret"},
	APIKeyExpired:            {401, InvalidToken, "the API key has expired, or was replaced and its overlap is over"},
	APIKeyAddress:            {401, InvalidToken, "the API key may not be used from the client's address"},
}

// Known reports whether r is on the list.
func (r Reason) Known() bool {
	_, ok := reasons[r]
	return ok
}

// Info returns what the list says of r; an unknown reason is a plain 403.
func (r Reason) Info() Info {
	if info, ok := reasons[r]; ok {
		return info
	}
	return Info{Status: 403, Public: AccessDenied, Text: "unknown reason"}
}

// Status returns the HTTP status of a denial for r.
func (r Reason) Status() int { return r.Info().Status }

// Public returns what a client may be told.
func (r Reason) Public() Public { return r.Info().Public }

// Reasons returns the codes of the list in no particular order.
func Reasons() []Reason {
	out := make([]Reason, 0, len(reasons))
	for r := range reasons {
		out = append(out, r)
	}
	return out
}
