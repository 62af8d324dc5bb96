package identity

import (
	"net/http"
	"net/url"

	"github.com/durward-pdp/durward/pdp/egress"
)

// Options are what the stage needs besides bundles. Tools that decide without a network leave all of it out.
type Options struct {
	// Fetcher is the way out to issuers; without it nothing is fetched.
	Fetcher Fetcher
	// TokenCache is how many bytes verified tokens may take; 0 keeps none.
	TokenCache int64
}

// Fetcher fetches from hosts that the operator allows. It must be safe for concurrent use.
type Fetcher interface {
	// Allows says why a bundle may not fetch a URL, nil where it may. Its errors are fit for the bundle's author.
	Allows(bundle string, u *url.URL) error
	// Do sends a request for a bundle, within the request's context, and reads an answer of at most limit bytes.
	Do(r *http.Request, bundle string, limit int64) (*egress.Response, error)
}
