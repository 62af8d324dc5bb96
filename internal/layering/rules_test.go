package layering

// module is the path that all imports inside the tree begin with.
const module = "github.com/durward-pdp/durward"

// rule is one row of "Import rules" in docs/design/architecture.md. Patterns are package directories; "..." at the end means the
// directory and all below it, and a "*" stands for one path element.
type rule struct {
	// tree are the packages that the row is about. The longest matching row is the one that counts.
	tree string
	// may are the packages of this module that they may import.
	may []string
	// tests are what their _test.go files may import besides; see testImports for what all tests may.
	tests []string
	// why is printed with every violation.
	why string
}

// What the core packages build on, by the name the architecture gives it.
var (
	attributeAndBelow = []string{"pdp/attribute", "pdp/request", "pdp/route", "pdp/subject"}
	pipelineAndBelow  = append([]string{"pdp/pipeline", "pdp/verdict"}, attributeAndBelow...)
	forStages         = append([]string{"pdp/bundle/format"}, pipelineAndBelow...)
	forAdapters       = []string{"pdp/request", "pdp/request/clientcert", "pdp/subject", "pdp/unary", "pdp/verdict"}
)

// importRules is default deny: a package without a row fails, and an import that its row does not list fails.
var importRules = []rule{
	{tree: "pdp/request", why: "the domain's own types know nobody"},
	{tree: "pdp/request/clientcert", may: []string{"pdp/request"}, why: "what a header says of a certificate becomes a certificate or an error"},
	{tree: "pdp/subject", why: "the domain's own types know nobody"},
	{tree: "pdp/verdict", why: "the domain's own types know nobody"},
	{tree: "pdp/route", may: []string{"pdp/request", "pdp/verdict", "pdp/bundle/format"}, why: "paths and lookup need a request and the decoded tables, no more"},
	{tree: "pdp/attribute", may: []string{"pdp/request", "pdp/route", "pdp/subject"}, why: "names resolve to facts; what is done with them is decided above"},
	{tree: "pdp/pipeline", may: with(attributeAndBelow, "pdp/verdict"), why: "the order of stages knows no stage"},
	{tree: "pdp/token", why: "tokens are verified the same way whoever asks"},
	{tree: "pdp/egress", why: "the one way out knows no protocol above HTTP"},
	{tree: "pdp/state/...", may: []string{"pdp/state"}, why: "stores keep bytes and know no decision"},
	{tree: "pdp/state/redis", may: []string{"pdp/state", "ratelimiter/redis/connection"}, why: "stores keep bytes and know no decision; where Redis is, is read in one place"},
	{tree: "pdp/keyring", may: []string{"pdp/state", "pdp/token"}, tests: []string{"pdp/state/...", "ratelimiter/redis/connection"}, why: "keys that sign know no claim and no decision"},
	{tree: "pdp/blocks", may: []string{"pdp/state"}, tests: []string{"pdp/state/memory"}, why: "what is blocked is looked up the same way whoever asks"},
	{tree: "pdp/audit", may: []string{"pdp/request", "pdp/route", "pdp/subject", "pdp/verdict", "proto/..."}, why: "a record is made of the decision's own types"},
	{tree: "pdp", may: with(pipelineAndBelow, "pdp/audit"), why: "the engine runs a pipeline and never names a stage"},
	{tree: "pdp/stage/inspection", may: forStages, why: "stages are siblings that never see each other, an adapter or a wire type"},
	{tree: "pdp/stage/limits", may: with(forStages, "ratelimiter", "ratelimiter/window"), tests: []string{"ratelimiter/..."}, why: "stages are siblings that never see each other, an adapter or a wire type"},
	{tree: "pdp/stage/descriptors", may: with(forStages, "pdp/bundle/format/ratelimits", "ratelimiter", "ratelimiter/descriptor"), tests: []string{"ratelimiter/..."}, why: "stages are siblings that never see each other, an adapter or a wire type"},
	{tree: "pdp/stage/identity", may: with(forStages, "pdp/blocks", "pdp/egress", "pdp/stage/identity/apikey", "pdp/stage/identity/dpop", "pdp/stage/identity/introspection", "pdp/stage/identity/keys", "pdp/stage/identity/spiffe", "pdp/token"), tests: []string{"pdp/state/...", "pdp/bundle/format/apikeys"}, why: "stages are siblings that never see each other, an adapter or a wire type; state is an interface that the stage declares"},
	{tree: "pdp/stage/identity/dpop", may: with(forStages, "pdp/token"), why: "a proof is checked without I/O; who marks it as used is the stage"},
	{tree: "pdp/stage/identity/introspection", may: []string{"pdp/egress", "pdp/token"}, why: "it asks issuers about tokens, and knows no request"},
	{tree: "pdp/stage/identity/spiffe", why: "SPIFFE ids alone: text in, ids out"},
	{tree: "pdp/stage/identity/keys", may: []string{"pdp/egress", "pdp/token"}, why: "keys are fetched and held, whoever asks; what they verify is decided above"},
	{tree: "pdp/stage/network", may: with(forStages, "pdp/blocks"), tests: []string{"pdp/state/..."}, why: "stages are siblings that never see each other, an adapter or a wire type"},
	{tree: "pdp/stage/identity/apikey", may: with(forStages, "pdp/bundle/format/apikeys"), why: "API keys alone: texts and records in, answers out"},
	{tree: "pdp/stage/policy", may: with(forStages, "pdp/stage/policy/pattern"), why: "stages are siblings that never see each other, an adapter or a wire type"},
	{tree: "pdp/stage/policy/pattern", why: "Casbin's patterns alone: strings in, answers out"},
	{tree: "pdp/stage/upstream", may: forStages, why: "stages are siblings that never see each other, an adapter or a wire type"},
	{tree: "pdp/unary", may: []string{"pdp/request", "pdp/verdict"}, why: "what adapters share of gRPC knows no protocol"},
	{tree: "pdp/adapter/extauthz", may: forAdapters, why: "an adapter speaks one wire protocol and asks through an interface of its own"},
	{tree: "pdp/adapter/forwardauth", may: forAdapters, why: "an adapter speaks one wire protocol and asks through an interface of its own"},
	{tree: "pdp/adapter/authzen", may: forAdapters, why: "an adapter speaks one wire protocol and asks through an interface of its own"},
	{tree: "pdp/adapter/ratelimit", may: forAdapters, why: "an adapter speaks one wire protocol and asks through an interface of its own"},
	{tree: "pdp/adapter/native", may: with(forAdapters, "proto/..."), why: "an adapter speaks one wire protocol and asks through an interface of its own"},
	{tree: "pdp/bundle", may: []string{"pdp/bundle/format", "pdp/bundle/format/ratelimits", "pdp/bundle/format/suite", "pdp/attribute", "pdp/pipeline", "pdp/route", "pdp/verdict"}, tests: []string{"pdp/bundle/format/apikeys"}, why: "compilers are injected: bundles load without knowing a stage"},
	{tree: "pdp/bundle/format", tests: []string{"pdp/bundle/format/apikeys", "pdp/bundle/format/ratelimits", "pdp/bundle/format/suite"}, why: "decoded structs and schemas, no logic"},
	{tree: "pdp/bundle/format/ratelimits", tests: []string{"pdp/bundle/format"}, why: "decoded structs of envoyproxy/ratelimit's files, no logic"},
	{tree: "pdp/bundle/format/apikeys", why: "decoded structs of API keys, no logic"},
	{tree: "pdp/bundle/format/suite", tests: []string{"pdp/bundle/format"}, why: "decoded structs of decision tests, no logic"},
	{tree: "pdp/decisiontest", may: []string{"pdp/bundle/format", "pdp/bundle/format/suite", "pdp/bundle/format/ratelimits", "pdp/request", "pdp/subject", "pdp/verdict", "pdp/token"}, tests: []string{"pdp/assembly"}, why: "decision tests run against any decider"},
	{tree: "pdp/assembly", may: []string{"pdp/...", "ratelimiter/..."}, tests: []string{"proto/...", "clients/...", "deploy/quickstart"}, why: "the one place that names every part; nothing outside the server"},
	{tree: "pdp/assembly/settings", may: []string{"pdp/bundle/format", "pdp/request", "pdp/request/clientcert"}, why: "the operator's settings, decoded and checked; they start nothing"},
	{tree: "pdp/assembly/blocksapi", why: "the admin listener's documents, for the server that writes and the command that reads them"},
	{tree: "pdp/assembly/keysapi", why: "the admin listener's documents, for the server that writes and the command that reads them"},
	{tree: "pdp/assembly/limitsapi", why: "the admin listener's documents, for the server that writes and the command that reads them"},
	{tree: "pdp/lint", may: []string{"pdp/bundle", "pdp/bundle/format", "pdp/attribute", "pdp/decisiontest", "pdp/stage/policy"}, tests: []string{"pdp/assembly"}, why: "a tool over bundles, not a server"},
	{tree: "ratelimiter/...", may: []string{"ratelimiter/..."}, why: "usable without pdp"},
	{tree: "clients/...", may: []string{"clients/...", "proto/..."}, tests: []string{"clients/authz/authztest", "pdp/adapter/native"}, why: "a client must not pull the server in"},
	{tree: "clients/authz/authztest", may: []string{"clients/...", "proto/...", "pdp/assembly"}, why: "the fake runs the real engine"},
	{tree: "proto/...", may: []string{"proto/..."}, why: "generated from the wire definitions alone"},
	{tree: "deploy/quickstart", why: "embedded files and a sample API, as a stranger would write it"},
	{tree: "deploy/quickstart/stack", may: []string{"deploy/quickstart"}, why: "it starts programs and links none of them"},
	{tree: "deploy/quickstart/reports", may: []string{"clients/..."}, tests: []string{"pdp/assembly/..."}, why: "a sample service sees what any Go service would see"},
	{tree: "cmd/...", may: []string{"cmd/...", "pdp/assembly", "pdp/assembly/blocksapi", "pdp/assembly/keysapi", "pdp/assembly/limitsapi", "pdp/assembly/settings", "pdp/lint", "pdp/bundle", "pdp/bundle/format", "pdp/bundle/format/apikeys", "pdp/bundle/format/ratelimits", "pdp/bundle/format/suite", "pdp/decisiontest", "pdp/request", "pdp/subject", "pdp/verdict", "pdp/token", "clients/...", "proto/...", "deploy/quickstart/..."}, why: "the command parses and hands over"},
	{tree: "internal/...", may: []string{"..."}, why: "test support may import anything; only tests import it"},
	{tree: "test/...", may: []string{"..."}, why: "end-to-end tests may import anything"},
}

