package keys

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/durward-pdp/durward/pdp/egress"
	"github.com/durward-pdp/durward/pdp/token"
)

const (
	maxBody = 256 << 10
	// maxFetch bounds all requests of one fetch together: documents, then keys.
	maxFetch = 10 * time.Second
	// maxTag bounds the entity tags that are sent back.
	maxTag = 256
)

// answered is what an issuer answered when it was last asked and its keys could be used.
type answered struct {
	set      *token.KeySet
	sum      [sha256.Size]byte // of the set's bytes
	url      *url.URL          // of the set
	tag      string            // of the set, "" for none
	document string            // that named the url, "" for none
	fresh    time.Duration
}

// fetch asks the issuer. An answer that says the same as before has the same set.
func (s *Source) fetch(ctx context.Context, before *answered) (*answered, error) {
	ctx, cancel := context.WithTimeout(ctx, maxFetch)
	defer cancel()
	at, document, err := s.locate(ctx, before)
	if err != nil {
		return nil, err
	}
	tag := ""
	if before != nil && *before.url == *at {
		tag = before.tag
	}
	answer, err := s.get(ctx, at, tag)
	if err != nil {
		return nil, err
	}
	out := &answered{url: at, document: document, fresh: ParseFreshness(answer.Header)}
	switch {
	case answer.Status == http.StatusNotModified && tag != "":
		out.set, out.sum, out.tag = before.set, before.sum, before.tag
		if len(answer.Header.Values("Cache-Control")) == 0 {
			out.fresh = before.fresh
		}
		return out, nil
	case answer.Status != http.StatusOK:
		return nil, fmt.Errorf("the key set: status %d", answer.Status)
	}
	out.sum = sha256.Sum256(answer.Body)
	if tag := answer.Header.Get("ETag"); len(tag) <= maxTag {
		out.tag = tag
	}
	if before != nil && before.sum == out.sum {
		out.set = before.set
		return out, nil
	}
	if out.set, err = token.ParseKeySet(answer.Body); err != nil {
		return nil, fmt.Errorf("the key set is refused: %w", err)
	}
	return out, nil
}

// locate returns the URL of the set, and that of the document that says so, "" for none.
func (s *Source) locate(ctx context.Context, before *answered) (at *url.URL, document string, err error) {
	if s.place.URL != "" {
		at, err = ParseURL(s.place.URL)
		return at, "", err
	}
	known := ""
	if before != nil {
		known = before.document
	}
	return s.discover(ctx, known)
}

// get asks for a document. A tag makes the question conditional.
func (s *Source) get(ctx context.Context, u *url.URL, tag string) (*egress.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("the URL cannot be fetched")
	}
	r.Header.Set("Accept", "application/json, application/jwk-set+json")
	r.Header.Set("User-Agent", "durward")
	if tag != "" {
		r.Header.Set("If-None-Match", tag)
	}
	return s.store.options.Fetcher.Do(r, s.place.Bundle, maxBody)
}
