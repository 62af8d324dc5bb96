package ratelimit

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// sharedLimits has one domain for each way to live without Redis.
func sharedLimits() map[string]string {
	files := map[string]string{"bundle.yaml": "format: 1\nname: acme\n"}
	for domain, onError := range map[string]string{"share": "local_share", "edge": "deny"} {
		files["ratelimits/"+domain+".yaml"] = fmt.Sprintf(`domain: %s
descriptors:
  - {key: user, rate_limit: {unit: year, requests_per_unit: 100}}
  - {key: all, rate_limit: {unit: year, requests_per_unit: 1000000}}
compat: {on_error: %s}
`, domain, onError)
	}
	return files
}

// startReplicas starts two servers that share a Redis.
func startReplicas(t *testing.T, redis *redistest.Server) [2]*server {
	t.Helper()
	var replicas [2]*server
	for i := range replicas {
		replicas[i] = startWith(t, sharedLimits(), func(s *settings.Settings) {
			s.Redis.URL, s.Redis.Replicas = settings.Secret(redis.URL()), len(replicas)
			s.Redis.Timeout = format.Duration(2 * time.Second) // a busy machine is not what is tested
		})
	}
	return replicas
}

const twoLimits = `{"domain":"%s","descriptors":[{"entries":[{"key":"user","value":"%s"}]},{"entries":[{"key":"all","value":"x"}]}]}`

// TestReplicasShareDescriptors: of many requests to two replicas at once exactly the limit passes, and what was refused
// charged nothing else.
func TestReplicasShareDescriptors(t *testing.T) {
	replicas := startReplicas(t, redistest.Start(t))
	const callers, each = 32, 10
	var passed, refused atomic.Int64
	var done sync.WaitGroup
	for caller := range callers {
		done.Go(func() {
			for range each {
				out, err := replicas[caller%2].ask(t, fmt.Sprintf(twoLimits, "edge", "alice"))
				switch {
				case err != nil:
					t.Error(err)
				case out.GetOverallCode() == rlsv3.RateLimitResponse_OK:
					passed.Add(1)
				default:
					refused.Add(1)
				}
			}
		})
	}
	done.Wait()
	if passed.Load() != 100 || refused.Load() != callers*each-100 {
		t.Errorf("%d of %d passed, want exactly 100", passed.Load(), passed.Load()+refused.Load())
	}
	for i, replica := range replicas {
		if left := replica.left(t, "all", "x"); left != 1000000-100 {
			t.Errorf("replica %d: %d left of the other limit, want 999900", i, left)
		}
	}
}

// TestWithoutRedis kills Redis behind two replicas and an Envoy: a domain with on_error deny answers Unavailable, of which
// Envoy makes what failure_mode_deny says; one with local_share counts in each replica; and all is as before when Redis
// is back.
func TestWithoutRedis(t *testing.T) {
	redis := redistest.Start(t)
	replicas := startReplicas(t, redis)
	closed := startEnvoy(t, envoyConfig, passed, replicas[0])
	open := startEnvoy(t, strings.Replace(envoyConfig, "failure_mode_deny: true", "failure_mode_deny: false", 1), passed, replicas[0])
	through := func(url string) int {
		status, _, _ := get(t, url, http.Header{"X-User": {"bob"}})
		return status
	}
	if a, b := through(closed), through(open); a != http.StatusOK || b != http.StatusOK {
		t.Fatalf("with Redis: %d, %d", a, b)
	}
	redis.Kill()
	for i, replica := range replicas {
		out, err := replica.ask(t, fmt.Sprintf(twoLimits, "edge", "alice"))
		if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "limits_unavailable" {
			t.Errorf("replica %d, deny: %v, %v", i, out, err)
		}
		var codes []string
		for range 3 {
			out, err := replica.ask(t, fmt.Sprintf(twoLimits, "share", "alice"))
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, out.GetOverallCode().String())
		}
		// The share of a counter that nobody knows begins with one unit, and is whole when the year ends.
		if got := strings.Join(codes, " "); got != "OK OVER_LIMIT OVER_LIMIT" {
			t.Errorf("replica %d, local_share: %s", i, got)
		}
	}
	if status := through(closed); status != http.StatusInternalServerError {
		t.Errorf("failure_mode_deny: true: %d, want 500", status)
	}
	if status := through(open); status != http.StatusOK {
		t.Errorf("failure_mode_deny: false: %d, want 200", status)
	}
	redis.Restart()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if status := through(closed); status == http.StatusOK {
			break
		}
		if time.Now().After(end) {
			t.Fatal("Redis is back, and Envoy still gets errors")
		}
	}
}
