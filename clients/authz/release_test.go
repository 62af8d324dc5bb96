package authz_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/clients/authz/grpcauthz"
	"github.com/durward-pdp/durward/clients/authz/httpauthz"
	"github.com/durward-pdp/durward/pdp/adapter/native"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// releases keeps what is given back.
type releases struct {
	got [][]string
	err error
}

func (r *releases) Release(_ context.Context, permits []string) error {
	r.got = append(r.got, permits)
	return r.err
}

// holding is the real adapter in front of a decider that allows with a permit.
func holding(r *releases, seen *request.Request) durwardv1.DecisionServiceServer {
	return native.New(native.Options{Permits: r, Decider: decide(func(r *request.Request) verdict.Verdict {
		*seen = *r
		return verdict.Verdict{Effect: verdict.Allow, Reason: verdict.Allowed, Permits: []string{"p1", "p2"}}
	}), Caller: func(context.Context) (string, native.Asserts, bool) {
		return "test", native.Asserts{ClientAddress: true, ClientCertificate: true, Service: true}, true
	}})
}

func TestRelease(t *testing.T) {
	r, seen := &releases{}, &request.Request{}
	c := inProcess(t, holding(r, seen))
	d, err := c.Check(t.Context(), get())
	if err != nil || seen.Releases || d.Permits != nil || d.Release(t.Context()) != nil || len(r.got) != 0 {
		t.Fatalf("permits that nobody asked for: %+v, %v, %v", d, err, r.got)
	}
	question := get()
	question.Releases = true
	if d, err = c.Check(t.Context(), question); err != nil || d.Permits == nil || !seen.Releases {
		t.Fatalf("%+v, %v", d, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel() // as the context of a request whose client has left
	copied := d
	for _, d := range []*authz.Decision{&d, &copied, &d} {
		if err := d.Release(gone); err != nil {
			t.Error(err)
		}
	}
	if len(r.got) != 1 || !slices.Equal(r.got[0], []string{"p1", "p2"}) {
		t.Errorf("released %v", r.got)
	}
	r.err = errors.New("a secret")
	if d, err = c.Check(t.Context(), question); err != nil {
		t.Fatal(err)
	}
	if err := d.Release(t.Context()); err == nil {
		t.Error("the server could not, and nobody is told")
	}
	var none authz.Decision
	if (&none).Release(t.Context()) != nil || (&authz.Decision{Permits: &authz.Permits{}}).Release(t.Context()) != nil {
		t.Error("there is nothing to release")
	}
}

// What a client denies, though the server allowed it, holds nothing.
func TestUnreadableAllowIsReleased(t *testing.T) {
	r := &releases{}
	c := inProcess(t, forged{native.New(native.Options{Permits: r, Caller: func(context.Context) (string, native.Asserts, bool) { return "test", native.Asserts{}, true }})})
	if d, err := c.Check(t.Context(), get()); err == nil || d.Allowed || len(r.got) != 1 {
		t.Errorf("%+v, %v, released %v", d, err, r.got)
	}
}

// forged answers with an obligation that cannot be carried out.
type forged struct{ *native.Server }

func (forged) Check(context.Context, *durwardv1.CheckRequest) (*durwardv1.CheckResponse, error) {
	return &durwardv1.CheckResponse{Effect: durwardv1.Effect_EFFECT_ALLOW, Permits: []string{"p"}, Obligations: &durwardv1.Obligations{
		SetUpstream: []*durwardv1.HeaderLine{{Name: "a b"}},
	}}, nil
}

// TestMiddlewareReleases: the middleware holds permits as long as the handler runs, and no longer, also where it panics.
func TestMiddlewareReleases(t *testing.T) {
	r := &releases{}
	c := inProcess(t, holding(r, &request.Request{}))
	during := func() {
		if len(r.got) != 0 {
			t.Error("released while the handler runs")
		}
	}
	ended := func(what string) {
		t.Helper()
		if len(r.got) != 1 {
			t.Errorf("%s: released %v", what, r.got)
		}
		r.got = nil
	}
	serve := func(fails bool) {
		defer func() { _ = recover() }()
		httpauthz.New(c)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			during()
			if fails {
				panic(http.ErrAbortHandler)
			}
		})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", nil))
	}
	serve(false)
	ended("HTTP")
	serve(true)
	ended("HTTP that panics")
	info := &grpc.UnaryServerInfo{FullMethod: "/a.B/C"}
	ctx := grpc.NewContextWithServerTransportStream(t.Context(), &transport{})
	if _, err := grpcauthz.UnaryServer(c)(ctx, nil, info, func(context.Context, any) (any, error) { during(); return nil, nil }); err != nil {
		t.Error(err)
	}
	ended("RPC")
	if err := grpcauthz.StreamServer(c)(nil, stream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: "/a.B/C"}, func(any, grpc.ServerStream) error { during(); return nil }); err != nil {
		t.Error(err)
	}
	ended("stream")
}

// transport and stream take header fields and lose them.
type transport struct{}

func (transport) Method() string               { return "/a.B/C" }
func (transport) SetHeader(metadata.MD) error  { return nil }
func (transport) SendHeader(metadata.MD) error { return nil }
func (transport) SetTrailer(metadata.MD) error { return nil }

type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s stream) Context() context.Context  { return s.ctx }
func (stream) SetHeader(metadata.MD) error { return nil }
