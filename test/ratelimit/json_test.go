package ratelimit

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

// TestJSON: /json counts in the same counters as the gRPC service beside it.
func TestJSON(t *testing.T) {
	bundle := map[string]string{"bundle.yaml": "format: 1\nname: acme\n", "ratelimits/edge.yaml": edgeLimits}
	s := startWith(t, bundle, func(s *settings.Settings) {
		s.Listeners = append(s.Listeners, settings.Listener{Address: "127.0.0.1:0", Protocols: []string{"ratelimit_json"}})
	})
	const alice = `{"domain":"edge","descriptors":[{"entries":[{"key":"user","value":"alice"}]}]}`
	post := func(body string) (int, *rlsv3.RateLimitResponse) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addresses[1]+"/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		out := &rlsv3.RateLimitResponse{}
		if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusTooManyRequests {
			if err := protojson.Unmarshal(text, out); err != nil {
				t.Fatal(err)
			}
		}
		return response.StatusCode, out
	}
	if _, err := s.ask(t, alice); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		status    int
		remaining uint32
	}{{200, 1}, {200, 0}, {429, 0}} {
		status, out := post(alice)
		if status != want.status || out.GetStatuses()[0].GetLimitRemaining() != want.remaining || len(out.GetResponseHeadersToAdd()) != 3 {
			t.Errorf("request %d: %d, %v", i, status, out)
		}
	}
	if status, _ := post(`{"domain":"edge"}`); status != http.StatusBadRequest {
		t.Errorf("no descriptors: %d", status)
	}
	if status, _, body := get(t, "http://"+s.addresses[1]+"/healthcheck", nil); status != http.StatusOK || body != "OK\n" {
		t.Errorf("health: %d %q", status, body)
	}
}
