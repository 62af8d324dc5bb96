package doors

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// example is a question and what every door must answer.
type example struct {
	name   string
	q      question
	reason verdict.Reason
	rule   string // file:line, where a rule decides
	limit  string
	times  int  // asked so often before the answer counts, zero means once
	binary bool // holds bytes that the joined map cannot carry
	noHTTP bool // net/http refuses such requests itself, or cannot send them
	noSDK  bool // the SDK does not ask such a server
	server string
	token  string // of the caller
}

func get(host, target string, header ...field) question {
	return question{method: "GET", host: host, target: target, header: header}
}

func put(body string, header ...field) question {
	return question{method: "PUT", host: "orders.example.com", target: "/orders/7", header: header, body: body}
}

const (
	orders = "orders.example.com"
	rules  = "services/orders/policy.csv"
)

// examples hold at least one request for every reason that a request can cause.
func examples(t *testing.T) []example {
	reader, writer := claimsOf("alice", "reader"), claimsOf("walter", "writer")
	return slices.Concat(allowed(t, reader, writer), misrouted(reader), malformed(t, reader, writer), unidentified(t, reader), unfit(reader), forbidden(reader, writer), limited())
}

func allowed(t *testing.T, reader, writer claims) []example {
	batch, key := certificate(t, "spiffe://example.com/ns/shop/batch")
	json := field{"content-type", "application/json"}
	certified := get(orders, "/orders/7")
	certified.cert, certified.key = batch, key
	named := get(orders, "/orders/7", reader.bearer())
	named.service = "orders"
	refund := question{method: "POST", host: orders, target: "/orders/7/refund", header: []field{writer.with("scope", "orders:refund").bearer()}}
	head := get(orders, "/orders/7", reader.bearer())
	head.method = "HEAD"
	return []example{
		{name: "a public route", q: get(orders, "/health"), reason: verdict.Allowed},
		{name: "a reader reads", q: get(orders, "/orders/7", reader.bearer()), reason: verdict.Allowed, rule: rules + ":3"},
		{name: "HEAD", q: head, reason: verdict.Allowed, rule: rules + ":3"},
		{name: "a writer reads", q: get(orders, "/orders?page=2", writer.bearer()), reason: verdict.Allowed, rule: rules + ":2"},
		{name: "a writer writes", q: put("{}", writer.bearer(), json), reason: verdict.Allowed, rule: rules + ":4"},
		{name: "a refund with its scope", q: refund, reason: verdict.Allowed, rule: rules + ":5"},
		{name: "a client certificate", q: certified, reason: verdict.Allowed, rule: rules + ":3"},
		{name: "the caller names the service", q: named, reason: verdict.Allowed, rule: rules + ":3", noHTTP: true},
		{name: "another spelling of the host", q: get("Orders.Example.Com.:443", "/orders/%37", reader.bearer()), reason: verdict.Allowed, rule: rules + ":3"},
		{name: "forged identity headers", q: get(orders, "/orders/7", reader.bearer(), field{"x-durward-subject", "root"}, field{"x_durward_roles", "admin"}),
			reason: verdict.Allowed, rule: rules + ":3"},
		{name: "a token of its tenant", q: get("lab.example.com", "/tenants/acme", reader.bearer()), reason: verdict.Allowed, rule: "services/lab/policy.csv:1"},
	}
}

