package policies

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/durward-pdp/durward/clients/authz"
)

const (
	hostileRequests = 10000
	// heapGrowth bounds what may stay of all of them, in bytes: no 60 bytes of a request.
	// residentGrowth is generous, because memory is given back to the system late.
	heapGrowth, residentGrowth = 512 << 10, 64 << 20
)

// hostile are texts that mean something to some part of the way: patterns, rules, names of roles, paths, logs.
var hostile = []string{
	"user:corp:alice", "reader", "*", "/*", ":id", "{id}", ".*", "(a+)+$", "[", "**", "::1", "p, x, y", "g(r.sub, p.sub)", "r.sub", "eval(true)", "\"", "'", "\\", "\n",
	"\x00", "\u202e", "\U0001f511", "a.b.c", "${jndi:x}", "%s%n", "true", "1e9999", "-1", strings.Repeat("a", 900), strings.Repeat("(", 300), strings.Repeat("/", 40),
}

// TestHostileRequestsLeaveMemoryFlat sends as many requests as above that nobody has sent before, by subjects nobody knows:
// nothing of them stays, in the heap or in the metrics' labels, and the next good request is answered as before.
func TestHostileRequestsLeaveMemoryFlat(t *testing.T) {
	contents := sample(t)
	contents = edited(t, contents, modelPath, "keyMatch2(r.path, p.path)", "(keyMatch2(r.path, p.path) || globMatch(r.path, p.path) || regexMatch(r.path, p.path))")
	contents = edited(t, contents, servicePath, "routes:", "candidate: {model: next.conf, rules: [policy.csv]}\nroutes:")
	contents = with(contents, nextModel, strings.Replace(string(contents[modelPath]), "m = g", "m = r.claims.tenant != r.claims.level && g", 1))
	// The cache of verified tokens keeps what issuers signed, on purpose and bounded in bytes; here it would hide what stays by mistake.
	s := run(t, contents, options{environment: []string{"DURWARD_IDENTITY_TOKEN_CACHE_MIB=0"}})
	client := s.client(t, "open", "")
	alice := question("GET", "/orders/7", bearer(t, "alice", []string{"reader"}))
	before := ask(t, client, alice)
	if !before.Allowed {
		t.Fatalf("alice: %+v", before)
	}

	s.besiege(t, client, "warm", 1000)
	first := s.memory(t)
	reasons := s.besiege(t, client, "cold", hostileRequests)
	then := s.memory(t)
	t.Logf("live heap %d KiB, after %d hostile requests %d KiB; resident %d KiB, then %d KiB; %d series, then %d; %v",
		first.heap>>10, hostileRequests, then.heap>>10, first.resident>>10, then.resident>>10, first.series, then.series, reasons)
	if grown := then.heap - first.heap; grown > heapGrowth {
		t.Errorf("the live heap grew by %d bytes", grown)
	}
	if grown := then.resident - first.resident; grown > residentGrowth {
		t.Errorf("the process grew by %d bytes", grown)
	}
	if then.series != first.series {
		t.Errorf("%d series of metrics, and %d after the hostile requests", first.series, then.series)
	}
	for _, reason := range []string{"allowed", "no_matching_rule", "path_ambiguous", "no_service", "no_route", "action_unknown", "token_claim"} {
		if reasons[reason] == 0 {
			t.Errorf("no request was answered %s: %v", reason, reasons)
		}
	}
	metrics := s.metrics(t)
	if metrics["durward_panics_total"] != 0 || metrics[`durward_degraded_total{decision="deny"}`] != 0 {
		t.Errorf("%v panics, %v degraded", metrics["durward_panics_total"], metrics[`durward_degraded_total{decision="deny"}`])
	}
	if after := ask(t, client, alice); after.Allowed != before.Allowed || after.Explanation.Rule != before.Explanation.Rule {
		t.Errorf("alice, after all that: %+v", after)
	}
}

