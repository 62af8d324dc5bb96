package identity

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const workloadsYAML = `format: 1
name: acme
authenticators:
  cluster:
    kind: mtls
    spiffe: {trust_domain: example.org, paths: ["/ns/{ns}/sa/{sa}", "/vm/*"]}
    sans: ["*.example.com", "https://example.com/robots/*"]
    subject: {tenant: ns}
    roles: {from: sa, allow: [batch, pilot]}
  other:
    kind: mtls
    spiffe: {trust_domain: example.net, paths: ["/{role}"]}
    roles: {from: role, allow: ["*"]}
`

const workloadServiceYAML = `service: orders
identity: {accept: [cluster, other]}
routes:
  - {name: read, path: /orders, methods: [GET]}
`

func workloadFiles() map[string]string {
	return map[string]string{"bundle.yaml": workloadsYAML, "services/orders/service.yaml": workloadServiceYAML}
}

// TestWorkloads makes subjects of X.509-SVIDs: tenant, role and claims come out of the path, and the id is the whole SPIFFE id.
func TestWorkloads(t *testing.T) {
	w := worldOf(t, workloadsYAML, workloadServiceYAML)
	with := func(c *request.Certificate) *pipeline.Case {
		out := w.newCase(0)
		out.Request.Certificate = c
		return out
	}
	workload := func(authenticator, id string, change func(*subject.Subject)) subject.Subject {
		s := subject.Subject{Key: subject.Key(subject.KindService, authenticator, id), Kind: subject.KindService, Authenticator: authenticator, ID: id}
		change(&s)
		return s
	}
	for _, want := range []subject.Subject{
		workload("cluster", "spiffe://example.org/ns/shop/sa/batch", func(s *subject.Subject) {
			s.Tenant, s.Roles, s.Claims = "shop", []string{"batch"}, map[string]any{"ns": "shop", "sa": "batch"}
		}),
		workload("cluster", "spiffe://example.org/ns/shop/sa/root", func(s *subject.Subject) {
			s.Tenant, s.DroppedRoles, s.Claims = "shop", 1, map[string]any{"ns": "shop", "sa": "root"}
		}),
		workload("cluster", "spiffe://example.org/vm/eu/7", func(*subject.Subject) {}),
		workload("other", "spiffe://example.net/anything", func(s *subject.Subject) {
			s.Roles, s.Claims = []string{"anything"}, map[string]any{"role": "anything"}
		}),
		workload("cluster", "a.example.com", func(*subject.Subject) {}),
		workload("cluster", "https://example.com/robots/r2", func(*subject.Subject) {}),
	} {
		c := with(certificate("unrelated.example.net", want.ID))
		w.wantSubject(t, c, want.Key)
		if diff := cmp.Diff(want, c.Subject); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.ID, diff)
		}
	}
	const good, evil = "spiffe://example.org/ns/shop/sa/batch", "spiffe://evil.example/ns/shop/sa/batch"
	for name, row := range map[string]struct {
		certificate *request.Certificate
		detail      string
	}{
		"two SPIFFE ids":         {certificate(good, evil), "more than one URI"},
		"two good SPIFFE ids":    {certificate(good, "spiffe://example.org/ns/shop/sa/pilot"), "more than one URI"},
		"the same one twice":     {certificate(good, good), "more than one URI"},
		"beside another URI":     {certificate(good, "https://example.com/"), "more than one URI"},
		"of an authority":        {&request.Certificate{NotBefore: testNow, NotAfter: testNow, URIs: []string{good}, Authority: true}, "an authority's"},
		"as a DNS name":          {&request.Certificate{NotBefore: testNow, NotAfter: testNow, DNSNames: []string{good}}, "takes a name of the certificate"},
		"as an e-mail name":      {&request.Certificate{NotBefore: testNow, NotAfter: testNow, Emails: []string{good}}, "takes a name of the certificate"},
		"as a subject":           {&request.Certificate{NotBefore: testNow, NotAfter: testNow, Subject: good}, "takes a name of the certificate"},
		"with a fragment":        {certificate(good + "#"), "no SPIFFE id"},
		"with a query":           {certificate(good + "?"), "no SPIFFE id"},
		"with a port":            {certificate("spiffe://example.org:443/ns/shop/sa/batch"), "no SPIFFE id"},
		"in another case":        {certificate("SPIFFE://example.org/ns/shop/sa/batch"), "no SPIFFE id"},
		"domain in another case": {certificate("spiffe://Example.org/ns/shop/sa/batch"), "no SPIFFE id"},
		"with a dot segment":     {certificate("spiffe://example.org/ns/../ns/shop/sa/batch"), "no SPIFFE id"},
		"escaped":                {certificate("spiffe://example.org/ns/sho%70/sa/batch"), "no SPIFFE id"},
		"the trust domain":       {certificate("spiffe://example.org"), "takes a name of the certificate"},
		"deeper":                 {certificate(good + "/x"), "takes a name of the certificate"},
		"less deep":              {certificate("spiffe://example.org/ns/shop/sa"), "takes a name of the certificate"},
		"a long tenant":          {certificate("spiffe://example.org/ns/" + strings.Repeat("x", 257) + "/sa/batch"), "longer than 256"},
		"and a DNS name":         {certificate(good, "a.example.com"), "more than one subject"},
		"a deeper host":          {certificate("a.b.example.com"), "takes a name of the certificate"},
		"the bare host":          {certificate("example.com"), "takes a name of the certificate"},
		"a host behind it":       {certificate("a.example.com.evil.example"), "takes a name of the certificate"},
		"a wildcard":             {certificate("*.example.com"), "takes a name of the certificate"},
		"an empty label":         {certificate(".example.com"), "takes a name of the certificate"},
		"a host like a URI":      {&request.Certificate{NotBefore: testNow, NotAfter: testNow, DNSNames: []string{"spiffe://x.example.com"}}, "takes a name of the certificate"},
		"a host like an address": {&request.Certificate{NotBefore: testNow, NotAfter: testNow, DNSNames: []string{"root@x.example.com"}}, "takes a name of the certificate"},
		"a host like no host":    {&request.Certificate{NotBefore: testNow, NotAfter: testNow, DNSNames: []string{"a b.example.com"}}, "takes a name of the certificate"},
	} {
		c := with(row.certificate)
		w.wantDenied(t, c, verdict.CertificateBad)
		if !strings.Contains(c.Verdict.Explanation.Detail, row.detail) {
			t.Errorf("%s: %q, want %q", name, c.Verdict.Explanation.Detail, row.detail)
		}
	}
	// What the gateway tells of a certificate that nobody here saw has no validity to look at.
	unseen := with(&request.Certificate{URIs: []string{good}, Unseen: true})
	w.wantSubject(t, unseen, "service:cluster:"+good)
}