func misrouted(reader claims) []example {
	del := get(orders, "/orders/7", reader.bearer())
	del.method = "DELETE"
	wrong := get("reports.example.com", "/health")
	wrong.service = "orders"
	plain := get(orders, "/orders/7", reader.bearer())
	plain.plain = true
	publicPlain := get(orders, "/health")
	publicPlain.plain = true
	return []example{
		{name: "an unknown host", q: get("other.example.com", "/orders/7", reader.bearer()), reason: verdict.NoService},
		{name: "a service that its host does not fit", q: wrong, reason: verdict.NoService, noHTTP: true},
		{name: "no extension where only that selects", q: get(orders, "/orders/7", reader.bearer()), reason: verdict.NoService, server: "extension"},
		{name: "an unknown path", q: get(orders, "/nowhere", reader.bearer()), reason: verdict.NoRoute},
		{name: "an undeclared method", q: del, reason: verdict.RouteMethod},
		{name: "dot segments", q: get(orders, "/orders/../health", reader.bearer()), reason: verdict.PathAmbiguous},
		{name: "encoded dot segments", q: get(orders, "/orders/%2e%2E/health", reader.bearer()), reason: verdict.PathAmbiguous},
		{name: "an encoded slash", q: get(orders, "/orders/7%2frefund", reader.bearer()), reason: verdict.PathAmbiguous},
		{name: "an empty segment", q: get(orders, "//orders/7", reader.bearer()), reason: verdict.PathAmbiguous},
		{name: "a parameter", q: get(orders, "/orders/7;a=b", reader.bearer()), reason: verdict.PathAmbiguous},
		{name: "no port is so high", q: get(orders+":99999", "/orders/7", reader.bearer()), reason: verdict.HostInvalid},
		{name: "no label is empty", q: get("orders..example.com", "/orders/7", reader.bearer()), reason: verdict.HostInvalid},
		{name: "plain text", q: plain, reason: verdict.PlainText},
		{name: "a proxy says that it was plain text", q: get(orders, "/health", field{"x-forwarded-proto", "http"}), reason: verdict.PlainText},
		{name: "plain text on a public route", q: publicPlain, reason: verdict.PlainText},
		{name: "no policy", q: get(orders, "/health"), reason: verdict.NoSnapshot, server: "empty", noHTTP: true, noSDK: true},
	}
}

func malformed(t *testing.T, reader, writer claims) []example {
	json := field{"content-type", "application/json"}
	var many []field
	for range 101 {
		many = append(many, field{"x-more", "1"})
	}
	chunked := put("{}", writer.bearer(), json)
	chunked.chunked = true
	empty := get(orders, "/orders/7", reader.bearer())
	empty.method = ""
	cert, key := certificate(t, "stranger.example.com")
	asserted := get(orders, "/health")
	asserted.cert, asserted.key = cert, key
	return []example{
		{name: "no method", q: empty, reason: verdict.MalformedRequest, noHTTP: true},
		{name: "an assertion that its caller may not make", q: asserted, reason: verdict.CallerNotTrusted, server: "restricted", token: callerToken, noHTTP: true},
		{name: "an unknown caller", q: get(orders, "/health"), reason: verdict.CallerNotTrusted, server: "restricted", noHTTP: true},
		{name: "a caller with another token", q: get(orders, "/health"), reason: verdict.CallerNotTrusted, server: "restricted", token: callerToken + "x", noHTTP: true},
		{name: "a known caller", q: get(orders, "/health"), reason: verdict.AttributeMissing, limit: "per-address", server: "restricted", token: callerToken, noHTTP: true},
		{name: "two credentials", q: get(orders, "/orders/7", reader.bearer(), writer.bearer()), reason: verdict.DuplicateHeader},
		{name: "two credentials in one line", q: get(orders, "/orders/7", field{"authorization", reader.bearer().value + ", Basic YTpi"}), reason: verdict.DuplicateHeader},
		{name: "a credential and a parameter", q: get(orders, "/orders/7", field{"authorization", "Foo abc, x=1"}), reason: verdict.DuplicateHeader},
		{name: "a second host", q: get(orders, "/health", field{"host", "lab.example.com"}), reason: verdict.DuplicateHeader, noHTTP: true},
		{name: "a credential and nothing", q: get(orders, "/orders/7", field{"authorization", reader.bearer().value + ","}), reason: verdict.DuplicateHeader},
		{name: "two content types", q: put("{}", writer.bearer(), json, json), reason: verdict.DuplicateHeader},
		{name: "too many lines", q: get(orders, "/health", many...), reason: verdict.HeaderTooLarge, binary: true},
		{name: "a line too long", q: get(orders, "/health", field{"x-long", strings.Repeat("a", 17<<10)}), reason: verdict.HeaderTooLarge},
		{name: "a control character", q: get(orders, "/health", field{"x-bell", "\a"}), reason: verdict.HeaderInvalid, noHTTP: true},
		{name: "no text", q: get(orders, "/health", field{"x-bytes", "\xff\xfe"}), reason: verdict.HeaderInvalid, binary: true},
		{name: "a body too large", q: put(strings.Repeat(" ", 65<<10), writer.bearer(), json), reason: verdict.BodyTooLarge},
		{name: "a body of unknown size", q: chunked, reason: verdict.BodyPartial, rule: rules + ":4"},
		{name: "a body of another type", q: put("<a/>", writer.bearer(), field{"content-type", "text/xml"}), reason: verdict.BodyType, rule: rules + ":4"},
		{name: "a body without a type", q: put("{}", writer.bearer()), reason: verdict.BodyType, rule: rules + ":4"},
		{name: "a compressed body", q: put("{}", writer.bearer(), json, field{"content-encoding", "gzip"}), reason: verdict.BodyEncoding},
	}
}

