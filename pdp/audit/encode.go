package audit

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// encoder turns entries into lines. It is used by one goroutine at a time.
type encoder struct {
	lineWriter
	// secrets are the credentials of the entry in hand.
	secrets []string
	// maskedQuery is set when a part of the query was left out.
	maskedQuery bool
}

// encode returns the entry's line, newline included. It is valid until the next call.
func (e *encoder) encode(entry *Entry) []byte {
	e.reset()
	e.maskedQuery = false
	e.collect(entry.Request, entry.Match)

	r, v := entry.Request, entry.Verdict
	e.open('{')
	e.text("decision_id", v.DecisionID, maxText)
	e.instant("time", entry.Time)
	e.number("took_us", entry.Took.Microseconds())
	e.text("adapter", r.Adapter, maxText)
	e.text("caller", r.Caller, maxText)
	e.text("correlation_id", e.clean(r.CorrelationID), maxText)
	e.flag("dry_run", r.Mode == request.Dry)
	e.place(entry)
	e.object("request", func() { e.request(entry) })
	e.object("subject", func() {
		e.subject(entry.Subject)
		e.claims(entry)
	})
	e.text("action", e.clean(entry.Action), maxText)
	e.object("resource", func() {
		e.text("type", e.clean(entry.ResourceType), maxText)
		if !hiddenResource(entry) {
			e.text("id", e.clean(entry.ResourceID), maxText)
		}
	})
	e.outcome(v)
	if f := r.Failure; f != nil {
		e.object("report", func() {
			e.text("outcome", "failed", maxText)
			e.text("decision_id", e.clean(f.DecisionID), maxText)
		})
	}
	e.list("steps", len(entry.Steps), func(i int) {
		e.text("point", entry.Steps[i].Point, maxText)
		e.number("took_us", entry.Steps[i].Took.Microseconds())
	})
	e.omissions(entry)
	e.flag("truncated", e.truncated)
	e.close('}')
	e.buf = append(e.buf, '\n')

	clear(e.secrets)
	e.secrets = e.secrets[:0]
	return e.buf
}

func (e *encoder) place(entry *Entry) {
	m, explanation := entry.Match, &entry.Verdict.Explanation
	e.text("bundle", explanation.Bundle, maxText)
	e.text("revision", explanation.Revision, maxText)
	if m.Service != nil {
		e.text("service", m.Service.Name, maxText)
	}
	if m.Route != nil {
		e.text("route", m.Route.Name, maxText)
		e.text("template", m.Route.Template, maxLong)
	} else {
		e.text("template", m.Template, maxLong)
	}
}

func (e *encoder) request(entry *Entry) {
	r, m := entry.Request, entry.Match
	e.text("method", e.clean(r.Method), 32)
	e.text("scheme", e.clean(r.Scheme), 32)
	e.text("protocol", e.clean(r.Protocol), 32)
	e.text("host", e.clean(m.Host), maxText)
	if m.Route == nil && m.Template == "" { // a template's parameters are masked unless the bundle lists them
		e.text("path", e.clean(m.Path), maxText)
	}
	e.params(entry)
	e.query(entry)
	e.headers(entry)
	e.number("body_size", max(r.Body.Size, 0))
	e.flag("body_partial", r.Body.Partial)
	e.address("client_address", r.Client)
	e.peer(&r.Peer)
	e.text("server_name", e.clean(r.SNI), maxText)
	if c := r.Certificate; c != nil {
		e.object("certificate", func() { e.certificate(c) })
	}
	if sum := &entry.Verdict.Explanation.Credential; *sum != [len(sum)]byte{} {
		e.hex("credential_hash", sum[:])
	}
}

func (e *encoder) peer(p *request.Peer) {
	if p.Address.IsValid() {
		e.key("peer_address")
		e.open('"')
		e.buf = p.Address.AppendTo(e.buf)
		e.close('"')
	}
	e.text("peer_principal", e.clean(p.Principal), maxLong)
}

