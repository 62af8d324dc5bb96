package settings

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
)

// checker collects problems; file is nil when the settings came without one.
type checker struct {
	file     *format.File
	problems format.Problems
}

// add reports a problem under the setting's name. It has a place where the file holds the setting or what is around it;
// one that the environment or a flag brought has none.
func (c *checker) add(path, message string, args ...any) {
	problem := format.Problem{Message: strings.TrimPrefix(path, "$.") + ": " + fmt.Sprintf(message, args...)}
	if c.file != nil {
		if at := c.file.At(path); at != c.file.At("$") {
			problem = c.file.Problem(path, problem.Message)
		} else {
			problem.Position = format.Position{File: c.file.Path}
		}
	}
	c.problems = append(c.problems, problem)
}

// check returns what is wrong with settings that were read without a syntax error.
func (s *Settings) check(file *format.File) format.Problems {
	c := &checker{file: file}
	if len(s.Bundles) == 0 {
		c.add("$.bundles", "no bundle: give bundles in the file or --bundle DIR")
	}
	directories := map[string]bool{}
	for i, b := range s.Bundles {
		path, dir := fmt.Sprintf("$.bundles[%d]", i), filepath.Clean(b.Dir)
		switch {
		case b.Dir == "":
			c.add(path, "dir is missing")
		case directories[dir]:
			c.add(path, "%q twice", b.Dir)
		}
		directories[dir] = true
	}
	for i := range s.Listeners {
		c.listener(fmt.Sprintf("$.listeners[%d]", i), &s.Listeners[i])
	}
	if s.Admin.Address != "off" {
		c.tls("$.admin.tls", s.Admin.TLS)
		c.callers("$.admin", s.Admin.Callers, s.Admin.TLS)
		if c.address("$.admin", s.Admin.Address) && !s.Admin.Insecure {
			c.exposure("$.admin", s.Admin.Address, s.Admin.TLS, s.Admin.Callers)
		}
	}
	c.http(&s.HTTP)
	c.tokens(s)
	for i := range s.Egress {
		c.egress(fmt.Sprintf("$.egress[%d]", i), &s.Egress[i])
	}
	c.secrets(s.Secrets)
	c.apiKeys(&s.APIKeys)
	c.oneOf("$.audit.sink", s.Audit.Sink, "stdout", "file")
	c.oneOf("$.audit.on_full", s.Audit.OnFull, "drop_allows", "wait", "deny")
	if s.Audit.Sink == "file" && s.Audit.Path == "" {
		c.add("$.audit", "sink file needs a path")
	}
	c.headerName("$.rate_limit.limit_header", s.RateLimit.LimitHeader)
	c.headerName("$.rate_limit.remaining_header", s.RateLimit.RemainingHeader)
	c.headerName("$.rate_limit.reset_header", s.RateLimit.ResetHeader)
	c.between("$.audit.queue", int64(s.Audit.Queue), 16, 1<<20)
	c.between("$.identity.token_cache_mib", int64(s.Identity.TokenCacheMiB), 0, 4096)
	c.between("$.metrics.max_routes", int64(s.Metrics.MaxRoutes), 1, 10000)
	c.between("$.redis.replicas", int64(s.Redis.Replicas), 1, 10000)
	c.redis(&s.Redis)
	c.oneOf("$.log.level", s.Log.Level, "debug", "info", "warn", "error")
	c.duration("$.budget", s.Budget, 10*time.Millisecond, 30*time.Second)
	c.duration("$.drain", s.Drain, 0, 10*time.Minute)
	c.duration("$.poll", s.Poll, 50*time.Millisecond, time.Hour)
	c.duration("$.redis.timeout", s.Redis.Timeout, time.Millisecond, 5*time.Second)
	return c.problems
}

func (c *checker) listener(path string, l *Listener) {
	for i, p := range l.Protocols {
		c.oneOf(fmt.Sprintf("%s.protocols[%d]", path, i), p, "ext_authz", "native", "ratelimit", "ratelimit_json")
	}
	if len(l.Protocols) > 1 && l.Speaks("ratelimit_json") {
		c.add(path+".protocols", "ratelimit_json is HTTP and the others are gRPC: give it a listener of its own")
	}
	c.oneOf(path+".select", l.Select, "host", "extension")
	if _, err := request.ParseAddressRule(l.ClientAddress); err != nil {
		c.add(path+".client_address", "%v", err)
	}
	c.tls(path+".tls", l.TLS)
	c.callers(path, l.Callers, l.TLS)
	if c.address(path, l.Address) && !l.Insecure {
		c.exposure(path, l.Address, l.TLS, l.Callers)
	}
}

