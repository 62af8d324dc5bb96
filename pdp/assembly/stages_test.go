package assembly

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart"
	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/stage/descriptors"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/inspection"
	"github.com/durward-pdp/durward/pdp/stage/limits"
	"github.com/durward-pdp/durward/pdp/stage/network"
	"github.com/durward-pdp/durward/pdp/stage/policy"
	"github.com/durward-pdp/durward/pdp/stage/upstream"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
)

// instant is when the tests' decisions are made.
func instant() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }

// discard keeps no record.
type discard struct{}

func (discard) Record(context.Context, *audit.Entry) error { return nil }

func newStages(t *testing.T) *stages {
	t.Helper()
	local, err := memory.New(memory.Options{Now: instant})
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := ratelimiter.New(ratelimiter.Options{Local: local, Now: instant})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = limiter.Close(context.Background()) })
	limitsStage, err := limits.New(limits.Options{Limiter: limiter})
	if err != nil {
		t.Fatal(err)
	}
	return &stages{network: network.New(nil), inspection: inspection.New(), limits: limitsStage, identity: identity.New(identity.Options{}), policy: policy.New(), upstream: upstream.New(upstream.Options{}), descriptors: &descriptors.Stage{}}
}

// quickstartFiles are the files of the quickstart's bundle with the keys of a signer.
func quickstartFiles(t *testing.T, signer *token.Signer) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := fs.WalkDir(quickstart.Files, "bundle", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(quickstart.Files, path)
		files[strings.TrimPrefix(path, "bundle/")] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.MarshalKeySet(signer)
	if err != nil {
		t.Fatal(err)
	}
	files["keys/corp.jwks.json"] = keys
	return files
}

func newSigner(t *testing.T) *token.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: "k1", Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// engineOf runs the given rows of the stage table over a snapshot.
func engineOf(t *testing.T, steps []pipeline.Step, settler pipeline.Settler, snapshot *pipeline.Snapshot) *pdp.Engine {
	t.Helper()
	p, err := pipeline.New(pipeline.Options{Steps: steps, Settler: settler, Clock: instant, Observe: func(string, time.Duration, pipeline.Outcome, error) {}})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := pdp.New(pdp.Options{Pipeline: p, Recorder: discard{}, Clock: instant, Random: rand.Reader, Budget: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	engine.Publish(snapshot)
	return engine
}

// TestWithoutPolicyNothingIsGranted takes the policy row out of the stage table: every route that is not public must be
// denied, whoever asks. With the row, the same requests are allowed, so that it is the row alone that grants.
func TestWithoutPolicyNothingIsGranted(t *testing.T) {
	signer, all := newSigner(t), newStages(t)
	snapshot, problems := bundle.Build(quickstartFiles(t, signer), bundle.Options{Compilers: all.compilers(), ClientAddress: true, Clock: instant})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	table := all.table()
	without := slices.DeleteFunc(slices.Clone(table), func(s pipeline.Step) bool { return s.Point == "policy" })
	if len(without) != len(table)-1 {
		t.Fatalf("the stage table has %d policy rows, want 1", len(table)-len(without))
	}
	whole, cut := engineOf(t, table, all.limits, snapshot), engineOf(t, without, all.limits, snapshot)
	public, protected := 0, 0
	for service := range snapshot.Services {
		for _, r := range service.Routes {
			for _, method := range r.Methods {
				q := requestFor(t, signer, service, r, method)
				allowed, denied := whole.Decide(t.Context(), q), cut.Decide(t.Context(), q)
				if !allowed.Allowed() {
					t.Errorf("%s/%s %s: the whole table denies %s; the request proves nothing", service.Name, r.Name, method, allowed.Reason)
				}
				if r.Public {
					public++
					if !denied.Allowed() {
						t.Errorf("%s/%s %s is public and denied %s", service.Name, r.Name, method, denied.Reason)
					}
					continue
				}
				protected++
				if denied.Allowed() || denied.Reason != verdict.NotGranted || denied.HTTPStatus() != 403 {
					t.Errorf("%s/%s %s without the policy row: %s, reason %s", service.Name, r.Name, method, denied.Effect, denied.Reason)
				}
			}
		}
	}
	if public < 3 || protected < 6 {
		t.Errorf("%d public and %d protected routes; were they all walked?", public, protected)
	}
}

// requestFor is a request that the whole table allows.
func requestFor(t *testing.T, signer *token.Signer, service *route.Service, r *route.Route, method string) *request.Request {
	t.Helper()
	signed, err := signer.Sign("at+jwt", map[string]any{
		"iss": "https://idp.example.com", "sub": "alice-" + r.Name, "jti": "1", "client_id": "tests", "aud": []string{"orders-api", "reports-api"}, "tenant": "7",
		"iat": instant().Unix(), "exp": instant().Add(time.Hour).Unix(), "scope": "orders:refund", "realm_access": map[string]any{"roles": []string{"writer"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := r.Template
	for strings.Contains(path, "{") {
		before, rest, _ := strings.Cut(path, "{")
		_, after, _ := strings.Cut(rest, "}")
		path = before + "7" + after
	}
	return &request.Request{
		Adapter: "test", Method: method, Scheme: "https", Host: service.Name + ".example.com", Target: path, Protocol: "HTTP/1.1",
		Header: request.Header{{Name: "authorization", Value: "Bearer " + signed}, {Name: "content-type", Value: "application/json"}},
		Peer:   request.Peer{Address: netip.MustParseAddrPort("198.51.100.7:1")}, Client: netip.MustParseAddr("198.51.100.7"),
	}
}

// TestStageTable pins the order, which is security policy.
func TestStageTable(t *testing.T) {
	all := newStages(t)
	var got []string
	for _, s := range all.table() {
		line := s.Point
		if s.Failure != "" {
			line += " " + string(s.Failure)
		}
		if s.Stage == nil {
			t.Errorf("%s has no stage", s.Point)
		}
		got = append(got, line)
	}
	want := []string{"network", "inspection.shape", "limits.gate limits_unavailable", "identity keys_unavailable", "policy", "inspection.body", "limits.take limits_unavailable", "upstream"}
	if !slices.Equal(got, want) {
		t.Errorf("stage table:\n%q, want\n%q", got, want)
	}
	var compilers []string
	for _, c := range all.compilers() {
		compilers = append(compilers, c.Name())
	}
	// Every stage of the table compiles a part of each service, but for network, which is no matter of bundles; no other does.
	for _, point := range want[1:] {
		name, _, _ := strings.Cut(strings.Fields(point)[0], ".")
		if !slices.Contains(compilers, name) {
			t.Errorf("%s compiles nothing", name)
		}
	}
	if len(compilers) != 5 {
		t.Errorf("compilers: %q", compilers)
	}
}
