// Package subject describes on whose behalf a request is made, and how that was established.
//
// A Subject comes from an authenticator or from a caller that may assert one; it is immutable afterwards.
// The package depends on the standard library only, and any package may import it.
package subject

import (
	"strings"
	"time"
)

// Kinds of subjects.
const (
	// KindAnonymous is the kind of a subject without credentials.
	KindAnonymous = "anonymous"
	// KindUser is the kind of a subject named by a token, or by an API key that acts for a person.
	KindUser = "user"
	// KindService is the kind of a subject named by a client certificate, or by an API key of a program.
	KindService = "service"
)

// AnonymousKey is the key of every subject without credentials.
const AnonymousKey = "anonymous"

// Subject is who a request is made for. The zero value is not a subject: use Anonymous.
type Subject struct {
	// Key is the injective name for rules and limits, KIND:AUTHENTICATOR:ID, or AnonymousKey.
	// Kinds and authenticator names hold no colon, so no two subjects share a key whatever the ID holds.
	Key string
	// Kind is user, service or anonymous.
	Kind string
	// Authenticator is the name of what established the subject; "" for anonymous.
	Authenticator string
	// ID is the subject's name as the authenticator gives it (the token's sub, the API key's owner).
	ID string
	// Issuer is the token's iss; "" without a token.
	Issuer string
	// Tenant is the tenant that the subject belongs to; "" when there is none.
	Tenant string
	// Roles are the roles that the authenticator may assert; DroppedRoles counts the others, for the record.
	Roles        []string
	DroppedRoles int
	// Scopes are the token's scopes.
	Scopes []string
	// ACR, AMR and AuthTime tell how strongly and when the subject logged in (RFC 9470); zero when unknown.
	ACR      string
	AMR      []string
	AuthTime time.Time
	// Claims are the verified claims; nil without a token. Readers must not change them.
	Claims map[string]any
	// Binding is what the credential is bound to (RFC 7800): "" for nothing, certificate, dpop, or certificate+dpop. KeyThumbprint is
	// the thumbprint (RFC 7638) of the key of dpop, for the record.
	Binding, KeyThumbprint string
	// TokenID and KeyID name the token (jti) and the key that signed it (kid), for the record; both are the id of an API key.
	TokenID, KeyID string
}

// Anonymous returns the subject of a request without credentials.
func Anonymous() Subject {
	return Subject{Key: AnonymousKey, Kind: KindAnonymous}
}

// IsAnonymous reports whether nobody vouches for the subject. The zero Subject is anonymous.
func (s *Subject) IsAnonymous() bool {
	return s.Kind == KindAnonymous || s.Kind == ""
}

// Key builds the injective key of a subject. kind and authenticator must not hold a colon; bundles are checked for that.
func Key(kind, authenticator, id string) string {
	return kind + ":" + authenticator + ":" + id
}

// IsKeyShaped reports whether name could be the key of a subject: AnonymousKey, or text that begins with a kind and
// a colon. Names of roles must not be, because a subject is a member of the role that bears its own name.
func IsKeyShaped(name string) bool {
	kind, _, found := strings.Cut(name, ":")
	if !found {
		return name == AnonymousKey
	}
	return kind == KindUser || kind == KindService || kind == KindAnonymous
}
