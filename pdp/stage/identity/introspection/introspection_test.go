package introspection

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestQuestion: what the server is asked, as RFC 7662 and RFC 6749 have it.
func TestQuestion(t *testing.T) {
	w := newWorld(t)
	w.config.ClientID, w.secrets["acme/idp"] = "a:b c", "p+w%:é"
	w.wantActive(t, w.open(t), "abc/+~.-_=")
	q := w.calls()[0]
	if q.method != "POST" || q.path != "/introspect" || q.token != "abc/+~.-_=" || q.hint != "access_token" ||
		q.contentType != "application/x-www-form-urlencoded" || q.accept != "application/json" {
		t.Errorf("%+v", q)
	}
	pair, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(q.authorization, "Basic "))
	id, secret, _ := strings.Cut(string(pair), ":")
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	if err := errors.Join(err, errID, errSecret); err != nil || id != "a:b c" || secret != "p+w%:é" {
		t.Errorf("id %q, secret %q, error %v", id, secret, err)
	}
	if len(q.form) != 2 {
		t.Errorf("more was sent: %v", q.form)
	}
}

// TestAnswers: only a sound answer says anything about a token.
func TestAnswers(t *testing.T) {
	t.Run("unbounded-upstream-read", func(t *testing.T) {
		for _, size := range []int{maxBody + 1, 1 << 20} {
			w := newWorld(t)
			w.answers(`{"active":true,"a":"` + strings.Repeat("a", size) + `"}`)
			w.wantError(t, w.open(t), "tok-1", Malformed)
		}
		w := newWorld(t)
		w.replies(func(out http.ResponseWriter, r *http.Request) { // without a length, and without an end
			out.Header().Set("Content-Type", "application/json")
			for r.Context().Err() == nil {
				if _, err := out.Write(bytes.Repeat([]byte(" "), 1<<12)); err != nil {
					return
				}
			}
		})
		w.wantError(t, w.open(t), "tok-1", Malformed)
	})
	for _, row := range []struct {
		name   string
		status int
		kind   string
		body   string
		want   Outcome
	}{
		{"active", 200, "application/json", `{"active":true,"sub":"alice"}`, Active},
		{"active, with a charset", 200, `application/json; charset="UTF-8"`, `{"active":true,"sub":"alice"}`, Active},
		{"inactive", 200, "application/json", `{"active":false}`, Inactive},
		{"inactive, whatever else it says", 200, "application/json", `{"active":false,"sub":"alice","exp":"x"}`, Inactive},
		{"as long as allowed", 200, "application/json", `{"active":true,"sub":"alice"}` + strings.Repeat(" ", maxBody-29), Active},
		{"active as text", 200, "application/json", `{"active":"true"}`, Malformed},
		{"active as a number", 200, "application/json", `{"active":1}`, Malformed},
		{"active as null", 200, "application/json", `{"active":null}`, Malformed},
		{"Active", 200, "application/json", `{"Active":true}`, Malformed},
		{"not said", 200, "application/json", `{}`, Malformed},
		{"said twice", 200, "application/json", `{"active":false,"active":true}`, Malformed},
		{"a claim said twice", 200, "application/json", `{"active":true,"sub":"alice","sub":"evil"}`, Malformed},
		{"two answers", 200, "application/json", `{"active":true}{"active":true}`, Malformed},
		{"a list", 200, "application/json", `[{"active":true}]`, Malformed},
		{"nothing", 200, "application/json", ``, Malformed},
		{"no UTF-8", 200, "application/json", "{\"active\":true,\"sub\":\"\xff\"}", Malformed},
		{"deep", 200, "application/json", `{"active":true,"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, Malformed},
		{"HTML", 200, "text/html", `{"active":true}`, Malformed},
		{"a JWT", 200, "application/token-introspection+jwt", "e30.e30.e30", Malformed},
		{"another charset", 200, "application/json; charset=utf-16", `{"active":true}`, Malformed},
		{"no type", 200, "", `{"active":true}`, Malformed},
		{"created", 201, "application/json", `{"active":true}`, Failed},
		{"partial", 206, "application/json", `{"active":true}`, Failed},
		{"no content", 204, "", ``, Failed},
		{"an error", 500, "application/json", `{"active":true}`, Failed},
		{"unauthorized", 401, "application/json", `{"active":false}`, Unauthorized},
		{"forbidden", 403, "application/json", `{"active":false}`, Forbidden},
		{"a bad request", 400, "application/json", `{"active":false}`, Refused},
		{"throttled", 429, "application/json", `{"active":false}`, Throttled},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.replies(func(out http.ResponseWriter, _ *http.Request) {
				out.Header()["Content-Type"] = nil
				if row.kind != "" {
					out.Header().Set("Content-Type", row.kind)
				}
				out.WriteHeader(row.status)
				if row.status != 204 {
					_, _ = out.Write([]byte(row.body))
				}
			})
			e := w.open(t)
			switch row.want {
			case Active:
				w.wantActive(t, e, "tok-1")
			case Inactive:
				if a, err := w.ask(t, e, "tok-1"); err != nil || a.Active || a.Claims.Members() != nil {
					t.Errorf("%v, error %v", a, err)
				}
			default:
				w.wantError(t, e, "tok-1", row.want)
				if active, inactive, _ := w.client.Use(); active+inactive != 0 {
					t.Error("what says nothing is remembered")
				}
			}
			if n := w.count(Call, row.want); n != 1 {
				t.Errorf("%d calls observed", n)
			}
		})
	}
}

// TestRedirect: a redirect is no answer, wherever it leads; nobody follows it.
func TestRedirect(t *testing.T) {
	w := newWorld(t)
	for i, location := range []string{w.server.URL + "/elsewhere", "https://169.254.169.254/latest", "http://10.0.0.1/"} {
		w.replies(func(out http.ResponseWriter, r *http.Request) {
			http.Redirect(out, r, location, http.StatusTemporaryRedirect)
		})
		w.wantError(t, w.open(t), tokenName(i), Failed)
	}
	for _, q := range w.calls() {
		if q.path != "/introspect" {
			t.Errorf("asked %s", q.path)
		}
	}
	w.wantCalls(t, 3)
}

// TestUnreachable: nobody listens, or only at an address of a private network.
func TestUnreachable(t *testing.T) {
	w := newWorld(t)
	e := w.open(t)
	w.server.Close()
	w.wantError(t, e, "tok-1", Unreachable)

	hidden := newWorld(t, func(w *world, o *Options) { o.Fetcher = w.fetcher(t, false, nil) })
	hidden.wantError(t, hidden.open(t), "tok-1", Unreachable)
	hidden.wantCalls(t, 0)
}

// TestSlow: a decision waits no longer than it has time, and the call that it began is there for the next one.
func TestSlow(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.replies(func(out http.ResponseWriter, _ *http.Request) {
		<-release
		out.Header().Set("Content-Type", "application/json")
		_, _ = out.Write([]byte(`{"active":true,"sub":"alice"}`))
	})
	e := w.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := e.Introspect(ctx, "tok-1")
	if late, ok := errors.AsType[*Error](err); !ok || late.Outcome != Timeout {
		t.Errorf("error %v", err)
	}
	<-ctx.Done()
	time.Sleep(20 * time.Millisecond) // a call that lived as long as its decision would have ended by now
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, err := e.Introspect(left, "tok-1"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left: error %v", err)
	}
	close(release)
	w.wantActive(t, e, "tok-1")
	w.wantActive(t, e, "tok-1")
	w.wantCalls(t, 1)
	if w.count(Call, Active) != 1 || w.count(None, Timeout) != 1 {
		t.Errorf("events %+v", w.events)
	}
}

// TestTimeout: a call ends by itself.
func TestTimeout(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	w.replies(func(http.ResponseWriter, *http.Request) { <-release })
	w.config.Timeout = 20 * time.Millisecond
	w.wantError(t, w.open(t), "tok-1", Timeout)
	if w.count(Call, Timeout) != 1 {
		t.Errorf("events %+v", w.events)
	}
}

// TestMTLS: the operator's certificate is shown, and the form says whose it is.
func TestMTLS(t *testing.T) {

	w := newWorld(t, func(w *world, o *Options) {
		certificate := w.server.TLS.Certificates[0]
		o.Fetcher = w.fetcher(t, true, &certificate)
	})
	w.config.Authentication, w.config.Secret = MTLS, ""
	w.wantActive(t, w.open(t), "tok-1")
	q := w.calls()[0]
	if q.certificate == nil || q.form["client_id"][0] != "durward" || q.authorization != "" {
		t.Errorf("%+v", q)
	}
	without := newWorld(t)
	without.config.Authentication, without.config.Secret = MTLS, ""
	if _, problems := without.client.Open(without.config); len(problems) != 1 || problems[0].Key != "client.authentication" {
		t.Errorf("problems %v", problems)
	}
}

// TestOpen: what is wrong with a configuration is said at its key.
func TestOpen(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"plain text", func(c *Config) { c.URL = "http://idp.example.com/" }, []string{"url"}},
		{"no host", func(c *Config) { c.URL = "https:///x" }, []string{"url"}},
		{"a user", func(c *Config) { c.URL = "https://u:p@idp.example.com/" }, []string{"url"}},
		{"no URL", func(c *Config) { c.URL = "\x00" }, []string{"url"}},
		{"a host that the operator does not name", func(c *Config) { c.URL = "https://evil.example.com/" }, []string{"url"}},
		{"another bundle's host", func(c *Config) { c.Bundle = "stranger" }, []string{"url", "client.secret"}},
		{"another bundle's secret", func(c *Config) { c.Bundle = "other" }, []string{"client.secret"}},
		{"an unknown secret", func(c *Config) { c.Secret = "x" }, []string{"client.secret"}},
		{"no key", func(c *Config) { c.Authentication = PrivateKeyJWT }, []string{"client.secret"}},
		{"nothing", func(c *Config) { *c = Config{} }, []string{"url", "client.id", "client.authentication", "timeout"}},
		{"no secret", func(c *Config) { c.Secret = "" }, []string{"client.secret"}},
		{"a secret for mtls", func(c *Config) { c.Authentication = MTLS }, []string{"client.secret"}},
		{"an audience for basic", func(c *Config) { c.Audience = "x" }, []string{"client"}},
		{"a key id with a line", func(c *Config) { c.Authentication, c.KeyID = PrivateKeyJWT, "a\n" }, []string{"client.key_id"}},
		{"long times", func(c *Config) { c.TTL, c.NegativeTTL, c.Timeout = time.Hour, time.Hour, time.Hour }, []string{"cache", "negative_cache", "timeout"}},
		{"negative times", func(c *Config) { c.TTL, c.NegativeTTL, c.Timeout = -1, -1, -1 }, []string{"cache", "negative_cache", "timeout"}},
	} {
		w := newWorld(t)
		row.change(&w.config)
		e, problems := w.client.Open(w.config)
		var keys []string
		for _, p := range problems {
			keys = append(keys, p.Key)
			if p.Text == "" || strings.Contains(p.Text, "s3cret") {
				t.Errorf("%s: %q", row.name, p.Text)
			}
		}
		if strings.Join(keys, " ") != strings.Join(row.want, " ") || e != nil {
			t.Errorf("%s: %v, want %v", row.name, problems, row.want)
		}
	}
}
