package edge

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// audUnset: who takes tokens says for whom they must be; nothing is loaded else.
func audUnset(t *testing.T, _ *edge) {
	for name, identity := range map[string]string{
		"missing": "identity: {mode: required, accept: [corp]}", "empty": "identity: {mode: required, accept: [corp], audiences: []}",
		"an empty name": `identity: {mode: required, accept: [corp], audiences: [""]}`,
		"optional":      "identity: {mode: optional, accept: [corp]}",
	} {
		service := swap(edgeService, "identity: {mode: required, accept: [corp, workloads], audiences: [edge-api]}", identity)
		bundle := quickBundle(t, map[string]string{"services/edge/service.yaml": service, "services/edge/model.conf": edgeModel, "services/edge/policy.csv": edgePolicy})
		if got := durward(t, nil, "validate", bundle); got.code != 3 || !strings.Contains(got.output, "services/edge/service.yaml:") || !strings.Contains(got.output, "audience") {
			t.Errorf("audiences %s: exit code %d, %s", name, got.code, got.output)
		}
		if name != "missing" {
			continue
		}
		a := serveAlone(t, bundle, nil)
		if status, _ := a.get(t, "/readyz"); status != http.StatusServiceUnavailable {
			t.Errorf("audiences %s: /readyz says %d", name, status)
		}
		for _, q := range []question{ask("/a/b"), ask("/health"), {method: "GET", host: "orders.example.com", path: "/health"}} {
			if reason, allowed := a.reason(t, q); allowed || reason != "no_snapshot" {
				t.Errorf("audiences %s, %s: allowed %v, reason %s", name, q.path, allowed, reason)
			}
		}
	}
}

// failOpenSecret: what cannot be resolved, keys, rules, a model, a secret, opens nothing.
func failOpenSecret(t *testing.T, _ *edge) {
	const keys = "keys/corp.jwks.json"
	for name, over := range map[string]map[string]string{
		"no keys":           {keys: ""},
		"an empty key set":  {keys: `{"keys":[]}`},
		"keys of no form":   {keys: "not a key set"},
		"no rules":          {"services/orders/policy.csv": ""},
		"an empty rule set": {"services/orders/policy.csv": "# nothing\n", "shared/roles.csv": "# nothing\n"},
		"no model":          {"services/orders/model.conf": ""},
		"no bundle":         {"bundle.yaml": ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bundle := quickBundle(t, over)
			if got := durward(t, nil, "validate", bundle); got.code != 3 {
				t.Errorf("exit code %d, %s", got.code, got.output)
			}
			a := serveAlone(t, bundle, nil)
			if status, _ := a.get(t, "/readyz"); status != http.StatusServiceUnavailable {
				t.Errorf("/readyz says %d", status)
			}
			for _, path := range []string{"/health", "/orders", "/nowhere"} {
				if reason, allowed := a.reason(t, question{method: "GET", host: "orders.example.com", path: path}); allowed || reason != "no_snapshot" {
					t.Errorf("%s: allowed %v, reason %s", path, allowed, reason)
				}
			}
		})
	}
	// A server whose own secrets are missing does not start.
	bundle, dir := quickBundle(t, nil), t.TempDir()
	const admin = "admin: {address: off}\n"
	for name, text := range map[string]string{
		"no file with Redis' URL":    "redis: {url_file: " + dir + "/missing}\n",
		"an empty file for it":       "redis: {url_file: " + dir + "/empty}\n",
		"no file with the token":     "listeners: [{address: \"unix:" + dir + "/s\", protocols: [ext_authz], client_address: peer, callers: [{name: a, token_file: " + dir + "/missing}]}]\n",
		"an empty file for it, too":  "listeners: [{address: \"unix:" + dir + "/s\", protocols: [ext_authz], client_address: peer, callers: [{name: a, token_file: " + dir + "/empty}]}]\n",
		"no certificate":             "listeners: [{address: \"127.0.0.1:0\", protocols: [ext_authz], client_address: peer, tls: {certificate: " + dir + "/missing, key: " + dir + "/missing}}]\n",
		"an authority file of noise": "listeners: [{address: \"127.0.0.1:0\", protocols: [ext_authz], client_address: peer, tls: {certificate: " + dir + "/empty, key: " + dir + "/empty, client_ca: " + dir + "/empty}}]\n",
	} {
		settings := filepath.Join(t.TempDir(), "durward.yaml")
		text = "bundles: [{dir: " + bundle + "}]\n" + admin + text
		if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := durward(t, nil, "serve", "--config", settings); got.code <= 0 {
			t.Errorf("%s: exit code %d, %s", name, got.code, got.output)
		}
	}
}