// testImports is what every _test.go file may import of this module besides what its package may: test support, the domain's plain
// types and tokens to sign. Stages and adapters stay strangers to each other in tests too, so each is testable alone.
var testImports = []string{"internal/...", "pdp/request", "pdp/subject", "pdp/verdict", "pdp/route", "pdp/token", "pdp/bundle/format"}

// owner says which packages alone may import an external module. Their tests may too, and so may internal/... and test/....
type owner struct {
	module   string
	packages []string
	why      string
}

// owners is default deny as well: a module that stands in no row may not be imported.
var owners = []owner{
	{"github.com/casbin/casbin/v2", []string{"pdp/stage/policy", "pdp/stage/policy/pattern"}, "its Enforcer, memo and panics stay behind one door"},
	{"github.com/casbin/govaluate", []string{"pdp/stage/policy"}, "expressions belong to Casbin's models"},
	{"github.com/golang-jwt/jwt/v5", []string{"pdp/token"}, "alone it is not a strict verifier"},
	{"github.com/c2sp/wycheproof", []string{"pdp/token"}, "the vectors of tokens and keys, for tests"},
	{"github.com/go-json-experiment/json", []string{"pdp/token", "pdp/stage/identity/keys"}, "strict JSON is a rule of tokens, keys and issuers' metadata"},
	{"github.com/redis/go-redis/v9", []string{"ratelimiter/redis", "ratelimiter/redis/connection", "pdp/state/redis"}, "the Redis client has named users"},
	{"github.com/goccy/go-yaml", []string{"pdp/bundle/format"}, "files are decoded strictly in one place"},
	{"github.com/invopop/jsonschema", []string{"pdp/bundle/format"}, "schemas are made from the structs that decode"},
	{"github.com/fsnotify/fsnotify", []string{"pdp/bundle", "pdp/assembly"}, "files are watched where they are loaded"},
	{"github.com/dunglas/httpsfv", []string{"pdp/stage/limits"}, "structured fields are written for RateLimit alone"},
	{"github.com/envoyproxy/go-control-plane/envoy", []string{"pdp/adapter/*"}, "Envoy's wire types end at the adapter"},
	{"google.golang.org/genproto/googleapis/rpc", []string{"pdp/adapter/*", "clients/authz/grpcauthz"}, "wire types end at the adapter and at the client"},
	{"google.golang.org/grpc", []string{"pdp/adapter/*", "pdp/unary", "pdp/assembly", "clients/...", "proto/..."}, "the core knows no transport"},
	{"google.golang.org/protobuf", []string{"pdp/adapter/*", "pdp/unary", "pdp/audit", "clients/...", "proto/..."}, "the core knows no wire type"},
	{"github.com/prometheus/client_golang", []string{"pdp/assembly"}, "metrics are set up in one place"},
	{"github.com/prometheus/client_model", []string{"pdp/assembly"}, "metrics are set up in one place"},
	{"github.com/alecthomas/kong", []string{"cmd/..."}, "flags are the command's"},
	{"github.com/zitadel/oidc/v3", nil, "a real OpenID provider, for tests"},
	{"github.com/go-jose/go-jose/v4", nil, "the provider's keys, for tests: the product has one library of tokens"},
	{"golang.org/x/net/netutil", []string{"pdp/assembly"}, "listeners bound their connections where they are opened"},
	{"golang.org/x/sync", []string{"pdp", "pdp/stage/identity", "pdp/bundle", "pdp/assembly", "pdp/audit", "ratelimiter/redis", "cmd/..."}, "only where goroutines are joined"},
}

