package native

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// releaser keeps what is given back.
type releaser struct {
	got [][]string
	err error
}

func (r *releaser) Release(_ context.Context, permits []string) error {
	r.got = append(r.got, permits)
	if len(permits) > 0 && permits[0] == "panic" {
		panic("request text")
	}
	return r.err
}

func TestReleaseCodes(t *testing.T) {
	for name, c := range map[string]struct {
		permits []string
		err     error
		unknown bool
		want    codes.Code
		asked   int
	}{
		"released":       {permits: []string{"a", "b"}, want: codes.OK, asked: 1},
		"nothing":        {want: codes.OK},
		"malformed":      {permits: []string{"a"}, err: fmt.Errorf("%w: secret", verdict.ErrPermit), want: codes.InvalidArgument, asked: 1},
		"too many":       {permits: slices.Repeat([]string{"a"}, 33), want: codes.InvalidArgument},
		"no counters":    {permits: []string{"a"}, err: errors.New("secret"), want: codes.Unavailable, asked: 1},
		"unknown caller": {permits: []string{"a"}, unknown: true, want: codes.PermissionDenied},
		"panic":          {permits: []string{"panic"}, want: codes.Internal, asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, panics := &releaser{err: c.err}, 0
			s := New(Options{
				Permits: r, OnPanic: func() { panics++ },
				Caller: func(context.Context) (string, Asserts, bool) { return "shop", Asserts{}, !c.unknown },
			})
			out, err := s.Release(t.Context(), &durwardv1.ReleaseRequest{Permits: c.permits})
			if status.Code(err) != c.want || (out == nil) != (err != nil) || len(r.got) != c.asked || (panics == 1) != (c.want == codes.Internal) {
				t.Errorf("%v, %v, asked %d times", out, err, len(r.got))
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "request text")) {
				t.Errorf("the error tells too much: %v", err)
			}
		})
	}
	s := New(Options{Caller: func(context.Context) (string, Asserts, bool) { return "shop", Asserts{}, true }})
	if _, err := s.Release(t.Context(), &durwardv1.ReleaseRequest{Permits: []string{"a"}}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a server without permits: %v", err)
	}
}

// Permits go to callers that give them back, on an allow alone; what cannot be carried out is given back at once.
func TestPermitsOfAnAnswer(t *testing.T) {
	d, r := &decider{verdict: allowed()}, &releaser{}
	d.verdict.Permits = []string{"a"}
	s := server(t, d, everything)
	s.options.Permits = r
	ask := func(releases bool) *durwardv1.CheckResponse {
		in := httpRequest()
		in.Releases = releases
		out, err := s.Check(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := ask(true); !slices.Equal(out.GetPermits(), []string{"a"}) || !d.last(t).Releases {
		t.Errorf("%v", out)
	}
	if out := ask(false); len(out.GetPermits()) != 0 || d.last(t).Releases {
		t.Errorf("%v", out)
	}
	if len(r.got) != 0 {
		t.Errorf("released %v", r.got)
	}
	d.verdict.Obligations.SetUpstream = []verdict.Field{{Name: "x", Value: "a\r\nb"}}
	if out := ask(true); out.GetEffect() != durwardv1.Effect_EFFECT_DENY || len(out.GetPermits()) != 0 || len(r.got) != 1 || !slices.Equal(r.got[0], []string{"a"}) {
		t.Errorf("%v, released %v", out, r.got)
	}
	s.options.Permits = nil
	if ask(true); d.seen[len(d.seen)-2].Releases {
		t.Error("permits that nobody takes back are asked for")
	}
}
