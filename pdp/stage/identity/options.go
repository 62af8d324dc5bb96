package identity

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/egress"
	"github.com/durward-pdp/durward/pdp/stage/identity/dpop"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
	"github.com/durward-pdp/durward/pdp/stage/identity/keys"
)

// Options are what the stage needs besides bundles. Tools that decide without a network leave all of it out.
type Options struct {
	// Fetcher is the way out to issuers; without it nothing is fetched.
	Fetcher Fetcher
	// TokenCache is how many bytes verified tokens may take; 0 keeps none.
	TokenCache int64
	// Marks remember proofs that were used; without them no proof can be taken. MarkTimeout bounds each call.
	Marks       Marks
	MarkTimeout time.Duration
	// Nonces are those of proofs; without them no service can require one.
	Nonces *dpop.Nonces
	// Introspector asks issuers about opaque tokens; without it none of those can be proven.
	Introspector *introspection.Client
	// Blocks is what operators and issuers have blocked; without it nothing is.
	Blocks *blocks.List
	// Keys fetches issuers' keys by Fetcher; without it none are.
	Keys *keys.Store
	// KeyOffered, if not nil, is told of every token that came with a key or the address of one (jku, x5u, jwk, x5c). It must not block.
	KeyOffered func()
	// APIKeys are what API keys are checked with; without them nobody here can tell whether a key is good.
	APIKeys *APIKeys
}

// Marks remember what was used. They must be safe for concurrent use.
type Marks interface {
	// Mark says whether nobody marked the key before, within the time that the earlier mark was to last. An error means that it is
	// unknown.
	Mark(ctx context.Context, key string, lasts time.Duration) (first bool, err error)
}

// Fetcher fetches from hosts that the operator allows. It must be safe for concurrent use.
type Fetcher interface {
	// Allows says why a bundle may not fetch a URL, nil where it may. Its errors are fit for the bundle's author.
	Allows(bundle string, u *url.URL) error
	// Do sends a request for a bundle, within the request's context, and reads an answer of at most limit bytes.
	Do(r *http.Request, bundle string, limit int64) (*egress.Response, error)
}
