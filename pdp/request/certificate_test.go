package request

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
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

func escaped(raw []byte, kind string, headers map[string]string) string {
	return url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: kind, Headers: headers, Bytes: raw})))
}

func sample() *x509.Certificate {
	return &x509.Certificate{
		Subject:        pkix.Name{CommonName: "plain,comma+plus", Organization: []string{"Lab"}},
		URIs:           []*url.URL{{Scheme: "spiffe", Host: "lab.local", Path: "/a"}, {Scheme: "spiffe", Host: "lab.local", Path: "/b"}},
		DNSNames:       []string{"orders.local"},
		EmailAddresses: []string{"a@lab.local"},
	}
}

func TestParseEscapedPEM(t *testing.T) {
	raw := der(t, sample())
	c, err := ParseEscapedPEM(escaped(raw, "CERTIFICATE", nil))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"spiffe://lab.local/a", "spiffe://lab.local/b", "orders.local", "a@lab.local"}
	if !slices.Equal(c.SANs(), want) {
		t.Errorf("SANs = %q, want %q", c.SANs(), want)
	}
	if c.Subject != `CN=plain\,comma\+plus,O=Lab` {
		t.Errorf("Subject = %q", c.Subject)
	}
	if c.Thumbprint != sha256.Sum256(raw) || !c.NotAfter.Equal(time.Unix(2000000000, 0)) || !c.NotBefore.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("certificate = %+v", c)
	}
	// SANs is a copy: a caller that appends must not reach the certificate's lists.
	_ = append(c.SANs()[:1], "forged")
	if !slices.Equal(c.SANs(), want) {
		t.Error("SANs shares its memory with the certificate")
	}
}

// TestURIsAsWritten: names that a parsed URL would write alike stay apart.
func TestURIsAsWritten(t *testing.T) {
	for _, want := range []string{"spiffe://a.example/x#", "SPIFFE://a.example/x", "spiffe://a.example/x", "spiffe://a.example/%7e"} {
		// The extension by hand: the library would write a parsed URL.
		names, err := asn1.Marshal([]asn1.RawValue{
			{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("a.example")},
			{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(want)},
		})
		if err != nil {
			t.Fatal(err)
		}
		c, err := ParseCertificate(der(t, &x509.Certificate{ExtraExtensions: []pkix.Extension{{Id: namesExtension, Value: names}}}))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.URIs, []string{want}) || !slices.Equal(c.DNSNames, []string{"a.example"}) {
			t.Errorf("%q became %q and %q", want, c.URIs, c.DNSNames)
		}
	}
}

// TestAuthorities: what may sign certificates or lists of revoked ones is told apart.
func TestAuthorities(t *testing.T) {
	for name, row := range map[string]struct {
		template x509.Certificate
		want     bool
	}{
		"a client":              {x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true}, false},
		"without usage":         {x509.Certificate{}, false},
		"an authority":          {x509.Certificate{BasicConstraintsValid: true, IsCA: true}, true},
		"a key for signing":     {x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}, true},
		"a key for revocations": {x509.Certificate{KeyUsage: x509.KeyUsageCRLSign}, true},
	} {
		c, err := ParseCertificate(der(t, &row.template))
		if err != nil || c.Authority != row.want {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestParseEscapedPEMRefuses(t *testing.T) {
	raw := der(t, sample())
	good := escaped(raw, "CERTIFICATE", nil)
	control := sample()
	control.Subject.CommonName = "root\n\x1b[31m"
	nul := sample()
	nul.Subject.CommonName = "root\x00.example.com"
	many := sample()
	for i := range 1000 {
		many.DNSNames = append(many.DNSNames, fmt.Sprintf("name-%d.orders.local", i))
	}
	if c, err := ParseCertificate(der(t, many)); !errors.Is(err, ErrCertificate) || c != nil {
		t.Errorf("ParseCertificate of %d names = %+v, %v", len(many.DNSNames), c, err)
	}
	for name, text := range map[string]string{
		"nothing":         "",
		"no PEM":          "abc",
		"bad escape":      good + "%zz",
		"truncated":       good[:len(good)-40],
		"two blocks":      good + good,
		"text behind":     good + "abc",
		"text in front":   "abc%0A" + good,
		"a line in front": "%0A" + good,
		"a broken block":  "-----BEGIN%20CERTIFICATE-----%0A!%0A-----END%20CERTIFICATE-----%0A" + good,
		"half a block":    "-----BEGIN%20CERTIFICATE-----%0A" + good,
		"other block":     escaped(raw, "PUBLIC KEY", nil),
		"PEM headers":     escaped(raw, "CERTIFICATE", map[string]string{"Proc-Type": "4,ENCRYPTED"}),
		"no certificate":  escaped([]byte("abc"), "CERTIFICATE", nil),
		"trailing DER":    escaped(append(slices.Clone(raw), 0), "CERTIFICATE", nil),
		"a megabyte":      good + strings.Repeat("%20", 1<<20),
		"many names":      escaped(der(t, many), "CERTIFICATE", nil),
		"24 KiB":          good + strings.Repeat(" ", maxCertificatePEM),
		"control in name": escaped(der(t, control), "CERTIFICATE", nil),
		"NUL in name":     escaped(der(t, nul), "CERTIFICATE", nil),
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := ParseEscapedPEM(text); !errors.Is(err, ErrCertificate) || c != nil {
				t.Errorf("ParseEscapedPEM = %+v, %v; want ErrCertificate", c, err)
			}
		})
	}
}

// FuzzCertificate: no input panics, errors show no input, and no name with control characters gets through.
func FuzzCertificate(f *testing.F) {
	raw := der(f, sample())
	f.Add(escaped(raw, "CERTIFICATE", nil), raw)
	f.Add("-----BEGIN%20CERTIFICATE-----%0A%0A-----END%20CERTIFICATE-----", []byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, text string, der []byte) {
		for _, parse := range []func() (*Certificate, error){
			func() (*Certificate, error) { return ParseEscapedPEM(text) },
			func() (*Certificate, error) { return ParseCertificate(der) },
		} {
			c, err := parse()
			if err != nil {
				if err.Error() != ErrCertificate.Error() || c != nil {
					t.Errorf("error %q with %v", err, c)
				}
				continue
			}
			for _, name := range append(c.SANs(), c.Subject) {
				if hasControl(name) {
					t.Errorf("name %q", name)
				}
			}
		}
	})
}
