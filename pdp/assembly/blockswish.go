package assembly

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/blocksapi"
	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/subject"
)

const (
	// tokensLast is how long tokens live at most where no authenticator in force says.
	tokensLast = 24 * time.Hour
	// Networks of shorter prefixes are blocked only by who spells it out.
	shortest4, shortest6 = 16, 32
)

// blockOf makes a block of a wish.
func (a *blocksAdmin) blockOf(wish *blocksapi.Put, who caller) (*blocks.Block, *refusal) {
	bad := func(form string, args ...any) (*blocks.Block, *refusal) {
		return nil, &refusal{http.StatusBadRequest, fmt.Sprintf(form, args...)}
	}
	now := a.journal.clock()
	b := &blocks.Block{Bundle: wish.Bundle, Issuer: wish.Issuer, Value: wish.Value, Reason: wish.Reason, By: who.name, Made: now}
	if err := b.Kind.UnmarshalText([]byte(wish.Kind)); err != nil {
		return nil, refused(err)
	}
	switch at, err := time.Parse(time.RFC3339, wish.Before); {
	case wish.Before == "":
	case wish.Before == "now":
		b.Before = now
	case err != nil:
		return bad("before is now, or a time as 2026-01-31T12:00:00Z, not %q", wish.Before)
	case at.After(now.Add(time.Hour)):
		return bad("before lies in the future: tokens that are issued until then would be refused too")
	default:
		b.Before = at
	}
	if b.Kind == blocks.Subject && b.Issuer == "" && b.Value != "" && (!subject.IsKeyShaped(b.Value) || strings.Count(b.Value, ":") < 2) {
		return bad("a subject is its key, as user:AUTHENTICATOR:ID or service:AUTHENTICATOR:ID, which records show; or with an issuer its sub")
	}
	var no *refusal
	if b.Until, no = a.end(b, wish.Until, now); no != nil {
		return nil, no
	}
	if err := b.Check(); err != nil {
		return nil, refused(err)
	}
	return b, nil
}

// end reads when a block ends. What is about tokens ends by itself when the last of them has expired.
func (a *blocksAdmin) end(b *blocks.Block, text string, now time.Time) (time.Time, *refusal) {
	if text == "never" {
		return time.Time{}, nil
	}
	if text == "" {
		const ends = `say until when: "never", a length of time as 24h or 30d, or a time as 2026-01-31T12:00:00Z`
		if b.Kind != blocks.Token && b.Kind != blocks.Session && b.Before.IsZero() {
			return time.Time{}, &refusal{http.StatusBadRequest, ends}
		}
		lifetime, bounded := a.lifetime(b)
		if !bounded { // or what is blocked would come back to life when the block ends
			return time.Time{}, &refusal{http.StatusBadRequest, ends + "; nothing here bounds how long such credentials live"}
		}
		return now.Add(lifetime), nil
	}
	until, err := time.Parse(time.RFC3339, text)
	if err != nil {
		var length format.Duration
		if length.UnmarshalText([]byte(text)) != nil {
			return time.Time{}, &refusal{http.StatusBadRequest, fmt.Sprintf(`until is "never", a length of time as 24h or 30d, or a time as 2026-01-31T12:00:00Z, not %q`, text)}
		}
		until = now.Add(time.Duration(length))
	}
	if !until.After(now) {
		return time.Time{}, &refusal{http.StatusBadRequest, "until has come: nothing would be blocked"}
	}
	return until, nil
}

// lifetime is the longest that a credential lives that a block may be about; not bounded where one may live for ever.
func (a *blocksAdmin) lifetime(b *blocks.Block) (longest time.Duration, bounded bool) {
	for _, from := range a.sources() {
		if !mayTake(b, &from) {
			continue
		}
		if from.MaxLifetime == 0 {
			return 0, false
		}
		longest = max(longest, from.MaxLifetime)
	}
	if longest == 0 {
		return tokensLast, true
	}
	return longest, true
}

// mayTake says whether a source takes credentials that a block may be about.
func mayTake(b *blocks.Block, from *source) bool {
	if b.Bundle != "" && b.Bundle != from.bundle {
		return false
	}
	switch {
	case b.Kind == blocks.Key:
		return b.Issuer == from.Authenticator
	case b.Kind == blocks.Subject && b.Issuer == "":
		_, rest, _ := strings.Cut(b.Value, ":")
		authenticator, _, _ := strings.Cut(rest, ":")
		return authenticator == from.Authenticator
	case from.Issuer == "":
		return b.Issuer == from.Authenticator
	}
	return b.Issuer == from.Issuer
}

// doubts refuses what its author has probably not meant, unless it is spelled out.
func doubts(b *blocks.Block, wish *blocksapi.Put, hits []string, all []source) *refusal {
	if wish.Anyway {
		return nil
	}
	if b.Kind == blocks.Network {
		prefix := netip.MustParsePrefix(b.Value) // checked
		shortest := shortest6
		if prefix.Addr().Is4() {
			shortest = shortest4
		}
		if prefix.Bits() < shortest {
			return &refusal{http.StatusBadRequest, fmt.Sprintf("%s is a very wide network; say that it is meant anyway (--anyway)", b.Value)}
		}
		return nil
	}
	if len(hits) > 0 {
		return nil
	}
	var known []string
	for _, from := range all {
		name := from.Issuer
		if name == "" || b.Kind == blocks.Key || b.Kind == blocks.Subject && b.Issuer == "" {
			name = from.Authenticator
		}
		if !slices.Contains(known, name) {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	return &refusal{http.StatusBadRequest, fmt.Sprintf("no service in force takes such credentials, so nobody would be hit; there are %s. Write it exactly so, or say that it is meant anyway (--anyway)", listOf(known))}
}

// remarks says what is worth knowing of a block that is taken.
func remarks(b *blocks.Block, hits []string) []string {
	var out []string
	switch {
	case b.Kind == blocks.Network:
		out = append(out, "clients are told apart by the address that each listener's client_address finds; a client whose address is unknown is in no network")
	case len(hits) == 0:
		out = append(out, "no service in force takes such credentials: nobody is hit")
	case b.Kind == blocks.Token || b.Kind == blocks.Session:
		out = append(out, "whoever holds a refresh token gets new tokens: end the session at the issuer too")
	case b.Kind == blocks.Issuer || !b.Before.IsZero():
		out = append(out, "credentials that say nothing of when they were issued are refused too")
	case b.Kind == blocks.Key:
		out = append(out, "tokens whose header names no key are not hit")
	}
	return out
}
