package extauthz

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/durward-pdp/durward/pdp/request/clientcert"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// forwarded returns what Envoy's header says of an escaped certificate.
func forwarded(t testing.TB, escaped string) (whole, names string) {
	t.Helper()
	text, err := url.PathUnescape(escaped)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(text))
	sum := sha256.Sum256(block.Bytes)
	hash := "By=spiffe://lab/gateway;Hash=" + hex.EncodeToString(sum[:])
	return hash + `;Cert="` + escaped + `"`, hash + ";URI=spiffe://lab/web"
}

// TestForwardedCertificate: the header counts where the listener's rule names it and the caller may assert certificates, in both
// encodings, and never else.
func TestForwardedCertificate(t *testing.T) {
	rule, err := clientcert.ParseRule("header:x-forwarded-client-cert")
	if err != nil {
		t.Fatal(err)
	}
	escaped := certificate(t)
	whole, names := forwarded(t, escaped)
	other, _ := forwarded(t, certificate(t))
	believed := func(o *Options) { o.Certificate = rule }
	trusting := func(a Asserts) func(*Options) {
		return func(o *Options) {
			o.Certificate = rule
			o.Caller = func(context.Context) (string, Asserts, bool) { return "edge", a, true }
		}
	}
	for name, row := range map[string]struct {
		values  []string
		shown   string
		change  func(*Options)
		invalid verdict.Reason
		came    bool
		unseen  bool
	}{
		"the certificate":             {[]string{whole}, "", believed, "", true, false},
		"its names":                   {[]string{names}, "", believed, "", true, true},
		"beside the same":             {[]string{names}, escaped, believed, "", true, false},
		"beside another":              {[]string{other}, escaped, believed, verdict.CertificateBad, false, false},
		"beside a broken one":         {[]string{whole}, "x", believed, verdict.CertificateBad, false, false},
		"no header":                   {nil, escaped, believed, "", true, false},
		"broken":                      {[]string{"x"}, "", believed, verdict.CertificateBad, false, false},
		"an empty header":             {[]string{""}, "", believed, verdict.CertificateBad, false, false},
		"twice":                       {[]string{whole, whole}, "", believed, verdict.DuplicateHeader, false, false},
		"behind a client's":           {[]string{"Hash=0;URI=spiffe://lab/root," + whole}, "", believed, verdict.DuplicateHeader, false, false},
		"behind a client's good one":  {[]string{names + "," + whole}, "", believed, verdict.DuplicateHeader, false, false},
		"from who may not assert it":  {[]string{whole}, "", trusting(Asserts{ClientAddress: true, Service: true}), verdict.CallerNotTrusted, false, false},
		"no header from such a one":   {nil, "", trusting(Asserts{ClientAddress: true, Service: true}), "", false, false},
		"without a rule":              {[]string{whole}, "", func(*Options) {}, "", false, false},
		"without a rule, and broken":  {[]string{"x", "y"}, "", func(*Options) {}, "", false, false},
		"without a rule, beside one":  {[]string{other}, escaped, func(*Options) {}, "", true, false},
		"in another spelling of name": {nil, "", believed, "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, raw := range []bool{false, true} {
				in := message(func(h *authv3.AttributeContext_HttpRequest) {
					if len(row.values) > 0 {
						h.Headers["x-forwarded-client-cert"] = strings.Join(row.values, ",")
					}
					if strings.Contains(name, "spelling") {
						h.Headers["x_forwarded_client_cert"] = whole
					}
				})
				in.Attributes.Source.Certificate = row.shown
				if raw {
					delete(in.Attributes.Request.Http.Headers, "x-forwarded-client-cert")
					inRaw(in)
					headers := &in.Attributes.Request.Http.HeaderMap.Headers
					for _, value := range row.values {
						*headers = append(*headers, line("X-Forwarded-Client-Cert", value))
					}
				}
				r := read(t, in, row.change)
				if r.Invalid != string(row.invalid) || (r.Certificate != nil) != row.came {
					t.Fatalf("raw %v: invalid %q, certificate %v; want %q, %v", raw, r.Invalid, r.Certificate, row.invalid, row.came)
				}
				if row.came && r.Certificate.Unseen != row.unseen {
					t.Errorf("raw %v: certificate %+v", raw, r.Certificate)
				}
			}
		})
	}
}

// FuzzForwarded: whatever a header says, who may not assert certificates brings none, and nothing panics.
func FuzzForwarded(f *testing.F) {
	whole, names := forwarded(f, certificate(f))
	for _, seed := range []string{whole, names, whole + "," + names, `a="\"`, "::", ":AAAA:"} {
		f.Add(seed, "client-cert")
		f.Add(seed, "x-forwarded-client-cert")
	}
	f.Fuzz(func(t *testing.T, value, name string) {
		for _, text := range []string{"header:x-forwarded-client-cert", "header:client-cert"} {
			rule, err := clientcert.ParseRule(text)
			if err != nil {
				t.Fatal(err)
			}
			panics := 0
			change := func(o *Options) { o.Certificate, o.OnPanic = rule, func() { panics++ } }
			for _, asserts := range []Asserts{{}, {Certificate: true, Service: true}} {
				r := read(t, inRaw(message(header(name, value))), change, func(o *Options) {
					o.Caller = func(context.Context) (string, Asserts, bool) { return "edge", asserts, true }
				})
				if panics > 0 || r.Certificate != nil && (!asserts.Certificate || r.Invalid != "" && !asserts.Service) {
					t.Errorf("%d panics, invalid %q, certificate %+v", panics, r.Invalid, r.Certificate)
				}
			}
		}
	})
}