// testModules are external modules for _test.go files, everywhere.
var testModules = []string{"github.com/google/go-cmp", "github.com/rogpeppe/go-internal"}

// bannedImports are refused everywhere, tests too, whatever else allows them.
var bannedImports = map[string]string{
	"unsafe":       "nothing here is worth a memory error; make one immutable string and slice it",
	"C":            "no C compiler for run and test",
	"log":          "use log/slog, passed in",
	"math/rand":    "use math/rand/v2 with a source passed in, or crypto/rand for anything that must not be guessed",
	"io/ioutil":    "use io and os",
	"encoding/gob": "its decoder is not meant for hostile input",
}

// bannedNames are not names of a package or directory: they say nothing, so everything ends up in them.
var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "base", "types", "misc"}

// groups are directories that hold siblings and no Go files; wiredIn imports each of them.
var groups = []string{"pdp/stage", "pdp/adapter"}

// wiredIn is the package that must import every directory under groups.
const wiredIn = "pdp/assembly"

// mustFuzz are the packages that parse what others wrote. Besides these, a package that exports a function with one of
// parserPrefixes must have a fuzz test too.
var mustFuzz = []string{
	"pdp/request",              // forwarded addresses, certificates
	"pdp/request/clientcert",   // certificates in headers
	"pdp/route",                // paths, hosts
	"pdp/token",                // tokens, keys
	"pdp/stage/identity/dpop",  // proofs, their URLs
	"pdp/keyring",              // sealing keys
	"pdp/bundle/format",        // files of a bundle
	"pdp/stage/policy",         // Casbin models and rules
	"pdp/stage/policy/pattern", // key patterns, expressions, globs, networks
	"pdp/adapter/extauthz",     // what a gateway sends
	"pdp/adapter/ratelimit",    // the same
	"ratelimiter",              // keys, which must be injective
	"ratelimiter/descriptor",   // wildcards, and keys of descriptors
}

