package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// write puts a durward.yaml into a directory of its own.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "durward.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOrder(t *testing.T) {
	path := write(t, "bundles: [{dir: file}]\nbudget: 300ms\naudit: {on_full: wait}\nredis: {url: redis://file:1, replicas: 3}\nlisteners: [{address: 127.0.0.1:1, client_address: peer}]\n")
	environ := []string{"DURWARD_AUDIT_ON_FULL=deny", "DURWARD_REDIS_URL=redis://env:1", "PATH=/bin", "DURWARD_METRICS_ROUTES=true", "DURWARD_REDIS_TIMEOUT=50ms"}
	flags := Overrides{Redis: "redis://flag:1", Listen: "127.0.0.1:2", ClientAddress: "xff:2", Admin: "off", Bundles: []string{"flag", "flag2"}}
	for _, tt := range []struct {
		name    string
		path    string
		environ []string
		flags   Overrides
		want    func(*Settings)
	}{
		{"defaults and a bundle", "", nil, Overrides{Bundles: []string{"flag"}}, func(s *Settings) {
			s.Bundles = []Bundle{{Dir: "flag"}}
		}},
		{"file", path, nil, Overrides{}, func(s *Settings) {
			s.Bundles, s.Budget, s.Audit.OnFull = []Bundle{{Dir: "file"}}, format.Duration(300*time.Millisecond), "wait"
			s.Redis.URL, s.Redis.Replicas = "redis://file:1", 3
			s.Listeners = []Listener{{Address: "127.0.0.1:1", Protocols: []string{"ext_authz"}, ClientAddress: "peer", Select: "host"}}
		}},
		{"environment over file", path, environ, Overrides{}, func(s *Settings) {
			s.Bundles, s.Budget, s.Audit.OnFull = []Bundle{{Dir: "file"}}, format.Duration(300*time.Millisecond), "deny"
			s.Redis.URL, s.Redis.Replicas, s.Redis.Timeout, s.Metrics.Routes = "redis://env:1", 3, format.Duration(50*time.Millisecond), true
			s.Listeners = []Listener{{Address: "127.0.0.1:1", Protocols: []string{"ext_authz"}, ClientAddress: "peer", Select: "host"}}
		}},
		{"flags over all", path, environ, flags, func(s *Settings) {
			s.Bundles, s.Budget, s.Audit.OnFull = []Bundle{{Dir: "flag"}, {Dir: "flag2"}}, format.Duration(300*time.Millisecond), "deny"
			s.Redis.URL, s.Redis.Replicas, s.Redis.Timeout, s.Metrics.Routes = "redis://flag:1", 3, format.Duration(50*time.Millisecond), true
			s.Listeners = []Listener{{Address: "127.0.0.1:2", Protocols: []string{"ext_authz"}, ClientAddress: "xff:2", Select: "host"}}
			s.Admin.Address = "off"
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, warnings, err := Load(tt.path, tt.environ, tt.flags)
			if err != nil || len(warnings) > 0 {
				t.Fatal(warnings, err)
			}
			want := Defaults()
			want.Listeners = []Listener{DefaultListener()}
			tt.want(&want)
			if difference := cmp.Diff(want, got); difference != "" {
				t.Error(difference)
			}
		})
	}
}

// valid is a file without faults; tests add lines to it.
const valid = "bundles: [{dir: b}]\n"

// public is a listener for what the world may read.
const public = "http: {address: 127.0.0.1:1}\n"

