package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// Timeout bounds each fetch, also where the caller's context has longer.
const Timeout = 5 * time.Second

const (
	maxHeader = 32 << 10
	idle      = 30 * time.Second
)

// ErrTooLarge is returned for an answer beyond the caller's bound.
var ErrTooLarge = errors.New("the answer is larger than allowed")

// Response is an answer, whatever its status.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Client fetches. It is safe for concurrent use.
type Client struct {
	hosts []*client
}

type client struct {
	Host
	http *http.Client
}

// New checks the hosts. The first one that covers a URL and serves the bundle is taken.
func New(hosts []Host) (*Client, error) {
	c := &Client{}
	for i := range hosts {
		if err := hosts[i].check(); err != nil {
			return nil, err
		}
		one := &client{Host: hosts[i]}
		one.http = &http.Client{
			Transport:     one.transport(),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       Timeout,
		}
		c.hosts = append(c.hosts, one)
	}
	return c, nil
}

func (c *client) transport() *http.Transport {
	dialer := &net.Dialer{Timeout: Timeout, Control: func(_, address string, _ syscall.RawConn) error { return c.mayConnect(address) }}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots}
	if c.Certificate != nil {
		conf.Certificates = []tls.Certificate{*c.Certificate}
	}
	return &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableCompression: true,
		MaxConnsPerHost: 16, MaxIdleConnsPerHost: 4, IdleConnTimeout: idle,
		TLSHandshakeTimeout: Timeout, ResponseHeaderTimeout: Timeout, MaxResponseHeaderBytes: maxHeader,
	}
}

// mayConnect looks at what a name was resolved to, so that nothing can resolve to something else between look and use.
func (c *client) mayConnect(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", c.Name, ErrRefused)
	}
	if !c.Private && !isPublic(at.Addr()) {
		return fmt.Errorf("connect to %s: a private address %w; egress.private allows it", c.Name, ErrRefused)
	}
	return nil
}

// Allows says whether a bundle may fetch a URL, nil where it may. Its errors hold the URL's host and no more of it.
func (c *Client) Allows(bundle string, u *url.URL) error {
	_, err := c.find(bundle, u)
	return err
}

// ShowsCertificate says whether a client certificate is shown to the host of a URL that a bundle may fetch.
func (c *Client) ShowsCertificate(bundle string, u *url.URL) bool {
	h, err := c.find(bundle, u)
	return err == nil && h.Certificate != nil
}

func (c *Client) find(bundle string, u *url.URL) (*client, error) {
	if u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("a URL that is not https, or has a user or a fragment, %w", ErrRefused)
	}
	// Go's client maps other names to ones in ASCII after this check (UTS 46), and not as case is mapped: "gİthub" is no "github".
	if !isASCII(u.Host) {
		return nil, fmt.Errorf("a URL whose host is not in ASCII (an international name begins with xn--) %w", ErrRefused)
	}
	for _, h := range c.hosts {
		if h.covers(u) && h.serves(bundle) {
			return h, nil
		}
	}
	return nil, fmt.Errorf("%.100q %w: egress in the server's settings does not name the host for this bundle", u.Host, ErrRefused)
}

// Do sends a request for a bundle and reads an answer of at most so many bytes. Errors wrap [ErrRefused], [ErrTooLarge] or what the
// network says; they hold nothing of the request but its host. A redirect is an answer like any other.
func (c *Client) Do(r *http.Request, bundle string, limit int64) (*Response, error) {
	h, err := c.find(bundle, r.URL)
	if err != nil {
		return nil, err
	}
	answer, err := h.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("fetch from %s: %w", h.Name, plain(err))
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.ContentLength > limit {
		return nil, fmt.Errorf("fetch from %s: %w", h.Name, ErrTooLarge)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read from %s: %w", h.Name, plain(err))
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("read from %s: %w", h.Name, ErrTooLarge)
	}
	return &Response{Status: answer.StatusCode, Header: answer.Header, Body: body}, nil
}

// plain takes the URL out of an error: its query may hold what is nobody's business.
func plain(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}

// Close ends idle connections.
func (c *Client) Close() {
	for _, h := range c.hosts {
		h.http.CloseIdleConnections()
	}
}
