package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Rows of the checklist of what a strict verifier does, by its numbers, that have tests of their own.

func TestAssurance(t *testing.T)                    { t.Run("T18", testAssurance) }
func TestBindings(t *testing.T)                     { t.Run("T19", testBindings) }
func TestProofOfPossession(t *testing.T)            { t.Run("T20", testProofOfPossession) }
func TestReplay(t *testing.T)                       { t.Run("T20", testReplay) }
func TestBlockedCredentials(t *testing.T)           { t.Run("T22", testBlockedCredentials) }
func TestStaleBlocks(t *testing.T)                  { t.Run("T22", testStaleBlocks) }
func TestOpaqueRefusals(t *testing.T)               { t.Run("T23", testOpaqueRefusals) }
func TestIssuerDown(t *testing.T)                   { t.Run("T23", testIssuerDown) }
func TestBadTokensLeaveNothing(t *testing.T)        { t.Run("T24", testBadTokensLeaveNothing) }
func TestCachedTokensEndWithTheirKeys(t *testing.T) { t.Run("T26", testCachedTokensEndWithTheirKeys) }

// TestCertificateBinding: a token that is bound to a certificate needs that one (RFC 8705, section 3.1).
func TestCertificateBinding(t *testing.T) {
	t.Run("T21", func(t *testing.T) {
		w := newWorld(t)
		shown := &request.Certificate{Thumbprint: sha256.Sum256([]byte("a certificate"))}
		sum := base64.RawURLEncoding.EncodeToString(shown.Thumbprint[:])
		for name, tc := range map[string]struct {
			x5t         any
			certificate *request.Certificate
			sound       bool
		}{
			"the same":                 {sum, shown, true},
			"none":                     {sum, nil, false},
			"another":                  {sum, &request.Certificate{Thumbprint: sha256.Sum256([]byte("another"))}, false},
			"one without a thumbprint": {base64.RawURLEncoding.EncodeToString(make([]byte, 31)), &request.Certificate{}, false},
			"in hexadecimal":           {hex.EncodeToString(shown.Thumbprint[:]), shown, false},
			"with padding":             {sum + "=", shown, false},
			"cut":                      {sum[:42], shown, false},
			"empty":                    {"", shown, false},
			"a list":                   {[]string{sum}, shown, false},
			"null":                     {nil, shown, false},
		} {
			t.Run(name, func(t *testing.T) {
				c := w.bearer(routeRead, w.mint(t, claims{"cnf": claims{"x5t#S256": tc.x5t}}))
				if c.Request.Certificate = tc.certificate; tc.sound {
					w.wantSubject(t, c, alice)
				} else {
					w.wantDenied(t, c, verdict.TokenBinding)
				}
			})
		}
	})
}

// TestChecklistIsWhole: each of its thirty rows has subtests of its name, here or in package token.
func TestChecklistIsWhole(t *testing.T) {
	named, found := regexp.MustCompile(`t\.Run\("(T[0-9]{2})"`), map[string]bool{}
	for _, pattern := range []string{"*_test.go", "*/*_test.go", "../../token/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, error %v", pattern, len(files), err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range named.FindAllStringSubmatch(string(data), -1) {
				found[match[1]] = true
			}
		}
	}
	for row := 1; row <= 30; row++ {
		if name := fmt.Sprintf("T%02d", row); !found[name] {
			t.Errorf("no subtest %s", name)
		}
	}
}
