package assembly

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/keyring"
	"github.com/durward-pdp/durward/pdp/token"
)

// sealingFile holds a key of 32 equal bytes.
func sealingFile(t *testing.T, b byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sealing")
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 32)))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openedIssuer(t *testing.T, redis, sealing string, log *logged) *issuer {
	t.Helper()
	shared, m := openedState(t, redis, log)
	s := settings.Defaults()
	s.Tokens = settings.Tokens{Issuer: "https://tokens.example.com/durward", SealingKeyFile: sealing, Rotate: format.Duration(24 * time.Hour)}
	i, err := openIssuer(Options{Settings: s, Clock: time.Now, Logger: log.logger()}, shared, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.close)
	return i
}

func fetched(t *testing.T, i *issuer, path string) *httptest.ResponseRecorder {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, handler := range i.handlers() {
		mux.Handle(pattern, handler)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// TestReplicasOfAnIssuer: those with the sealing key sign with one key, one without it says so and signs nothing.
func TestReplicasOfAnIssuer(t *testing.T) {
	server := redistest.Start(t)
	right, log := sealingFile(t, 'a'), &logged{}
	one, two := openedIssuer(t, server.URL(), right, &logged{}), openedIssuer(t, server.URL(), right, &logged{})
	soon(t, "both have a key", func() bool { return len(one.Infos()) == 1 && len(two.Infos()) == 1 })
	if one.Infos()[0] != two.Infos()[0] {
		t.Errorf("%+v and %+v", one.Infos(), two.Infos())
	}
	wrong := openedIssuer(t, server.URL(), sealingFile(t, 'b'), log)
	soon(t, "it is told", func() bool { return strings.Contains(log.String(), "there is none, and what needs a token is denied") })
	if err := wrong.Refresh(t.Context()); !errors.Is(err, keyring.ErrSealed) {
		t.Errorf("error %v", err)
	}
	if _, err := wrong.Sign("at+jwt", nil); !errors.Is(err, keyring.ErrNoKey) {
		t.Errorf("a token: %v", err)
	}
	if w := fetched(t, wrong, "/durward/.well-known/jwks.json"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("keys of one that has none: %d %v", w.Code, w.Header())
	}
	time.Sleep(1200 * time.Millisecond) // two rounds more
	if n := strings.Count(log.String(), "there is none"); n != 1 {
		t.Errorf("told %d times", n)
	}
	if got := server.Do("HLEN", "durward:state:{signing-keys}:records"); got != "1" && got != "2" { // two before midnight
		t.Errorf("%s records", got)
	}
}

func TestDocumentsOfAnIssuer(t *testing.T) {
	i := openedIssuer(t, "", "", &logged{})
	soon(t, "a key", func() bool { return len(i.Infos()) > 0 })
	keys := fetched(t, i, "/durward/.well-known/jwks.json")
	if set, err := token.ParseKeySet(keys.Body.Bytes()); err != nil || set.Len() != len(i.Infos()) || keys.Header().Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("%v, %v", err, keys.Header())
	}
	for _, path := range []string{"/durward/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/durward"} {
		var document map[string]any
		w := fetched(t, i, path)
		if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil || document["issuer"] != i.Issuer() || document["jwks_uri"] != "https://tokens.example.com/durward/.well-known/jwks.json" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := fetched(t, i, "/.well-known/jwks.json"); w.Code != http.StatusNotFound {
		t.Errorf("beside the issuer's path: %d", w.Code)
	}
	if v := i.view(); v.Issuer != i.Issuer() || len(v.Keys) == 0 || v.Keys[0].ID == "" {
		t.Errorf("%+v", v)
	}
	if v := (*issuer)(nil).view(); v != nil {
		t.Errorf("%+v of nobody", v)
	}
}

func TestIssuerRefusals(t *testing.T) {
	shared, m := openedState(t, "", &logged{})
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{bad, bad + "-none"} {
		s := settings.Defaults()
		s.Tokens.Issuer, s.Tokens.SealingKeyFile = "https://tokens.example.com", path
		_, err := openIssuer(Options{Settings: s, Clock: time.Now, Logger: (&logged{}).logger()}, shared, m)
		if !errors.Is(err, settings.ErrInvalid) || !strings.Contains(err.Error(), "tokens.sealing_key_file") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if i, err := openIssuer(Options{Settings: settings.Defaults()}, shared, m); i != nil || err != nil {
		t.Errorf("without an issuer: %v, %v", i, err)
	}
}