// footprint is what a server holds after a garbage collection.
type footprint struct {
	heap, resident int64
	series         int
}

func (s *server) memory(t *testing.T) (f footprint) {
	t.Helper()
	for range 2 { // pools are emptied by the second collection
		// Of all that a server shows, this alone is read between the collection and the garbage of the answer.
		status, body := s.fetch(t, "/debug/pprof/heap?gc=1&debug=1")
		_, after, found := strings.Cut(body, "\n# HeapAlloc = ")
		value, _, _ := strings.Cut(after, "\n")
		n, err := strconv.ParseInt(value, 10, 64)
		if status != http.StatusOK || !found || err != nil || n == 0 {
			t.Fatalf("status %d, heap %q: %v", status, value, err)
		}
		f.heap = n
	}
	m := s.metrics(t)
	f.resident, f.series = int64(m["process_resident_memory_bytes"]), len(m)
	return f
}

// besiege sends n hostile requests and counts the answers by reason. A hostile request costs nobody a server error.
func (s *server) besiege(t *testing.T, client *authz.Client, wave string, n int) map[string]int {
	t.Helper()
	var (
		next    atomic.Int64
		mu      sync.Mutex
		workers sync.WaitGroup
		reasons = map[string]int{}
	)
	for range 8 {
		workers.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				d, _ := client.Check(t.Context(), hostileRequest(t, wave, int(i)))
				mu.Lock()
				if reasons[d.Reason]++; d.Status >= 500 || d.Reason == "unanswered" || d.Status == 400 && d.ID == "" {
					t.Errorf("request %d: %+v", i, d)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return reasons
}

// hostileRequest is the i-th of a wave: what it names, no other one names.
func hostileRequest(t *testing.T, wave string, i int) authz.Request {
	odd := hostile[i%len(hostile)]
	unique := fmt.Sprintf("%s-%d-%s", wave, i, odd)
	authorization := bearer(t, unique, []string{unique, odd, "reader"}[:1+i%3], "tenant", unique, "level", unique, "x-"+unique, map[string]any{unique: odd})
	q := question("GET", "/orders/"+url.PathEscape(unique), authorization)
	switch i % 8 {
	case 1:
		q = question("GET", "/archive/"+url.PathEscape(unique)+"/"+strings.Trim(url.PathEscape(odd), "/")+"/..", authorization)
	case 2:
		q = question("PUT", fmt.Sprintf("/orders/%s-%d?%s=%s", wave, i, url.QueryEscape(unique), url.QueryEscape(odd)), authorization)
	case 3:
		q.HTTP.Host = fmt.Sprintf("%s-%d.example.com", wave, i)
	case 4:
		q = question("GET", fmt.Sprintf("/%s-%d/%s", wave, i, url.PathEscape(odd)), authorization)
	case 5:
		q = authz.Request{Operation: &authz.Operation{
			Service: "orders", Action: unique, ResourceType: unique, ResourceID: odd, Properties: map[string]string{unique: odd}, Credential: strings.TrimPrefix(authorization, "Bearer "),
		}}
	case 6:
		q = question("GET", fmt.Sprintf("/orders/%s-%d", wave, i), bearer(t, fmt.Sprintf("%s-%d", wave, i), []string{"reader", unique}, "tenant", unique))
		q.HTTP.Header = append(q.HTTP.Header, authz.Field{Name: fmt.Sprintf("x-%s-%d", wave, i), Value: strings.Trim(url.QueryEscape(odd), " ")})
	case 7:
		q = question("GET", fmt.Sprintf("/orders/%s-%d", wave, i), bearer(t, fmt.Sprintf("%s-%d", wave, i), []string{"reader"}, "tenant", i))
	}
	q.DryRun, q.CorrelationID = i%2 == 0, strings.ToValidUTF8(unique, "")
	q.Explain = authz.Explain(i / 8 % 3)
	return q
}