func TestRefusals(t *testing.T) {
	const tls = "tls: {certificate: c, key: k}"
	long := "unix:/" + strings.Repeat("a", 100)
	for _, tt := range []struct {
		name, text string
		want       []string // in the error, all of them
	}{
		{"an unknown key", valid + "lissteners: []\n", []string{"durward.yaml:2:1", "unknown key", `did you mean "listeners"`, "lissteners: []\n"}},
		{"an unknown key inside", valid + "audit: {sink: stdout, que: 1}\n", []string{"durward.yaml:2:23"}},
		{"a key twice", valid + "drain: 1s\ndrain: 2s\n", []string{"durward.yaml:3:1"}},
		{"another type", valid + "audit: {queue: many}\n", []string{"durward.yaml:2:16", "a whole number"}},
		{"no length of time", valid + "budget: 5\n", []string{"durward.yaml:2:9"}},
		{"two documents", valid + "---\nbundles: []\n", []string{"durward.yaml:2:1"}},
		{"nothing", "", []string{"empty"}},
		{"no bundle", "drain: 1s\n", []string{"no bundle"}},
		{"a bundle without a directory", "bundles: [{}]\n", []string{"durward.yaml:1:11", "dir is missing"}},
		{"public documents without TLS", valid + "http: {address: \"0.0.0.0:8443\"}\n", []string{"durward.yaml:2:1", "has no TLS"}},
		{"public documents nowhere", valid + "http: {insecure: true}\n", []string{"durward.yaml:2:1", "address is missing"}},
		{"a way out to nowhere", valid + "egress: [{private: true}]\n", []string{"durward.yaml:2:10", "host is missing"}},
		{"a hash key without a file", valid + "api_keys: {hash_keys: [{name: a}]}\n", []string{"durward.yaml:2:24", "file is missing"}},
		{"a hash key without a name", valid + "api_keys: {hash_keys: [{file: a}]}\n", []string{"name is missing"}},
		{"two hash keys of a name", valid + "api_keys: {hash_keys: [{name: a, file: b}, {name: a, file: c}]}\n", []string{`"a" twice`}},
		{"keys for ever", valid + "api_keys: {max_age: 25h}\n", []string{"from 1s to 24h"}},
		{"half of a certificate for a host", valid + "egress: [{host: a, key: k}]\n", []string{"certificate and key"}},
		{"a cache of tokens", valid + "identity: {token_cache_mib: 4097}\n", []string{"durward.yaml:2:29", "from 0 to 4096"}},
		{"a sink", valid + "audit: {sink: syslog}\n", []string{"durward.yaml:2:15", "stdout, file"}},
		{"a file sink without a path", valid + "audit: {sink: file}\n", []string{"needs a path"}},
		{"on_full", valid + "audit: {on_full: never}\n", []string{"drop_allows, wait, deny"}},
		{"a queue", valid + "audit: {queue: 1}\n", []string{"from 16 to 1048576"}},
		{"a budget", valid + "budget: 1ms\n", []string{"from 10ms to 30s"}},
		{"a drain", valid + "drain: 1h\n", []string{"from 0s to 10m0s"}},
		{"a poll", valid + "poll: 1ms\n", []string{"from 50ms to 1h0m0s"}},
		{"a Redis timeout", valid + "redis: {timeout: 6s}\n", []string{"from 1ms to 5s"}},
		{"replicas", valid + "redis: {replicas: 0}\n", []string{"from 1 to 10000"}},
		{"two URLs", valid + "redis: {url: redis://a, url_file: b}\n", []string{"exclude each other"}},
		{"half a certificate", valid + "redis: {certificate: a}\n", []string{"go together"}},
		{"a mode of Redis", valid + "redis: {mode: ring}\n", []string{"durward.yaml:2:15", "single, sentinel, cluster"}},
		{"addresses of one server", valid + "redis: {addresses: [\"a:1\"]}\n", []string{"durward.yaml:2:9", "sentinel or cluster"}},
		{"a master of one server", valid + "redis: {url: redis://a, master: m}\n", []string{"wants mode sentinel"}},
		{"a sentinel's login without one", valid + "redis: {url: redis://a, sentinel_password_file: f}\n", []string{"wants mode sentinel"}},
		{"tls beside a URL", valid + "redis: {url: redis://a, tls: true}\n", []string{"rediss"}},
		{"a password for nobody", valid + "redis: {password_file: f}\n", []string{"url or url_file is missing"}},
		{"a user without a password", valid + "redis: {url: redis://a, user: u}\n", []string{"needs a password: password_file"}},
		{"a sentinel's user without a password", valid + "redis: {mode: sentinel, master: m, addresses: [\"a:1\"], sentinel_user: u}\n", []string{"needs a password: sentinel_password_file"}},
		{"a cluster with a URL", valid + "redis: {mode: cluster, addresses: [\"a:1\"], url: redis://a}\n", []string{"mode cluster has addresses"}},
		{"a cluster without addresses", valid + "redis: {mode: cluster}\n", []string{"needs addresses"}},
		{"a cluster with a master", valid + "redis: {mode: cluster, addresses: [\"a:1\"], master: m}\n", []string{"wants mode sentinel"}},
		{"a cluster with a sentinel's login", valid + "redis: {mode: cluster, addresses: [\"a:1\"], sentinel_password_file: f}\n", []string{"wants mode sentinel"}},
		{"sentinels without a master", valid + "redis: {mode: sentinel, addresses: [\"a:1\"]}\n", []string{"needs master"}},
		{"an address with a login", valid + "redis: {mode: cluster, addresses: [\"u:p@a:1\"]}\n", []string{"durward.yaml:2:36", "must be host:port"}},
		{"an address without a port", valid + "redis: {mode: cluster, addresses: [a]}\n", []string{"must be host:port"}},
		{"an address twice", valid + "redis: {mode: cluster, addresses: [\"a:1\", \"a:1\"]}\n", []string{"twice"}},
		{"an authority without TLS", valid + "redis: {mode: cluster, addresses: [\"a:1\"], ca: f}\n", []string{"want tls: true"}},
		{"tokens without a listener", valid + "tokens: {issuer: \"https://a.example\"}\n", []string{"durward.yaml:2:1", "wants http.address"}},
		{"tokens of nobody", valid + "tokens: {sealing_key_file: f}\n", []string{"issuer is missing"}},
		{"an issuer without TLS", valid + public + "tokens: {issuer: \"http://a.example\"}\n", []string{"durward.yaml:3:18", "must be https://HOST"}},
		{"an issuer with a slash", valid + public + "tokens: {issuer: \"https://a.example/\"}\n", []string{"slash at the end"}},
		{"an issuer with a query", valid + public + "tokens: {issuer: \"https://a.example?x\"}\n", []string{"must be https://HOST"}},
		{"an issuer with a login", valid + public + "tokens: {issuer: \"https://u@a.example\"}\n", []string{"must be https://HOST"}},
		{"an issuer with an empty segment", valid + public + "tokens: {issuer: \"https://a.example/x//y\"}\n", []string{"must be https://HOST"}},
		{"an issuer with a dot segment", valid + public + "tokens: {issuer: \"https://a.example/x/../y\"}\n", []string{"must be https://HOST"}},
		{"an issuer with a hidden dot segment", valid + public + "tokens: {issuer: \"https://a.example/x/%2e%2e/y\"}\n", []string{"must be https://HOST"}},
		{"an issuer with an empty fragment", valid + public + "tokens: {issuer: \"https://a.example/x#\"}\n", []string{"must be https://HOST"}},
		{"an issuer with a pattern", valid + public + "tokens: {issuer: \"https://a.example/{x}\"}\n", []string{"must be https://HOST"}},
		{"shared keys without a seal", valid + public + "redis: {url: redis://a}\ntokens: {issuer: \"https://a.example\"}\n", []string{"wants sealing_key_file"}},
		{"keys that change too often", valid + public + "tokens: {issuer: \"https://a.example\", rotate: 1min}\n", []string{"tokens.rotate: must be from 1h"}},
		{"routes", valid + "metrics: {max_routes: 0}\n", []string{"from 1 to 10000"}},
		{"a level", valid + "log: {level: loud}\n", []string{"debug, info, warn, error"}},
		{"a protocol", valid + "listeners: [{address: 127.0.0.1:1, protocols: [http]}]\n", []string{"durward.yaml:2:48", "ext_authz, native"}},
		{"HTTP and gRPC", valid + "listeners: [{address: 127.0.0.1:1, protocols: [ratelimit, ratelimit_json]}]\n", []string{"durward.yaml:2:36", "a listener of its own"}},
		{"no address", valid + "listeners: [{client_address: peer}]\n", []string{"host:port or unix:PATH"}},
		{"no port", valid + "listeners: [{address: localhost}]\n", []string{"durward.yaml:2:23", "host:port or unix:PATH"}},
		{"a long socket", valid + "listeners: [{address: \"" + long + "\"}]\n", []string{"at most 100 bytes"}},
		{"a rule of addresses", valid + "listeners: [{address: 127.0.0.1:1, client_address: xff:0}]\n", []string{"durward.yaml:2:52", "peer, xff:N"}},
		{"select", valid + "listeners: [{address: 127.0.0.1:1, select: path}]\n", []string{"host, extension"}},
		{"TLS without a key", valid + "listeners: [{address: 127.0.0.1:1, tls: {certificate: c}}]\n", []string{"both needed"}},
		{"old TLS", valid + "listeners: [{address: 127.0.0.1:1, tls: {certificate: c, key: k, min_version: \"1.1\"}}]\n", []string{"1.2, 1.3"}},
		{"a secret without a file", valid + "secrets: [{name: a, bundles: [b]}]\n", []string{"durward.yaml:2:11", "name and file are both needed"}},
		{"a secret without a name", valid + "secrets: [{file: a, bundles: [b]}]\n", []string{"name and file are both needed"}},
		{"a secret for nobody", valid + "secrets: [{name: a, file: f}]\n", []string{"durward.yaml:2:11", "bundles is missing"}},
		{"a secret for a bundle without a name", valid + "secrets: [{name: a, file: f, bundles: [\"\"]}]\n", []string{"bundles is missing"}},
		{"two secrets of one name", valid + "secrets: [{name: a, file: f, bundles: [b]}, {name: a, file: g, bundles: [c]}]\n", []string{"durward.yaml:2:52", `"a" twice`}},
		{"a caller without a name", valid + "listeners: [{address: 127.0.0.1:1, callers: [{token_file: t}]}]\n", []string{"name is missing"}},
		{"two callers of one name", valid + "listeners: [{address: 127.0.0.1:1, callers: [{name: a, token_file: t}, {name: a, token_file: u}]}]\n", []string{`"a" twice`}},
		{"a caller that nothing names", valid + "listeners: [{address: 127.0.0.1:1, callers: [{name: a}]}]\n", []string{"needs sans or token_file"}},
		{"names without authorities", valid + "listeners: [{address: 127.0.0.1:1, " + tls + ", callers: [{name: a, sans: [b]}]}]\n", []string{"needs tls.client_ca"}},
		{"a certificate's header", valid + "listeners: [{address: 127.0.0.1:1, client_certificate: header:x-client-cert}]\n", []string{"durward.yaml:2:56", "message, header:x-forwarded-client-cert or header:client-cert"}},
		{"a header that nobody may assert", valid + "listeners: [{address: 127.0.0.1:1, client_certificate: header:client-cert, callers: [{name: a, token_file: t, asserts: [service]}]}]\n", []string{"durward.yaml:2:56", "no caller of the listener has certificate under asserts"}},
		{"an assertion", valid + "listeners: [{address: 127.0.0.1:1, callers: [{name: a, token_file: t, asserts: [all]}]}]\n", []string{"client_address, certificate, service, dry_run, explain"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Load(write(t, tt.text), nil, Overrides{})
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not hold %q", err, want)
				}
			}
		})
	}
	if _, _, err := Load(write(t, valid), nil, Overrides{}); err != nil {
		t.Errorf("the file without faults: %v", err)
	}
	if _, _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil, Overrides{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("no file: %v", err)
	}
	if _, _, err := Load(write(t, valid+"# "+strings.Repeat("a", maxFile)), nil, Overrides{}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
}