func (e *encoder) certificate(c *request.Certificate) {
	e.text("subject", c.Subject, maxLong)
	e.texts("sans", c.SANs())
	e.hex("thumbprint", c.Thumbprint[:])
	e.instant("not_after", c.NotAfter)
	e.flag("unseen", c.Unseen)
}

func (e *encoder) hex(key string, value []byte) {
	e.key(key)
	e.open('"')
	e.buf = hex.AppendEncode(e.buf, value)
	e.close('"')
}

// params writes the listed path parameters.
func (e *encoder) params(entry *Entry) {
	f := fields{encoder: e, name: "params"}
	for i := range entry.Match.Params {
		if p := &entry.Match.Params[i]; listed(entry.Params, p.Name) {
			f.add(p.Name, p.Value)
		}
	}
	f.end()
}

// hiddenResource reports whether the resource's id is the value of a path parameter that the bundle does not list, and
// so must not be shown under another name.
func hiddenResource(entry *Entry) bool {
	hidden := false
	for i := range entry.Match.Params {
		p := &entry.Match.Params[i]
		if p.Value != entry.ResourceID || p.Value == "" {
			continue
		}
		if listed(entry.Params, p.Name) {
			return false
		}
		hidden = true
	}
	return hidden
}

// query writes the listed query parameters and notes whether there were others.
func (e *encoder) query(entry *Entry) {
	f := fields{encoder: e, name: "query"}
	for rest, n := entry.Match.Query, 0; rest != ""; n++ {
		if n == maxPairs {
			e.truncated = true
			break
		}
		var name, value string
		name, value, rest = nextPair(rest)
		if slices.Contains(entry.Query, name) && !request.MayHoldCredentialInQuery(name) {
			f.add(name, value)
		} else {
			e.maskedQuery = true
		}
	}
	f.end()
}

// claims writes the listed claims as JSON, so that rules that read them can be replayed.
func (e *encoder) claims(entry *Entry) {
	f := fields{encoder: e, name: "claims"}
	for _, path := range entry.Claims {
		value, ok := claim(entry.Subject.Claims, path)
		if !ok {
			continue
		}
		if text, err := json.Marshal(value); err == nil {
			f.add(path, string(text))
		}
	}
	f.end()
}

// claim returns the member at a dotted path.
func claim(claims map[string]any, path string) (value any, ok bool) {
	for name, rest, more := "", path, true; more; claims, _ = value.(map[string]any) {
		name, rest, more = strings.Cut(rest, ".")
		if value, ok = claims[name]; !ok {
			return nil, false
		}
	}
	return value, true
}

func (e *encoder) headers(entry *Entry) {
	f := fields{encoder: e, name: "headers"}
	if len(entry.Headers) > 0 {
		for i := range entry.Request.Header {
			if h := &entry.Request.Header[i]; listed(entry.Headers, h.Name) {
				f.add(h.Name, h.Value)
			}
		}
	}
	f.end()
}

// listed reports whether the bundle lists a name that may be recorded at all.
func listed(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return !request.MayHoldCredential(name)
		}
	}
	return false
}

func (e *encoder) subject(s *subject.Subject) {
	if s.IsAnonymous() {
		e.text("key", subject.AnonymousKey, maxText)
		e.text("kind", subject.KindAnonymous, maxText)
		return
	}
	e.text("key", s.Key, maxLong)
	e.text("kind", s.Kind, maxText)
	e.text("authenticator", s.Authenticator, maxText)
	e.text("id", s.ID, maxLong)
	e.text("issuer", s.Issuer, maxText)
	e.text("tenant", s.Tenant, maxText)
	e.texts("roles", s.Roles)
	e.number("dropped_roles", int64(s.DroppedRoles))
	e.texts("scopes", s.Scopes)
	e.text("acr", s.ACR, maxText)
	e.texts("amr", s.AMR)
	e.instant("auth_time", s.AuthTime)
	e.text("token_id", s.TokenID, maxText)
	e.text("key_id", s.KeyID, maxText)
	e.text("binding", s.Binding, maxText)
	e.text("key_thumbprint", s.KeyThumbprint, maxText)
}