func (c *checker) http(h *HTTP) {
	if h.Address == "" {
		if h.TLS != nil || h.Insecure {
			c.add("$.http", "address is missing")
		}
		return
	}
	c.tls("$.http.tls", h.TLS)
	if c.address("$.http", h.Address) && !h.Insecure && h.TLS == nil && !Local(h.Address) {
		c.add("$.http", "%s can be reached from other machines and has no TLS; add tls, or spell out insecure: true", h.Address)
	}
}

func (c *checker) egress(path string, e *Egress) {
	if e.Host == "" {
		c.add(path, "host is missing")
	}
	if (e.Certificate == "") != (e.Key == "") {
		c.add(path, "certificate and key are both needed")
	}
}

func (c *checker) secrets(secrets []BundleSecret) {
	names := map[string]bool{}
	for i := range secrets {
		s, path := &secrets[i], fmt.Sprintf("$.secrets[%d]", i)
		switch {
		case s.Name == "" || s.File == "":
			c.add(path, "name and file are both needed")
		case names[s.Name]:
			c.add(path+".name", "%q twice", s.Name)
		case len(s.Bundles) == 0 || slices.Contains(s.Bundles, ""):
			c.add(path, "bundles is missing: it names the bundles that may use the secret")
		}
		names[s.Name] = true
	}
}

func (c *checker) callers(path string, callers []Caller, tls *TLS) {
	names := map[string]bool{}
	for i, caller := range callers {
		at := fmt.Sprintf("%s.callers[%d]", path, i)
		if caller.Name == "" {
			c.add(at, "name is missing")
		}
		if names[caller.Name] {
			c.add(at+".name", "%q twice", caller.Name)
		}
		names[caller.Name] = true
		if len(caller.SANs) == 0 && caller.TokenFile == "" {
			c.add(at, "needs sans or token_file: a caller is known by its certificate or its token")
		}
		if len(caller.SANs) > 0 && (tls == nil || tls.ClientCA == "") {
			c.add(at+".sans", "needs tls.client_ca of the listener, else nobody checks certificates")
		}
		for j, assertion := range caller.Asserts {
			c.oneOf(fmt.Sprintf("%s.asserts[%d]", at, j), assertion, Assertions...)
		}
	}
}

// Assertions are what a caller can be believed to assert.
var Assertions = []string{"client_address", "certificate", "service", "dry_run", "explain", "report"}

func (c *checker) tls(path string, t *TLS) {
	if t == nil {
		return
	}
	if t.Certificate == "" || t.Key == "" {
		c.add(path, "certificate and key are both needed")
	}
	if t.MinVersion != "" {
		c.oneOf(path+".min_version", t.MinVersion, "1.2", "1.3")
	}
}

// exposure refuses a listener that others than this machine can reach and that does not know who asks.
func (c *checker) exposure(path, address string, t *TLS, callers []Caller) {
	if Local(address) {
		return
	}
	if t == nil {
		c.add(path, "%s can be reached from other machines and has no TLS; add tls, or spell out insecure: true (--insecure)", address)
	}
	if len(callers) == 0 {
		c.add(path, "%s can be reached from other machines and names no callers; add callers, or spell out insecure: true (--insecure)", address)
	}
}

// address reports whether somebody can listen there, as far as the text says.
func (c *checker) address(path, address string) bool {
	if p, ok := strings.CutPrefix(address, "unix:"); ok {
		if p == "" || len(p) > 100 {
			c.add(path+".address", "unix: needs a path of at most 100 bytes")
			return false
		}
		return true
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		c.add(path+".address", "must be host:port or unix:PATH (a port is a number up to 65535), got %q", address)
	}
	return err == nil
}

// Local reports whether an address can be reached from this machine alone. A name other than localhost is taken for
// one that others reach.
func Local(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func (c *checker) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.add(path, "must be one of %s, got %q", strings.Join(allowed, ", "), value)
	}
}

// headerName takes names that the gateway can set, and none.
func (c *checker) headerName(path, name string) {
	if name != "" && !request.ValidName(name) {
		c.add(path, "must be the name of a header, got %q", name)
	}
}

func (c *checker) between(path string, value, low, high int64) {
	if value < low || value > high {
		c.add(path, "must be from %d to %d, got %d", low, high, value)
	}
}

func (c *checker) duration(path string, value format.Duration, low, high time.Duration) {
	if d := time.Duration(value); d < low || d > high {
		c.add(path, "must be from %v to %v, got %v", low, high, d)
	}
}
