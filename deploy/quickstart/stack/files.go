package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/durward-pdp/durward/deploy/quickstart"
)

const (
	tlsDir, bundleDir = "tls", "bundle"
	// keySet is the path of the issuer's public keys in the bundle.
	keySet = "keys/corp.jwks.json"
)

// errNoToken is returned when a file of the quickstart does not hold what the stack has to change in it.
var errNoToken = errors.New("the quickstart's file does not hold this text exactly once")

// What stands in the quickstart's files and differs between stacks. "%d" is a port, or a number.
const (
	portToken     = "port_value: %d}"
	endpointToken = "              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}\n"
	listenToken   = "address: 127.0.0.1:%d\n"
	adminToken    = "admin: {address: 127.0.0.1:%d}\n"
	redisToken    = "redis: {url: redis://127.0.0.1:%d/0, replicas: %d}\n"
	recordsToken  = "path: records.jsonl}"
)

// exchange replaces each of the texts, which stand in pairs, at once. Each must stand in the file exactly once.
func exchange(name, text string, pairs ...string) (string, error) {
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(text, pairs[i]) != 1 {
			return "", fmt.Errorf("writing %s: %w: %q", name, errNoToken, pairs[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(text), nil
}

// envoyConfig is envoy.yaml for the given ports and number of replicas.
func envoyConfig(p *ports, replicas int) (string, error) {
	data, err := fs.ReadFile(quickstart.Files, "envoy.yaml")
	if err != nil {
		return "", fmt.Errorf("reading envoy.yaml: %w", err)
	}
	old := shipped()
	var endpoints strings.Builder
	for i := range replicas {
		fmt.Fprintf(&endpoints, endpointToken, p.replica[i])
	}
	pair := func(from, to int) []string { return []string{fmt.Sprintf(portToken, from), fmt.Sprintf(portToken, to)} }
	pairs := []string{fmt.Sprintf(endpointToken, old.replica[0]) + fmt.Sprintf(endpointToken, old.replica[1]), endpoints.String()}
	pairs = append(pairs, pair(old.edge, p.edge)...)
	pairs = append(pairs, pair(old.envoyAdmin, p.envoyAdmin)...)
	pairs = append(pairs, pair(old.orders, p.orders)...)
	return exchange("envoy.yaml", string(data), pairs...)
}

// settingsOf is durward.yaml for replica i of n.
func settingsOf(p *ports, i, n int, redis bool) (string, error) {
	data, err := fs.ReadFile(quickstart.Files, "durward.yaml")
	if err != nil {
		return "", fmt.Errorf("reading durward.yaml: %w", err)
	}
	old := shipped()
	shared := ""
	if redis {
		shared = fmt.Sprintf(redisToken, p.redis, n)
	}
	return exchange("durward.yaml", string(data),
		fmt.Sprintf(listenToken, old.replica[0]), fmt.Sprintf(listenToken, p.replica[i]),
		fmt.Sprintf(adminToken, old.admin[0]), fmt.Sprintf(adminToken, p.admin[i]),
		fmt.Sprintf(redisToken, old.redis, 2), shared,
		recordsToken, strings.Replace(recordsToken, "records", numbered("records", i), 1))
}

// numbered names what belongs to replica i; people count from one.
func numbered(name string, i int) string { return name + "-" + strconv.Itoa(i+1) }

// writeFiles fills the run directory: configuration, certificates, bundle.
func (s *Stack) writeFiles(o *Options) error {
	if err := s.Authority.writeAll(filepath.Join(s.Dir, tlsDir), o.Clock()); err != nil {
		return err
	}
	config, err := envoyConfig(&s.ports, o.Replicas)
	if err != nil {
		return err
	}
	if err := s.write("envoy.yaml", changed(config, o.Envoy)); err != nil {
		return err
	}
	for i := range o.Replicas {
		settings, err := settingsOf(&s.ports, i, o.Replicas, !o.WithoutRedis)
		if err != nil {
			return err
		}
		if err := s.write(numbered("durward", i)+".yaml", changed(settings, o.Settings)); err != nil {
			return err
		}
	}
	return s.writeBundle(o)
}

func changed(text string, change func(string) string) string {
	if change == nil {
		return text
	}
	return change(text)
}

// writeBundle writes the quickstart's bundle, the issuer's keys and the caller's own files over it.
func (s *Stack) writeBundle(o *Options) error {
	err := fs.WalkDir(quickstart.Files, bundleDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(quickstart.Files, path)
		if err != nil {
			return err
		}
		return s.write(path, string(data))
	})
	if err != nil {
		return fmt.Errorf("writing the bundle: %w", err)
	}
	if o.KeySet != nil {
		if err := s.Edit(keySet, string(o.KeySet)); err != nil {
			return err
		}
	}
	for path, text := range o.Bundle {
		if err := s.Edit(path, text); err != nil {
			return err
		}
	}
	return nil
}

// Edit replaces a file of the bundle at once, so that nobody reads half of it; an empty text removes it.
func (s *Stack) Edit(path, text string) error {
	if !filepath.IsLocal(path) {
		return fmt.Errorf("editing the bundle: %q leaves it", path)
	}
	path = filepath.Join(bundleDir, path)
	if text != "" {
		return s.write(path, text)
	}
	if err := os.Remove(filepath.Join(s.Dir, path)); err != nil {
		return fmt.Errorf("editing the bundle: %w", err)
	}
	return nil
}

// write puts a file into the run directory by renaming, whatever reads it meanwhile.
func (s *Stack) write(path, text string) error {
	target := filepath.Join(s.Dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	// The new file is made beside the bundle: a bundle holds no file that it does not know.
	draft, err := os.CreateTemp(s.Dir, ".draft-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = draft.WriteString(text)
	if err = errors.Join(err, draft.Close()); err == nil {
		err = os.Rename(draft.Name(), target)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(draft.Name()))
	}
	return nil
}
