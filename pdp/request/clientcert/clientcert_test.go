package clientcert

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/durward-pdp/durward/pdp/request"
)

// der returns a self-signed certificate of the template.
func der(t testing.TB, template *x509.Certificate) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Unix(1700000000, 0), time.Unix(2000000000, 0)
	out, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// client returns a client's certificate with one URI, its URL-encoded PEM form, and its hash in hexadecimal.
func client(t testing.TB, names ...string) (raw []byte, escapedPEM, hash string) {
	t.Helper()
	template := &x509.Certificate{DNSNames: []string{"web.example.org"}}
	for _, name := range names {
		u, err := url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	raw = der(t, template)
	sum := sha256.Sum256(raw)
	// Envoy escapes the padding, too.
	return raw, strings.ReplaceAll(url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))), "=", "%3D"), hex.EncodeToString(sum[:])
}

func line(name, value string) request.Field { return request.Field{Name: name, Value: value} }

func rule(t testing.TB, text string) Rule {
	t.Helper()
	r, err := ParseRule(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRules(t *testing.T) {
	for text, chosen := range map[string]bool{"": false, "message": false, "header:x-forwarded-client-cert": true, "header:X-Forwarded-Client-Cert": true, "header:client-cert": true} {
		if r, err := ParseRule(text); err != nil || r.Chosen() != chosen {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
	for _, text := range []string{"x-forwarded-client-cert", "header:", "header:x-client-cert", "header:client-cert-chain", "xfcc", "header:client_cert"} {
		if r, err := ParseRule(text); !errors.Is(err, ErrRule) || r.Chosen() {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
	// Without a rule no header says anything, whoever wrote it.
	h := request.Header{line("x-forwarded-client-cert", "Hash=x"), line("client-cert", ":x:")}
	if r := rule(t, ""); r.Asserts(h) {
		t.Error("a header asserts a certificate without a rule")
	} else if c, err := r.Certificate(nil, h); c != nil || err != nil {
		t.Errorf("without a rule: %v, %v", c, err)
	}
	if r := rule(t, "header:client-cert"); r.Asserts(h[:1]) || !r.Asserts(h[1:]) {
		t.Error("the rule names another header")
	}
}

// TestForwardedClientCert reads what Envoy writes, and refuses what it would not write.
func TestForwardedClientCert(t *testing.T) {
	const id, other = "spiffe://example.org/ns/shop/sa/web", "spiffe://example.org/ns/shop/sa/root"
	_, cert, hash := client(t, id)
	_, otherCert, otherHash := client(t, other)
	_, twoCert, twoHash := client(t, id, other)
	r := rule(t, "header:x-forwarded-client-cert")
	const by = "By=spiffe://example.org/gateway;"
	withCert := by + "Hash=" + hash + `;Cert="` + cert + `"`
	for name, value := range map[string]string{
		"as Envoy writes it":         by + "Hash=" + hash + `;Cert="` + cert + `";Subject="CN=web,O=\"Lab\"";URI=` + id + ";DNS=web.example.org",
		"the certificate alone":      "Hash=" + hash + `;Cert="` + cert + `"`,
		"without quotes":             "Cert=" + cert + ";Hash=" + hash,
		"several names of a gateway": "By=a;By=b;By=;" + "Hash=" + hash + ";Cert=" + cert,
		"a chain that nobody reads":  withCert + `;Chain="` + cert + otherCert + `"`,
		"names in quotes":            withCert + `;URI="` + id + `"`,
		"without names":              withCert + ";URI=;DNS=",
	} {
		c, err := r.Certificate(nil, request.Header{line("x-forwarded-client-cert", value)})
		if err != nil || c.Unseen || !slices.Equal(c.URIs, []string{id}) || hex.EncodeToString(c.Thumbprint[:]) != hash || c.NotAfter.IsZero() {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	two, err := r.Certificate(nil, request.Header{line("x-forwarded-client-cert", "Hash="+twoHash+";Cert="+twoCert+";URI="+id+";URI="+other)})
	if err != nil || !slices.Equal(two.URIs, []string{id, other}) {
		t.Errorf("two URIs: %+v, %v", two, err)
	}
	// Without the certificate: its URIs and its hash, and nothing else that is told.
	unseen, err := r.Certificate(nil, request.Header{line("x-forwarded-client-cert", by+"Hash="+hash+`;Subject="CN=root";URI=`+id)})
	if err != nil || !unseen.Unseen || !slices.Equal(unseen.URIs, []string{id}) || len(unseen.DNSNames) > 0 || unseen.Subject != "" || hex.EncodeToString(unseen.Thumbprint[:]) != hash {
		t.Errorf("without the certificate: %+v, %v", unseen, err)
	}
	for name, row := range map[string]struct {
		value string
		want  error
	}{
		"nothing":                        {"", request.ErrCertificate},
		"no pair":                        {"abc", request.ErrCertificate},
		"a lone separator":               {";", request.ErrCertificate},
		"a separator behind":             {withCert + ";", request.ErrCertificate},
		"an element behind":              {withCert + "," + withCert, ErrRepeated},
		"an element in front":            {"Hash=" + otherHash + ";URI=" + other + "," + withCert, ErrRepeated},
		"an empty element behind":        {withCert + ",", ErrRepeated},
		"no hash":                        {`Cert="` + cert + `"`, request.ErrCertificate},
		"an empty hash":                  {"Hash=;Cert=" + cert, request.ErrCertificate},
		"a short hash":                   {"Hash=" + hash[:62] + ";Cert=" + cert, request.ErrCertificate},
		"a long hash":                    {"Hash=" + hash + "00;Cert=" + cert, request.ErrCertificate},
		"a hash in upper case":           {"Hash=" + strings.ToUpper(hash) + ";Cert=" + cert, request.ErrCertificate},
		"another's hash":                 {"Hash=" + otherHash + ";Cert=" + cert, request.ErrCertificate},
		"another's certificate":          {"Hash=" + hash + ";Cert=" + otherCert, request.ErrCertificate},
		"two hashes":                     {"Hash=" + hash + ";Hash=" + hash + ";Cert=" + cert, request.ErrCertificate},
		"two certificates":               {withCert + ";Cert=" + cert, request.ErrCertificate},
		"an empty certificate":           {"Hash=" + hash + ";Cert=;URI=" + id, request.ErrCertificate},
		"half a certificate":             {"Hash=" + hash + ";Cert=" + cert[:200], request.ErrCertificate},
		"two PEM blocks":                 {"Hash=" + hash + ";Cert=" + cert + cert, request.ErrCertificate},
		"a URI of another":               {withCert + ";URI=" + other, request.ErrCertificate},
		"a DNS name of another":          {withCert + ";DNS=root.example.org", request.ErrCertificate},
		"an unknown key":                 {withCert + ";Issuer=x", request.ErrCertificate},
		"a key in another case":          {"hash=" + hash + ";URI=" + id, request.ErrCertificate},
		"a space before a key":           {"Hash=" + hash + "; URI=" + id, request.ErrCertificate},
		"a hash alone":                   {"Hash=" + hash, request.ErrCertificate},
		"a hash and a DNS name":          {"Hash=" + hash + ";DNS=web.example.org", request.ErrCertificate},
		"a hash and no URI":              {"Hash=" + hash + ";URI=", request.ErrCertificate},
		"a DNS name behind the URI":      {"Hash=" + hash + ";URI=" + id + ";DNS=web.example.org", request.ErrCertificate},
		"a subject behind the URI":       {"Hash=" + hash + ";URI=" + id + `;Subject="CN=x"`, request.ErrCertificate},
		"two URIs and no certificate":    {"Hash=" + hash + ";URI=" + id + ";URI=" + other, request.ErrCertificate},
		"an empty URI behind":            {"Hash=" + hash + ";URI=" + id + ";URI=", request.ErrCertificate},
		"an empty URI in front":          {"Hash=" + hash + ";URI=;URI=" + id, request.ErrCertificate},
		"names alone":                    {"URI=" + id, request.ErrCertificate},
		"an open quote":                  {"Hash=" + hash + `;Cert="` + cert, request.ErrCertificate},
		"text behind a quote":            {"Hash=" + hash + `;Cert="` + cert + `"x`, request.ErrCertificate},
		"a quote inside":                 {"Hash=" + hash + `;URI=a"b`, request.ErrCertificate},
		"an equals sign inside":          {"Hash=" + hash + ";URI=a=b", request.ErrCertificate},
		"a quote behind a backslash":     {"Hash=" + hash + `;Subject="CN=x\";URI=` + id, request.ErrCertificate},
		"a quote behind two":             {"Hash=" + hash + `;Subject="CN=x\\";URI=` + id, request.ErrCertificate},
		"a quote that ends two readings": {"Hash=" + hash + `;Subject="x\\";DNS=";URI=` + id, request.ErrCertificate},
		"a quote behind three":           {"Hash=" + hash + `;Subject="CN=x\\\";URI=` + id + `"`, request.ErrCertificate},
		"spaces around":                  {" " + withCert, request.ErrCertificate},
		"a URI that ends in a space":     {"Hash=" + hash + ";URI=" + id + " ", request.ErrCertificate},
		"a URI that ends in a tab":       {"Hash=" + hash + ";URI=" + id + "\t", request.ErrCertificate},
		"a control character":            {withCert + ";URI=a\x01", request.ErrCertificate},
		"a long name":                    {"Hash=" + hash + ";URI=" + strings.Repeat("x", 2049), request.ErrCertificate},
		"a long header":                  {withCert + `;Subject="` + strings.Repeat("x", maxForwardedCertificate) + `"`, request.ErrCertificate},
		"a certificate inside a name":    {"Hash=" + hash + ";URI=" + id + `;Cert="` + otherCert + `"`, request.ErrCertificate},
		"an element inside a name":       {"Hash=" + hash + ";URI=x,By=y;Hash=" + otherHash + ";URI=" + other, ErrRepeated},
		"an element in quotes":           {"Hash=" + hash + `;URI="x,Hash=` + otherHash + `"`, nil},
		"a subject with a pair in it":    {withCert + `;Subject="CN=x\",URI=` + other + `"`, nil},
		"a subject with a backslash":     {withCert + `;Subject="CN=plain\,comma"`, nil},
		"a subject with two of them":     {withCert + `;Subject="CN=a\\b"`, nil},
		"a subject that is empty":        {withCert + `;Subject=""`, nil},
		"a subject that is a URI":        {withCert + `;Subject="` + other + `"`, nil},
		"a name of a gateway's as pair":  {`By="a;Hash=` + otherHash + `";` + "Hash=" + hash + ";Cert=" + cert, nil},
	} {
		c, err := r.Certificate(nil, request.Header{line("x-forwarded-client-cert", row.value)})
		if !errors.Is(err, row.want) || (err == nil) != (c != nil) {
			t.Errorf("%s: %+v, %v, want %v", name, c, err, row.want)
		}
		if c != nil && hex.EncodeToString(c.Thumbprint[:]) != hash {
			t.Errorf("%s: the thumbprint is another's", name)
		}
	}
	if c, err := r.Certificate(nil, request.Header{line("x-forwarded-client-cert", withCert), line("x-forwarded-client-cert", withCert)}); c != nil || !errors.Is(err, ErrRepeated) {
		t.Errorf("two lines: %v, %v", c, err)
	}
}

// TestCertificatesAgree: what the message shows and what the header tells are one certificate or none.
func TestCertificatesAgree(t *testing.T) {
	const id = "spiffe://example.org/ns/shop/sa/web"
	raw, cert, hash := client(t, id)
	otherRaw, _, otherHash := client(t, id)
	shown, err := request.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	other := ":" + base64.StdEncoding.EncodeToString(otherRaw) + ":"
	for name, row := range map[string]struct {
		rule, header, value string
		want                error
	}{
		"the certificate":         {"header:x-forwarded-client-cert", "x-forwarded-client-cert", "Hash=" + hash + ";Cert=" + cert, nil},
		"its names":               {"header:x-forwarded-client-cert", "x-forwarded-client-cert", "Hash=" + hash + ";URI=" + id, nil},
		"another of the same":     {"header:x-forwarded-client-cert", "x-forwarded-client-cert", "Hash=" + otherHash + ";URI=" + id, request.ErrCertificate},
		"another by RFC 9440":     {"header:client-cert", "client-cert", other, request.ErrCertificate},
		"another, not looked at":  {"message", "client-cert", other, nil},
		"another header":          {"header:client-cert", "x-forwarded-client-cert", "Hash=" + otherHash + ";URI=" + id, nil},
		"no header":               {"header:client-cert", "x", "", nil},
		"a header that is broken": {"header:client-cert", "client-cert", "x", request.ErrCertificate},
	} {
		c, err := rule(t, row.rule).Certificate(shown, request.Header{line(row.header, row.value)})
		if !errors.Is(err, row.want) || row.want == nil && c != shown || row.want != nil && c != nil {
			t.Errorf("%s: %+v, %v, want %v", name, c, err, row.want)
		}
	}
}

// TestClientCert reads RFC 9440's fields.
func TestClientCert(t *testing.T) {
	raw, _, hash := client(t, "spiffe://example.org/ns/shop/sa/web")
	text := base64.StdEncoding.EncodeToString(raw)
	r := rule(t, "header:client-cert")
	for name, row := range map[string]struct {
		h    request.Header
		want error
	}{
		"the certificate":        {request.Header{line("client-cert", ":"+text+":")}, nil},
		"spaces around":          {request.Header{line("client-cert", " :"+text+":\t")}, nil},
		"with a chain":           {request.Header{line("client-cert", ":"+text+":"), line("client-cert-chain", ":"+text+":, :"+text+":"), line("client-cert-chain", ":"+text+":")}, nil},
		"two lines":              {request.Header{line("client-cert", ":"+text+":"), line("client-cert", ":"+text+":")}, ErrRepeated},
		"two members":            {request.Header{line("client-cert", ":"+text+":, :"+text+":")}, ErrRepeated},
		"empty":                  {request.Header{line("client-cert", "")}, request.ErrCertificate},
		"an empty sequence":      {request.Header{line("client-cert", "::")}, request.ErrCertificate},
		"one colon":              {request.Header{line("client-cert", ":")}, request.ErrCertificate},
		"no colons":              {request.Header{line("client-cert", text)}, request.ErrCertificate},
		"no colon behind":        {request.Header{line("client-cert", ":"+text)}, request.ErrCertificate},
		"a parameter":            {request.Header{line("client-cert", ":"+text+":;a")}, request.ErrCertificate},
		"PEM":                    {request.Header{line("client-cert", "-----BEGIN CERTIFICATE-----")}, request.ErrCertificate},
		"base64 for URLs":        {request.Header{line("client-cert", ":"+strings.NewReplacer("+", "-", "/", "_").Replace(text)+":")}, request.ErrCertificate},
		"without padding":        {request.Header{line("client-cert", ":"+base64.RawStdEncoding.EncodeToString(append(slices.Clone(raw), 0)[:len(raw)/3*3+1])+":")}, request.ErrCertificate},
		"a space inside":         {request.Header{line("client-cert", ":"+text[:8]+" "+text[8:]+":")}, request.ErrCertificate},
		"no certificate":         {request.Header{line("client-cert", ":YWJj:")}, request.ErrCertificate},
		"trailing DER":           {request.Header{line("client-cert", ":"+base64.StdEncoding.EncodeToString(append(slices.Clone(raw), 0))+":")}, request.ErrCertificate},
		"a megabyte":             {request.Header{line("client-cert", ":"+strings.Repeat("AAAA", 1<<18)+":")}, request.ErrCertificate},
		"a chain alone":          {request.Header{line("client-cert-chain", ":"+text+":")}, request.ErrCertificate},
		"a broken chain":         {request.Header{line("client-cert", ":"+text+":"), line("client-cert-chain", "x")}, request.ErrCertificate},
		"an empty chain":         {request.Header{line("client-cert", ":"+text+":"), line("client-cert-chain", "")}, request.ErrCertificate},
		"a chain without end":    {request.Header{line("client-cert", ":"+text+":"), line("client-cert-chain", strings.Repeat(":AAAA:,", 16)+":AAAA:")}, request.ErrCertificate},
		"a chain that is long":   {request.Header{line("client-cert", ":"+text+":"), line("client-cert-chain", strings.Repeat(":AAAA:,", 15)+":AAAA:")}, nil},
		"a chain of much":        {request.Header{line("client-cert", ":"+text+":"), line("client-cert-chain", strings.Repeat(" ", maxForwardedCertificate)+":AAAA:")}, request.ErrCertificate},
		"a long line of nothing": {request.Header{line("client-cert", strings.Repeat(" ", maxForwardedCertificate)+":"+text+":")}, request.ErrCertificate},
	} {
		c, err := r.Certificate(nil, row.h)
		if !errors.Is(err, row.want) || (err == nil) != (c != nil) {
			t.Errorf("%s: %+v, %v, want %v", name, c, err, row.want)
		}
		if c != nil && (c.Unseen || hex.EncodeToString(c.Thumbprint[:]) != hash) {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// TestByteSequences: one sequence of bytes has one text.
func TestByteSequences(t *testing.T) {
	for text, want := range map[string]string{":YQ==:": "a", ":YWI=:": "ab", ":YWJj:": "abc"} {
		if got, err := readByteSequence(text); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{":YR==:", ":YWJ=:", ":YQ:", ":YQ=:", ":YW\nJj:", ":Y Q==:", ":YQ==YQ==:", "::", ":", "", "YQ==", ":YQ==", "YQ==:", ":_-==:"} {
		if got, err := readByteSequence(text); !errors.Is(err, request.ErrCertificate) || got != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// FuzzForwardedCertificate: nothing panics, errors show no input, and what is told comes from one element: its hash stands in the header,
// and so do its names.
func FuzzForwardedCertificate(f *testing.F) {
	raw, cert, hash := client(f, "spiffe://example.org/ns/shop/sa/web")
	f.Add("Hash="+hash+`;Cert="`+cert+`";Subject="CN=a,O=\"b\"";URI=spiffe://example.org/ns/shop/sa/web`, ":"+base64.StdEncoding.EncodeToString(raw)+":", ":AAAA:, :AAAA:")
	f.Add("By=a;Hash="+hash+";URI=spiffe://example.org/x", "::", "")
	f.Add(`Hash=`+hash+`;Subject="\\";URI=a,Hash=b`, ":", ":")
	envoy, standard := rule(f, "header:x-forwarded-client-cert"), rule(f, "header:client-cert")
	f.Fuzz(func(t *testing.T, forwarded, cert, chain string) {
		for _, read := range []struct {
			rule Rule
			h    request.Header
		}{
			{envoy, request.Header{line("x-forwarded-client-cert", forwarded)}},
			{standard, request.Header{line("client-cert", cert), line("client-cert-chain", chain)}},
		} {
			c, err := read.rule.Certificate(nil, read.h)
			if err != nil {
				if c != nil || err != request.ErrCertificate && err != ErrRepeated { //nolint:errorlint // exactly these, with no input wrapped
					t.Errorf("%v with %v", err, c)
				}
				continue
			}
			if read.rule == standard {
				if c.Unseen || strings.Contains(cert, ",") {
					t.Errorf("%q became %+v", cert, c)
				}
				continue
			}
			if n := strings.Count(forwarded, "Hash="); n == 0 || !strings.Contains(forwarded, "Hash="+hex.EncodeToString(c.Thumbprint[:])) && !strings.Contains(forwarded, `Hash="`+hex.EncodeToString(c.Thumbprint[:])) {
				t.Errorf("%q became %+v", forwarded, c)
			}
			if commas := strings.Count(forwarded, ","); commas > 0 && !strings.Contains(forwarded, `"`) {
				t.Errorf("%q holds several elements", forwarded)
			}
			for _, uri := range c.URIs {
				if c.Unseen && !strings.Contains(strings.ReplaceAll(forwarded, `\"`, `"`), uri) || strings.ContainsFunc(uri, unicode.IsControl) {
					t.Errorf("%q became the URI %q", forwarded, uri)
				}
			}
		}
	})
}
