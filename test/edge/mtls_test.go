package edge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
)

// TestGatewayMustBeKnown goes through gateways that show Durward no certificate, one of another authority, and one
// that is no caller's. The first two are not heard, the last is refused; nothing passes.
func TestGatewayMustBeKnown(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	root := bearer(e.issuer.token(t, "root"))
	for _, door := range []string{namelessDoor, foreignDoor, strangerDoor} {
		for _, target := range []string{"/public/x", "/admin", "/health"} {
			got := e.send(t, door, request("GET", "edge.example.com", target, root))
			if door != strangerDoor {
				if got.status != 503 || got.id != "" || got.arrived != nil {
					t.Errorf("%s %s: status %d, decision %q", door, target, got.status, got.id)
				}
				continue
			}
			found := e.denied(t, got, 403, "caller_not_trusted", "access_denied")
			if found.text("caller") != "" || found.text("subject.key") != "anonymous" {
				t.Errorf("the record believes a stranger: %v", found)
			}
		}
	}
}

// clientCertificate issues a client certificate.
func clientCertificate(t *testing.T, a *stack.Authority, from, until time.Duration, names ...string) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(issue(t, a, from, until, names...))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func issue(t *testing.T, a *stack.Authority, from, until time.Duration, names ...string) (certificate, key []byte) {
	t.Helper()
	now := time.Now()
	certificate, key, err := a.Issue(stack.Wanted{Names: names, NotBefore: now.Add(from), NotAfter: now.Add(until)})
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

// TestClientCertificates shows the gateway certificates of clients; all their names count.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	const batch, other = "spiffe://example.com/ns/shop/batch", "spiffe://example.com/ns/shop/other"
	text := request("GET", "edge.example.com", "/a/b")
	refused := outcome{401, "certificate_invalid"}
	for name, c := range map[string]struct {
		names []string
		want  outcome
	}{
		"its only name":          {[]string{batch}, passes},
		"its last of many names": {[]string{"batch.example.com", "example.com", batch}, passes},
		"two URIs":               {[]string{"spiffe://other.example/ns/shop/batch", batch}, refused},
		"another kind of URI":    {[]string{batch, "https://batch.example.com/"}, refused},
		"without rights":         {[]string{other}, noRule},
		"two accepted names":     {[]string{batch, other}, refused},
		"no accepted name":       {[]string{"spiffe://example.com/ns/office/batch", "batch.example.com"}, refused},
		"the prefix alone":       {[]string{"spiffe://example.com/ns/shop/"}, refused},
		"out of the prefix":      {[]string{"spiffe://example.com/ns/shop/../office/batch"}, refused},
		"another trust domain":   {[]string{"spiffe://example.com.evil.example/ns/shop/batch"}, refused},
	} {
		t.Run(name, func(t *testing.T) {
			certificate := clientCertificate(t, e.Authority, -time.Hour, time.Hour, c.names...)
			got := e.send(t, edgeDoor, text, certificate)
			e.pathOutcome(t, name, c.want, got)
			found := e.record(t, got.id)
			var names []string
			if recorded, ok := found["request"].(map[string]any)["certificate"].(map[string]any); ok {
				for _, san := range recorded["sans"].([]any) {
					names = append(names, fmt.Sprint(san))
				}
			}
			slices.Sort(names)
			want := slices.Sorted(slices.Values(c.names))
			if !slices.Equal(names, want) {
				t.Errorf("recorded names %q, want %q", names, want)
			}
			if c.want == passes && (found.text("subject.key") != "service:workloads:"+batch || !slices.Equal(got.arrived.Identity["x-durward-subject"], []string{batch})) {
				t.Errorf("subject %s, the API got %v", found.text("subject.key"), got.arrived.Identity)
			}
		})
	}
	good := clientCertificate(t, e.Authority, -time.Hour, time.Hour, batch)
	t.Run("beside a bad token", func(t *testing.T) {
		e.denied(t, e.send(t, edgeDoor, request("GET", "edge.example.com", "/a/b", bearer("a.b.c")), good), 401, "token_malformed", "invalid_token")
	})
	t.Run("told in a header", func(t *testing.T) {
		pem, _ := issue(t, e.Authority, -time.Hour, time.Hour, batch)
		escaped := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(string(pem), "\n", "%0A"), " ", "%20"), "+", "%2B")
		got := e.send(t, edgeDoor, request("GET", "edge.example.com", "/a/b", `x-forwarded-client-cert: URI=`+batch+`;Cert="`+escaped+`"`))
		e.denied(t, got, 401, "token_missing", "credentials_required")
	})
	foreign, err := stack.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]tls.Certificate{
		"of another authority": clientCertificate(t, foreign, -time.Hour, time.Hour, batch),
		"expired":              clientCertificate(t, e.Authority, -2*time.Hour, -time.Hour, batch),
		"not yet valid":        clientCertificate(t, e.Authority, time.Hour, 2*time.Hour, batch),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := e.trySend(t, edgeDoor, text, bad); err == nil {
				t.Errorf("the gateway took it: status %d", got.status)
			}
		})
	}
}

