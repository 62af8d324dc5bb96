package assembly

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/keyring"
)

// keysTable is where replicas share the keys that sign tokens for APIs.
const keysTable = "signing-keys"

// issuer signs tokens for the APIs behind, and shows the keys.
type issuer struct {
	name string
	*keyring.Ring

	logger *slog.Logger
	told   string // what the log heard last
	end    context.CancelFunc
	ended  sync.WaitGroup
}

// Issuer implements upstream.Minter.
func (i *issuer) Issuer() string { return i.name }

// openIssuer returns nil where the settings name none.
func openIssuer(o Options, shared *shared, m *metrics) (*issuer, error) {
	configured := &o.Settings.Tokens
	if configured.Issuer == "" {
		return nil, nil
	}
	sealer, err := openSealer(configured)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", settings.ErrInvalid, err)
	}
	table, err := shared.table(keysTable, nil)
	if err != nil {
		return nil, err
	}
	i := &issuer{name: configured.Issuer, logger: o.Logger}
	if i.Ring, err = keyring.New(keyring.Options{Table: table, Sealer: sealer, Period: time.Duration(configured.Rotate), Clock: o.Clock}); err != nil {
		return nil, err
	}
	m.watch("durward_signing_keys", "Keys for upstream tokens that are published; 0 while no token can be signed.", func() int { return len(i.Infos()) })
	ctx, cancel := context.WithCancel(context.Background())
	i.end = cancel
	i.ended.Go(func() {
		shared.await(ctx)
		i.Run(ctx, i.trouble)
	})
	return i, nil
}

func openSealer(configured *settings.Tokens) (*keyring.Sealer, error) {
	text, err := configured.SealingKeys()
	if err != nil {
		return nil, err
	}
	if text == "" {
		return keyring.NewSealer()
	}
	sealer, err := keyring.ParseSealer(text.Reveal())
	if err != nil {
		return nil, fmt.Errorf("tokens.sealing_key_file: %w", err)
	}
	return sealer, nil
}

// trouble tells the log of changes. One goroutine calls it.
func (i *issuer) trouble(err error) {
	now := text(err)
	if now == i.told {
		return
	}
	i.told = now
	switch signs := len(i.Infos()) > 0; {
	case err == nil:
		i.logger.Info("signing keys of upstream tokens are in order", "keys", len(i.Infos()))
	case signs:
		i.logger.Error("signing keys of upstream tokens: those that are held stay in use", "error", now)
	default:
		i.logger.Error("signing keys of upstream tokens: there is none, and what needs a token is denied", "error", now)
	}
}

func (i *issuer) close() {
	i.end()
	i.ended.Wait()
}

// handlers are the documents from which whoever verifies the tokens learns the keys: the set itself, and metadata (RFC 8414, OpenID
// Connect Discovery) that lead to it.
func (i *issuer) handlers() map[string]http.Handler {
	path := ""
	if u, err := url.Parse(i.name); err == nil {
		path = u.EscapedPath()
	}
	metadata := http.HandlerFunc(i.metadata)
	out := map[string]http.Handler{
		"GET " + path + "/.well-known/jwks.json":             http.HandlerFunc(i.keys),
		"GET " + path + "/.well-known/openid-configuration":  metadata,
		"GET /.well-known/oauth-authorization-server" + path: metadata,
	}
	return out
}

func (i *issuer) keys(w http.ResponseWriter, _ *http.Request) {
	set, ok := i.KeySet()
	if !ok { // an empty set would be believed
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusServiceUnavailable, "no keys yet")
		return
	}
	document(w, set)
}

func (i *issuer) metadata(w http.ResponseWriter, _ *http.Request) {
	data, err := json.Marshal(map[string]any{
		"issuer": i.name, "jwks_uri": i.name + "/.well-known/jwks.json",
		"response_types_supported": []string{}, "grant_types_supported": []string{}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
	})
	if err != nil {
		answer(w, http.StatusInternalServerError, "no document")
		return
	}
	document(w, data)
}

func document(w http.ResponseWriter, data []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(int(keyring.CacheFor/time.Second)))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(data)
}

// issuerView is what configz shows of the keys.
type issuerView struct {
	Issuer string         `json:"issuer"`
	Keys   []keyring.Info `json:"keys"`
}

func (i *issuer) view() *issuerView {
	if i == nil {
		return nil
	}
	return &issuerView{i.name, append([]keyring.Info{}, i.Infos()...)}
}
