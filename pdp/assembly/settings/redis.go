package settings

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// redis checks that what stands under redis fits its mode.
func (c *checker) redis(r *Redis) {
	c.oneOf("$.redis.mode", r.Mode, "single", "sentinel", "cluster")
	if r.URL != "" && r.URLFile != "" {
		c.add("$.redis", "url and url_file exclude each other")
	}
	if (r.Certificate == "") != (r.Key == "") {
		c.add("$.redis", "certificate and key go together")
	}
	for _, login := range [][3]string{{"user", r.User, r.PasswordFile}, {"sentinel_user", r.SentinelUser, r.SentinelPasswordFile}} {
		if login[1] != "" && login[2] == "" {
			c.add("$.redis."+login[0], "needs a password: %s", strings.Replace(login[0], "user", "password_file", 1))
		}
	}
	switch r.Mode {
	case "single":
		c.redisOfURL(r)
	case "sentinel", "cluster":
		c.redisOfAddresses(r)
	}
}

func (c *checker) redisOfURL(r *Redis) {
	switch {
	case len(r.Addresses) > 0:
		c.add("$.redis.addresses", "want mode sentinel or cluster; a single server has a url")
	case r.Master != "":
		c.add("$.redis.master", "wants mode sentinel")
	case r.SentinelUser != "" || r.SentinelPasswordFile != "":
		c.add("$.redis", "a login at sentinels wants mode sentinel")
	case r.TLS:
		c.add("$.redis.tls", "is said by the scheme of the url: rediss")
	case r.URL == "" && r.URLFile == "" && r.PasswordFile != "":
		c.add("$.redis.password_file", "is for no server: url or url_file is missing")
	}
}

func (c *checker) redisOfAddresses(r *Redis) {
	if r.URL != "" || r.URLFile != "" {
		c.add("$.redis", "mode %s has addresses, and no url or url_file", r.Mode)
	}
	if len(r.Addresses) == 0 {
		c.add("$.redis", "mode %s needs addresses", r.Mode)
	}
	seen := map[string]bool{}
	for i, addr := range r.Addresses {
		path := fmt.Sprintf("$.redis.addresses[%d]", i)
		host, port, err := net.SplitHostPort(addr)
		n, bad := strconv.ParseUint(port, 10, 16)
		switch { // the text is not repeated: somebody may have written a login into it
		case err != nil || host == "" || strings.ContainsAny(host, "/@ ") || bad != nil || n == 0:
			c.add(path, "must be host:port, without a scheme or a login")
		case seen[addr]:
			c.add(path, "%q twice", addr)
		}
		seen[addr] = true
	}
	switch {
	case r.Mode == "sentinel" && r.Master == "":
		c.add("$.redis", "mode sentinel needs master, the name that sentinels have for it")
	case r.Mode == "cluster" && r.Master != "":
		c.add("$.redis.master", "wants mode sentinel")
	case r.Mode == "cluster" && (r.SentinelUser != "" || r.SentinelPasswordFile != ""):
		c.add("$.redis", "a login at sentinels wants mode sentinel")
	}
	if !r.TLS && (r.CA != "" || r.Certificate != "" || r.ServerName != "") {
		c.add("$.redis", "ca, certificate, key and server_name want tls: true")
	}
}

// Shared reports whether counters are kept in Redis.
func (r *Redis) Shared() bool { return r.URL != "" || r.URLFile != "" || len(r.Addresses) > 0 }

// Secrets are what Redis wants to know of a client.
type Secrets struct {
	URL, Password, SentinelPassword Secret
}

// Secrets reads what stands in files. The error never holds any of it.
func (r *Redis) Secrets() (Secrets, error) {
	s := Secrets{URL: r.URL}
	for _, file := range []struct {
		key, path string
		into      *Secret
	}{
		{"url_file", r.URLFile, &s.URL},
		{"password_file", r.PasswordFile, &s.Password},
		{"sentinel_password_file", r.SentinelPasswordFile, &s.SentinelPassword},
	} {
		if file.path == "" {
			continue
		}
		data, err := os.ReadFile(file.path)
		if err != nil {
			return Secrets{}, fmt.Errorf("reading redis.%s: %w", file.key, err)
		}
		text := strings.TrimSpace(string(data))
		if text == "" {
			return Secrets{}, fmt.Errorf("reading redis.%s: %s is empty", file.key, file.path)
		}
		*file.into = Secret(text)
	}
	return s, nil
}
