package apikey

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"time"
)

// Failure is why a key is not taken.
type Failure uint8

// The failures. All but Unavailable are one and the same to the client.
const (
	// OK is no failure.
	OK Failure = iota
	// Unknown is a key that does not exist, of another authenticator, or with a wrong secret or checksum.
	Unknown
	// Expired, Revoked and Address are of a key that was proven.
	Expired
	Revoked
	Address
	// Unavailable says that nobody here can tell.
	Unavailable
)

// Outcome is what became of a key.
type Outcome struct {
	Failure Failure
	// Record is that of a key whose secret was shown; nil otherwise. It must not be changed.
	Record *Record
	// ID is that of the record, also where the secret was wrong; "" where there is none.
	ID string
	// Detail is for operators and holds nothing of the request.
	Detail string

	held *held
}

// Verifier checks the keys of one authenticator. It is immutable and safe for concurrent use.
type Verifier struct {
	// Prefix, Bundle and Authenticator say which keys are meant.
	Prefix, Bundle, Authenticator string
	// Hasher and Book are nil where nobody can check keys.
	Hasher *Hasher
	Book   *Book

	counted *counts // for tests: nil elsewhere
}

// counts are how often what costs time was done.
type counts struct{ hashes, compares, lookups int }

// nobody stands in for the record of a key that does not exist.
var nobody = [sha256.Size]byte{0: 1}

// Verify checks a key at a time. Of every text of the form of a key it looks up one record, makes one HMAC and compares it once, in
// constant time: how long it takes does not tell whether there is such a key.
func (v *Verifier) Verify(raw string, address netip.Addr, now time.Time) Outcome {
	if v.Hasher == nil || v.Book == nil {
		return Outcome{Failure: Unavailable, Detail: "there are no hash keys here"}
	}
	if !v.Book.fresh(now) {
		return Outcome{Failure: Unavailable, Detail: "the table of API keys was never read, or is older than it may be"}
	}
	k, err := Parse(raw)
	if err != nil {
		return Outcome{Failure: Unknown, Detail: "the text is no key: its form or its checksum is wrong"}
	}
	h, ends, revoked := v.Book.find(k.ID)
	hash, hashKey, mine := nobody, v.Hasher.first, 0
	id := ""
	if h != nil {
		id = h.record.ID
		hash = h.record.Hash
		if h.record.Bundle == v.Bundle && h.record.Authenticator == v.Authenticator && k.Prefix == v.Prefix {
			mine = 1
		}
		if v.Hasher.Knows(h.record.HashKey) {
			hashKey = h.record.HashKey
		}
	}
	sum := v.Hasher.sum(hashKey, v.Bundle, v.Authenticator, raw)
	equal := subtle.ConstantTimeCompare(sum[:], hash[:])
	if v.counted != nil {
		v.counted.lookups++
		v.counted.hashes++
		v.counted.compares++
	}
	if equal&mine != 1 {
		return v.unknown(h, mine == 1, id)
	}
	return judge(h, ends, revoked, address, now)
}

// unknown words for operators what no client learns.
func (v *Verifier) unknown(h *held, mine bool, id string) Outcome {
	out := Outcome{Failure: Unknown, Detail: "there is no such key"}
	switch {
	case h == nil:
	case !mine:
		out.Detail = "the key is one of another authenticator"
	case !v.Hasher.Knows(h.record.HashKey):
		out.ID, out.Detail = id, "the server has no hash key of the name that the key was made with"
	default:
		out.ID, out.Detail = id, "the secret is not that of the key"
	}
	return out
}

// judge looks at a key whose secret was shown.
func judge(h *held, ends, revoked time.Time, address netip.Addr, now time.Time) Outcome {
	r := h.record
	out := Outcome{Record: r, ID: r.ID, held: h}
	switch {
	case !revoked.IsZero() || !r.Revoked.IsZero():
		out.Failure, out.Detail = Revoked, "the key was revoked"
	case r.HasEnded(now):
		out.Failure, out.Detail = Expired, "the key has expired"
	case !ends.IsZero() && !now.Before(ends):
		out.Failure, out.Detail = Expired, "the key was replaced and has ended"
	case !r.allows(address):
		out.Failure, out.Detail = Address, "the client's address is none that the key may be used from"
	}
	return out
}

// Note tells the book that a key was used.
func (v *Verifier) Note(o Outcome, now time.Time) {
	if o.held != nil {
		v.Book.note(o.held, now)
	}
}