// TestRotatedCertificates replaces the files of a running server: its certificate, then its authorities, with
// mistakes between. Requests pass all the while.
func TestRotatedCertificates(t *testing.T) {
	t.Parallel()
	e := own(t, stack.Options{Replicas: 1, WithoutRedis: true, Settings: patientServer, Envoy: patientGateway}).watch(t)
	passing := func(when string) {
		t.Helper()
		if got := e.send(t, edgeDoor, request("GET", "orders.example.com", "/health")); got.arrived == nil {
			t.Errorf("%s: status %d", when, got.status)
		}
	}
	gateway, err := e.Certificate("gateway")
	if err != nil {
		t.Fatal(err)
	}
	old := e.Authority.Pool()
	first, err := e.handshake(t, old, gateway)
	if err != nil {
		t.Fatal(err)
	}
	passing("at first")

	certificate, key := issue(t, e.Authority, -time.Hour, time.Hour, "durward.example.com")
	e.place(t, "durward.key", key)
	e.place(t, "durward.crt", certificate)
	second := e.until(t, "a new certificate", func() (string, bool) {
		serial, err := e.handshake(t, old, gateway)
		return serial, err == nil && serial != first
	})
	passing("with a new certificate")

	for file, text := range map[string]string{"durward.crt": "-----BEGIN CERTIFICATE-----\nhalf", "ca.crt": "nothing"} {
		good, err := os.ReadFile(filepath.Join(e.Dir, "tls", file))
		if err != nil {
			t.Fatal(err)
		}
		before := e.complaints(t)
		e.place(t, file, []byte(text))
		e.until(t, "a complaint about "+file, func() (string, bool) {
			serial, err := e.handshake(t, old, gateway)
			if err != nil || serial != second {
				t.Fatalf("with a broken %s: certificate %s, %v", file, serial, err)
			}
			return "", e.complaints(t) > before
		})
		passing("with a broken " + file)
		e.place(t, file, good)
	}

	// A new authority: the old gateway's certificate is worth nothing any more.
	authority, err := stack.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = issue(t, authority, -time.Hour, time.Hour, "durward.example.com")
	e.place(t, "durward.key", key)
	e.place(t, "durward.crt", certificate)
	e.place(t, "ca.crt", authority.Certificate())
	certificate, key = issue(t, authority, -time.Hour, time.Hour, "gateway.example.com")
	renewed, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	e.until(t, "a new authority", func() (string, bool) {
		serial, err := e.handshake(t, authority.Pool(), renewed)
		return serial, err == nil
	})
	if _, err := e.handshake(t, authority.Pool(), gateway); err == nil {
		t.Error("a certificate of the old authority is taken")
	}
	passing("over the gateway's old connection")
	e.place(t, "gateway.key", key)
	e.place(t, "gateway.crt", certificate)
	e.checkStats(t) // a new process counts anew
	e.decided.Store(0)
	if err := e.Envoy.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	passing("with a new authority")
}

// place puts a file where the certificates are, at once.
func (e *edge) place(t *testing.T, file string, data []byte) {
	t.Helper()
	draft := filepath.Join(e.Dir, ".draft-"+file)
	if err := errors.Join(os.WriteFile(draft, data, 0o600), os.Rename(draft, filepath.Join(e.Dir, "tls", file))); err != nil {
		t.Fatal(err)
	}
}

// complaints counts the certificates that the server did not take.
func (e *edge) complaints(t *testing.T) int {
	t.Helper()
	log, err := os.ReadFile(e.Replicas[0].Log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(log), "certificate not reloaded")
}

// until asks again and again, for as long as a slow machine may need.
func (e *edge) until(t *testing.T, what string, done func() (string, bool)) string {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if got, ok := done(); ok {
			return got
		}
	}
	t.Fatalf("waiting for %s", what)
	return ""
}

// handshake connects to the replica and returns the serial number of its certificate. A client's certificate is
// judged after the handshake of TLS 1.3, so that the server's first bytes are read.
func (e *edge) handshake(t *testing.T, pool *x509.CertPool, client tls.Certificate) (serial string, err error) {
	t.Helper()
	conn, err := dial(soon(t), e.Replicas[0].Address, true, &tls.Config{
		RootCAs: pool, ServerName: "durward.example.com", Certificates: []tls.Certificate{client}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(conn, make([]byte, 9)); err != nil {
		return "", err
	}
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}
