package assembly

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path"
	"slices"
	"sync"

	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/token"
)

// ErrNoTestKeys is returned by Mint of an engine that holds the bundle's own keys.
var ErrNoTestKeys = errors.New("mint a token: the engine was made without test keys")

// mint signs with throw-away keys: one for each place of keys and algorithm, so that a token of one issuer is no other's.
// The keys are kept in memory alone.
type mint struct {
	random io.Reader

	mu       sync.Mutex
	replaced *format.Bundle                      // the bundle with these keys
	signers  map[string]map[string]*token.Signer // by place and algorithm
}

func newMint(random io.Reader) *mint {
	return &mint{random: random, signers: map[string]map[string]*token.Signer{}}
}

// testKeys is the identity stage's compiler with throw-away keys in the place of the bundle's.
type testKeys struct {
	bundle.Compiler
	mint *mint
}

// Compile implements bundle.Compiler. The keys that the bundle ships are checked first.
func (c testKeys) Compile(b *format.Bundle, s *format.Service) (any, format.Problems) {
	if _, problems := c.Compiler.Compile(b, s); len(problems) > 0 {
		return nil, problems
	}
	replaced, err := c.mint.replace(b)
	if err != nil {
		return nil, format.Problems{b.File.Problem("$.authenticators", err.Error())}
	}
	return c.Compiler.Compile(replaced, s)
}

// replace returns the bundle with other key sets, made once.
func (m *mint) replace(b *format.Bundle) (*format.Bundle, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.replaced != nil {
		return m.replaced, nil
	}
	contents := map[string][]byte{}
	for _, p := range b.Files.Paths() {
		file, _ := b.Files.Get("", p)
		contents[p] = file.Data
	}
	replaced := *b
	replaced.Authenticators = maps.Clone(b.Authenticators)
	for name, a := range b.Authenticators {
		file := keyFile(&a)
		if a.Kind != "jwt" || file == "" {
			continue
		}
		standIn := a
		standIn.JWKS = format.JWKS{File: file}
		replaced.Authenticators[name] = standIn
		if m.signers[file] != nil {
			continue
		}
		signers, err := m.newSigners(file, algorithmsOf(b, file))
		if err != nil {
			return nil, err
		}
		if contents[file], err = token.MarshalKeySet(signers...); err != nil {
			return nil, err
		}
	}
	replaced.Files = format.NewFiles(contents)
	m.replaced = &replaced
	return m.replaced, nil
}

// keyFile is the path in the bundle of an authenticator's keys. Those that a server fetches have one that no bundle can hold: here they come from
// the same throw-away keys wherever their place is the same.
func keyFile(a *format.Authenticator) string {
	switch {
	case a.JWKS.File != "":
		return path.Clean("/" + a.JWKS.File)[1:]
	case a.JWKS.URL != "":
		return "fetched/url/" + url.QueryEscape(a.JWKS.URL)
	case a.JWKS.Discovery:
		return "fetched/discovery/" + url.QueryEscape(a.Issuer)
	}
	return ""
}

// algorithmsOf lists the algorithms of every authenticator that takes its keys from the file.
func algorithmsOf(b *format.Bundle, file string) []string {
	var out []string
	for _, a := range b.Authenticators {
		if a.Kind == "jwt" && keyFile(&a) == file {
			out = append(out, a.Algorithms...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// newSigners makes a signer for each algorithm.
func (m *mint) newSigners(file string, algorithms []string) ([]*token.Signer, error) {
	m.signers[file] = map[string]*token.Signer{}
	var out []*token.Signer
	for _, algorithm := range algorithms {
		key, err := m.newKey(algorithm)
		if err != nil {
			return nil, fmt.Errorf("make a test key: %w", err)
		}
		if key == nil {
			continue // nobody accepts it: the stage has refused it where a service does
		}
		signer, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: algorithm, KeyID: "test-" + algorithm, Random: m.random})
		if err != nil {
			return nil, fmt.Errorf("make a test key: %w", err)
		}
		m.signers[file][algorithm] = signer
		out = append(out, signer)
	}
	return out, nil
}

// newKey makes a key for a signature algorithm (RFC 7518, section 3.1; RFC 8037; RFC 9864); nil for one without.
func (m *mint) newKey(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		return rsa.GenerateKey(m.random, 2048)
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), m.random)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), m.random)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), m.random)
	case "EdDSA", "Ed25519":
		_, key, err := ed25519.GenerateKey(m.random)
		return key, err
	}
	return nil, nil
}

// token signs for an authenticator.
func (m *mint) token(a *format.Authenticator, header, claims map[string]any) (string, error) {
	algorithm := a.Algorithms[0]
	if wish, ok := header["alg"]; ok {
		algorithm, _ = wish.(string)
	}
	m.mu.Lock()
	signer := m.signers[keyFile(a)][algorithm]
	m.mu.Unlock()
	if signer == nil {
		return "", fmt.Errorf("mint a token: the authenticator has no key for the algorithm %q", algorithm)
	}
	members := map[string]any{"typ": "at+jwt"}
	if len(a.Types) > 0 {
		members["typ"] = a.Types[0]
	}
	maps.Copy(members, header)
	signed := map[string]any{"iss": a.Issuer}
	maps.Copy(signed, claims)
	return signer.SignWith(members, signed)
}
