package assembly

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

const (
	tokenText  = "a-caller-token-for-tests-1234567890"
	secondText = "another-caller-token-for-tests-0987"
)

func tokenFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCallers(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	gateway := ca.issue(t, dir, "gateway", "gw.example.com", "spiffe://example.com/gw")
	stranger := ca.issue(t, dir, "stranger", "gw.example.com.evil.example", "spiffe://example.com/gw/more")
	known, err := newCallers([]settings.Caller{
		{Name: "by-name", SANs: []string{"gw.example.com"}, Asserts: []string{"client_address"}},
		{Name: "by-both", SANs: []string{"spiffe://example.com/gw/more"}, TokenFile: tokenFile(t, tokenText+"\n"), Asserts: settings.Assertions},
		{Name: "by-token", TokenFile: tokenFile(t, secondText)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name          string
		leaf          *x509.Certificate
		authorization string
		want          string
	}{
		{"nothing", nil, "", ""},
		{"a name", gateway, "", "by-name"},
		{"a name that begins alike", stranger, "", ""},
		{"a name and the token that it needs", stranger, "Bearer " + tokenText, "by-both"},
		{"a token without the name that it needs", nil, "Bearer " + tokenText, ""},
		{"a name with another's token", stranger, "Bearer " + secondText, "by-token"},
		{"a token", nil, "Bearer " + secondText, "by-token"},
		{"a token and more", nil, "Bearer " + secondText + "x", ""},
		{"the token's beginning", nil, "Bearer " + secondText[:len(secondText)-1], ""},
		{"an empty token", nil, "Bearer ", ""},
		{"no scheme", nil, secondText, ""},
		{"another scheme", nil, "Basic " + secondText, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := known.find(tt.leaf, tt.authorization)
			if got.name != tt.want || ok != (tt.want != "") {
				t.Errorf("caller %q, %v; want %q", got.name, ok, tt.want)
			}
			if !ok && got != (caller{}) {
				t.Errorf("an unknown caller may %+v", got)
			}
		})
	}
	if got, _ := known.find(gateway, ""); got != (caller{name: "by-name", clientAddress: true}) {
		t.Errorf("by-name may %+v", got)
	}
	if got, _ := known.find(stranger, "Bearer "+tokenText); got != (caller{name: "by-both", clientAddress: true, certificate: true, service: true, dryRun: true, explain: true, report: true}) {
		t.Errorf("by-both may %+v", got)
	}
	nobody, err := newCallers(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := nobody.find(nil, ""); !ok || got.name != localCaller || !got.dryRun || !got.explain || !got.report {
		t.Errorf("without callers: %+v, %v", got, ok)
	}
}

// TestCallersOfRPCs takes names from verified chains alone, and a token from one metadata value alone.
func TestCallersOfRPCs(t *testing.T) {
	leaf := newAuthority(t).issue(t, t.TempDir(), "gateway", "gw.example.com")
	known, err := newCallers([]settings.Caller{{Name: "named", SANs: []string{"gw.example.com"}}, {Name: "token", TokenFile: tokenFile(t, tokenText)}})
	if err != nil {
		t.Fatal(err)
	}
	with := func(state tls.ConnectionState) context.Context {
		return peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: state}})
	}
	sent := func(values ...string) context.Context {
		return metadata.NewIncomingContext(t.Context(), metadata.MD{"authorization": values})
	}
	for name, tt := range map[string]struct {
		ctx  context.Context
		want string
	}{
		"nothing":     {t.Context(), ""},
		"verified":    {with(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}), "named"},
		"shown alone": {with(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}), ""},
		"a token":     {sent("Bearer " + tokenText), "token"},
		"two tokens":  {sent("Bearer "+tokenText, "Bearer "+tokenText), ""},
	} {
		if got, ok := known.ofRPC(tt.ctx); got.name != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: caller %q, %v; want %q", name, got.name, ok, tt.want)
		}
	}
}

func TestCallerTokensThatCannotBe(t *testing.T) {
	for name, path := range map[string]string{"short": tokenFile(t, "hunter2"), "empty": tokenFile(t, "\n"), "missing": filepath.Join(t.TempDir(), "none")} {
		_, err := newCallers([]settings.Caller{{Name: "edge", TokenFile: path}})
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "edge") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
