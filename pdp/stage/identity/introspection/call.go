package introspection

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/egress"
	"github.com/durward-pdp/durward/pdp/token"
)

// maxBody bounds an answer.
const maxBody = 64 << 10

// call asks the server once (RFC 7662, section 2.1).
func (e *Endpoint) call(ctx context.Context, raw string) result {
	if e.client.options.Fetcher == nil {
		return failed(Unready, "nothing is fetched here")
	}
	form := url.Values{"token": {raw}, "token_type_hint": {"access_token"}}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	if err := e.authenticate(form, header); err != nil {
		f := failed(Unready, "the client's secret cannot be used")
		f.err.cause = err
		return f
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.config.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return failed(Unready, "the request cannot be made")
	}
	r.Header = header
	response, err := e.client.options.Fetcher.Do(r, e.config.Bundle, maxBody)
	switch {
	case errors.Is(err, egress.ErrTooLarge):
		return failed(Malformed, "the authorization server's answer is longer than 64 KiB")
	case errors.Is(err, context.DeadlineExceeded):
		return failed(Timeout, "the authorization server did not answer in time")
	case err != nil:
		f := failed(Unreachable, "the authorization server cannot be reached")
		f.err.cause = err
		return f
	}
	return read(response, e.client.options.Clock())
}

// authenticate says who asks.
func (e *Endpoint) authenticate(form url.Values, header http.Header) error {
	c := &e.config
	if c.Authentication == MTLS {
		form.Set("client_id", c.ClientID)
		return nil
	}
	if e.client.options.Secrets == nil {
		return errors.New("there are no secrets here")
	}
	secret, err := e.client.options.Secrets.Secret(c.Bundle, c.Secret)
	if err != nil {
		return err
	}
	if c.Authentication == Basic {
		// RFC 6749 has both encoded as in a form first, which http.Request.SetBasicAuth does not.
		r := http.Request{Header: header}
		r.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(secret))
		return nil
	}
	assertion, err := e.signer.sign(secret, c, e.client.options)
	if err != nil {
		return err
	}
	form.Set("client_id", c.ClientID)
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", assertion)
	return nil
}

// read reads an answer (RFC 7662, section 2.2). One that is not sound says nothing about the token.
func read(r *egress.Response, now time.Time) result {
	switch status := r.Status; {
	case status == http.StatusUnauthorized:
		return failed(Unauthorized, "the authorization server does not accept us: it answers 401; look at the client's id and secret")
	case status == http.StatusForbidden:
		return failed(Forbidden, "the authorization server answers 403: the client may not introspect, or a filter before the server does not like the token")
	case status == http.StatusTooManyRequests:
		f := failed(Throttled, "the authorization server asks to be left alone for a while")
		f.err.Retry = min(retryAfter(r.Header.Get("Retry-After"), now), maxRetry)
		return f
	case status >= 400 && status < 500:
		return failed(Refused, "the authorization server does not like the question: it answers "+strconv.Itoa(status))
	case status != http.StatusOK:
		return failed(Failed, "the authorization server answers "+strconv.Itoa(status))
	}
	if kinds := r.Header.Values("Content-Type"); len(kinds) != 1 || !isJSON(kinds[0]) {
		return failed(Malformed, "the authorization server's answer is not application/json")
	}
	claims, err := token.ParseClaims(r.Body)
	if err != nil {
		return failed(Malformed, "the authorization server's answer is not one strict JSON object")
	}
	active, ok := claims.Members()["active"].(bool)
	switch {
	case !ok:
		return failed(Malformed, "the authorization server's answer does not say whether the token is active")
	case !active:
		return result{}
	}
	return result{answer: Answer{Active: true, Claims: claims}}
}

func isJSON(kind string) bool {
	media, parameters, err := mime.ParseMediaType(kind)
	charset, coded := parameters["charset"]
	return err == nil && media == "application/json" && (!coded || strings.EqualFold(charset, "utf-8"))
}

// retryAfter reads the field of RFC 9110, section 10.2.3; zero where it cannot be read.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
