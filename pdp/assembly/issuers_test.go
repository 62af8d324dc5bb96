package assembly

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/stage/identity/keys"
	"github.com/durward-pdp/durward/pdp/token"
)

const (
	keyA    = `{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	keyB    = `{"kty":"EC","crv":"P-256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}`
	keyWeak = `{"kty":"RSA","n":"AQAB","e":"AQAB"}`
)

func keySet(t *testing.T, keys ...string) *token.KeySet {
	t.Helper()
	set, err := token.ParseKeySet([]byte(`{"keys":[` + strings.Join(keys, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestKeyLog: a change is one line, and what goes on is none.
func TestKeyLog(t *testing.T) {
	log, at := &logged{}, time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	l := keyLog{logger: log.logger()}
	a, ab := keySet(t, keyA), keySet(t, keyA, keyB, keyWeak)
	nothing, one, two := keys.State{}, keys.State{Set: a, Fetched: at}, keys.State{Set: ab, Fetched: at.Add(time.Hour)}
	failing := func(s keys.State, trouble string) keys.State {
		s.Trouble, s.Failing = trouble, at
		return s
	}
	for _, step := range []struct{ before, after keys.State }{
		{nothing, failing(nothing, "connection refused")},
		{failing(nothing, "connection refused"), failing(nothing, "connection reset")},
		{failing(nothing, "connection refused"), one},
		{one, one},
		{one, failing(one, "status 500")},
		{failing(one, "status 500"), failing(one, "status 502")},
		{failing(one, "status 502"), two},
		{two, two},
		{two, one},
	} {
		l.fetched(step.before, step.after)
	}
	want := []string{
		"ERROR an issuer's keys cannot be fetched, its tokens are refused 503 until they can",
		"INFO an issuer's keys can be fetched again",
		"INFO an issuer's keys are new",
		"WARN an issuer's keys cannot be fetched, the last good ones serve on",
		"INFO an issuer's keys can be fetched again",
		"INFO an issuer's keys are new",
		"WARN an issuer has keys that cannot be used",
		"INFO an issuer's keys are new",
	}
	if diff := cmp.Diff(want, messages(log)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, text := range []string{`"after":"1h0m0s"`, `"added":["a"],"removed":[]`, `"added":["without kid, SHA-256 `, `line 1, column `, `the RSA modulus is shorter than 2048 bits`} {
		if !strings.Contains(log.String(), text) {
			t.Errorf("no %s in %s", text, log)
		}
	}
}

// TestIssuerMetrics: sources of one issuer are one, and one that was never fetched has no age.
func TestIssuerMetrics(t *testing.T) {
	m := newMetrics(settings.Metrics{}, Version{})
	place := keys.Place{Bundle: "acme", Issuer: "https://idp.example.com"}
	set := keySet(t, keyA, keyB, keyWeak)
	m.watchIssuers(func() []keys.State {
		return []keys.State{{Place: place}, {Place: place, Set: set, Fetched: time.Unix(100, 0)}, {Place: place, Set: set, Fetched: time.Unix(90, 0)}, {Place: keys.Place{Bundle: "other"}}}
	}, func() time.Time { return time.Unix(110, 0) })
	f := families(t, m)
	if diff := cmp.Diff(map[string]float64{"bundle=acme,issuer=https://idp.example.com": 20}, f["durward_keys_age_seconds"].samples); diff != "" {
		t.Error(diff)
	}
	want := map[string]float64{
		"bundle=acme,issuer=https://idp.example.com,usable=true": 4, "bundle=acme,issuer=https://idp.example.com,usable=false": 2,
		"bundle=other,issuer=,usable=true": 0, "bundle=other,issuer=,usable=false": 0,
	}
	if diff := cmp.Diff(want, f["durward_keys"].samples); diff != "" {
		t.Error(diff)
	}
}

func TestIssuersInConfigz(t *testing.T) {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	views := viewsOfIssuers([]keys.State{
		{Place: keys.Place{Bundle: "acme", Issuer: "https://idp.example.com"}, Trouble: "status 500", Failing: at, Due: at.Add(time.Minute)},
		{Place: keys.Place{Bundle: "acme", Issuer: "https://idp.example.com", URL: "https://idp.example.com/keys"}, Host: "idp.example.com", Set: keySet(t, keyA, keyB, keyWeak),
			Fetched: at, Fresh: at.Add(5 * time.Minute), Due: at.Add(4 * time.Minute)},
	}, at.Add(time.Minute))
	got, err := json.Marshal(views)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"bundle":"acme","issuer":"https://idp.example.com","host":"","discovery":true,"keys":[],"unusable":[],` +
		`"next_fetch":"2026-01-01T12:01:00Z","stale":true,"error":"status 500","failing_since":"2026-01-01T12:00:00Z"},` +
		`{"bundle":"acme","issuer":"https://idp.example.com","host":"idp.example.com","discovery":false,` +
		`"keys":[{"id":"a","algorithm":"EdDSA","type":"OKP Ed25519"},{"id":"without kid, SHA-256 c71d01700fb0328870f1ab580c939eea9786328764946db04470655c732f9743","algorithm":"","type":"EC P-256"}],` +
		`"unusable":["line 1, column 241: the RSA modulus is shorter than 2048 bits"],` +
		`"fetched":"2026-01-01T12:00:00Z","fresh_until":"2026-01-01T12:05:00Z","next_fetch":"2026-01-01T12:04:00Z","stale":false}]`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, got)
	}
}