func (e *encoder) outcome(v *verdict.Verdict) {
	e.text("effect", v.Effect.String(), maxText)
	e.number("status", int64(v.HTTPStatus()))
	e.text("reason", string(v.Reason), maxText)
	e.text("stage", v.Stage, maxText)
	e.flag("degraded", v.Degraded)
	x := &v.Explanation
	e.text("policy", x.Policy, maxText)
	e.text("rule", x.Rule, maxText)
	e.text("rule_id", x.RuleID, maxText)
	e.text("limit", x.Limit, maxText)
	e.list("limits", len(x.Limits), func(i int) { e.limit(&x.Limits[i]) })
	e.number("retry_after_ms", ceilMillis(v.RetryAfter))
	e.text("detail", e.clean(x.Detail), maxText)
	e.text("observed", string(x.Observed), maxText)
	if next := x.Candidate; next != nil && next.Disagrees {
		e.object("candidate", func() {
			e.text("policy", next.Policy, maxText)
			e.text("effect", next.Effect.String(), maxText)
			e.text("reason", string(next.Reason), maxText)
			e.text("rule", next.Rule, maxText)
			e.text("rule_id", next.RuleID, maxText)
		})
	}
}

func (e *encoder) limit(l *verdict.LimitState) {
	e.text("name", l.Name, maxText)
	e.number("quota", l.Quota)
	e.number("remaining", l.Remaining)
	e.number("window_ms", ceilMillis(l.Window))
	e.number("retry_after_ms", ceilMillis(l.RetryAfter))
	e.flag("refused", l.Refused)
	e.flag("shadow", l.Shadow)
	e.flag("degraded", l.Degraded)
	e.flag("leased", l.Leased)
}

// ceilMillis rounds up, so that a wait is never told too short.
func ceilMillis(d time.Duration) int64 {
	return int64((d + time.Millisecond - time.Nanosecond) / time.Millisecond)
}

// omissions names what was in the request and is not in the record.
func (e *encoder) omissions(entry *Entry) {
	before := len(e.buf)
	e.key("masked")
	e.open('[')
	opened := len(e.buf)
	if e.maskedQuery {
		e.comma()
		e.quote("query", maxText)
	}
	for i := range entry.Match.Params {
		if name := entry.Match.Params[i].Name; !listed(entry.Params, name) && e.room(i) {
			e.comma()
			e.buf = append(e.buf, `"params.`...)
			// The name is the template's own, an identifier.
			start := len(e.buf)
			e.quote(name, maxText)
			e.buf = append(e.buf[:start], e.buf[start+1:]...)
		}
	}
	if op := entry.Request.Operation; op != nil && len(op.Properties) > 0 {
		e.comma()
		e.quote("resource.properties", maxText)
	}
	if hiddenResource(entry) {
		e.comma()
		e.quote("resource.id", maxText)
	}
	if len(e.buf) == opened {
		e.buf = e.buf[:before]
		return
	}
	e.close(']')
}

// list writes n objects that item fills.
func (e *encoder) list(name string, n int, item func(i int)) {
	if n == 0 {
		return
	}
	e.key(name)
	e.open('[')
	for i := 0; i < n && e.room(i); i++ {
		e.comma()
		e.open('{')
		item(i)
		e.close('}')
	}
	e.close(']')
}

// fields writes a list of names and clients' values, which begins with its first item.
type fields struct {
	*encoder
	name string
	n    int
}

func (f *fields) add(name, value string) {
	if !f.room(f.n) {
		return
	}
	if f.n == 0 {
		f.key(f.name)
		f.open('[')
	}
	f.n++
	f.comma()
	f.open('{')
	f.text("name", name, maxText)
	f.text("value", f.clean(value), maxText)
	f.close('}')
}

func (f *fields) end() {
	if f.n > 0 {
		f.close(']')
	}
}
