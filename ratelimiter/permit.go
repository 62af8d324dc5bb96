package ratelimiter

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/durward-pdp/durward/ratelimiter/concurrency"
)

// maxKey is the longest key; see Key.
const maxKey = 350

// Permit is what a Take that charges a limit of Concurrency holds: the counter and the charge's Permit. Whoever knows both can
// give it back, and nobody else can, because the id is random. It holds values of requests: it is not for logs, nor for
// clients.
type Permit struct {
	Key Key
	ID  concurrency.ID
}

// String returns the permit as text of letters, digits, '-' and '_': at most 500 characters.
func (p Permit) String() string {
	return base64.RawURLEncoding.EncodeToString(append(p.ID[:], p.Key...))
}

// ParsePermit reads what String wrote. It takes no key but one of a limit of Concurrency.
func ParsePermit(text string) (Permit, error) {
	var p Permit
	if len(text) > base64.RawURLEncoding.EncodedLen(maxKey+len(p.ID)) {
		return Permit{}, fmt.Errorf("%w: a permit that is too long", ErrCharges)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) <= len(p.ID) || base64.RawURLEncoding.EncodedLen(len(raw)) != len(text) { // line breaks are skipped
		return Permit{}, fmt.Errorf("%w: no permit that was given out", ErrCharges)
	}
	copy(p.ID[:], raw)
	p.Key = Key(raw[len(p.ID):])
	if p.ID == (concurrency.ID{}) { // stands for permits that nobody knows
		return Permit{}, fmt.Errorf("%w: a permit without an id", ErrCharges)
	}
	if limit := p.Key.Limit(); limit == "" || !strings.HasPrefix(string(p.Key)[len(limit):], "+"+Concurrency.String()) {
		return Permit{}, fmt.Errorf("%w: a permit of no limit on concurrency", ErrCharges)
	}
	return p, nil
}

// releases returns the charges that give permits back, each permit once.
func (l *Limiter) releases(permits []Permit) []Charge {
	charges := make([]Charge, 0, len(permits))
	for _, p := range permits {
		charges = append(charges, Charge{Limit: l.releasing, Key: p.Key, Cost: 1, Permit: p.ID, Release: true})
	}
	return charges
}

// Release gives permits back, in this replica's memory and in the shared store. A permit that is not held any more is no error,
// so that it may be repeated; where the shared store fails, its permits expire in their time.
func (l *Limiter) Release(ctx context.Context, permits []Permit) error {
	charges := l.releases(permits)
	if err := Check(charges); err != nil {
		return err
	}
	if len(charges) == 0 {
		return nil
	}
	_, err := l.local.Settle(ctx, charges)
	if err == nil && l.shared != nil {
		_, err = l.shared.Settle(ctx, charges)
	}
	if err != nil {
		return fmt.Errorf("release %d permits: %w", len(permits), err)
	}
	return nil
}

// abandon gives back the permits of a decision that was refused because the shared store failed: it may have acquired them, and
// nobody else knows them.
func (l *Limiter) abandon(charges []Charge, cause error) {
	var known interface{ Uncharged() bool }
	if errors.As(cause, &known) && known.Uncharged() {
		return
	}
	var permits []Permit
	for i := range charges {
		if c := &charges[i]; c.Limit.def.Algorithm == Concurrency && c.Cost > 0 {
			permits = append(permits, Permit{Key: c.Key, ID: c.Permit})
		}
	}
	if len(permits) > 0 {
		l.ReleaseLater(permits)
	}
}

// ReleaseLater is Release without waiting, for permits that were acquired for nothing. When too many calls wait it does
// nothing, reports false, and the permits expire.
func (l *Limiter) ReleaseLater(permits []Permit) bool {
	charges := l.releases(permits)
	if Check(charges) != nil {
		return false
	}
	if _, err := l.local.Settle(context.Background(), charges); err != nil { //nolint:forbidigo // the local store does no I/O
		return false
	}
	return l.shared == nil || l.settler.offer(charges)
}