// TestGivenWorkloads: a given workload has the roles that its authenticator may assert.
func TestGivenWorkloads(t *testing.T) {
	w := worldOf(t, workloadsYAML, workloadServiceYAML)
	c := w.newCase(0)
	c.Given = &subject.Subject{Key: "service:cluster:x", Kind: subject.KindService, Authenticator: "cluster", ID: "x", Tenant: "shop", Roles: []string{"batch", "root"}}
	w.wantSubject(t, c, "service:cluster:x")
	want := subject.Subject{Key: "service:cluster:x", Kind: subject.KindService, Authenticator: "cluster", ID: "x", Tenant: "shop", Roles: []string{"batch"}, DroppedRoles: 1}
	if diff := cmp.Diff(want, c.Subject); diff != "" {
		t.Error(diff)
	}
}

func TestWorkloadProblems(t *testing.T) {
	for name, row := range map[string]struct{ before, after, want string }{
		"sound":              {"/vm/*", "/vm/x", ""},
		"no trust domain":    {"trust_domain: example.org, ", "", "the trust domain is empty"},
		"a wrong domain":     {"example.org", "Example.org", "a trust domain holds lower-case letters"},
		"no paths":           {`, paths: ["/{role}"]`, "", "paths is missing"},
		"a wrong path":       {"/vm/*", "/vm/", "empty segment"},
		"one id twice":       {"/vm/*", "/ns/*", "a SPIFFE id can fit this path and one above it"},
		"no such tenant":     {"tenant: ns", "tenant: nss", "no path under spiffe has {nss}"},
		"no such role":       {"from: role", "from: rol", "no path under spiffe has {rol}"},
		"parameters of sans": {`"*.example.com"`, `"spiffe://example.com/{id}"`, "a name under sans has no parameters"},
		"a role like a key":  {"[batch, pilot]", `["user:corp:root"]`, "can be no role"},
	} {
		got := problemsOf(t, replaced(t, workloadFiles(), "bundle.yaml", row.before, row.after))
		if row.want == "" && len(got) > 0 || row.want != "" && (len(got) == 0 || !strings.Contains(got[0], row.want) || !strings.HasPrefix(got[0], "bundle.yaml:")) {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
}
