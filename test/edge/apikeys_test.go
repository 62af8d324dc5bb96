package edge

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
)

// TestAPIKeys: keys that a bundle ships, over ext_authz: from where they may be used, and what comes of keys that are no good. All that is
// wrong with a key looks the same from outside.
func TestAPIKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := map[string]string{
		"hash.key": strings.Repeat("not for a server", 3), "acme/bundle.yaml": apiKeysBundle, "acme/services/orders/service.yaml": apiKeysService,
		"acme/services/orders/model.conf": apiKeysModel, "acme/services/orders/policy.csv": "p, service, read\n",
		"acme/keys/a.yaml": "keys: []\n", "acme/keys/b.yaml": "keys: []\n",
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	items := map[string]string{"a": "keys:\n", "b": "keys:\n"}
	create := func(authenticator string, args ...string) string {
		t.Helper()
		command := exec.Command(binary, append([]string{"keys", "create", "--file", filepath.Join(dir, "acme"), "--hash-key", "k=" + filepath.Join(dir, "hash.key"),
			"--authenticator", authenticator}, args...)...)
		var out, item strings.Builder
		command.Env, command.Stdout, command.Stderr = plainEnvironment(), &out, &item
		if err := command.Run(); err != nil {
			t.Fatalf("%v: %s", err, item.String())
		}
		items[authenticator] += item.String()
		return strings.TrimSpace(out.String())
	}
	anywhere := create("a", "--owner", "anywhere")
	home := create("a", "--owner", "home", "--address", "10.0.0.0/8", "--address", "2001:db8:1::/48")
	sibling := create("b", "--owner", "sibling")
	kept := items["a"]
	unknown := create("a", "--owner", "nobody")
	items["a"] = kept
	for name, text := range items {
		if err := os.WriteFile(filepath.Join(dir, "acme/keys/"+name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings := filepath.Join(dir, "durward.yaml")
	if err := os.WriteFile(settings, []byte("api_keys: {hash_keys: [{name: k, file: "+filepath.Join(dir, "hash.key")+"}]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := serveAlone(t, filepath.Join(dir, "acme"), nil, "--config", settings, "--client-address", "xff:1")
	wrong := func(key string, at int) string {
		other := byte('A')
		if key[at] == other {
			other = 'B'
		}
		return key[:at] + string(other) + key[at+1:]
	}
	challenges := map[string]bool{}
	for _, tc := range []struct{ name, key, address, want string }{
		{"from anywhere", anywhere, "198.51.100.7", "allowed"},
		{"from home", home, "10.1.2.3", "allowed"},
		{"from home, IPv4-mapped", home, "::ffff:10.1.2.3", "allowed"},
		{"from home over IPv6", home, "2001:db8:1::7", "allowed"},
		{"from the network beside", home, "11.0.0.1", "api_key_address"},
		{"from the network beside, IPv6", home, "2001:db8:2::7", "api_key_address"},
		{"from an address that is none", home, "home", "api_key_address"},
		{"of an authenticator that is not accepted", sibling, "10.1.2.3", "api_key_unknown"},
		{"unknown", unknown, "10.1.2.3", "api_key_unknown"},
		{"another id", wrong(anywhere, 10), "10.1.2.3", "api_key_unknown"},
		{"another secret", wrong(anywhere, len(anywhere)-20), "10.1.2.3", "api_key_unknown"},
		{"another checksum", wrong(anywhere, len(anywhere)-1), "10.1.2.3", "api_key_unknown"},
		{"truncated", anywhere[:len(anywhere)-1], "10.1.2.3", "api_key_unknown"},
		{"the other case", swapCase(anywhere), "10.1.2.3", "api_key_unknown"},
		{"ten kilobytes", anywhere + strings.Repeat("A", 10<<10), "10.1.2.3", "api_key_unknown"},
		{"unicode", anywhere[:20] + "ｋ" + anywhere[21:], "10.1.2.3", "api_key_unknown"},
	} {
		q := question{method: "GET", host: "orders.example.com", path: "/orders", lines: [][2]string{authorization(tc.key), {"x-forwarded-for", tc.address}}}
		out, err := a.client.Check(soon(t), q.message(true), grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		if got := out.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
		if denied := out.GetDeniedResponse(); denied != nil {
			text := denied.GetStatus().String() + denied.GetBody()
			if id := out.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue(); id != "" {
				text = strings.ReplaceAll(text, id, "ID")
			}
			for _, h := range denied.GetHeaders() {
				if name := strings.ToLower(h.GetHeader().GetKey()); name == "www-authenticate" {
					text += string(h.GetHeader().GetRawValue()) + h.GetHeader().GetValue()
				}
			}
			challenges[text] = true
			if strings.Contains(out.String(), tc.key[len(tc.key)-20:]) {
				t.Errorf("%s: the answer holds the key", tc.name)
			}
		}
	}
	if len(challenges) != 1 {
		t.Errorf("%d different answers to keys that are no good: %v", len(challenges), challenges)
	}
	a.stop()
	for _, key := range []string{anywhere, home, sibling, unknown} {
		if secret := key[len(key)-49:]; strings.Contains(a.output.String(), secret) {
			t.Error("a secret stands in the server's output")
		}
	}
}

// swapCase makes small letters of capital ones and the other way round, but for the prefix.
func swapCase(key string) string {
	return key[:4] + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, key[4:])
}

const apiKeysBundle = `format: 1
requires: "1.0"
name: acme
authenticators:
  a: {kind: api_key, keys: {file: keys/a.yaml}}
  b: {kind: api_key, keys: {file: keys/b.yaml}, prefix: other}
`

const apiKeysService = `service: orders
match: [{host: orders.example.com}]
identity: {mode: required, accept: [a]}
policies:
  - {name: main, model: model.conf, rules: [policy.csv], request: {sub: subject.kind, act: action}}
routes:
  - {name: read, path: /orders, methods: [GET], action: read}
`

const apiKeysModel = `[request_definition]
r = sub, act
[policy_definition]
p = sub, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.act == p.act
`
