package edge

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
)

// The listeners of a gateway that tells clients' certificates in X-Forwarded-Client-Cert. The shipped one, edge, is set to
// SANITIZE_SET with the certificate.
const (
	namesDoor  = "names"  // the URI and no certificate
	bothDoor   = "both"   // the message shows the certificate, too
	appendDoor = "append" // behind what the client sent
	passDoor   = "pass"   // what the client sent, as it is
)

const (
	batch  = "spiffe://example.com/ns/shop/batch"
	office = "spiffe://example.com/ns/office/x"
)

// forwarding makes a gateway with those listeners of the shipped one.
func forwarding(text string) string {
	text = anyHost(patientGateway(text))
	head, listener, tail := section(text, "    - name: edge\n      address:", "\n  clusters:\n")
	const (
		sanitize = "forward_client_cert_details: SANITIZE\n"
		indent   = "                "
		all      = "{cert: true, uri: true, dns: true, subject: true}"
	)
	told := func(mode, details string, pairs ...string) string {
		return swap(listener, append(pairs, sanitize, "forward_client_cert_details: "+mode+"\n"+indent+"set_current_client_cert_details: "+details+"\n")...)
	}
	const shown, hidden = "include_peer_certificate: true", "include_peer_certificate: false"
	listeners := told("SANITIZE_SET", all, shown, hidden)
	for name, another := range map[string]string{
		clearDoor:  cleartext(told("SANITIZE_SET", all, shown, hidden)),
		namesDoor:  told("SANITIZE_SET", "{uri: true}", shown, hidden),
		bothDoor:   told("SANITIZE_SET", "{uri: true}"),
		appendDoor: told("APPEND_FORWARD", all, shown, hidden),
		passDoor:   told("ALWAYS_FORWARD_ONLY", all),
	} {
		another = swap(another, "    - name: edge\n      address:", "    - name: "+name+"\n      address:", "stat_prefix: edge", "stat_prefix: "+name, "&http", "")
		at := listenAddress.FindStringIndex(another)
		listeners += "\n" + another[:at[0]] + "address: {socket_address: {address: 127.0.0.1, port_value: 0}}" + another[at[1]:]
	}
	return head + listeners + tail
}

// believing makes Durward's listener take certificates from a header.
func believing(header string) func(string) string {
	return func(text string) string {
		return swap(patientServer(text), "client_address: xff:1\n", "client_address: xff:1\n    client_certificate: header:"+header+"\n")
	}
}

// told is what X-Forwarded-Client-Cert says of a certificate.
func told(c tls.Certificate, rest string) string {
	sum := sha256.Sum256(c.Certificate[0])
	return "x-forwarded-client-cert: By=spiffe://example.com/gateway;Hash=" + hex.EncodeToString(sum[:]) + rest
}

