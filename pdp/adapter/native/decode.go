package native

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/request/clientcert"
	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

const (
	// maxLines bounds the header lines of a message; how many a request may have is for inspection to say.
	maxLines = 4096
	// maxLabel bounds texts that only the record needs, maxName the names of an operation, maxID a resource's id.
	maxLabel = 128
	maxName  = 256
	maxID    = 4096
	// maxProperties bounds a resource's properties.
	maxProperties = 64
	// serviceExtension is the extension in which callers name the service.
	serviceExtension = "durward.service"
)

// decoder turns one message into one request. The first fault found is the reason of the refusal; reading goes on
// where it can, because the record shows what is known.
type decoder struct {
	request *request.Request
	permits bool // can be given back
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

func (d *decoder) read(in *durwardv1.CheckRequest) {
	r := d.request
	if in.GetDryRun() {
		if !d.asserts.DryRun {
			d.refuse(verdict.CallerNotTrusted)
		}
		// Also where it is refused: what was not to be charged is not charged.
		r.Mode = request.Dry
	}
	r.Releases = d.permits && in.GetReleases()
	d.readExplain(in.GetExplain())
	r.CorrelationID = request.Printable(in.GetCorrelationId(), maxLabel)
	switch question := in.GetQuestion().(type) {
	case *durwardv1.CheckRequest_Http:
		d.readHTTP(question.Http)
	case *durwardv1.CheckRequest_Operation:
		d.readOperation(question.Operation)
	default:
		d.refuse(verdict.MalformedRequest)
	}
}

// readExplain refuses who may not ask: an answer without the reasons would look like one that has none.
func (d *decoder) readExplain(wanted durwardv1.Explain) {
	switch {
	case wanted == durwardv1.Explain_EXPLAIN_UNSPECIFIED:
	case !d.asserts.Explain:
		d.refuse(verdict.CallerNotTrusted)
	case wanted == durwardv1.Explain_EXPLAIN_DECISION:
		d.request.Explain = request.ExplainDecision
	case wanted == durwardv1.Explain_EXPLAIN_ALL:
		d.request.Explain = request.ExplainAll
	default:
		d.refuse(verdict.MalformedRequest)
	}
}

func (d *decoder) readHTTP(in *durwardv1.HTTPRequest) {
	r := d.request
	r.Method, r.Target, r.Host, r.Scheme = in.GetMethod(), in.GetTarget(), in.GetHost(), in.GetScheme()
	r.Protocol = request.Printable(in.GetProtocol(), 16)
	r.SNI = request.Printable(in.GetServerName(), 255)
	if r.Method == "" || r.Target == "" {
		d.refuse(verdict.MalformedRequest)
	}
	d.readHeader(in.GetHeaders())
	d.checkSingle()
	d.lowerScheme()
	d.readBody(in.GetBody())
	d.readConnection(in)
	if r.CorrelationID == "" {
		if value, n := r.Header.Get("x-request-id"); n == 1 {
			r.CorrelationID = request.Printable(value, maxLabel)
		}
	}
	if service := in.GetService(); service != "" {
		if !d.asserts.Service {
			d.refuse(verdict.CallerNotTrusted)
			return
		}
		r.Extensions = map[string]string{serviceExtension: service}
	}
}

// readHeader keeps the lines in their order, without the host, which has a field of its own. The host's line must say
// the same, once: gateway and API may each take another one.
func (d *decoder) readHeader(lines []*durwardv1.HeaderLine) {
	if len(lines) > maxLines {
		d.refuse(verdict.HeaderTooLarge)
		return
	}
	r, hosts := d.request, 0
	r.Header = make(request.Header, 0, len(lines))
	for _, line := range lines {
		// Names are checked before their case is folded: some letters beyond ASCII fold into it.
		name, value := strings.ToLower(line.GetName()), string(line.GetValue())
		switch {
		case strings.HasPrefix(name, ":"):
			d.refuse(verdict.MalformedRequest)
		case !request.ValidName(line.GetName()) || !request.CleanValue(value):
			d.refuse(verdict.HeaderInvalid)
		case name == "host":
			if hosts++; r.Host == "" && hosts == 1 {
				r.Host = value
			}
			if hosts > 1 || r.Host != value {
				d.refuse(verdict.DuplicateHeader)
			}
		default:
			r.Header = append(r.Header, request.Field{Name: name, Value: value})
		}
	}
	if strings.Contains(r.Host, ",") {
		d.refuse(verdict.DuplicateHeader)
	}
}

// checkSingle refuses two credentials.
func (d *decoder) checkSingle() {
	if !d.request.Header.SingleCredential() {
		d.refuse(verdict.DuplicateHeader)
	}
}

// lowerScheme takes https back where X-Forwarded-Proto says that the client's connection was plain. A client that forges
// it only harms itself.
func (d *decoder) lowerScheme() {
	for i := range d.request.Header {
		f := &d.request.Header[i]
		if f.Name == "x-forwarded-proto" && d.request.Scheme == "https" && !strings.EqualFold(strings.Trim(f.Value, " \t"), "https") {
			d.request.Scheme = "http"
		}
	}
}

func (d *decoder) readBody(in *durwardv1.Body) {
	r := d.request
	body := &r.Body
	body.Size = max(in.GetSize(), -1)
	body.Bytes, body.Partial = in.GetContent(), in.GetPartial()
	if n := int64(len(body.Bytes)); n > 0 {
		if body.Size >= 0 && body.Size < n {
			body.Size = n
		}
		return
	}
	// Without a body in the message a size of zero says only that the caller did not look.
	if body.Size == 0 && announcesBody(r.Header) {
		body.Size = -1
	}
}

// announcesBody reports whether the client said that a body follows.
func announcesBody(h request.Header) bool {
	length, n := h.Get("content-length")
	return n > 0 && strings.Trim(length, "0") != "" || h.Count("transfer-encoding") > 0
}

// forwarded returns the header with the peer as the last hop of X-Forwarded-For: a gateway appends its peer before it
// asks, a service does not. Without a peer the field names nobody, because its last entry may be the client's own.
func forwarded(h request.Header, peer netip.AddrPort) request.Header {
	out := make(request.Header, 0, len(h)+1)
	for _, f := range h {
		if peer.IsValid() || f.Name != "x-forwarded-for" {
			out = append(out, f)
		}
	}
	if peer.IsValid() {
		out = append(out, request.Field{Name: "x-forwarded-for", Value: peer.Addr().String()})
	}
	return out
}

func (d *decoder) readConnection(in *durwardv1.HTTPRequest) {
	r := d.request
	if peer := in.GetPeerAddress(); peer != "" {
		address, ok := parsePeer(peer)
		switch {
		case !d.asserts.ClientAddress:
			d.refuse(verdict.CallerNotTrusted)
		case !ok:
			d.refuse(verdict.MalformedRequest)
		default:
			r.Peer.Address = address
		}
	}
	// Headers name the client too, so that the rule is not even asked without the permission.
	if d.asserts.ClientAddress {
		r.Client = d.address.Client(r.Peer.Address, forwarded(r.Header, r.Peer.Address))
	}
	d.readCertificate(in.GetCertificate())
}

// readCertificate reads the client's certificate from the message and from the header that the listener's rule names.
func (d *decoder) readCertificate(der []byte) {
	r := d.request
	if len(der) == 0 && !d.certificate.Asserts(r.Header) {
		return
	}
	if !d.asserts.ClientCertificate {
		d.refuse(verdict.CallerNotTrusted)
		return
	}
	var shown *request.Certificate
	var err error
	if len(der) > 0 {
		shown, err = request.ParseCertificate(der)
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

// parsePeer reads an address with or without a port; zones are dropped and IPv4-mapped addresses unmapped.
func parsePeer(s string) (netip.AddrPort, bool) {
	if full, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(full.Addr().Unmap().WithZone(""), full.Port()), true
	}
	address, err := netip.ParseAddr(s)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(address.Unmap().WithZone(""), 0), true
}

func (d *decoder) readOperation(in *durwardv1.Operation) {
	resource := in.GetResource()
	op := &request.Operation{
		Service:      in.GetService(),
		Action:       in.GetAction(),
		ResourceType: resource.GetType(),
		ResourceID:   resource.GetId(),
		Properties:   resource.GetProperties(),
		Credential:   in.GetCredential(),
	}
	d.request.Operation = op
	sound := op.Service != "" && op.Action != "" && len(op.Properties) <= maxProperties
	for _, s := range []string{op.Service, op.Action, op.ResourceType} {
		sound = sound && len(s) <= maxName && cleanText(s)
	}
	sound = sound && len(op.ResourceID) <= maxID && cleanText(op.ResourceID)
	for name, value := range op.Properties {
		sound = sound && name != "" && len(name) <= maxName && cleanText(name) && len(value) <= maxID && cleanText(value)
	}
	if !sound {
		d.request.Operation = &request.Operation{}
		d.refuse(verdict.MalformedRequest)
	}
}
