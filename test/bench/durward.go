package bench

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// bundle is the policy of the contest between whole servers, but for its keys.
//
//go:embed bundle
var bundle embed.FS

// settings are those of the server. A record that finds no room waits: dropped ones would flatter the figures.
const settings = `bundles: [{dir: bundle}]
listeners: [{address: "127.0.0.1:0", protocols: [ext_authz], client_address: peer}]
admin: {address: "127.0.0.1:0"}
audit: {sink: file, path: records.jsonl, on_full: wait}
drain: 0s
`

var errNotReady = errors.New("not ready")

// startDurward builds the server and starts it with the bundle and these public keys.
func startDurward(ctx context.Context, s Setup, keys []byte) (*server, error) {
	binary := filepath.Join(s.Dir, "durward")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/durward")
	build.Dir = s.Root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building durward: %w\n%s", err, out)
	}
	if err := os.CopyFS(s.Dir, bundle); err != nil {
		return nil, fmt.Errorf("writing the bundle: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, "bundle", "keys"), 0o755); err != nil {
		return nil, fmt.Errorf("writing the bundle: %w", err)
	}
	for name, text := range map[string][]byte{"bundle/keys/corp.jwks.json": keys, "durward.yaml": []byte(settings)} {
		if err := os.WriteFile(filepath.Join(s.Dir, filepath.FromSlash(name)), text, 0o600); err != nil {
			return nil, fmt.Errorf("writing the settings: %w", err)
		}
	}
	p, err := start(ctx, "durward-serve", s.Dir, binary, "serve", "--config", "durward.yaml")
	if err != nil {
		return nil, err
	}
	addresses, err := p.addresses(ctx)
	if err == nil && len(addresses) != 2 {
		err = fmt.Errorf("%w: it listens on %v, not on one address for decisions and one for its health", errNotReady, addresses)
	}
	if err == nil {
		err = p.await(ctx, readyAt(addresses[1]))
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	connected, err := connect(p, addresses[0])
	if err != nil {
		return nil, err
	}
	connected.records = filepath.Join(s.Dir, "records.jsonl")
	return connected, nil
}

// readyAt asks the admin listener whether the bundle is in force.
func readyAt(admin string) func(context.Context) error {
	client := &http.Client{Timeout: time.Second}
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%w: %s", errNotReady, response.Status)
		}
		return nil
	}
}