// metadataInLogs: no credential stands in a log, a record or a metric, at the highest levels of Durward and grpc-go.
func metadataInLogs(t *testing.T, e *edge) {
	secrets := map[string]string{
		"token": e.issuer.token(t, "logged", "reader"), "bad token": "eyJzZWNyZXQtaGVhZGVyIjoxfQ.c2VjcmV0LWJvZHk.c2VjcmV0LXNpZ25hdHVyZQ", "cookie": "session=cookie-secret-8d1f",
		"basic": "dXNlcjpiYXNpYy1zZWNyZXQ=", "key": "api-key-secret-55aa", "query": "query-secret-77bb", "metadata": "metadata-secret-99cc", "path": "path-secret-11dd",
	}
	client := e.connect(t)
	ctx := metadata.AppendToOutgoingContext(soon(t), "authorization", "Bearer "+secrets["metadata"], "cookie", secrets["metadata"])
	questions := []question{
		ask("/a/b?access_token="+secrets["query"], authorization(secrets["token"])),
		ask("/a/b?api_key="+secrets["query"], authorization(secrets["token"]), [2]string{"cookie", secrets["cookie"]}, [2]string{"x-api-key", secrets["key"]}, [2]string{"user-agent", "agent " + secrets["token"]}),
		ask("/a/b", authorization(secrets["bad token"]), [2]string{"cookie", secrets["cookie"]}),
		ask("/a/b", [2]string{"authorization", "Basic " + secrets["basic"]}, [2]string{"x-request-id", secrets["basic"]}),
		ask("/a/b", authorization(secrets["token"]), authorization(secrets["bad token"])),
		ask("/a/b\x01", authorization(secrets["token"])),
		ask("/public/"+secrets["path"]+"?token="+secrets["query"], [2]string{"proxy-authorization", "Basic " + secrets["basic"]}),
	}
	var last string
	for _, q := range questions {
		for _, raw := range []bool{true, false} {
			out, err := client.Check(ctx, q.message(raw), grpc.WaitForReady(true))
			if err != nil {
				t.Fatal(err)
			}
			last = out.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
			for name, secret := range secrets {
				if name != "path" && strings.Contains(out.String(), secret) {
					t.Errorf("the answer holds the %s", name)
				}
			}
		}
	}
	e.record(t, last)
	e.send(t, edgeDoor, request("GET", "edge.example.com", "/a/b", bearer(secrets["bad token"]), "cookie: "+secrets["cookie"], "user-agent: "+secrets["cookie"]))
	files := 0
	for i, r := range e.Replicas {
		names := []string{r.Log, r.Records}
		if i == 0 {
			names = append(names, filepath.Join(e.Dir, "access.log")) // of the gateway, with the metadata of answers
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files++
			if len(data) == 0 && i == 0 { // nobody may have asked the other replica yet
				t.Errorf("%s is empty", name)
			}
			search(t, filepath.Base(name), string(data), secrets)
		}
		for _, page := range []string{"/metrics", "/configz"} {
			response, err := http.Get("http://" + r.Admin + page)
			if err != nil {
				t.Fatal(err)
			}
			var body strings.Builder
			err = response.Write(&body)
			_ = response.Body.Close()
			if err != nil || response.StatusCode != http.StatusOK {
				t.Fatal(response.Status, err)
			}
			search(t, page, body.String(), secrets)
		}
	}
	if files != 5 {
		t.Errorf("%d files were searched", files)
	}
}

// search looks for secrets, whole or in the parts of which they consist.
func search(t *testing.T, where, text string, secrets map[string]string) {
	t.Helper()
	for name, secret := range secrets {
		if name == "path" {
			continue // what stands in a path is no credential; parameters are masked unless a bundle lists them
		}
		for part := range strings.SplitSeq(secret, ".") {
			// The header of a token says nothing that is secret.
			if len(part) > 8 && (name != "token" || part != strings.SplitN(secret, ".", 2)[0]) && strings.Contains(text, part) {
				at := strings.Index(text, part)
				t.Errorf("%s holds the %s: %s", where, name, text[max(0, at-100):min(len(text), at+100)])
			}
		}
	}
}

