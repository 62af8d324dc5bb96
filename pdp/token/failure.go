package token

// The reasons of a refusal. They are words of the public list of reasons.
const (
	reasonTooLong     = "token_too_long"
	reasonMalformed   = "token_malformed"
	reasonAlgorithm   = "token_algorithm"
	reasonCritical    = "token_critical"
	reasonType        = "token_type"
	reasonIssuer      = "token_issuer"
	reasonAudience    = "token_audience"
	reasonKeyUnknown  = "token_key_unknown"
	reasonSignature   = "token_signature"
	reasonExpired     = "token_expired"
	reasonNotYetValid = "token_not_yet_valid"
	reasonLifetime    = "token_lifetime"
	reasonClaim       = "token_claim"
)

// Error is why a token was refused. Neither its reason nor its text holds
// anything that came from the token, so both are safe in logs and records.
type Error struct {
	reason string
	detail string
}

// Reason returns the stable code of the refusal, one of [Reasons].
func (e *Error) Reason() string { return e.reason }

// Error returns the reason and a fixed explanation.
func (e *Error) Error() string { return e.reason + ": " + e.detail }

// refuse makes the error of a refusal. The detail must be a constant text.
func refuse(reason, detail string) *Error {
	return &Error{reason: reason, detail: detail}
}

// Reasons lists every reason that an [*Error] can have, in a fixed order.
func Reasons() []string {
	return []string{
		reasonTooLong, reasonMalformed, reasonAlgorithm, reasonCritical, reasonType, reasonIssuer, reasonAudience,
		reasonKeyUnknown, reasonSignature, reasonExpired, reasonNotYetValid, reasonLifetime, reasonClaim,
	}
}
