package stack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// lifetime is how long throw-away certificates are valid.
const lifetime = 7 * 24 * time.Hour

// Authority signs throw-away certificates.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	der         []byte
}

// Wanted is what a certificate is to say.
type Wanted struct {
	// Names are its subject alternative names: host names, addresses, and URIs with "://".
	Names []string
	// CommonName is the common name of its subject; "" for an empty subject.
	CommonName string
	// NotBefore and NotAfter bound its validity.
	NotBefore, NotAfter time.Time
}

// NewAuthority makes an authority whose own certificate is valid from now on, for a week.
func NewAuthority(now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "quickstart throw-away authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	return &Authority{certificate: certificate, key: key, der: der}, nil
}

// Certificate returns the authority's own certificate, in PEM.
func (a *Authority) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.der})
}

// Pool returns a pool with the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// Issue makes a key and a certificate for it, for servers and for clients, both in PEM.
func (a *Authority) Issue(w Wanted) (certificate, key []byte, err error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: w.CommonName}, NotBefore: w.NotBefore, NotAfter: w.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range w.Names {
		if err := addName(template, name); err != nil {
			return nil, nil, fmt.Errorf("issuing a certificate: %w", err)
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

func addName(template *x509.Certificate, name string) error {
	if strings.Contains(name, "://") {
		u, err := url.Parse(name)
		if err != nil {
			return err
		}
		template.URIs = append(template.URIs, u)
		return nil
	}
	if ip := net.ParseIP(name); ip != nil { //nolint:forbidigo // what x509 wants
		template.IPAddresses = append(template.IPAddresses, ip)
		return nil
	}
	template.DNSNames = append(template.DNSNames, name)
	return nil
}

// certificateNames are the certificates of a stack, by the name of their files. The edge stands for every sample API;
// batch is a client.
func certificateNames() map[string][]string {
	return map[string][]string{
		"edge":    {"*.example.com", "localhost", "127.0.0.1"},
		"gateway": {"gateway.example.com"},
		"durward": {"durward.example.com"},
		"reports": {"reports.example.com"},
		"batch":   {"spiffe://example.com/ns/shop/batch"},
	}
}

// writeAll makes the directory with the authority's certificate and the stack's certificates.
func (a *Authority) writeAll(dir string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("writing certificates: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), a.Certificate(), 0o600); err != nil {
		return fmt.Errorf("writing certificates: %w", err)
	}
	for file, names := range certificateNames() {
		certificate, key, err := a.Issue(Wanted{Names: names, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime)})
		if err != nil {
			return err
		}
		if err := writePair(dir, file, certificate, key); err != nil {
			return fmt.Errorf("writing certificates: %w", err)
		}
	}
	return nil
}

func writePair(dir, file string, certificate, key []byte) error {
	if err := os.WriteFile(filepath.Join(dir, file+".key"), key, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, file+".crt"), certificate, 0o600)
}

// Certificate reads one of the stack's certificates with its key: edge, gateway, durward, reports or batch.
func (s *Stack) Certificate(name string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.Dir, tlsDir, name+".crt"), filepath.Join(s.Dir, tlsDir, name+".key"))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading certificate %s: %w", name, err)
	}
	return pair, nil
}
