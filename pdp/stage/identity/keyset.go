package identity

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/identity/keys"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	defaultMaxStale = 24 * time.Hour
	mostMaxStale    = 30 * 24 * time.Hour
)

// errNoKeys says that a token cannot be verified for want of its issuer's keys, which is nothing that the token's bearer could mend.
var errNoKeys = errors.New("the issuer's keys were not fetched, or too long ago, or a fetch that could know the key has not ended")

// issuerKeys are the keys of one issuer: those of a file, or what a source has fetched. The zero issuerKeys has none.
type issuerKeys struct {
	file     *token.KeySet
	place    keys.Place // the zero place with a file
	source   *keys.Source
	maxStale time.Duration
}

// set returns the keys that may be used now, nil for none. It does not block.
func (k *issuerKeys) set(now time.Time) *token.KeySet {
	if k.source == nil {
		return k.file
	}
	return k.source.Current().Set(now, k.maxStale)
}

// verify verifies a token with the issuer's keys, and returns those that it had in the end. Where a key is unknown that a source can still
// learn of, it waits for that within ctx.
func (k *issuerKeys) verify(ctx context.Context, v *token.Verifier, t *token.Token, now time.Time) (*token.Verified, *token.KeySet, error) {
	if k.source == nil {
		// Without any keys, what is wrong with the token whoever signed it is told all the same.
		verified, err := v.Verify(t, k.file)
		return verified, k.file, orNoKeys(err, k.file, false)
	}
	known := k.source.Current()
	set := known.Set(now, k.maxStale)
	verified, err := v.Verify(t, set)
	if !isKeyUnknown(err) {
		return verified, set, err
	}
	known, pending := k.source.Next(ctx, known)
	if newer := known.Set(now, k.maxStale); newer != set {
		set = newer
		verified, err = v.Verify(t, set)
	}
	return verified, set, orNoKeys(err, set, pending)
}

// orNoKeys returns the error of a verification, or the lack of keys that it comes from.
func orNoKeys(err error, set *token.KeySet, pending bool) error {
	if isKeyUnknown(err) && (set == nil || pending) {
		return errNoKeys
	}
	return err
}

func isKeyUnknown(err error) bool {
	refused, ok := errors.AsType[*token.Error](err)
	return ok && refused.Reason() == string(verdict.TokenKeyUnknown)
}

// keys reads where the issuer's keys are.
func (c *compiler) keys(path string, a *format.Authenticator) issuerKeys {
	path += ".jwks"
	written := 0
	for _, is := range []bool{a.JWKS.File != "", a.JWKS.URL != "", a.JWKS.Discovery} {
		if is {
			written++
		}
	}
	if written != 1 {
		c.inBundle(path, "an issuer's keys have one place: write jwks: {file: PATH}, {url: https://…} or {discovery: true}")
		return issuerKeys{}
	}
	if a.JWKS.File != "" {
		if a.JWKS.MaxStale != nil {
			c.inBundle(path+".max_stale", "max_stale has no meaning for keys in a file, which are never fetched")
		}
		return issuerKeys{file: c.keyFile(path, a)}
	}
	out := issuerKeys{place: keys.Place{Bundle: c.bundle.Name, Issuer: a.Issuer, URL: a.JWKS.URL}, maxStale: defaultMaxStale}
	if a.JWKS.MaxStale != nil {
		if out.maxStale = time.Duration(*a.JWKS.MaxStale); out.maxStale < 0 || out.maxStale > mostMaxStale {
			c.inBundle(path+".max_stale", "max_stale is between 0s and 720h")
		}
	}
	c.mayFetch(path, a)
	return out
}

// mayFetch checks the URL that is written, and whether the operator lets the bundle fetch from there. Where nothing is ever fetched, nobody has to
// allow it.
func (c *compiler) mayFetch(path string, a *format.Authenticator) {
	at, of, parse, text := path+".url", "url", keys.ParseURL, a.JWKS.URL
	if a.JWKS.Discovery {
		at, of, parse, text = path+".discovery", "for discovery the issuer", keys.ParseIssuer, a.Issuer
	}
	u, err := parse(text)
	if err != nil {
		c.inBundle(at, of+" "+err.Error())
		return
	}
	c.allowed(at, u)
}

// allowed reports a URL that the operator does not let the bundle fetch.
func (c *compiler) allowed(at string, u *url.URL) {
	if c.options.Fetcher == nil {
		return
	}
	if err := c.options.Fetcher.Allows(c.bundle.Name, u); err != nil {
		problem := c.bundle.File.Problem(at, err.Error())
		problem.Hint = fmt.Sprintf("to allow it the operator adds to durward.yaml: egress: [{host: %q, bundles: [%s]}]", u.Host, c.bundle.Name)
		c.problems = append(c.problems, problem)
	}
}

// keyFile reads the issuer's key set from a file of the bundle. A weak or contradictory key is refused even beside good ones:
// who shipped it believes that it works.
func (c *compiler) keyFile(path string, a *format.Authenticator) *token.KeySet {
	file, ok := c.bundle.Files.Get("", a.JWKS.File)
	if !ok {
		c.inBundle(path+".file", fmt.Sprintf("the bundle has no file %q", a.JWKS.File))
		return nil
	}
	set, err := token.ParseKeySet(file.Data)
	if err != nil {
		line, column := 1, 1
		if bad, ok := errors.AsType[*token.KeySetError](err); ok {
			line, column, err = bad.Line, bad.Column, bad.Err
		}
		c.problems = append(c.problems, file.ProblemAt(line, column, err.Error()))
		return nil
	}
	for _, key := range set.Unusable() {
		if !key.Foreign {
			c.problems = append(c.problems, file.ProblemAt(key.Line, key.Column, key.Err.Error()))
		}
	}
	return set
}
