package faults

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/token"
)

const idp = "https://idp.example.com"

// provider signs access tokens and logout tokens.
type provider struct {
	*token.Signer
	keys []byte
}

func newProvider(t *testing.T) provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(token.SignerConfig{Algorithm: "ES256", Key: key, KeyID: "blocks", Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.MarshalKeySet(signer)
	if err != nil {
		t.Fatal(err)
	}
	return provider{signer, keys}
}

func (p provider) sign(t *testing.T, typ string, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	all := map[string]any{"iss": idp, "iat": now.Add(-time.Second).Unix(), "exp": now.Add(time.Hour).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	raw, err := p.Sign(typ, all)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (p provider) access(t *testing.T, subject, session string) string {
	t.Helper()
	return p.sign(t, "at+jwt", map[string]any{
		"sub": subject, "sid": session, "aud": "orders-api", "client_id": "web", "jti": subject + "-" + session,
		"realm_access": map[string]any{"roles": []string{"reader"}},
	})
}

// bearing is what a gateway sends for a GET with a token, from an address.
func bearing(path, raw, address string) *authv3.CheckRequest {
	r := checkRequest(path)
	r.Attributes.Source.Address.GetSocketAddress().Address, r.Attributes.Request.Http.Size = address, 0
	if raw != "" {
		r.Attributes.Request.Http.Headers["authorization"] = "Bearer " + raw
	}
	return r
}

// command runs durward on a server's admin listener and decodes its answer.
func (s *server) command(t *testing.T, stdin string, into any, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), durward(t), append(args, "--admin", s.admin, "-o", "json")...)
	c.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("durward %q: %v\n%s", args, err, &errs)
	}
	if stdin != "" && strings.Contains(out.String()+errs.String(), stdin[:20]) {
		t.Errorf("durward %q prints what it was given:\n%s%s", args, &out, &errs)
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
}

// blocked is what `durward block` answers.
type blocked struct {
	Block struct{ ID string }
	Hits  []string
}

// refuses waits until all servers answer with the status, and says how long that took.
func refuses(t *testing.T, what string, status int, request *authv3.CheckRequest, servers ...*server) {
	t.Helper()
	began := time.Now()
	for i, s := range servers {
		eventually(t, fmt.Sprintf("%s: %d from server %d", what, status, i), func() bool {
			got, _ := s.ask(t, request)
			return got == status
		})
		t.Logf("%s: server %d answers %d after %s", what, i, status, time.Since(began).Round(time.Millisecond))
	}
}

// TestBlocksReachEveryReplica: two replicas, one of which hears no pub/sub, and each in turn restarted; then Redis, which keeps nothing.
func TestBlocksReachEveryReplica(t *testing.T) {
	redis := redistest.Start(t, "--user", "deaf", "on", ">secret", "~*", "&*", "+@all", "-subscribe", "-psubscribe")
	idp := newProvider(t)
	contents := files(t, issuer{keys: idp.keys}, nil)
	contents["bundle.yaml"] = bytes.Replace(contents["bundle.yaml"], []byte("    subject: {id: sub,"), []byte("    logout: {audiences: [web]}\n    subject: {id: sub,"), 1)
	dir, _ := write(t, contents)
	records := filepath.Join(t.TempDir(), "records.jsonl")
	start := func(userinfo, more string) *server {
		t.Helper()
		s := run(t, fmt.Sprintf("bundles: [{dir: %s}]\nredis: {url: \"redis://%s%s\", timeout: 1s}\nbudget: 10s\n%s", dir, userinfo, redis.Addr(), more), nil)
		s.ready(t)
		return s
	}
	one := start("", "http: {address: 127.0.0.1:0}\naudit: {sink: file, path: "+records+"}\n")
	two := start("deaf:secret@", "")
	const order, far = "/orders/7", "198.51.100.7"
	alice, bob := idp.access(t, "alice", "s-alice"), idp.access(t, "bob", "s-bob")
	refuses(t, "alice to begin with", 200, bearing(order, alice, far), one, two)
	refuses(t, "bob to begin with", 200, bearing(order, bob, far), one, two)

	var session, network blocked
	one.command(t, alice, &session, "block", "session", "-", "--reason", "stolen laptop")
	if len(session.Hits) != 2 {
		t.Errorf("it hits %q", session.Hits)
	}
	refuses(t, "alice's session is blocked", 401, bearing(order, alice, far), one, two)
	refuses(t, "bob goes on", 200, bearing(order, bob, far), one, two)
	var lifted blocked
	one.command(t, "", &lifted, "block", "lift", session.Block.ID)
	refuses(t, "alice's block is lifted", 200, bearing(order, alice, far), one, two)
	two.command(t, alice, &session, "block", "token", "-", "--reason", "leaked")
	refuses(t, "alice's token is blocked", 401, bearing(order, alice, far), two, one)
	one.command(t, "", &network, "block", "network", "203.0.113.0/24", "--reason", "flood", "--until", "1h")
	refuses(t, "a network is blocked on a public route", 403, bearing("/health", "", "203.0.113.9"), one, two)
	refuses(t, "the others' health", 200, bearing("/health", "", far), one, two)

	// A logout at the issuer.
	form := url.Values{"logout_token": {idp.sign(t, "logout+jwt", map[string]any{
		"sub": "bob", "sid": "s-bob", "aud": "web", "jti": "l1", "exp": time.Now().Add(time.Minute).Unix(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+one.public+"/backchannel-logout/acme/corp", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Cache-Control") != "no-store" {
		t.Fatal(response, err)
	}
	_ = response.Body.Close()
	refuses(t, "bob logged out", 401, bearing(order, bob, far), one, two)
	refuses(t, "bob's other session", 200, bearing(order, idp.access(t, "bob", "s-2"), far), one, two)

	// A replica that starts anew, then a Redis that does, and forgets all.
	if err := two.terminate(t); err != nil {
		t.Error(err)
	}
	two = start("deaf:secret@", "")
	if status, code := two.ask(t, bearing(order, alice, far)); status != 401 || code != "invalid_token" {
		t.Errorf("a fresh replica: %d %s", status, code)
	}
	redis.Restart()
	eventually(t, "what Redis lost is back", func() bool { return redis.Do("HLEN", "durward:state:{blocks}:records") >= "3" })
	three := start("", "")
	refuses(t, "alice's token, after Redis forgot", 401, bearing(order, alice, far), one, two, three)
	refuses(t, "the network, after Redis forgot", 403, bearing("/health", "", "203.0.113.9"), one, two, three)

	// Without Redis what was known counts. Who never knew lets nobody in who needs credentials.
	redis.Kill()
	refuses(t, "alice's token, without Redis", 401, bearing(order, alice, far), one, two)
	refuses(t, "carol, without Redis", 200, bearing(order, idp.access(t, "carol", "s-carol"), far), one, two)
	four := start("", "")
	if status, code := four.ask(t, bearing(order, idp.access(t, "carol", "s-carol"), far)); status != 503 || code != "temporarily_unavailable" {
		t.Errorf("a replica that never knew: %d %s", status, code)
	}
	if status, _ := four.ask(t, bearing("/health", "", far)); status != 200 {
		t.Errorf("its public route: %d", status)
	}
	checkBlockRecords(t, records, alice, bob)
}

// checkBlockRecords: who blocked what and why stands in the log, and so does the block that refused, and no token does.
func checkBlockRecords(t *testing.T, path string, secrets ...string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	log := string(data)
	for _, want := range []string{
		`"event":"blocks.put"`, `"event":"blocks.lift"`, `"event":"logout"`, `"outcome":"requested"`, `"outcome":"done"`,
		`"reason":"token_revoked"`, ": stolen laptop", `"reason":"network_blocked"`, ": flood", ": the issuer told of a logout", `"stage":"network"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not hold %s", want)
		}
	}
	for _, secret := range secrets {
		if strings.Contains(log, secret[len(secret)-40:]) {
			t.Error("the log holds a token")
		}
	}
}
