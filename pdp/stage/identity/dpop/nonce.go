package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"
)

const (
	// period is how long a server hands out the same nonce, periods for how many of them it takes one, agedPeriods after how many
	// it tells the client the next.
	period      = time.Minute
	periods     = 5
	agedPeriods = 2
	// A nonce is the number of its period and the beginning of a MAC.
	nonceNumber, nonceMAC = 4, 16
	// minKey is the least length of a key in bytes.
	minKey = 32
	// What keys are derived and nonces are made for.
	forService, forNonce = "durward dpop service\x00", "durward dpop nonce\x00"
)

// ErrKey is returned for a key of nonces that is too short to be secret.
var ErrKey = errors.New("a key of nonces has at least 32 bytes")

// Nonces makes and knows nonces: all servers with its keys make the same ones, and none keeps any. It is immutable.
type Nonces struct {
	keys [][]byte
}

// NewNonces returns the nonces of the first key; those of all keys are taken, so that keys can be changed without refusals.
func NewNonces(keys ...[]byte) (*Nonces, error) {
	n := &Nonces{}
	for _, key := range keys {
		if len(key) < minKey {
			return nil, ErrKey
		}
		n.keys = append(n.keys, mac(key, forService, nil))
	}
	if len(n.keys) == 0 {
		return nil, ErrKey
	}
	return n, nil
}

// For returns the nonces of one service: those of another are none.
func (n *Nonces) For(service string) *Nonces {
	out := &Nonces{keys: make([][]byte, len(n.keys))}
	for i, key := range n.keys {
		out.keys[i] = mac(key, forService, []byte(service))
	}
	return out
}

// at returns the nonce of an instant.
func (n *Nonces) at(now time.Time) string {
	var number [nonceNumber]byte
	binary.BigEndian.PutUint32(number[:], periodOf(now))
	return spell(n.keys[0], number[:])
}

// check says whether a nonce is one that was handed out lately, by this server or one with the same keys, and whether it is time
// for the next. One of the next period is another server's, whose clock is ahead.
func (n *Nonces) check(nonce string, now time.Time) (good, aged bool) {
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(raw) != nonceNumber+nonceMAC {
		return false, false
	}
	age := int64(periodOf(now)) - int64(binary.BigEndian.Uint32(raw))
	if age < -1 || age >= periods {
		return false, false
	}
	for _, key := range n.keys {
		good = equal(nonce, spell(key, raw[:nonceNumber])) || good
	}
	return good, good && age >= agedPeriods
}

func periodOf(now time.Time) uint32 {
	return uint32(now.Unix() / int64(period/time.Second)) //nolint:gosec // enough for eight thousand years
}

func spell(key, number []byte) string {
	sum := mac(key, forNonce, number)
	return base64.RawURLEncoding.EncodeToString(append(append(make([]byte, 0, nonceNumber+nonceMAC), number...), sum[:nonceMAC]...))
}

func mac(key []byte, purpose string, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(purpose))
	h.Write(data)
	return h.Sum(nil)
}
