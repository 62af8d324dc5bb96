package unary

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestHandler: a message that can be read arrives whole, one that cannot as nil, and neither as an error.
func TestHandler(t *testing.T) {
	whole, err := proto.Marshal(wrapperspb.String("PLACE"))
	if err != nil {
		t.Fatal(err)
	}
	torn := bytes.Replace(whole, []byte("PLACE"), []byte("\xff\xfe\xc3\xed\xa0"), 1)
	intercepted := 0
	for _, intercept := range []grpc.UnaryServerInterceptor{nil, func(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		intercepted++
		if info.FullMethod != "/s/M" || info.Server != "server" {
			t.Errorf("told of %+v", info)
		}
		return next(ctx, in)
	}} {
		for name, c := range map[string]struct {
			sent []byte
			want string
		}{"whole": {whole, "PLACE"}, "empty": {nil, ""}, "torn": {torn, "unread"}} {
			method := Handler("/s/M", func(_ context.Context, in *wrapperspb.StringValue) (string, error) {
				if in == nil {
					return "unread", nil
				}
				return in.GetValue(), nil
			})
			out, err := method("server", t.Context(), func(in any) error { return proto.Unmarshal(c.sent, in.(proto.Message)) }, intercept)
			if err != nil || out != c.want {
				t.Errorf("%s: %v, %v; want %q", name, out, err, c.want)
			}
		}
	}
	if intercepted != 3 {
		t.Errorf("%d calls intercepted", intercepted)
	}
	broken := errors.New("no message")
	method := Handler("/s/M", func(context.Context, *wrapperspb.StringValue) (string, error) {
		t.Error("answered")
		return "", nil
	})
	if _, err := method("server", t.Context(), func(any) error { return broken }, nil); !errors.Is(err, broken) {
		t.Errorf("what is no message: %v", err)
	}
}

func TestRefuser(t *testing.T) {
	if v := (Refuser{}).Decide(t.Context(), &request.Request{}); v.Allowed() || v.Reason != verdict.Internal || !v.Degraded {
		t.Errorf("%+v", v)
	}
}
