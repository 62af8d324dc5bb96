package keyring

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/token"
)

const (
	algorithm = "ES256"
	idPrefix  = "es256-" // and the second in which the key's period begins
)

// key is one signing key.
type key struct {
	begins time.Time // of its period
	usable time.Time // from when on it signs
	signer *token.Signer
	id     string // kid: the key's thumbprint (RFC 7638), so that two keys never share one
}

func recordID(begins time.Time) string { return idPrefix + strconv.FormatInt(begins.Unix(), 10) }

func parseID(id string) (begins time.Time, ok bool) {
	text, ok := strings.CutPrefix(id, idPrefix)
	seconds, err := strconv.ParseInt(text, 10, 64)
	if begins = time.Unix(seconds, 0).UTC(); !ok || err != nil || recordID(begins) != id {
		return time.Time{}, false
	}
	return begins, true
}

// newRecord makes a key and the sealed record of it.
func newRecord(s *Sealer, begins, usable, expires time.Time) (state.Record, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return state.Record{}, err
	}
	scalar, err := private.Bytes()
	if err != nil {
		return state.Record{}, err
	}
	plain := binary.BigEndian.AppendUint64(nil, uint64(usable.Unix())) //nolint:gosec // after 1970
	id := recordID(begins)
	sealed, err := s.seal(id, append(plain, scalar...))
	return state.Record{ID: id, Value: sealed, Expires: expires}, err
}

// openRecord reads what newRecord made.
func openRecord(s *Sealer, r *state.Record) (*key, error) {
	begins, ok := parseID(r.ID)
	if !ok {
		return nil, fmt.Errorf("the signing key %.40q: no such name", r.ID)
	}
	plain, err := s.open(r.ID, r.Value)
	if err != nil {
		return nil, fmt.Errorf("the signing key %s %w", r.ID, err)
	}
	if len(plain) < 8 {
		return nil, fmt.Errorf("the signing key %s: too short", r.ID)
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), plain[8:])
	if err != nil {
		return nil, fmt.Errorf("the signing key %s is no key", r.ID)
	}
	k := &key{begins: begins, usable: time.Unix(int64(binary.BigEndian.Uint64(plain)), 0).UTC()} //nolint:gosec // sealed by newRecord
	config := token.SignerConfig{Key: private, Algorithm: algorithm, KeyID: "none", Random: rand.Reader}
	nameless, err := token.NewSigner(config)
	if err != nil {
		return nil, err
	}
	thumbprint := nameless.PublicKey().Thumbprint()
	k.id = base64.RawURLEncoding.EncodeToString(thumbprint[:])
	config.KeyID = k.id
	k.signer, err = token.NewSigner(config)
	return k, err
}
