package introspection

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Config is what a bundle says of one authorization server. Every field is part of what an answer belongs to: answers for one
// configuration are none for another.
type Config struct {
	// Bundle and Authenticator name who asks.
	Bundle, Authenticator string
	// URL is the introspection endpoint.
	URL string
	// Issuer is the authorization server's name.
	Issuer string
	// ClientID is our name there, Authentication how it is proven: [Basic], [PrivateKeyJWT] or [MTLS].
	ClientID       string
	Authentication Method
	// Secret names the client's secret: a password, or a private key in PEM. Without meaning for [MTLS].
	Secret string
	// KeyID is the kid of client assertions; empty takes the key's thumbprint. Audience is their aud.
	KeyID, Audience string
	// TTL bounds how long an active token is taken for active, NegativeTTL the same for one that is not. Zero asks every time.
	TTL, NegativeTTL time.Duration
	// Timeout bounds each call.
	Timeout time.Duration
}

// Method is a way to authenticate a client.
type Method string

// Methods of authentication.
const (
	// Basic sends id and secret in an Authorization field (RFC 6749, section 2.3.1).
	Basic Method = "basic"
	// PrivateKeyJWT sends a signed assertion (RFC 7523, section 2.2).
	PrivateKeyJWT Method = "private_key_jwt"
	// MTLS shows the certificate that the operator has for the host (RFC 8705, section 2).
	MTLS Method = "mtls"
)

// Problem is what is wrong with a configuration: the key of the bundle below introspection, and why.
type Problem struct {
	Key, Text string
}

// The bounds of what a bundle may ask for.
const (
	maxTTL         = 10 * time.Minute
	maxNegativeTTL = time.Minute
	minTimeout     = 10 * time.Millisecond
	maxTimeout     = 5 * time.Second
	maxName        = 256
)

// check says what is wrong whoever asks. What the operator must allow is checked by [Client.Open].
func (c *Config) check() (at *url.URL, problems []Problem) {
	add := func(key, text string, args ...any) {
		problems = append(problems, Problem{key, fmt.Sprintf(text, args...)})
	}
	at, err := url.Parse(c.URL)
	if err != nil || at.Scheme != "https" || at.Host == "" || at.User != nil || at.Fragment != "" {
		add("url", "the introspection endpoint is an https URL without user and fragment")
	}
	if c.ClientID == "" || len(c.ClientID) > maxName {
		add("client.id", "id is missing or longer than %d bytes: the server wants to know who asks", maxName)
	}
	switch c.Authentication {
	case Basic, PrivateKeyJWT:
		if c.Secret == "" {
			add("client.secret", "secret is missing: the name of the client's secret in the server's settings")
		}
	case MTLS:
		if c.Secret != "" {
			add("client.secret", "secret has no meaning for mtls: the certificate belongs to the host in the server's settings")
		}
	default:
		add("client.authentication", "authentication is basic, private_key_jwt or mtls")
	}
	if c.Authentication != PrivateKeyJWT && (c.KeyID != "" || c.Audience != "") {
		add("client", "key_id and audience have a meaning for private_key_jwt alone")
	}
	if len(c.KeyID) > 128 || strings.ContainsFunc(c.KeyID, func(r rune) bool { return r < ' ' || r > '~' }) {
		add("client.key_id", "key_id is at most 128 printable ASCII characters")
	}
	for _, bound := range []struct {
		key       string
		value     time.Duration
		low, high time.Duration
		text      string
	}{
		{"cache", c.TTL, 0, maxTTL, "0s to 10min"},
		{"negative_cache", c.NegativeTTL, 0, maxNegativeTTL, "0s to 1min"},
		{"timeout", c.Timeout, minTimeout, maxTimeout, "10ms to 5s"},
	} {
		if bound.value < bound.low || bound.value > bound.high {
			add(bound.key, "%s is from %s", bound.key, bound.text)
		}
	}
	return at, problems
}

// key names what an answer is about.
type key [sha256.Size]byte

// definition is the key of the configuration. Every part has its length in front, so that no two configurations read the same.
func (c *Config) definition() key {
	return hash(c.Bundle, c.Authenticator, c.URL, c.Issuer, c.ClientID, string(c.Authentication), c.Secret, c.KeyID, c.Audience,
		c.TTL.String(), c.NegativeTTL.String(), c.Timeout.String())
}

// of is the key of a token's answers under the configuration with this key.
func (k key) of(raw string) key {
	token := sha256.Sum256([]byte(raw))
	return hash(string(k[:]), string(token[:]))
}

func hash(parts ...string) key {
	h := sha256.New()
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return key(h.Sum(nil))
}