// TestForwardedClientCert goes through a gateway that tells certificates in its header, with clients that send the header, too,
// and with names that pretend to be more than names.
func TestForwardedClientCert(t *testing.T) {
	t.Parallel()
	e := own(t, stack.Options{Replicas: 1, WithoutRedis: true, Settings: believing("x-forwarded-client-cert"), Envoy: forwarding}).watch(t)
	text := func(fields ...string) string { return request("GET", "edge.example.com", "/a/b", fields...) }
	issued := func(names ...string) tls.Certificate {
		return clientCertificate(t, e.Authority, -time.Hour, time.Hour, names...)
	}
	named := func(common string, names ...string) tls.Certificate {
		now := time.Now()
		certificate, key, err := e.Authority.Issue(stack.Wanted{Names: names, CommonName: common, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	good, stranger := issued(batch, "batch.example.com"), issued(office)
	forged := told(good, ";URI="+batch)
	var (
		none    = outcome{401, "token_missing"}
		refused = outcome{401, "certificate_invalid"}
		twice   = outcome{400, "duplicate_header"}
	)
	for name, row := range map[string]struct {
		door   string
		want   outcome
		client []tls.Certificate
		fields []string
	}{
		"a certificate":                         {edgeDoor, passes, []tls.Certificate{good}, nil},
		"its names":                             {namesDoor, passes, []tls.Certificate{issued(batch)}, nil},
		"in both places":                        {bothDoor, passes, []tls.Certificate{good}, nil},
		"without one":                           {edgeDoor, none, nil, nil},
		"without one, and the client's header":  {edgeDoor, none, nil, []string{forged}},
		"its names without one, and a header":   {namesDoor, none, nil, []string{forged}},
		"another's, and the client's header":    {edgeDoor, refused, []tls.Certificate{stranger}, []string{forged}},
		"another's names, and a header":         {namesDoor, refused, []tls.Certificate{stranger}, []string{forged}},
		"its own, and the header of another":    {edgeDoor, passes, []tls.Certificate{good}, []string{told(stranger, ";URI="+office), forged}},
		"over plain text, and a header":         {clearDoor, outcome{403, "tls_required"}, nil, []string{forged}},
		"a header in another spelling":          {edgeDoor, none, nil, []string{strings.Replace(forged, "x-forwarded", "X-FORWARDED", 1)}},
		"a header that is another proxy's":      {edgeDoor, none, nil, []string{"client-cert: :" + base64.StdEncoding.EncodeToString(good.Certificate[0]) + ":"}},
		"a gateway that appends, alone":         {appendDoor, passes, []tls.Certificate{good}, nil},
		"a gateway that appends":                {appendDoor, twice, []tls.Certificate{stranger}, []string{forged}},
		"a gateway that appends, the same":      {appendDoor, twice, []tls.Certificate{good}, []string{forged}},
		"a gateway that passes, beside another": {passDoor, refused, []tls.Certificate{stranger}, []string{forged}},
		"a gateway that passes, twice":          {passDoor, twice, []tls.Certificate{good}, []string{forged, forged}},

		"two URIs":                        {edgeDoor, refused, []tls.Certificate{issued(batch, office)}, nil},
		"two URIs, by name":               {namesDoor, refused, []tls.Certificate{issued(batch, office)}, nil},
		"a host that reads like a URI":    {edgeDoor, refused, []tls.Certificate{issued("batch.example.com")}, nil},
		"a URI with another pair":         {namesDoor, refused, []tls.Certificate{issued(office + ";URI=" + batch)}, nil},
		"a URI with another element":      {namesDoor, twice, []tls.Certificate{issued(office + "," + strings.TrimPrefix(forged, "x-forwarded-client-cert: "))}, nil},
		"a URI that ends in a name":       {namesDoor, refused, []tls.Certificate{issued(batch + ";DNS=batch.example.com")}, nil},
		"a URI that ends in an empty one": {namesDoor, refused, []tls.Certificate{issued(batch + ";URI=")}, nil},
		"a URI that ends in a subject":    {namesDoor, refused, []tls.Certificate{issued(batch + ";Subject=x")}, nil},
		"a URI that ends in a separator":  {namesDoor, refused, []tls.Certificate{issued(batch + ";")}, nil},
		"a URI that ends in a comma":      {namesDoor, twice, []tls.Certificate{issued(batch + ",")}, nil},
		"a URI with a hash in it":         {namesDoor, refused, []tls.Certificate{issued(batch + ";Hash=" + strings.Repeat("0", 64))}, nil},
		"with a pair in it":               {edgeDoor, refused, []tls.Certificate{issued(office + ";URI=" + batch)}, nil},
		"with a certificate in it":        {namesDoor, refused, []tls.Certificate{issued(office + ";Cert=" + escapedPEM(good))}, nil},
		"a subject with a quote":          {edgeDoor, refused, []tls.Certificate{named(`x";URI=`+batch+`;Subject="`, office)}, nil},
		"a subject with a backslash":      {edgeDoor, refused, []tls.Certificate{named(`x\`, office)}, nil},
		"a subject that is odd and good":  {edgeDoor, passes, []tls.Certificate{named(`plain,comma;semicolon="quote`, batch)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := e.send(t, row.door, text(row.fields...), row.client...)
			e.pathOutcome(t, name, row.want, got)
			found := e.record(t, got.id)
			if row.door == clearDoor && found.text("request.certificate.thumbprint") != "" {
				t.Errorf("a certificate over plain text: %v", found)
			}
			if row.want == passes && found.text("subject.key") != "service:workloads:"+batch {
				t.Errorf("subject %s", found.text("subject.key"))
			}
			if unseen := found.text("request.certificate.unseen"); row.want == passes && (unseen == "true") != (row.door == namesDoor) {
				t.Errorf("unseen %q", unseen)
			}
			if got.arrived != nil {
				for name := range e.arrival(t, got.id).Header {
					if strings.Contains(strings.ToLower(name), "client") && strings.Contains(strings.ToLower(name), "cert") {
						t.Errorf("the API got %s", name)
					}
				}
			}
		})
	}
}

// escapedPEM returns a certificate as Envoy writes it.
func escapedPEM(c tls.Certificate) string {
	text := "-----BEGIN CERTIFICATE-----\n" + base64.StdEncoding.EncodeToString(c.Certificate[0]) + "\n-----END CERTIFICATE-----\n"
	return strings.ReplaceAll(url.PathEscape(text), "=", "%3D")
}

// TestCertificateHeadersOfClients: through the shipped gateway no header of a client names anybody, and none reaches the API.
func TestCertificateHeadersOfClients(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	good := clientCertificate(t, e.Authority, -time.Hour, time.Hour, batch)
	sequence := ":" + base64.StdEncoding.EncodeToString(good.Certificate[0]) + ":"
	lines := []string{
		told(good, ";URI="+batch), told(good, `;Cert="`+escapedPEM(good)+`"`), "client-cert: " + sequence, "client-cert-chain: " + sequence,
		"X_Forwarded_Client_Cert: URI=" + batch, "client_cert: " + sequence,
	}
	for _, door := range []string{edgeDoor, joinedDoor, rawDoor, rawJoinedDoor} {
		for i, line := range lines {
			if name, _, _ := strings.Cut(line, ":"); strings.Contains(name, "_") && (door == edgeDoor || door == joinedDoor) {
				continue // the shipped gateway takes no underscores
			}
			what := fmt.Sprint(door, " ", i)
			e.pathOutcome(t, what, outcome{401, "token_missing"}, e.send(t, door, request("GET", "edge.example.com", "/a/b", line)))
			got := e.send(t, door, request("GET", "edge.example.com", "/public/x", line))
			e.pathOutcome(t, what, passes, got)
			for name := range e.arrival(t, got.id).Header {
				if folded := strings.ReplaceAll(strings.ToLower(name), "_", "-"); strings.Contains(folded, "client-cert") {
					t.Errorf("%s: the API got %s", what, name)
				}
			}
		}
	}
}