// ipv4Mapped: ::ffff:a.b.c.d is a.b.c.d, for records and for limits.
func ipv4Mapped(t *testing.T, e *edge) {
	client := e.connect(t)
	n := e.number()
	v4, mapped := fmt.Sprintf("10.99.%d.1", n), fmt.Sprintf("::ffff:a63:%02x01", n)
	v6 := fmt.Sprintf("2001:db8:77:%x", n)
	for address, spellings := range map[string][]string{
		v4:         {v4, "::ffff:" + v4, "::FFFF:" + v4, mapped, "0:0:0:0:0:ffff:" + v4, v4},
		v6 + "::1": {v6 + "::1", strings.ToUpper(v6) + ":0:0:0:1", "2001:0db8:0077:" + fmt.Sprintf("%04x", n) + "::1", v6 + "::1", v6 + "::1", v6 + "::1"},
	} {
		for i, spelling := range spellings {
			// Five may pass; all spellings spend of the same five.
			want := "allow 200 allowed"
			if i == 5 {
				want = "deny 429 limit_exceeded"
			}
			got := e.putOnce(t, client, ask("/counted", [2]string{"x-forwarded-for", spelling}).message(i%2 == 0))
			got.want(t, spelling, want)
			if recorded := got.record.text("request.client_address"); recorded != address {
				t.Errorf("%s is recorded as %s", spelling, recorded)
			}
		}
	}
	// A network of IPv6 is one client: what is left of its neighbour's five is nothing.
	e.put(t, client, ask("/counted", [2]string{"x-forwarded-for", v6 + ":ffff::2"})).want(t, "a neighbour", "deny 429 limit_exceeded")
	e.put(t, client, ask("/counted", [2]string{"x-forwarded-for", fmt.Sprintf("2001:db8:78:%x::1", n)})).want(t, "another network", "allow 200 allowed")
}

// startupLog: passwords of connection strings stand in no log of a start, good or bad, and in no page.
func startupLog(t *testing.T, _ *edge) {
	const password = "hunter2-secret"
	bundle, dir := quickBundle(t, nil), t.TempDir()
	debug := []string{"DURWARD_LOG_LEVEL=debug", "GRPC_GO_LOG_SEVERITY_LEVEL=info", "GRPC_GO_LOG_VERBOSITY_LEVEL=99"}
	// Nobody listens there: the server starts, and says so.
	url := "redis://user:" + password + "@127.0.0.1:1/0"
	a := serveAlone(t, bundle, debug, "--redis", url)
	for _, page := range []string{"/configz", "/metrics", "/readyz", "/healthz"} {
		if _, body := a.get(t, page); strings.Contains(body, password) {
			t.Errorf("%s shows the password", page)
		}
	}
	a.reason(t, question{method: "POST", host: "orders.example.com", path: "/login"})
	a.stop()
	if out := a.output.String(); strings.Contains(out, password) || !strings.Contains(out, "listening") {
		t.Errorf("the log of a good start: %s", out)
	}
	file := filepath.Join(dir, "url")
	if err := os.WriteFile(file, []byte("redis://user:"+password+"@127.0.0.1:bad port/0"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(dir, "durward.yaml")
	for name, text := range map[string]string{
		"a bad URL":           "redis: {url: \"redis://user:" + password + "@127.0.0.1:bad port/0\"}",
		"another scheme":      "redis: {url: \"postgres://user:" + password + "@127.0.0.1/0\"}",
		"no scheme":           "redis: {url: \"user:" + password + "@127.0.0.1\"}",
		"a bad database":      "redis: {url: \"redis://user:" + password + "@127.0.0.1:1/nine\"}",
		"escapes":             "redis: {url: \"redis://user:" + password + "%zz@127.0.0.1:1/0\"}",
		"two":                 "redis: {url: \"redis://user:" + password + "@127.0.0.1:1/0\", url_file: x}",
		"a bad URL in a file": "redis: {url_file: " + file + "}",
		"a wrong type":        "redis: \"redis://user:" + password + "@127.0.0.1:1/0\"",
		"a key twice":         "redis: {url: \"redis://user:" + password + "@127.0.0.1:1/0\", url: \"redis://user:" + password + "@127.0.0.1:2/0\"}",
		"an open quote":       "redis: {url: \"redis://user:" + password + "@127.0.0.1:1/0}",
		"an anchor":           "redis: {url: &a \"redis://user:" + password + "@127.0.0.1:1/0\"}",
		"as address":          "admin: {address: \"redis://user:" + password + "@127.0.0.1:1/0\"}",
		"a key beside it":     "redis: {url: \"redis://user:" + password + "@127.0.0.1:1/0\", urll: x}",
	} {
		if !strings.HasPrefix(text, "admin") {
			text += "\nadmin: {address: off}"
		}
		if err := os.WriteFile(settings, []byte("bundles: [{dir: "+bundle+"}]\nlisteners: [{address: \"unix:"+dir+"/s\", protocols: [ext_authz], client_address: peer}]\n"+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got := durward(t, debug, "serve", "--config", settings)
		if strings.Contains(got.output, password) {
			t.Errorf("%s: the output shows the password: %s", name, got.output)
		}
		if got.code <= 0 {
			t.Errorf("%s: exit code %d: %s", name, got.code, got.output)
		}
	}
	if got := durward(t, append(debug, "DURWARD_REDIS=redis://user:"+password+"@127.0.0.1:bad port/0"), "serve", "--bundle", bundle, "--listen", "unix:"+dir+"/s", "--admin", "off"); got.code <= 0 || strings.Contains(got.output, password) {
		t.Errorf("in the environment: exit code %d, %s", got.code, got.output)
	}
}