// TestExposure: a listener that others can reach needs TLS and named callers, or the operator's word.
func TestExposure(t *testing.T) {
	const good = "tls: {certificate: c, key: k, client_ca: a}, callers: [{name: edge, sans: [gw.example.com]}]"
	for _, tt := range []struct {
		address, more    string
		noTLS, noCallers bool
	}{
		{address: "127.0.0.1:1"}, {address: "[::1]:1"}, {address: "localhost:1"}, {address: "127.8.9.1:1"}, {address: "unix:/run/durward.sock"},
		{address: "[::ffff:127.0.0.1]:1"},
		{address: "0.0.0.0:1", noTLS: true, noCallers: true},
		{address: ":1", noTLS: true, noCallers: true},
		{address: "[::]:1", noTLS: true, noCallers: true},
		{address: "10.0.0.1:1", noTLS: true, noCallers: true},
		{address: "localhost.example.com:1", noTLS: true, noCallers: true},
		{address: "0.0.0.0:1", more: "tls: {certificate: c, key: k, client_ca: a}", noCallers: true},
		{address: "0.0.0.0:1", more: "callers: [{name: edge, token_file: t}]", noTLS: true},
		{address: "0.0.0.0:1", more: good},
		{address: "0.0.0.0:1", more: "insecure: true"},
	} {
		entry := fmt.Sprintf("{address: %q", tt.address)
		if tt.more != "" {
			entry += ", " + tt.more
		}
		entry += "}"
		for _, text := range []string{valid + "listeners: [" + entry + "]\n", valid + "admin: " + entry + "\n"} {
			_, _, err := Load(write(t, text), nil, Overrides{})
			for want, expected := range map[string]bool{"has no TLS": tt.noTLS, "names no callers": tt.noCallers} {
				if got := err != nil && strings.Contains(err.Error(), want); got != expected {
					t.Errorf("%s: %q said %v, want %v; error %v", text, want, got, expected, err)
				}
			}
			if err != nil && !tt.noTLS && !tt.noCallers {
				t.Errorf("%s: %v", text, err)
			}
			if _, _, err := Load(write(t, text), nil, Overrides{Insecure: true}); err != nil {
				t.Errorf("%s with the permission: %v", text, err)
			}
		}
	}
	// The permission is about the first listener and admin; a second listener spells it out for itself.
	two := valid + "listeners: [{address: 127.0.0.1:1}, {address: \"0.0.0.0:2\"}]\n"
	if _, _, err := Load(write(t, two), nil, Overrides{Insecure: true}); err == nil || !strings.Contains(err.Error(), "0.0.0.0:2") {
		t.Errorf("a second listener: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	for _, tt := range []struct{ name, entry, want string }{
		{"a length of time", "DURWARD_BUDGET=hunter2", "DURWARD_BUDGET: wants a whole number and a unit"},
		{"a number", "DURWARD_REDIS_REPLICAS=hunter2", "DURWARD_REDIS_REPLICAS: wants a whole number"},
		{"true or false", "DURWARD_METRICS_ROUTES=hunter2", "DURWARD_METRICS_ROUTES: wants true or false"},
		{"a value that is checked later", "DURWARD_LOG_LEVEL=loud", "log.level: must be one of"},
	} {
		_, _, err := Load("", []string{tt.entry}, Overrides{Bundles: []string{"b"}})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	_, warnings, err := Load("", []string{
		"DURWARD_AUDIT_ONFULL=deny", "DURWARD_LISTENERS=x", "DURWARD_CONFIG=x", "DURWARD_TOOLS=y", "DURWARD_PORT_9191_TCP=tcp://10.0.0.1:1", "DURWARD_SERVICE_HOST=10.0.0.1", "OTHER=1",
	}, Overrides{Bundles: []string{"b"}})
	if difference := cmp.Diff([]string{"DURWARD_AUDIT_ONFULL", "DURWARD_LISTENERS"}, warnings); err != nil || difference != "" {
		t.Errorf("warnings, %v:\n%s", err, difference)
	}
}

func TestRedisSecrets(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"url": "redis://:hunter2@127.0.0.1:1\n", "empty": " \n", "password": "hunter3\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct {
		redis Redis
		want  Secrets
		fails string
	}{
		{Redis{}, Secrets{}, ""},
		{Redis{URL: "redis://a:1"}, Secrets{URL: "redis://a:1"}, ""},
		{Redis{URLFile: file("url")}, Secrets{URL: "redis://:hunter2@127.0.0.1:1"}, ""},
		{Redis{PasswordFile: file("password"), SentinelPasswordFile: file("password")}, Secrets{Password: "hunter3", SentinelPassword: "hunter3"}, ""},
		{Redis{URLFile: file("empty")}, Secrets{}, "redis.url_file: "},
		{Redis{URLFile: file("none")}, Secrets{}, "redis.url_file: "},
		{Redis{PasswordFile: file("none")}, Secrets{}, "redis.password_file: "},
		{Redis{SentinelPasswordFile: file("empty")}, Secrets{}, "redis.sentinel_password_file: "},
	} {
		got, err := tt.redis.Secrets()
		if got != tt.want || (err != nil) != (tt.fails != "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%+v: %+v, %v", tt.redis, got, err)
		}
	}
}