var parserPrefixes = []string{"Parse", "Decode", "Unmarshal", "Canonical"}

// budgets are the figures of "Budgets" in docs/design/architecture.md.
var budgets = struct {
	fileCap, fileP90         int // lines, every file that is not generated
	functionCap, functionP90 int // lines outside tests; a slice or map literal inside a function is a table and not counted
	interfaceMethods         int
	exportedCap              int // per package; the constants of one exported type, an enumeration, count once
	exportedMedian           int
	importDepth              int // longest chain of imports inside the module
	mainLines                int // a file named main.go
}{
	fileCap: 800, fileP90: 450,
	functionCap: 80, functionP90: 40,
	interfaceMethods: 3,
	exportedCap:      30,
	exportedMedian:   8,
	importDepth:      6,
	mainLines:        80,
}

// sdk is excepted from the budget of exported names: its users want one import.
const sdk = "clients/..."

// notProduct is excepted from the budget of exported names, and from the search for parsers by name: nothing is built on it.
var notProduct = []string{"internal/...", "test/...", "cmd/...", "proto/..."}

// pureCalls may initialise a package variable: they make an immutable value out of constants, or (sync.OnceFunc) a function that
// sets what is global in a library, once.
var pureCalls = []string{
	"errors.New", "fmt.Errorf", "regexp.MustCompile", "netip.MustParsePrefix", "netip.MustParseAddr", "strings.NewReplacer",
	"redis.NewScript", "template.Must", "template.New", "len", "string", "byte", "int", "int64", "uint32", "uint64",
	"float64", "time.Duration", "sync.OnceFunc",
}

// with returns a row's base list and more, without touching the base.
func with(base []string, more ...string) []string {
	return append(append([]string(nil), base...), more...)
}