func unidentified(t *testing.T, reader claims) []example {
	now := time.Now()
	cert, key := certificate(t, "stranger.example.com")
	stranger := get(orders, "/orders/7")
	stranger.cert, stranger.key = cert, key
	read := func(f ...field) question { return get(orders, "/orders/7", f...) }
	raw := func(value string) question { return read(field{"authorization", value}) }
	return []example{
		{name: "no credentials", q: read(), reason: verdict.TokenMissing},
		{name: "another scheme", q: raw("Basic YTpi"), reason: verdict.TokenMissing},
		{name: "an empty credential", q: raw("Bearer"), reason: verdict.CredentialsMalformed},
		{name: "two words", q: raw("Bearer a b"), reason: verdict.CredentialsMalformed},
		{name: "a token in the query", q: get(orders, "/orders/7?access_token=x"), reason: verdict.CredentialsInQuery},
		{name: "a long token", q: raw("Bearer " + strings.Repeat("a", 9<<10)), reason: verdict.TokenTooLong},
		{name: "no token", q: raw("Bearer abc"), reason: verdict.TokenMalformed},
		{name: "alg none", q: read(reader.headed(map[string]any{"alg": "none", "typ": "at+jwt", "kid": "k1"})), reason: verdict.TokenAlgorithm},
		{name: "alg HS256", q: read(reader.headed(map[string]any{"alg": "HS256", "typ": "at+jwt", "kid": "k1"})), reason: verdict.TokenAlgorithm},
		{name: "crit", q: read(reader.headed(map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": "k1", "crit": []string{"b64"}, "b64": false})), reason: verdict.TokenCritical},
		{name: "an id token", q: read(reader.signedBy(shared.signer, "JWT")), reason: verdict.TokenType},
		{name: "a foreign issuer", q: read(reader.with("iss", "https://evil.example.com").bearer()), reason: verdict.TokenIssuer},
		{name: "another audience", q: read(reader.with("aud", "reports-api").bearer()), reason: verdict.TokenAudience},
		{name: "an unknown key", q: read(reader.signedBy(shared.unknown, "at+jwt")), reason: verdict.TokenKeyUnknown},
		{name: "a stranger's signature", q: read(reader.signedBy(shared.stranger, "at+jwt")), reason: verdict.TokenSignature},
		{name: "an expired token", q: read(reader.with("iat", now.Add(-2*time.Hour).Unix()).with("exp", now.Add(-time.Hour).Unix()).bearer()), reason: verdict.TokenExpired},
		{name: "a token of tomorrow", q: read(reader.with("nbf", now.Add(30*time.Minute).Unix()).bearer()), reason: verdict.TokenNotYet},
		{name: "a token for years", q: read(reader.with("exp", now.Add(9000*time.Hour).Unix()).bearer()), reason: verdict.TokenLifetime},
		{name: "a token without a subject", q: read(reader.with("sub", nil).bearer()), reason: verdict.TokenClaim},
		{name: "a bound token", q: read(reader.with("cnf", map[string]any{"jkt": "x"}).bearer()), reason: verdict.TokenBinding},
		{name: "a stranger's certificate", q: stranger, reason: verdict.CertificateBad},
	}
}

// unfit are good credentials that are not good enough, and credentials that lack a part.
func unfit(reader claims) []example {
	at := func(target string, f ...field) question { return get("vault.example.com", target, f...) }
	bearer := reader.bearer().value
	jkt := reader.with("cnf", map[string]any{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}).bearer().value
	dpop := field{"authorization", "DPoP " + strings.TrimPrefix(jkt, "Bearer ")}
	cookie := field{"cookie", "a=1; session=" + strings.TrimPrefix(bearer, "Bearer ")}
	foreign := at("/any", cookie, field{"sec-fetch-site", "cross-site"})
	foreign.method = "POST"
	own := foreign
	own.header = []field{cookie, {"sec-fetch-site", "same-origin"}}
	strong := reader.with("acr", "urn:example:mfa").with("auth_time", time.Now().Unix())
	return []example{
		{name: "a cookie", q: at("/any", cookie), reason: verdict.Allowed, rule: "services/lab/policy.csv:1"},
		{name: "a cookie for its own site", q: own, reason: verdict.Allowed, rule: "services/lab/policy.csv:1"},
		{name: "a cookie for another site", q: foreign, reason: verdict.CrossSite},
		{name: "a token that is bound to nothing", q: at("/bound", field{"authorization", bearer}), reason: verdict.BindingRequired},
		{name: "no proof", q: at("/bound", dpop), reason: verdict.ProofMissing},
		{name: "no proof at all", q: at("/bound", dpop, field{"dpop", "a.b.c"}), reason: verdict.ProofInvalid},
		{name: "a login long ago", q: at("/strong", field{"authorization", bearer}), reason: verdict.AssuranceLow},
		{name: "a strong login", q: at("/strong", strong.bearer()), reason: verdict.Allowed, rule: "services/lab/policy.csv:1"},
	}
}

func forbidden(reader, writer claims) []example {
	refund := question{method: "POST", host: orders, target: "/orders/7/refund", header: []field{writer.bearer()}}
	abac := func(level any) question {
		return get("abac.example.com", "/read", reader.with("level", level).bearer())
	}
	lab := func(target string, c claims) question { return get("lab.example.com", target, c.bearer()) }
	return []example{
		{name: "a scope is missing", q: refund, reason: verdict.ScopeMissing},
		{name: "no rule", q: put("", reader.bearer()), reason: verdict.NoMatchingRule},
		{name: "roles that nobody gave", q: get(orders, "/orders/7", claimsOf("eve", "admin", "user:corp:alice").bearer()), reason: verdict.NoMatchingRule},
		{name: "a deny rule", q: lab("/probe", claimsOf("bob")), reason: verdict.RuleDenied, rule: "services/lab/policy.csv:2"},
		{name: "a guard", q: get(orders, "/orders/7", claimsOf("mallory", "reader").bearer()), reason: verdict.GuardDenied, rule: "shared/suspended.csv:2"},
		{name: "another tenant", q: lab("/tenants/other", reader), reason: verdict.SameMismatch},
		{name: "no tenant", q: lab("/tenants/acme", reader.with("tenant", nil)), reason: verdict.AttributeMissing},
		// The condition fails for all rules alike, so none is named.
		{name: "a claim that the matcher reads is missing", q: abac(nil), reason: verdict.AttributeMissing},
		{name: "a claim of another type", q: abac("high"), reason: verdict.PolicyError},
		{name: "a claim that does not suffice", q: abac(2), reason: verdict.NoMatchingRule},
		{name: "a claim that does", q: abac(3), reason: verdict.Allowed, rule: "services/abac/policy.csv:1"},
		{name: "a tenant that no header carries", q: get(orders, "/orders/7", reader.with("tenant", "tür").bearer()), reason: verdict.HeaderUnsafe, rule: rules + ":3"},
	}
}

func limited() []example {
	lab := func(target string, header ...field) question {
		return get("lab.example.com", target, header...)
	}
	mine := field{"x-door", "DOOR"}
	return []example{
		{name: "the limit's first", q: lab("/once", field{"x-door", "DOOR-first"}), reason: verdict.Allowed},
		{name: "the limit's second", q: lab("/once", mine), reason: verdict.LimitExceeded, limit: "once", times: 2},
		{name: "a key is missing", q: lab("/once"), reason: verdict.AttributeMissing, limit: "once"},
		{name: "a key came twice", q: lab("/once", mine, mine), reason: verdict.AttributeMany, limit: "once", binary: true},
		{name: "a permit for who gives none back", q: lab("/busy"), reason: verdict.PermitsUnsupported, limit: "busy", noHTTP: true},
		{name: "a cost", q: lab("/costly", mine, field{"x-cost", "3"}), reason: verdict.Allowed},
		{name: "no cost", q: lab("/costly", mine, field{"x-cost", "x"}), reason: verdict.CostInvalid, limit: "costly"},
		{name: "the counters are gone and the limit denies", q: lab("/strict"), reason: verdict.LimitsUnavailable, limit: "strict", server: "dead"},
		{name: "the counters are gone and the limit is shared out", q: lab("/once", mine), reason: verdict.Allowed, server: "dead"},
	}
}

// unreachable are the reasons that no request causes alone, with what does.
var unreachable = map[verdict.Reason]string{
	verdict.NotGranted:       "a stage table without the policy stage; tested in pdp/assembly",
	verdict.Deadline:         "a slow dependency; tested in pdp/pipeline",
	verdict.Cancelled:        "a caller that is gone and reads no answer",
	verdict.Internal:         "a panic; tested in pdp",
	verdict.AuditUnavailable: "a sink that does not write; tested in pdp/audit",
	verdict.StageFailed:      "a stage that fails; tested in pdp/pipeline",
	verdict.KeysUnavailable:  "issuers that do not answer; tested in pdp/assembly",

	verdict.TokenInactive:            "an issuer that is asked; tested in pdp/assembly",
	verdict.IntrospectionUnavailable: "an issuer that is asked; tested in pdp/assembly",
	verdict.APIKeyUnknown:            "API keys; tested in test/edge",
	verdict.APIKeyExpired:            "API keys; tested in test/edge",
	verdict.APIKeyAddress:            "API keys; tested in test/edge",
	verdict.ProofReplayed:            "a request that came before; tested in test/edge",
	verdict.ProofNonce:               "a request that came before; tested in test/edge",
	verdict.ProofUnavailable:         "marks that cannot be set; tested in test/edge",
	verdict.TokenRevoked:             "what operators block; tested in test/faults",
	verdict.SubjectBlocked:           "what operators block; tested in test/faults",
	verdict.NetworkBlocked:           "what operators block; tested in test/faults",
	verdict.RevocationsUnavailable:   "a table that was never read; tested in test/faults",
	verdict.UpstreamToken:            "a server without a key to sign with; tested in pdp/assembly",

	verdict.CredentialsClash: "nothing: adapters and inspection refuse two credentials before identity, as duplicate_header",
	verdict.ReportedFailure:  "a report, which is no question; tested in pdp/assembly",
	verdict.ActionUnknown:    "operations, which the native door alone knows; see TestOperations",
}

func TestSameAnswerThroughEveryDoor(t *testing.T) {
	all := examples(t)
	if len(all) < 80 {
		t.Fatalf("%d examples", len(all))
	}
	type key struct{ server, token string }
	doors := map[key][]door{}
	for _, e := range all {
		if e.server == "" {
			e.server = "main"
		}
		at := key{e.server, e.token}
		if doors[at] == nil {
			target := shared.socket(e.server)
			doors[at] = []door{extAuthz(t, target, "lines", false, e.token), extAuthz(t, target, "joined", true, e.token), sdk(t, target, e.token), httpDoor(t, target)}
		}
		t.Run(e.name, func(t *testing.T) { e.compare(t, doors[at]) })
	}
}

// compare asks every door that can be asked, and holds each answer against the example and against the first door's.
func (e *example) compare(t *testing.T, doors []door) {
	var first answer
	for _, d := range doors {
		if d.name == "joined" && e.binary || d.name == "httpauthz" && e.noHTTP || d.name == "sdk" && e.noSDK {
			continue
		}
		var got answer
		var err error
		for range max(e.times, 1) {
			if got, err = d.ask(t.Context(), &e.q); err != nil {
				t.Fatalf("%s: %v", d.name, err)
			}
		}
		want := e.reason.Status()
		if got.Reason != string(e.reason) || got.Status != want || got.Rule != e.rule || got.Limit != e.limit {
			t.Errorf("%s: status %d, reason %s, rule %q, limit %q (stage %s); want %d, %s, %q, %q",
				d.name, got.Status, got.Reason, got.Rule, got.Limit, got.Stage, want, e.reason, e.rule, e.limit)
		}
		if (got.Body == "") != (got.Status == http.StatusOK) && d.name != "sdk" {
			t.Errorf("%s: status %d with the body %q", d.name, got.Status, got.Body)
		}
		if got.Body != "" && !strings.Contains(got.Body, `"code":"`+string(e.reason.Public())+`"`) {
			t.Errorf("%s: the body %s does not say %s", d.name, got.Body, e.reason.Public())
		}
		slices.Sort(got.Removed)
		if d.name == doors[0].name {
			first = got
			continue
		}
		if d.name == "sdk" {
			got.Body = first.Body // a decision has none; the middleware writes it
		}
		got.decision = first.decision
		if difference := cmp.Diff(first, got, cmp.AllowUnexported(answer{})); difference != "" {
			t.Errorf("%s answers another way than %s:\n%s", d.name, doors[0].name, difference)
		}
	}
}

// TestEveryReasonIsAsked keeps the table complete: a reason is caused by an example, or cannot be.
func TestEveryReasonIsAsked(t *testing.T) {
	caused := map[verdict.Reason]bool{}
	for _, e := range examples(t) {
		caused[e.reason] = true
	}
	for _, r := range verdict.Reasons() {
		switch {
		case caused[r] && unreachable[r] != "":
			t.Errorf("%s is caused by an example and called unreachable", r)
		case !caused[r] && unreachable[r] == "":
			t.Errorf("no example causes %s", r)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(unreachable)) {
		if !r.Known() {
			t.Errorf("%s is no reason", r)
		}
	}
}

// TestNotReady asks the SDK of a server without a policy: it does not send there, and denies as the server would.
func TestNotReady(t *testing.T) {
	client, err := authz.New(shared.socket("empty"), authz.WithInsecure(), authz.WithTimeout(500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	d, err := client.Check(t.Context(), authz.Request{HTTP: &authz.HTTP{Method: "GET", Scheme: "https", Host: orders, Target: "/health"}})
	if !errors.Is(err, authz.ErrUnavailable) || d.Allowed || d.Status != verdict.NoSnapshot.Status() || d.PublicReason != string(verdict.NoSnapshot.Public()) {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestOperations asks about actions without HTTP requests: the answers are those that the routes' requests get.
func TestOperations(t *testing.T) {
	client := newClient(t, shared.socket("main"), "")
	bearer := func(c claims) string { return strings.TrimPrefix(c.bearer().value, "Bearer ") }
	for _, tt := range []struct {
		name, service, action, credential string
		reason                            verdict.Reason
		rule                              string
	}{
		{"anybody probes", "lab", "orders:probe", bearer(claimsOf("alice")), verdict.Allowed, "services/lab/policy.csv:3"},
		{"a limit by the client's address", "orders", "orders:read", bearer(claimsOf("alice", "reader")), verdict.AttributeMissing, rules + ":3"},
		{"a reader writes", "orders", "orders:write", bearer(claimsOf("alice", "reader")), verdict.NoMatchingRule, ""},
		{"nobody reads", "orders", "orders:read", "", verdict.TokenMissing, ""},
		{"a stranger reads", "orders", "orders:read", bearer(claimsOf("alice", "reader").with("iss", "https://evil.example.com")), verdict.TokenIssuer, ""},
		{"an unknown action", "orders", "orders:burn", bearer(claimsOf("alice", "reader")), verdict.ActionUnknown, ""},
		{"an unknown service", "nothing", "orders:read", bearer(claimsOf("alice", "reader")), verdict.NoService, ""},
		{"no action", "orders", "", bearer(claimsOf("alice", "reader")), verdict.MalformedRequest, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readDecision(client.Check(t.Context(), authz.Request{Operation: &authz.Operation{
				Service: tt.service, Action: tt.action, ResourceType: "order", ResourceID: "7", Credential: tt.credential,
			}}))
			if err != nil {
				t.Fatal(err)
			}
			if got.Reason != string(tt.reason) || got.Rule != tt.rule || got.Status != tt.reason.Status() {
				t.Errorf("status %d, reason %s, rule %q; want %s, %q", got.Status, got.Reason, got.Rule, tt.reason, tt.rule)
			}
		})
	}
}
