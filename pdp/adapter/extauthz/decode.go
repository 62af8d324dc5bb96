package extauthz

import (
	"errors"
	"math"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/request/clientcert"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	// maxLabel bounds texts that only the record needs.
	maxLabel = 128
	// maxPrincipal bounds the peer's name in the record.
	maxPrincipal = 1024
)

// decoder turns one message into one request. The first fault found is the reason of the refusal; reading goes on
// where it can, because the record shows what is known.
type decoder struct {
	request *request.Request
	asserts Asserts
	address request.AddressRule
	// certificate says in which header a certificate may come besides.
	certificate clientcert.Rule
}

func (d *decoder) refuse(reason verdict.Reason) {
	if d.request.Invalid == "" {
		d.request.Invalid = string(reason)
	}
}

func (d *decoder) read(a *authv3.AttributeContext) {
	http := a.GetRequest().GetHttp()
	if http == nil {
		// The network filter sends no HTTP request: there is nothing to route.
		d.refuse(verdict.MalformedRequest)
		return
	}
	d.readHTTP(http)
	d.readSource(a.GetSource())
	d.request.SNI = request.Printable(a.GetTlsSession().GetSni(), 255)
	if t := a.GetRequest().GetTime(); t.IsValid() {
		d.request.Time = t.AsTime()
	}
	if extensions := a.GetContextExtensions(); len(extensions) > 0 {
		if !d.asserts.Service {
			d.refuse(verdict.CallerNotTrusted)
			return
		}
		d.request.Extensions = extensions
	}
}

func (d *decoder) readHTTP(http *authv3.AttributeContext_HttpRequest) {
	r := d.request
	r.Method, r.Target, r.Host, r.Scheme = http.GetMethod(), http.GetPath(), http.GetHost(), http.GetScheme()
	r.Protocol = request.Printable(http.GetProtocol(), 16)

	lines, reason := readLines(http)
	if reason != "" {
		d.refuse(reason)
		return
	}
	d.takePseudo(lines)
	d.takeHost(lines)
	partial := d.keepLines(lines)
	d.checkSingle()
	d.lowerScheme()
	d.readBody(http, partial)
	d.correlate(http.GetId())

	// Query and fragment are always empty in Envoy; a message that fills them has another idea of the target.
	if r.Method == "" || r.Target == "" || http.GetQuery() != "" || http.GetFragment() != "" {
		d.refuse(verdict.MalformedRequest)
	}
	if len(http.GetHeaderMap().GetHeaders()) == 0 && hidesBytes(r) {
		d.refuse(verdict.PathAmbiguous)
	}
}

// hidesBytes reports whether the path of a message with joined headers may stand for another one: Envoy writes "!" there
// for each byte that is not UTF-8, and hands the byte itself to the API. Over HTTP/1 it refuses such paths.
func hidesBytes(r *request.Request) bool {
	path, _, _ := strings.Cut(r.Target, "?")
	return strings.IndexByte(path, '!') >= 0 && !strings.HasPrefix(r.Protocol, "HTTP/1")
}

// lowerScheme takes https back where X-Forwarded-Proto, which the gateway writes, says that the client's
// connection was plain: over HTTP/2 the scheme is the client's own word.
func (d *decoder) lowerScheme() {
	for i := range d.request.Header {
		f := &d.request.Header[i]
		if f.Name == "x-forwarded-proto" && d.request.Scheme == "https" && !strings.EqualFold(strings.Trim(f.Value, " \t"), "https") {
			d.request.Scheme = "http"
		}
	}
}

func (d *decoder) readBody(http *authv3.AttributeContext_HttpRequest, partial bool) {
	body := &d.request.Body
	body.Size = http.GetSize()
	if body.Size < 0 {
		body.Size = -1
	}
	switch text, raw := http.GetBody(), http.GetRawBody(); {
	case text != "" && len(raw) > 0:
		d.refuse(verdict.MalformedRequest)
		return
	case text != "":
		body.Bytes = []byte(text)
	case len(raw) > 0:
		body.Bytes = raw
	default:
		// Without a body the marker was not written by the gateway but by the client. And a size of zero then says
		// only that nothing had arrived yet.
		if body.Size == 0 && announcesBody(d.request.Header) {
			body.Size = -1
		}
		return
	}
	body.Partial = partial
	if n := int64(len(body.Bytes)); body.Size >= 0 && body.Size < n {
		body.Size = n
	}
}

// announcesBody reports whether the client said that a body follows.
func announcesBody(h request.Header) bool {
	length, n := h.Get("content-length")
	return n > 0 && strings.Trim(length, "0") != "" || h.Count("transfer-encoding") > 0
}

// correlate keeps the client's own name of the request; the gateway's stream id where there is none.
func (d *decoder) correlate(id string) {
	if value, n := d.request.Header.Get("x-request-id"); n == 1 && value != "" {
		id = replaceInvalid(value)
	}
	d.request.CorrelationID = request.Printable(id, maxLabel)
}

func (d *decoder) readSource(source *authv3.AttributeContext_Peer) {
	r := d.request
	if d.asserts.ClientAddress {
		r.Peer.Address = socketAddress(source.GetAddress())
		r.Client = d.address.Client(r.Peer.Address, r.Header)
	}
	if d.asserts.Certificate {
		r.Peer.Principal = request.Printable(source.GetPrincipal(), maxPrincipal)
	}
	d.readCertificate(source.GetCertificate())
}

// readCertificate reads the client's certificate from the message and from the header that the listener's rule names.
func (d *decoder) readCertificate(escaped string) {
	r := d.request
	if escaped == "" && !d.certificate.Asserts(r.Header) {
		return
	}
	if !d.asserts.Certificate {
		d.refuse(verdict.CallerNotTrusted)
		return
	}
	var shown *request.Certificate
	var err error
	if escaped != "" {
		shown, err = request.ParseEscapedPEM(escaped)
	}
	if err == nil {
		r.Certificate, err = d.certificate.Certificate(shown, r.Header)
	}
	switch {
	case errors.Is(err, clientcert.ErrRepeated):
		d.refuse(verdict.DuplicateHeader)
	case err != nil:
		d.refuse(verdict.CertificateBad)
	}
}

// socketAddress returns the zero value for pipes, internal listeners and anything that is no IP address.
func socketAddress(a *corev3.Address) netip.AddrPort {
	socket := a.GetSocketAddress()
	address, err := netip.ParseAddr(socket.GetAddress())
	if err != nil {
		return netip.AddrPort{}
	}
	port := socket.GetPortValue()
	if port > math.MaxUint16 {
		port = 0
	}
	return netip.AddrPortFrom(address.Unmap().WithZone(""), uint16(port))
}