// TestSecretsAreMasked in every way in which settings can be printed.
func TestSecretsAreMasked(t *testing.T) {
	s := Defaults()
	s.Redis.URL = "redis://:hunter2@127.0.0.1:1"
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	pointer, err := json.Marshal(&s)
	if err != nil {
		t.Fatal(err)
	}
	for how, text := range map[string]string{
		"%v": fmt.Sprintf("%v", s), "%+v": fmt.Sprintf("%+v", s), "%#v": fmt.Sprintf("%#v", s), "String": s.Redis.URL.String(), "%q": fmt.Sprintf("%q", s.Redis.URL),
		"JSON": string(data), "JSON of a pointer": string(pointer),
	} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "***") {
			t.Errorf("%s: %s", how, text)
		}
	}
}

// TestView reads what is shown as durward.yaml again.
func TestView(t *testing.T) {
	path := write(t, `bundles: [{dir: one}, {dir: two}]
listeners:
  - address: 127.0.0.1:9191
    protocols: [native]
    client_address: header:x-real-ip
    select: extension
    tls: {certificate: c, key: k, client_ca: a, min_version: "1.2"}
    callers: [{name: edge, sans: [gw.example.com], token_file: t, asserts: [service, dry_run]}]
  - {address: "unix:/run/durward.sock", insecure: true}
admin: {address: "off"}
http: {address: "127.0.0.1:9193"}
tokens: {issuer: "https://tokens.example.com/durward", sealing_key_file: s, rotate: 2h}
secrets: [{name: idp, file: /run/secrets/idp, bundles: [acme]}]
redis:
  mode: sentinel
  addresses: ["a:26379", "b:26379"]
  master: limits
  user: durward
  password_file: p
  sentinel_user: durward
  sentinel_password_file: sp
  tls: true
  server_name: redis.example.com
  ca: a
  certificate: c
  key: k
  timeout: 15ms
  replicas: 3
audit: {sink: file, path: records.jsonl, queue: 100, on_full: wait}
metrics: {routes: true, max_routes: 7}
log: {level: debug}
budget: 250ms
drain: 2min
poll: 1h
`)
	want, _, err := Load(path, nil, Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"client_address":"header:x-real-ip"`, `"budget":"250ms"`, `"drain":"2min"`, `"poll":"1h"`, `"max_routes":7`, `"tls":{"certificate":"c"`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s does not show %s", text, part)
		}
	}
	for _, goName := range []string{"Address", "ClientAddress", "MaxRoutes"} {
		if strings.Contains(string(text), `"`+goName+`"`) {
			t.Errorf("%s shows the Go name %s", text, goName)
		}
	}
	got, _, err := Load(write(t, string(text)), nil, Overrides{})
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	if difference := cmp.Diff(want, got, cmp.Transformer("empty", func(s []string) []string { return append([]string{}, s...) }),
		cmp.Transformer("callers", func(c []Caller) []Caller { return append([]Caller{}, c...) }),
		cmp.Transformer("egress", func(e []Egress) []Egress { return append([]Egress{}, e...) }),
		cmp.Transformer("hashkeys", func(k []HashKey) []HashKey { return append([]HashKey{}, k...) })); difference != "" {
		t.Error(difference)
	}
	for d, want := range map[time.Duration]string{0: "0s", time.Second: "1s", 90 * time.Second: "90s", 48 * time.Hour: "48h", 1500 * time.Millisecond: "1500ms"} {
		if got := lengthOf(d); got != want {
			t.Errorf("%v is shown as %s, want %s", d, got, want)
		}
	}
}
