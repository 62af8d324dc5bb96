package settings

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"strings"
	"time"
)

// tokens checks what an issuer of tokens needs.
func (c *checker) tokens(s *Settings) {
	t := &s.Tokens
	if t.Issuer == "" {
		if t.SealingKeyFile != "" {
			c.add("$.tokens", "issuer is missing")
		}
		return
	}
	u, err := url.Parse(t.Issuer)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(t.Issuer, "#") ||
		u.Path != "" && (u.Path == "/" || path.Clean(u.Path) != u.Path) || strings.ContainsAny(u.Path, "{}") || len(t.Issuer) > maxIssuer {
		c.add("$.tokens.issuer", "must be https://HOST or https://HOST/PATH, at most 256 bytes, without a query, a fragment, a slash at the end, or empty and dot segments")
	}
	if s.HTTP.Address == "" {
		c.add("$.tokens", "wants http.address (--http): there the APIs find the keys")
	}
	if s.Redis.Shared() && t.SealingKeyFile == "" {
		c.add("$.tokens", "wants sealing_key_file: replicas share the signing keys through Redis, which must not know them")
	}
	c.duration("$.tokens.rotate", t.Rotate, time.Hour, 30*24*time.Hour)
}

const maxIssuer = 256

// SealingKeys reads the file. The error never holds any of it. Without a file it is empty.
func (t *Tokens) SealingKeys() (Secret, error) {
	if t.SealingKeyFile == "" {
		return "", nil
	}
	data, err := os.ReadFile(t.SealingKeyFile)
	if err != nil {
		return "", fmt.Errorf("reading tokens.sealing_key_file: %w", err)
	}
	return Secret(data), nil
}
