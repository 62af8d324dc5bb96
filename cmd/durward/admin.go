package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/limitsapi"
)

// maxAnswer bounds what is read of a server's answer.
const maxAnswer = 64 << 20

// errRefused marks an answer of a server that says why it does not do what it was asked for.
var errRefused = errors.New("the server refuses")

// adminFlags say how the admin listener of a running server is asked.
type adminFlags struct {
	Admin           string        `help:"Admin address of the server: host:port, unix:PATH, or an http or https URL." env:"DURWARD_ADMIN" default:"127.0.0.1:9192" placeholder:"ADDR"`
	Insecure        bool          `help:"Talk in plain text to a server beyond this machine."`
	CA              string        `name:"ca" placeholder:"FILE" help:"Root certificates of the server; asks over TLS."`
	Cert            string        `placeholder:"FILE" help:"Client certificate, with --key; asks over TLS."`
	Key             string        `name:"key" placeholder:"FILE" help:"Its private key."`
	CallerTokenFile string        `placeholder:"FILE" help:"File with the token that names this caller to the server."`
	Timeout         time.Duration `default:"10s" help:"How long to wait for the server."`
}

// ask makes one request and decodes the answer. A document, if there is one, is the body.
func (f *adminFlags) ask(ctx context.Context, method, path string, query url.Values, document, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	client, base, err := f.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	var body io.Reader
	if document != nil {
		data, err := json.Marshal(document)
		if err != nil {
			return fmt.Errorf("asking the server: %w", err)
		}
		body = bytes.NewReader(data)
	}
	target := *base
	target.Path, target.RawQuery = path, query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return fmt.Errorf("%w --admin: %w", errInvalid, err)
	}
	if document != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if f.CallerTokenFile != "" {
		token, err := argument("@" + f.CallerTokenFile)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking the server at %s: %w; is that the admin address, and does it speak TLS?", shown(f.Admin), withoutURL(err))
	}
	defer func() { _ = response.Body.Close() }()
	return f.read(response, answer)
}

// withoutURL takes the URL out of an error: it holds values of requests.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

func (f *adminFlags) read(response *http.Response, answer any) error {
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(data, answer); err != nil {
			return fmt.Errorf("%s answers something else than durward's admin listener: %w", f.Admin, err)
		}
		return nil
	}
	var why limitsapi.Error
	if json.Unmarshal(data, &why) != nil || why.Error == "" { // 400 is also what a listener with TLS says to plain text
		return fmt.Errorf("%w: %s answers %s; is that the admin address, and does it speak TLS?", errRefused, f.Admin, shown(response.Status))
	}
	err = fmt.Errorf("%w: %s", errRefused, shown(why.Error))
	if response.StatusCode == http.StatusBadRequest || response.StatusCode == http.StatusNotFound || response.StatusCode == http.StatusConflict {
		return fmt.Errorf("%w: %w", errInvalid, err) // what was asked for is wrong, and the user's to mend
	}
	return err
}

// client returns what asks, and the URL of the listener. Plain text is for this machine, unless it is spelled out.
func (f *adminFlags) client() (*http.Client, *url.URL, error) {
	network, address, scheme := "tcp", f.Admin, "http"
	if f.CA != "" || f.Cert != "" || f.Key != "" {
		scheme = "https"
	}
	if path, ok := strings.CutPrefix(f.Admin, "unix:"); ok {
		network, address = "unix", path
	}
	if u, err := url.Parse(f.Admin); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		if u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			return nil, nil, fmt.Errorf("%w --admin: a URL of the admin listener is http://HOST:PORT or https://HOST:PORT", errInvalid)
		}
		scheme, address = u.Scheme, u.Host
		if u.Port() == "" {
			address = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[scheme])
		}
	}
	if _, port, err := net.SplitHostPort(address); network == "tcp" && (err != nil || port == "") {
		return nil, nil, fmt.Errorf("%w --admin: %s is no address: host:port, unix:PATH, or an http or https URL", errInvalid, shown(f.Admin))
	}
	if scheme == "http" && !f.Insecure && network == "tcp" && !isLocal(address) && !strings.HasPrefix(address, "localhost:") {
		return nil, nil, fmt.Errorf("%w --admin: %s is beyond this machine; ask over TLS (https://, --ca, --cert), or spell out --insecure", errInvalid, f.Admin)
	}
	config, err := clientTLS(f.CA, f.Cert, f.Key)
	if err != nil {
		return nil, nil, err
	}
	base := &url.URL{Scheme: scheme, Host: address}
	if network == "unix" {
		base.Host = "durward"
	}
	var dialer net.Dialer
	// No proxy: the environment must not lead a question about this machine elsewhere.
	transport := &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, address)
	}}
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: transport, CheckRedirect: refuse}, base, nil
}
