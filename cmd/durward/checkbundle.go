package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/decisiontest"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// certificateValidity is how long around the request's time the certificate of --san is valid.
const certificateValidity = time.Hour

// askBundle decides on a bundle with the engine of a server, with fresh counters.
func (c *checkCommand) askBundle(ctx context.Context) (*decision, error) {
	directory := c.Bundle
	contents, err := readBundle(directory)
	if err != nil {
		return nil, err
	}
	off, err := assembly.NewOffline(assembly.OfflineOptions{Contents: contents, TestKeys: c.Claims != ""})
	if err != nil {
		return nil, invalidBundle(directory, err)
	}
	now := c.Now.Time
	if now.IsZero() {
		now = time.Now()
	}
	parts := decisiontest.Parts{Time: now, Certificate: certificateOf(c.SAN, now)}
	if parts.Token, err = c.token(off, now); err != nil {
		return nil, err
	}
	in, err := c.form(c.URL)
	if err != nil {
		return nil, err
	}
	r, err := decisiontest.NewRequest(in, parts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	r.Explain = c.Explain.level
	session, err := off.Open(now)
	if err != nil {
		return nil, err
	}
	defer func() { _ = session.Close() }()
	session.SetOutage(c.WithoutRedis)
	var v verdict.Verdict
	if c.Subject == "" {
		v = session.Decide(ctx, r)
	} else {
		who, err := c.subject(off)
		if err != nil {
			return nil, err
		}
		v = session.DecideAs(ctx, r, who)
	}
	service, route := session.Place(r)
	return newDecision(&v, service, route), nil
}

// token returns the bearer token of the request; "" for none.
func (c *checkCommand) token(off *assembly.Offline, now time.Time) (string, error) {
	if c.Claims == "" {
		return argument(c.Token)
	}
	text, err := argument(c.Claims)
	if err != nil {
		return "", err
	}
	var given map[string]any
	if err := json.Unmarshal([]byte(text), &given); err != nil {
		return "", fmt.Errorf("%w --claims: %w", errInvalid, err)
	}
	name, err := c.authenticator(off)
	if err != nil {
		return "", err
	}
	// What an access token must hold (RFC 9068) and nobody wants to type; null leaves a claim out.
	claims := map[string]any{"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	switch off.Bundle().Authenticators[name].Kind {
	case "introspection":
		claims["active"] = true
		fallthrough
	case "jwt":
		claims["jti"], claims["client_id"] = "check", "durward-check"
		if audiences := audiencesOf(off.Bundle(), name); len(audiences) > 0 {
			claims["aud"] = audiences
		}
	}
	maps.Copy(claims, given)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	raw, err := off.Mint(name, nil, claims)
	if err != nil {
		return "", fmt.Errorf("%w --claims: %w", errInvalid, err)
	}
	return raw, nil
}

// audiencesOf lists the audiences of the services that accept an authenticator.
func audiencesOf(b *format.Bundle, authenticator string) []string {
	var out []string
	for _, s := range b.Services {
		if slices.Contains(s.Identity.Accept, authenticator) {
			out = append(out, s.Identity.Audiences...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// authenticator returns the authenticator of --claims: the one that was named, or the only one of kind jwt or introspection.
func (c *checkCommand) authenticator(off *assembly.Offline) (string, error) {
	var names []string
	for name, a := range off.Bundle().Authenticators {
		if a.Kind == "jwt" || a.Kind == "introspection" || a.Kind == "api_key" && name == c.Authenticator {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	switch {
	case c.Authenticator != "" && !slices.Contains(names, c.Authenticator):
		return "", fmt.Errorf("%w --authenticator: the bundle has no %q for tokens, but %q", errInvalid, c.Authenticator, names)
	case c.Authenticator != "":
		return c.Authenticator, nil
	case len(names) != 1:
		return "", fmt.Errorf("%w --claims: name the --authenticator, one of %q", errInvalid, names)
	}
	return names[0], nil
}

// subject returns the subject that is taken for granted.
func (c *checkCommand) subject(off *assembly.Offline) (subject.Subject, error) {
	who, ok := subjectOf(c.Subject)
	if !ok {
		return who, fmt.Errorf("%w --subject %q: write anonymous, user:AUTHENTICATOR:ID or service:AUTHENTICATOR:ID", errInvalid, c.Subject)
	}
	if who.IsAnonymous() {
		if len(c.Role) > 0 || len(c.Scope) > 0 || c.Tenant != "" {
			return who, fmt.Errorf("%w --subject: anonymous has no --role, --scope or --tenant", errInvalid)
		}
		return who, nil
	}
	a, ok := off.Bundle().Authenticators[who.Authenticator]
	if !ok {
		return who, fmt.Errorf("%w --subject: the bundle has no authenticator %q", errInvalid, who.Authenticator)
	}
	who.Issuer, who.Tenant, who.Roles, who.Scopes = a.Issuer, c.Tenant, c.Role, c.Scope
	return who, nil
}

// subjectOf returns the subject that a key names, with nothing but its name; false for what is no key.
func subjectOf(key string) (subject.Subject, bool) {
	if key == subject.AnonymousKey {
		return subject.Anonymous(), true
	}
	kind, rest, _ := strings.Cut(key, ":")
	authenticator, id, _ := strings.Cut(rest, ":")
	if kind != subject.KindUser && kind != subject.KindService || authenticator == "" || id == "" {
		return subject.Subject{}, false
	}
	return subject.Subject{Key: key, Kind: kind, Authenticator: authenticator, ID: id}, true
}

// certificateOf returns a certificate with the names; nil without names.
func certificateOf(names []string, now time.Time) *request.Certificate {
	if len(names) == 0 {
		return nil
	}
	c := &request.Certificate{Subject: "CN=check", NotBefore: now.Add(-certificateValidity), NotAfter: now.Add(certificateValidity)}
	for _, name := range names {
		addName(c, name)
	}
	return c
}

// addName adds a subject alternative name to the kind that it looks like.
func addName(c *request.Certificate, name string) {
	switch {
	case strings.Contains(name, "://"):
		c.URIs = append(c.URIs, name)
	case strings.Contains(name, "@"):
		c.Emails = append(c.Emails, name)
	default:
		c.DNSNames = append(c.DNSNames, name)
	}
}
