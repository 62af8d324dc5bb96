package demo

import "github.com/durward-pdp/durward/deploy/quickstart/stack"

const (
	ordersHost, reportsHost = "orders.example.com", "reports.example.com"
	// ordersRules is the file that the tour edits.
	ordersRules = "services/orders/policy.csv"
)

// visit is one row of the tour: what is asked, and why it is worth a look. What comes of it is found out.
type visit struct {
	// title is what is asked; why is one line for the reader.
	title, why string
	// method, target and host make the request; an empty host is the orders API behind Envoy.
	method, target, host string
	// token and certificate name the credentials; header and body are sent as they are.
	token, certificate string
	header             []stack.Field
	body               string
	// burst repeats the request, at most so many times, until its status is another than the first time.
	burst int
	// rule is a line to add to ordersRules; the request is then repeated until its status is another than before.
	rule string
	// explain asks why it was decided so.
	explain bool
}

// tour is what the demo shows, in order.
var tour = []visit{
	{
		title: "a public route", why: "The bundle declares /health public: no credentials, and no rule is asked.",
		method: "GET", target: "/health",
	},
	{
		title: "no credentials", why: "Every other route needs a subject; the answer says how to become one.",
		method: "GET", target: "/orders/7",
	},
	{
		title: "a reader reads", why: "Alice's token gives her the role reader, and a rule lets readers read.",
		method: "GET", target: "/orders/7", token: "alice",
	},
	{
		title: "a reader writes", why: "No rule lets readers write, and what nobody allowed is denied. Why, and what would change it, says durward explain.",
		method: "PUT", target: "/orders/7", token: "alice", body: `{"state":"paid"}`, explain: true,
	},
	{
		title: "a writer writes", why: "Bob is a writer.",
		method: "PUT", target: "/orders/7", token: "bob", body: `{"state":"paid"}`,
	},
	{
		title: "a token without a signature", why: "Anybody can write such a token: its algorithm is none.",
		method: "GET", target: "/orders/7", token: "alice-alg-none",
	},
	{
		title: "a token signed with the public key", why: "The public key, used as the secret of an HMAC: a classic forgery.",
		method: "GET", target: "/orders/7", token: "alice-hs256",
	},
	{
		title: "an expired token", why: "It was good until an hour ago; the client learns no more than that it is not good.",
		method: "GET", target: "/orders/7", token: "alice-expired",
	},
	{
		title: "a token for another API", why: "Alice's token for the reports service is none for the orders.",
		method: "GET", target: "/orders/7", token: "alice-reports",
	},
	{
		title: "a forged identity header", why: "The client claims to be root; the API's answer shows who it was told.",
		method: "GET", target: "/orders/7", token: "alice",
		header: []stack.Field{{Name: "x-durward-subject", Value: "root"}, {Name: "x-durward-roles", Value: "writer"}},
	},
	{
		title: "a path trick", why: "%2e%2e is .. in disguise: what Durward judges is what the API would get.",
		method: "GET", target: "/orders/%2e%2e/admin", token: "bob",
	},
	{
		title: "another path trick", why: "Some servers cut a segment at the semicolon, others do not.",
		method: "GET", target: "/orders/7;admin=1", token: "bob",
	},
	{
		title: "a method that is not declared", why: "The route exists, for other methods.",
		method: "DELETE", target: "/orders/7", token: "bob",
	},
	{
		title: "a suspended account", why: "Mallory is a writer, but a guard stands before every service's rules.",
		method: "GET", target: "/orders/7", token: "mallory",
	},
	{
		title: "a client certificate", why: "A batch job has no token but a certificate with a SPIFFE name.",
		method: "GET", target: "/orders/7", certificate: "batch",
	},
	{
		title: "a burst", why: "One subject, as fast as it can: the replicas share its limit.",
		method: "GET", target: "/orders/7", token: "bianca", burst: 20,
	},
	{
		title: "the rules change", why: "The reader's write from above, after a rule for it was added to the bundle of the running replicas.",
		method: "PUT", target: "/orders/7", token: "alice", body: `{"state":"paid"}`, rule: "p, reader, orders:write",
	},
	{
		title: "a second door", why: "The reports service asks Durward itself, through the SDK: a report of Alice's own tenant.",
		method: "GET", target: "/tenants/acme/reports/1", host: reportsHost, token: "alice-reports",
	},
	{
		title: "another tenant's report", why: "The rule compares the subject's tenant with the report's.",
		method: "GET", target: "/tenants/globex/reports/1", host: reportsHost, token: "alice-reports",
	},
	{
		title: "an expired token at the second door", why: "The same answer as at the first.",
		method: "GET", target: "/tenants/acme/reports/1", host: reportsHost, token: "alice-reports-expired",
	},
}
