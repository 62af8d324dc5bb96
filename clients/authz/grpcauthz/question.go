package grpcauthz

import (
	"context"
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/durward-pdp/durward/clients/authz"
)

// question is the HTTP/2 request that the RPC came as.
func (o *options) question(ctx context.Context, method string) *authz.HTTP {
	q := &authz.HTTP{Method: "POST", Target: method, Scheme: "http", Protocol: "HTTP/2", BodySize: -1, Service: o.service}
	sent, _ := metadata.FromIncomingContext(ctx)
	// Several authorities are joined: no host has a comma in it.
	q.Host = strings.Join(sent[":authority"], ",")
	q.Header = header(sent)
	if p, ok := peer.FromContext(ctx); ok {
		if p.Addr != nil {
			if address, err := netip.ParseAddrPort(p.Addr.String()); err == nil {
				q.PeerAddress = address.String()
			}
		}
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			q.Scheme, q.ServerName = "https", info.State.ServerName
			// An unverified certificate says nothing about who sent it.
			if chains := info.State.VerifiedChains; len(chains) > 0 && len(chains[0]) > 0 {
				q.Certificate = chains[0][0].Raw
			}
		}
	}
	if o.scheme != "" {
		q.Scheme = o.scheme
	}
	return q
}

// header returns the metadata as it was on the wire: binary values in base64 again.
func header(sent metadata.MD) []authz.Field {
	names := make([]string, 0, len(sent))
	for name := range sent {
		if !strings.HasPrefix(name, ":") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var out []authz.Field
	for _, name := range names {
		for _, value := range sent[name] {
			if strings.HasSuffix(name, "-bin") {
				value = base64.RawStdEncoding.EncodeToString([]byte(value))
			}
			out = append(out, authz.Field{Name: name, Value: value})
		}
	}
	if len(sent["content-type"]) == 0 {
		out = append(out, authz.Field{Name: "content-type", Value: "application/grpc"})
	}
	return out
}
