package apikey

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/durward-pdp/durward/pdp/subject"
)

// Bounds of a record.
const (
	maxName      = 256
	maxScopes    = 64
	maxRoles     = 64
	maxAddresses = 64
	maxReason    = 256
)

// Record is what is kept of a key. It is immutable once it is in a [Book].
type Record struct {
	// ID is the key's public id. Hash is the HMAC-SHA-256 of the key, made with the hash key of the name HashKey.
	ID      string
	Hash    [32]byte
	HashKey string
	// Bundle and Authenticator are what the key belongs to: it is good nowhere else.
	Bundle, Authenticator string
	// Owner is the subject's id. A key that replaces another has the same owner, and so the subject stays.
	Owner string
	// Kind is the subject's: service for programs, which is the default, or user for a key that acts for a person.
	Kind          string
	Tenant        string
	Scopes, Roles []string
	// Addresses are the networks that the key may be used from; none for all.
	Addresses []netip.Prefix
	// Created and Expires bound the key's life; Expires is zero for never. Neither changes.
	Created, Expires time.Time
	// Replaces is the id of the key that this one was made for.
	Replaces string

	// Ends is when a key that was replaced ends, Revoked when it was revoked; zero for not.
	Ends, Revoked time.Time
	// Reason is why it was revoked.
	Reason string
}

// Check says what is wrong with a record.
func (r *Record) Check() error {
	switch {
	case !IsID(r.ID):
		return errors.New("id: 16 characters of the base 62")
	case !isHashKeyName(r.HashKey):
		return errors.New("hash_key: the name of a hash key of the server")
	case r.Hash == [32]byte{}:
		return errors.New("hash: 64 hexadecimal digits")
	case r.Kind != subject.KindService && r.Kind != subject.KindUser:
		return errors.New("kind: service or user")
	case !isName(r.Owner):
		return errors.New("owner: 1 to 256 bytes of UTF-8 without control characters")
	case r.Tenant != "" && !isName(r.Tenant):
		return errors.New("tenant: at most 256 bytes of UTF-8 without control characters")
	case r.Created.IsZero():
		return errors.New("created: a time is missing")
	case !r.Expires.IsZero() && !r.Created.Before(r.Expires):
		return errors.New("expires: not after created")
	case r.Replaces != "" && !IsID(r.Replaces):
		return errors.New("replaces: the id of a key")
	case len(r.Addresses) > maxAddresses:
		return fmt.Errorf("addresses: at most %d", maxAddresses)
	}
	return r.checkRights()
}

func (r *Record) checkRights() error {
	if len(r.Scopes) > maxScopes {
		return fmt.Errorf("scopes: at most %d", maxScopes)
	}
	for _, s := range r.Scopes {
		if !isScope(s) {
			return fmt.Errorf("scopes: %q is no scope: printable ASCII without space, quote and backslash", s)
		}
	}
	if len(r.Roles) > maxRoles {
		return fmt.Errorf("roles: at most %d", maxRoles)
	}
	for _, role := range r.Roles {
		if !isName(role) || subject.IsKeyShaped(role) {
			return fmt.Errorf("roles: %q can be no role: 1 to 256 bytes of UTF-8 without control characters, unlike the key of a subject", role)
		}
	}
	return nil
}

// EndsAt returns when the key ends by itself; the zero time for never.
func (r *Record) EndsAt() time.Time {
	if r.Expires.IsZero() || !r.Ends.IsZero() && r.Ends.Before(r.Expires) {
		return r.Ends
	}
	return r.Expires
}

// HasEnded reports whether the key has ended by itself.
func (r *Record) HasEnded(now time.Time) bool {
	end := r.EndsAt()
	return !end.IsZero() && !now.Before(end)
}

// allows says whether the key may be used from an address. One that nobody knows is none of those allowed.
func (r *Record) allows(address netip.Addr) bool {
	if len(r.Addresses) == 0 {
		return true
	}
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(r.Addresses, func(p netip.Prefix) bool { return p.Contains(address) })
}

// ParseAddress reads a network in CIDR notation, or one address. A network whose address has bits beyond the prefix is refused: one of
// the two is a slip.
func ParseAddress(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%.64q is no address and no network; write 192.0.2.0/24 or 2001:db8::/32", text)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s has bits beyond the prefix; is %s meant?", p, p.Masked())
	}
	return p, nil
}

func isName(text string) bool {
	return text != "" && len(text) <= maxName && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

func isScope(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return text != "" && len(text) <= maxName
}

// stored is the JSON of a record in the shared table.
type stored struct {
	ID            string         `json:"id"`
	Hash          string         `json:"hash"`
	HashKey       string         `json:"hash_key"`
	Bundle        string         `json:"bundle"`
	Authenticator string         `json:"authenticator"`
	Owner         string         `json:"owner"`
	Kind          string         `json:"kind"`
	Tenant        string         `json:"tenant,omitempty"`
	Scopes        []string       `json:"scopes,omitempty"`
	Roles         []string       `json:"roles,omitempty"`
	Addresses     []netip.Prefix `json:"addresses,omitempty"`
	Created       time.Time      `json:"created"`
	Expires       time.Time      `json:"expires,omitzero"`
	Replaces      string         `json:"replaces,omitempty"`
}

func (r *Record) encode() ([]byte, error) {
	return json.Marshal(stored{
		ID: r.ID, Hash: hex.EncodeToString(r.Hash[:]), HashKey: r.HashKey, Bundle: r.Bundle, Authenticator: r.Authenticator,
		Owner: r.Owner, Kind: r.Kind, Tenant: r.Tenant, Scopes: r.Scopes, Roles: r.Roles, Addresses: r.Addresses,
		Created: r.Created.UTC(), Expires: r.Expires.UTC(), Replaces: r.Replaces,
	})
}

// decodeRecord reads what encode wrote. A member that it does not know might take rights away, so the record is not taken.
func decodeRecord(data []byte) (*Record, error) {
	var s stored
	if err := decodeStrict(data, &s); err != nil {
		return nil, err
	}
	r := &Record{
		ID: s.ID, HashKey: s.HashKey, Bundle: s.Bundle, Authenticator: s.Authenticator, Owner: s.Owner, Kind: s.Kind, Tenant: s.Tenant,
		Scopes: s.Scopes, Roles: s.Roles, Addresses: s.Addresses, Created: s.Created, Expires: s.Expires, Replaces: s.Replaces,
	}
	if n, err := hex.Decode(r.Hash[:], []byte(s.Hash[:min(len(s.Hash), 2*len(r.Hash))])); err != nil || n != len(r.Hash) || len(s.Hash) != 2*n {
		return nil, errors.New("hash: 64 hexadecimal digits")
	}
	return r, r.Check()
}

func decodeStrict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("there is more behind it")
	}
	return nil
}
