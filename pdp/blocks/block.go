package blocks

import (
	"crypto/sha256"
	"encoding/binary"
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
)

// Bounds of a block's texts, in bytes.
const (
	MaxValue  = 2048 // as long as the longest SPIFFE id
	MaxReason = 300
	maxName   = 256
)

// ErrBlock is wrapped by errors about a block that cannot be one. Their texts are for whoever made it.
var ErrBlock = errors.New("not a block")

// Kind is what a block is about.
type Kind uint8

// The kinds of blocks. Value is what names it: of a token its jti, of a session its sid, of a client its client_id, of a key its id
// (an API key's, or the kid of an issuer's), of a subject its key or, with an issuer, its sub, of a network its prefix.
const (
	Token Kind = iota + 1
	Session
	Subject
	Client
	Key
	Network
	// Issuer is about all tokens of an issuer that were issued before a time.
	Issuer
)

// kinds are the names of kinds by number.
var kinds = []string{Token: "token", Session: "session", Subject: "subject", Client: "client", Key: "key", Network: "network", Issuer: "issuer"}

// String returns the kind's name, "" for none.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return ""
}

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *Kind) UnmarshalText(text []byte) error {
	i := slices.Index(kinds, string(text))
	if i <= 0 {
		return fmt.Errorf("%w: a kind is one of %s", ErrBlock, strings.Join(kinds[1:], ", "))
	}
	*k = Kind(i) //nolint:gosec // there are seven
	return nil
}

// Block is one thing that is blocked. It is immutable once it is in a list.
type Block struct {
	Kind Kind `json:"kind"`
	// Bundle, if not "", bounds the block to the credentials that a bundle's authenticators established.
	Bundle string `json:"bundle,omitempty"`
	// Issuer is the iss of tokens; the authenticator's name for keys, and for credentials that have no issuer.
	Issuer string `json:"issuer,omitempty"`
	Value  string `json:"value,omitempty"`
	// Before, where it is set, bounds the block to what was issued before: mandatory for issuers, possible for subjects.
	Before time.Time `json:"before,omitzero"`
	// Reason is a short text for operators. By says who blocked, Made when.
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	Made   time.Time `json:"made"`
	// Until is when it ends by itself; the zero time is never.
	Until time.Time `json:"until,omitzero"`
}

// ID names the block: whoever blocks the same thing again means the same block. It tells nothing of the value.
func (b *Block) ID() string {
	h := sha256.New()
	for _, part := range []string{b.Bundle, b.Issuer, b.Value} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		_, _ = h.Write(length[:])
		_, _ = h.Write([]byte(part))
	}
	name := b.Kind.String()
	if !b.Before.IsZero() {
		name += "-before"
	}
	return name + "-" + hex.EncodeToString(h.Sum(nil)[:12])
}

// Detail is what records say of a refusal for the block.
func (b *Block) Detail() string { return "block " + b.ID() + ": " + b.Reason }

// endsBy reports whether the block has ended.
func (b *Block) endsBy(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }

// Check says whether the block is one, and writes a network in its canonical form. Its errors wrap [ErrBlock].
func (b *Block) Check() error {
	if b.Kind.String() == "" {
		return fmt.Errorf("%w: the kind is missing", ErrBlock)
	}
	if b.Kind == Network {
		if err := b.network(); err != nil {
			return err
		}
	}
	for _, text := range []struct {
		name, value string
		most        int
		mandatory   bool
	}{
		{"bundle", b.Bundle, maxName, false},
		{"issuer", b.Issuer, MaxValue, b.Kind != Subject && b.Kind != Network},
		{"value", b.Value, MaxValue, b.Kind != Issuer},
		{"reason", b.Reason, MaxReason, true},
		{"by", b.By, maxName, true},
	} {
		switch {
		case text.value == "" && text.mandatory:
			return fmt.Errorf("%w: the %s is missing", ErrBlock, text.name)
		case len(text.value) > text.most:
			return fmt.Errorf("%w: the %s is longer than %d bytes", ErrBlock, text.name, text.most)
		case !utf8.ValidString(text.value) || strings.ContainsFunc(text.value, unicode.IsControl):
			return fmt.Errorf("%w: the %s holds control characters or is not UTF-8", ErrBlock, text.name)
		}
	}
	return b.checkKind()
}

// checkKind checks what depends on the kind.
func (b *Block) checkKind() error {
	switch {
	case b.Kind == Issuer && (b.Before.IsZero() || b.Value != ""):
		return fmt.Errorf("%w: of an issuer only what was issued before a time can be blocked", ErrBlock)
	case !b.Before.IsZero() && b.Kind != Issuer && b.Kind != Subject:
		return fmt.Errorf("%w: what was issued before a time can be blocked of issuers and subjects", ErrBlock)
	case b.Kind == Network && b.Bundle+b.Issuer != "":
		return fmt.Errorf("%w: a network is blocked for all bundles, and has no issuer", ErrBlock)
	case b.Made.IsZero():
		return fmt.Errorf("%w: the time is missing", ErrBlock)
	}
	return nil
}

// network reads the value as an address or prefix. IPv4 addresses in the form of IPv6 are IPv4, as clients' addresses are.
func (b *Block) network() error {
	prefix, err := netip.ParsePrefix(b.Value)
	if address, single := netip.ParseAddr(b.Value); err != nil && single == nil && address.Zone() == "" {
		prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
	}
	if err == nil && prefix.Addr().Is4In6() {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	if err != nil || !prefix.IsValid() {
		return fmt.Errorf("%w: %q is no address and no network, as 192.0.2.0/24", ErrBlock, b.Value)
	}
	b.Value = prefix.Masked().String()
	return nil
}

// encode writes a block as the table keeps it.
func (b *Block) encode() ([]byte, error) { return json.Marshal(b) }

// decode reads what the table keeps under an id. The table may hold what another version wrote.
func decode(id string, data []byte) (*Block, error) {
	b := &Block{}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBlock, err)
	}
	if err := b.Check(); err != nil {
		return nil, err
	}
	if b.ID() != id {
		return nil, fmt.Errorf("%w: it stands under another id", ErrBlock)
	}
	return b, nil
}
