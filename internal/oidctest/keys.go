package oidctest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// signingKey is a key of the provider, ES256. It is op.SigningKey; its public half is op.Key.
type signingKey struct {
	id      string
	private *ecdsa.PrivateKey
}

func (k *signingKey) ID() string                                  { return k.id }
func (k *signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.ES256 }
func (k *signingKey) Key() any                                    { return k.private }

type publicKey struct{ *signingKey }

func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.ES256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return k.private.Public() }

// Publish adds a key to the set and goes on signing with the one before. It returns the new key's id.
func (p *Provider) Publish(tb testing.TB) string {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	s := p.storage
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	k := &signingKey{id: fmt.Sprintf("key-%d", s.made), private: private}
	s.keys = append(s.keys, k)
	if s.signing == nil {
		s.signing = k
	}
	return k.id
}

// Rotate publishes a key and signs with it from now on. The keys before stay in the set.
func (p *Provider) Rotate(tb testing.TB) string {
	tb.Helper()
	id := p.Publish(tb)
	p.storage.mu.Lock()
	defer p.storage.mu.Unlock()
	p.storage.signing = p.storage.keys[len(p.storage.keys)-1]
	return id
}

// Withdraw takes a key out of the set. Tokens can still be signed with it.
func (p *Provider) Withdraw(id string) {
	p.storage.mu.Lock()
	defer p.storage.mu.Unlock()
	p.storage.keys = slices.DeleteFunc(p.storage.keys, func(k *signingKey) bool { return k.id == id })
}

// SigningKey implements op.Storage.
func (s *storage) SigningKey(context.Context) (op.SigningKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signing, nil
}

// SignatureAlgorithms implements op.Storage.
func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.ES256}, nil
}

// KeySet implements op.Storage.
func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]op.Key, len(s.keys))
	for i, k := range s.keys {
		out[i] = publicKey{k}
	}
	return out, nil
}
