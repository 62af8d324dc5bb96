// Package settings holds what an operator configures: listeners, TLS, Redis, records, budgets. Policy is not here:
// that is the bundles' part.
//
// Settings come from defaults, then a strict YAML file, then DURWARD_* environment variables, then flags. The
// assembly and the command import the package; it opens nothing and starts nothing.
package settings

import (
	"slices"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// Settings is durward.yaml.
type Settings struct {
	// Bundles are the policy bundles to serve.
	Bundles []Bundle `yaml:"bundles"`
	// Listeners answer decision requests.
	Listeners []Listener `yaml:"listeners"`
	// Admin is the listener for health, metrics and configuration.
	Admin Admin `yaml:"admin"`
	// Identity says what is kept of credentials, and holds what proofs of possession need.
	Identity Identity `yaml:"identity"`
	// HTTP is the listener for what the world may read: keys, metadata, logout.
	HTTP HTTP `yaml:"http"`
	// Egress are the hosts that bundles may have fetched from, none by default. The first that fits is taken.
	Egress []Egress `yaml:"egress"`
	// Tokens makes the server an issuer of short-lived tokens for the APIs behind (upstream.token of a bundle).
	Tokens Tokens `yaml:"tokens"`
	// Secrets are what bundles may only name.
	Secrets []BundleSecret `yaml:"secrets"`
	// Redis holds the counters that replicas share; without a URL or addresses limits are kept in memory.
	Redis Redis `yaml:"redis"`
	// APIKeys says how API keys are known.
	APIKeys APIKeys `yaml:"api_keys"`
	// RateLimit says what the protocol ratelimit adds to its answers.
	RateLimit RateLimit `yaml:"rate_limit"`
	// Audit says where records go.
	Audit Audit `yaml:"audit"`
	// Metrics says which labels metrics carry.
	Metrics Metrics `yaml:"metrics"`
	// Log configures the server's own log.
	Log Log `yaml:"log"`
	// Budget bounds every decision, from 10ms to 30s.
	Budget format.Duration `yaml:"budget"`
	// Drain is how long a stopping server goes on serving after it said that it is not ready.
	Drain format.Duration `yaml:"drain"`
	// Poll is how often bundles are looked at; changes are usually seen at once.
	Poll format.Duration `yaml:"poll"`
}

// Bundle is one policy bundle.
type Bundle struct {
	// Dir is its directory.
	Dir string `yaml:"dir"`
	// Observe permits the bundle to let pass what its policies deny, as an alarm and until a date (observe in service.yaml).
	Observe bool `yaml:"observe"`
}

// Listener is one address that answers decision requests.
type Listener struct {
	// Address is host:port or unix:PATH.
	Address string `yaml:"address"`
	// Protocols are those that the listener speaks: ext_authz, native and ratelimit over gRPC, or ratelimit_json over HTTP.
	Protocols []string `yaml:"protocols"`
	// ClientAddress says how the client's address is found: peer, xff:N or header:NAME.
	ClientAddress string `yaml:"client_address"`
	// Select is host (default), or extension: the context extension durward.service alone chooses the service.
	Select string `yaml:"select"`
	// TLS is mandatory beyond loopback and Unix sockets.
	TLS *TLS `yaml:"tls"`
	// Callers names who may ask. Empty on loopback and Unix sockets: whoever can connect, under the name "local".
	Callers []Caller `yaml:"callers"`
	// Insecure allows a listener beyond loopback without TLS and named callers.
	Insecure bool `yaml:"insecure"`
}

// Speaks reports whether the listener speaks a protocol.
func (l *Listener) Speaks(protocol string) bool { return slices.Contains(l.Protocols, protocol) }

// BringsClients reports whether the listener brings requests of clients, who have an address. The rate limit protocols
// bring descriptors.
func (l *Listener) BringsClients() bool {
	return slices.ContainsFunc(l.Protocols, func(p string) bool { return p != "ratelimit" && p != "ratelimit_json" })
}

// Caller is who may ask a listener.
type Caller struct {
	// Name stands in records.
	Name string `yaml:"name"`
	// SANs are subject alternative names of the caller's TLS certificate, compared exactly.
	SANs []string `yaml:"sans"`
	// TokenFile holds a bearer token that the caller sends with every call.
	TokenFile string `yaml:"token_file"`
	// Asserts lists what is believed of the caller: client_address, certificate, service; or may be asked by it: dry_run, explain; or told: report.
	Asserts []string `yaml:"asserts"`
}

// TLS is a server's side of TLS. Files are read again when they change.
type TLS struct {
	// Certificate is a PEM file, which may hold a chain.
	Certificate string `yaml:"certificate"`
	// Key is a PEM file with the certificate's private key.
	Key string `yaml:"key"`
	// ClientCA is a PEM file of authorities; with it every client must show a certificate that they signed.
	ClientCA string `yaml:"client_ca"`
	// MinVersion is 1.3 (default) or 1.2.
	MinVersion string `yaml:"min_version"`
}

// Admin is the listener for health, metrics and configuration.
type Admin struct {
	// Address is host:port or unix:PATH; "off" closes it.
	Address string `yaml:"address"`
	// TLS is mandatory beyond loopback and Unix sockets.
	TLS *TLS `yaml:"tls"`
	// Callers names who may read metrics, configuration and profiles; health is told to everybody who can connect.
	Callers []Caller `yaml:"callers"`
	// Insecure allows an address beyond loopback without TLS and named callers.
	Insecure bool `yaml:"insecure"`
}

// Identity says what is kept of credentials, and holds what proofs of possession need.
type Identity struct {
	// TokenCacheMiB is the memory for verified tokens, from 0 (none are kept) to 4096.
	TokenCacheMiB int `yaml:"token_cache_mib"`
	// NonceKeyFile is a file with a key in each line, of at least 32 characters that nobody can guess, the same on all replicas. The
	// first makes the nonces of services that require them in proofs (RFC 9449); those of all are taken, so that the key can be changed.
	NonceKeyFile string `yaml:"nonce_key_file"`
}

// HTTP is the listener for documents that clients and issuers fetch or send: public keys, metadata of protected resources, logout
// tokens. Nothing on it needs a caller's name, and nothing on it tells about requests.
type HTTP struct {
	// Address is host:port or unix:PATH; empty for none.
	Address string `yaml:"address"`
	// TLS is mandatory beyond loopback and Unix sockets, unless a gateway in front ends it.
	TLS *TLS `yaml:"tls"`
	// Insecure allows an address beyond loopback without TLS.
	Insecure bool `yaml:"insecure"`
}

// Egress is a host that bundles may have fetched from, always over https.
type Egress struct {
	// Host is a name or address, with :PORT where that is not 443, or "*." and a domain for one label before it.
	Host string `yaml:"host"`
	// Bundles are the bundles that may, by name; empty for all.
	Bundles []string `yaml:"bundles"`
	// Private allows addresses of private networks, of this machine and of the link.
	Private bool `yaml:"private"`
	// CA is a PEM file of authorities that sign the host's certificate, in the place of the system's.
	CA string `yaml:"ca"`
	// Certificate is a PEM file with the certificate that is shown to the host.
	Certificate string `yaml:"certificate"`
	// Key is a PEM file with the certificate's private key.
	Key string `yaml:"key"`
}

// Tokens says how tokens for the APIs behind are signed. Their public keys stand at ISSUER/.well-known/jwks.json of the listener http.
type Tokens struct {
	// Issuer is the iss of the tokens, https://HOST; empty for no tokens. Whatever answers there must lead to the listener http.
	Issuer string `yaml:"issuer"`
	// SealingKeyFile is a file with the key that seals the signing keys, 32 bytes in base64; a second line for the key before it. It is
	// mandatory with Redis, and the same for all replicas.
	SealingKeyFile string `yaml:"sealing_key_file"`
	// Rotate is how long a signing key signs, from 1h to 30d.
	Rotate format.Duration `yaml:"rotate"`
}

// BundleSecret is a secret that bundles use by its name, as the password of a client at an issuer.
type BundleSecret struct {
	// Name is what bundles call it.
	Name string `yaml:"name"`
	// File holds the secret; space around it does not count. It is read again when it changes.
	File string `yaml:"file"`
	// Bundles are the bundles that may use it, by name.
	Bundles []string `yaml:"bundles"`
}

// Redis is the store of the counters.
type Redis struct {
	// Mode is single (one server, at url), sentinel (sentinels at addresses name the master) or cluster (nodes of a Redis Cluster at addresses name the others).
	Mode string `yaml:"mode"`
	// URL is redis://… or rediss://…. It is never shown, as it may hold a password.
	URL Secret `yaml:"url"`
	// URLFile is a file that holds the URL, instead of it.
	URLFile string `yaml:"url_file"`
	// Addresses are host:port of sentinels, or of some nodes of a cluster.
	Addresses []string `yaml:"addresses"`
	// Master is the name that sentinels have for the master.
	Master string `yaml:"master"`
	// User is the ACL user who logs in at the servers, instead of that of the URL.
	User string `yaml:"user"`
	// PasswordFile is a file that holds the password for the servers, instead of that of the URL.
	PasswordFile string `yaml:"password_file"`
	// SentinelUser is the ACL user who logs in at the sentinels.
	SentinelUser string `yaml:"sentinel_user"`
	// SentinelPasswordFile is a file that holds the password for the sentinels.
	SentinelPasswordFile string `yaml:"sentinel_password_file"`
	// TLS is wanted from all addresses; a URL says it by its scheme, rediss.
	TLS bool `yaml:"tls"`
	// ServerName is the name in Redis' certificates, where it is not the host of each address.
	ServerName string `yaml:"server_name"`
	// CA is a PEM file of authorities that sign Redis' certificate.
	CA string `yaml:"ca"`
	// Certificate is a PEM file with this client's certificate.
	Certificate string `yaml:"certificate"`
	// Key is a PEM file with the certificate's private key.
	Key string `yaml:"key"`
	// Timeout bounds every call, from 1ms to 5s.
	Timeout format.Duration `yaml:"timeout"`
	// Replicas is how many replicas share the limits, at least, for local_share while Redis is out of reach. As long as it is
	// not, replicas count themselves there.
	Replicas int `yaml:"replicas"`
}

// APIKeys says how API keys are known.
type APIKeys struct {
	// HashKeys are the secrets by which API keys are hashed, new ones with the first; without any no bundle may take API keys.
	HashKeys []HashKey `yaml:"hash_keys"`
	// MaxAge is how long keys of the shared table are taken while the table cannot be read, from 1s to 24h; then requests with such
	// keys are denied, 503. It is also how long a key that was revoked meanwhile may be taken by a replica that is cut off.
	MaxAge format.Duration `yaml:"max_age"`
}

// HashKey is a secret by which API keys are hashed.
type HashKey struct {
	// Name stands in the record of each key: 1 to 63 lower-case letters, digits and hyphens.
	Name string `yaml:"name"`
	// File holds the secret, at least 43 characters, as "openssl rand -base64 32" makes them.
	File string `yaml:"file"`
}

// RateLimit says what Envoy's rate limit protocol adds to its answers, as envoyproxy/ratelimit can be told to.
type RateLimit struct {
	// ResponseHeaders tells clients the limit that is nearest to its end, in three headers.
	ResponseHeaders bool `yaml:"response_headers"`
	// LimitHeader is the name of the header with the limit; empty leaves it out.
	LimitHeader string `yaml:"limit_header"`
	// RemainingHeader is the name of the header with what is left; empty leaves it out.
	RemainingHeader string `yaml:"remaining_header"`
	// ResetHeader is the name of the header with the seconds to wait; empty leaves it out.
	ResetHeader string `yaml:"reset_header"`
	// DynamicMetadata hands the gateway what it asked and the metadata of limits that have room.
	DynamicMetadata bool `yaml:"dynamic_metadata"`
}

// Audit says where records go.
type Audit struct {
	// Sink is stdout (default) or file.
	Sink string `yaml:"sink"`
	// Path is the file of the sink file. SIGHUP opens it anew.
	Path string `yaml:"path"`
	// Queue is the number of records that may wait, from 16 to 1048576.
	Queue int `yaml:"queue"`
	// OnFull is what happens when no more may wait: drop_allows (default), wait or deny.
	OnFull string `yaml:"on_full"`
}

// Metrics says which labels metrics carry.
type Metrics struct {
	// Routes adds the route's name as a label.
	Routes bool `yaml:"routes"`
	// MaxRoutes is for how many routes, from 1 to 10000; those beyond are labelled "other".
	MaxRoutes int `yaml:"max_routes"`
}

// Log configures the server's own log.
type Log struct {
	// Level is debug, info (default), warn or error.
	Level string `yaml:"level"`
}

// Secret is a text that is never printed.
type Secret string

// String returns a mask, or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString returns the same as String, so that %#v masks too.
func (s Secret) GoString() string { return s.String() }

// MarshalText masks the secret in every encoding that uses it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML masks the secret.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// Defaults returns the settings of a server that was told nothing: loopback, memory, records to stdout.
func Defaults() Settings {
	return Settings{
		Admin:     Admin{Address: "127.0.0.1:9192"},
		Identity:  Identity{TokenCacheMiB: 32},
		Redis:     Redis{Mode: "single", Timeout: format.Duration(20 * time.Millisecond), Replicas: 1},
		Tokens:    Tokens{Rotate: format.Duration(24 * time.Hour)},
		APIKeys:   APIKeys{MaxAge: format.Duration(5 * time.Minute)},
		RateLimit: RateLimit{LimitHeader: "RateLimit-Limit", RemainingHeader: "RateLimit-Remaining", ResetHeader: "RateLimit-Reset"},
		Audit:     Audit{Sink: "stdout", Queue: 8192, OnFull: "drop_allows"},
		Metrics:   Metrics{MaxRoutes: 200},
		Log:       Log{Level: "info"},
		Budget:    format.Duration(200 * time.Millisecond),
		Drain:     format.Duration(5 * time.Second),
		Poll:      format.Duration(2 * time.Second),
	}
}

// DefaultListener is what a server listens on when it is told nothing else. The client's address is then the
// gateway's peer, which nobody can forge; behind another proxy the operator must choose.
func DefaultListener() Listener {
	return Listener{Address: "127.0.0.1:9191", Protocols: []string{"ext_authz", "native"}, ClientAddress: "peer", Select: "host"}
}
