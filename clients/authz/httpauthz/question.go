package httpauthz

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/clients/authz"
)

var errTarget = errors.New("request without a target: it did not come from a server")

// question is the request as it arrived. net/http keeps the raw target and the lines of each header name; it refuses
// requests with two hosts by itself, and takes the host and the transfer encoding out of the header.
func (o *options) question(r *http.Request) (*authz.HTTP, error) {
	if r.RequestURI == "" {
		return nil, errTarget
	}
	q := &authz.HTTP{
		Method:   r.Method,
		Host:     r.Host,
		Target:   r.RequestURI,
		Scheme:   o.scheme(r),
		Protocol: protocol(r),
		Header:   header(r),
		BodySize: r.ContentLength,
		Service:  o.service,
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		q.PeerAddress = peer.String()
	}
	if r.TLS != nil {
		q.ServerName = r.TLS.ServerName
		// An unverified certificate says nothing about who sent it.
		if chains := r.TLS.VerifiedChains; len(chains) > 0 && len(chains[0]) > 0 {
			q.Certificate = chains[0][0].Raw
		}
	}
	return q, o.readBody(r, q)
}

func protocol(r *http.Request) string {
	if r.ProtoMajor >= 2 {
		return fmt.Sprintf("HTTP/%d", r.ProtoMajor)
	}
	return r.Proto
}

func header(r *http.Request) []authz.Field {
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	var out []authz.Field
	for _, name := range names {
		for _, value := range r.Header[name] {
			out = append(out, authz.Field{Name: strings.ToLower(name), Value: value})
		}
	}
	for _, coding := range r.TransferEncoding {
		out = append(out, authz.Field{Name: "transfer-encoding", Value: coding})
	}
	return out
}

// readBody reads the beginning of the body and puts it back in front of the rest.
func (o *options) readBody(r *http.Request, q *authz.HTTP) error {
	if o.body == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	// One byte more than is forwarded tells whether that was all.
	read, err := io.ReadAll(io.LimitReader(r.Body, o.body+1))
	if err != nil {
		return fmt.Errorf("reading the body: %w", err)
	}
	q.Body = read
	if int64(len(read)) > o.body {
		q.Body, q.BodyPartial = read[:o.body], true
	} else {
		q.BodySize = int64(len(read))
	}
	r.Body = &replayed{Reader: io.MultiReader(bytes.NewReader(read), r.Body), Closer: r.Body}
	return nil
}

// replayed is a body whose beginning was read before.
type replayed struct {
	io.Reader
	io.Closer
}
