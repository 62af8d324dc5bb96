package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// maxArgument bounds a file that stands for an argument.
const maxArgument = 16 << 20

type checkCommand struct {
	Bundle string `arg:"" help:"Directory of a bundle; left out with --server."`
	URL    string `arg:"" optional:"" name:"url" help:"URL of the request; https where it has no scheme. Not a byte of it is changed."`

	Method   string   `short:"X" default:"GET" help:"Method of the request."`
	Header   []string `short:"H" sep:"none" placeholder:"NAME:VALUE" help:"Header line; may be repeated."`
	Body     string   `placeholder:"TEXT" help:"Body, or @FILE."`
	Address  string   `placeholder:"IP" help:"Address of the client, or unknown." default:"192.0.2.1"`
	Protocol string   `default:"HTTP/1.1" hidden:""`

	Token         string   `placeholder:"TOKEN" help:"Bearer token, or @FILE." xor:"who"`
	Claims        string   `placeholder:"JSON" help:"Claims, or @FILE, of a token that is signed with a throw-away key in the place of the issuer's." xor:"who"`
	Authenticator string   `placeholder:"NAME" help:"Authenticator of --claims; needed where the bundle has several."`
	Subject       string   `placeholder:"KEY" help:"Subject to take for granted, KIND:AUTHENTICATOR:ID; no credential is verified." xor:"who"`
	Role          []string `sep:"none" help:"Role of --subject; may be repeated."`
	Scope         []string `sep:"none" help:"Scope of --subject; may be repeated."`
	Tenant        string   `help:"Tenant of --subject."`
	SAN           []string `name:"san" sep:"none" placeholder:"NAME" help:"Name in a client certificate that the gateway verified; may be repeated."`

	Now          instant     `placeholder:"TIME" help:"When the request is made, as in 2026-01-01T12:00:00Z."`
	WithoutRedis bool        `name:"without-redis" help:"Decide as while the shared counters do not answer."`
	Explain      explainFlag `help:"Say why: role paths, the nearest misses and the smallest change that would allow; --explain=all lists every matching rule."`
	Expect       string      `placeholder:"DECISION" help:"allow or deny, or deny:REASON; exit code 4 says that the answer is another."`
	Output       string      `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`

	Server serverFlags `embed:""`
}

// instant is a flag that holds a time.
type instant struct{ time.Time }

// UnmarshalText reads a time of RFC 3339.
func (i *instant) UnmarshalText(text []byte) (err error) {
	if i.Time, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return fmt.Errorf("%q is no time; write one as in 2026-01-01T12:00:00Z", text)
	}
	return nil
}

// explainFlag is a flag that may do without a value.
type explainFlag struct{ level request.Explain }

// IsBool tells the parser that the value may be left out.
func (*explainFlag) IsBool() bool { return true }

// Decode reads --explain and --explain=all.
func (e *explainFlag) Decode(ctx *kong.DecodeContext) error {
	value := "decision"
	if ctx.Scan.Peek().Type == kong.FlagValueToken {
		value = ctx.Scan.Pop().String()
	}
	switch value {
	case "decision":
		e.level = request.ExplainDecision
	case "all":
		e.level = request.ExplainAll
	default:
		return fmt.Errorf("write --explain or --explain=all, not %q", value)
	}
	return nil
}

// Validate refuses flags that contradict each other, before anything is done.
func (c *checkCommand) Validate() error {
	switch {
	case c.Server.Server != "":
		if c.URL != "" {
			return errors.New("with --server there is one argument, the URL")
		}
		if c.Claims != "" || c.Subject != "" || len(c.SAN) > 0 || c.WithoutRedis || !c.Now.IsZero() {
			return errors.New("--claims, --subject, --san, --now and --without-redis are for a bundle: a server believes nobody such things")
		}
	case c.URL == "":
		return errors.New("there are two arguments, the bundle's directory and the URL")
	case c.Server.used():
		return errors.New("--enforce, --insecure, --ca, --cert, --key, --caller-token-file and --timeout need --server")
	}
	if c.Subject == "" && (len(c.Role) > 0 || len(c.Scope) > 0 || c.Tenant != "") {
		return errors.New("--role, --scope and --tenant describe a --subject; a token holds them in its claims")
	}
	if c.Authenticator != "" && c.Claims == "" {
		return errors.New("--authenticator needs --claims")
	}
	return c.validateExpect()
}

func (c *checkCommand) validateExpect() error {
	effect, reason, exact := strings.Cut(c.Expect, ":")
	if c.Expect != "" && effect != "allow" && effect != "deny" || exact && (effect == "allow" || reason == "") {
		return fmt.Errorf("--expect is allow, deny or deny:REASON, not %q", c.Expect)
	}
	if !exact || verdict.Reason(reason).Known() {
		return nil
	}
	var known []string
	for _, r := range verdict.Reasons() {
		known = append(known, string(r))
	}
	if near := format.Nearest(reason, known); near != "" {
		return fmt.Errorf("--expect: there is no reason %q; did you mean %q?", reason, near)
	}
	return fmt.Errorf("--expect: there is no reason %q", reason)
}

// Run asks one question.
func (c *checkCommand) Run(ctx context.Context, s streams) error {
	var d *decision
	var err error
	if c.Server.Server != "" {
		d, err = c.askServer(ctx)
	} else {
		d, err = c.askBundle(ctx)
	}
	if err != nil {
		return err
	}
	if c.Output == "json" {
		err = writeJSON(s.out, d)
	} else {
		var p page
		d.writeTo(&p)
		_, err = io.WriteString(s.out, p.String())
	}
	if err != nil {
		return err
	}
	return c.expected(d)
}

// expected compares the answer with --expect. A denial that no policy gave is what was expected only where its reason
// was: else a check would hold against a server that cannot decide.
func (c *checkCommand) expected(d *decision) error {
	effect, reason, exact := strings.Cut(c.Expect, ":")
	switch {
	case c.Expect == "" || exact && effect == d.Decision && reason == d.Reason:
		return nil
	case d.Decision != "allow" && undecided(verdict.Reason(d.Reason)):
		return fmt.Errorf("check: deny:%s is no answer of a policy", d.Reason)
	case !exact && effect == d.Decision:
		return nil
	}
	return fmt.Errorf("check %w: expected %s, got %s:%s", errFailed, c.Expect, d.Decision, d.Reason)
}

// undecided reports whether a denial with that reason says nothing of what the policy thinks of the request.
func undecided(reason verdict.Reason) bool {
	switch reason {
	case verdict.CallerNotTrusted, verdict.MalformedRequest, verdict.NoSnapshot, verdict.Deadline, verdict.Cancelled, verdict.Internal,
		verdict.AuditUnavailable, verdict.StageFailed, verdict.KeysUnavailable:
		return true
	}
	return false
}

// form is the request as decision tests write it.
func (c *checkCommand) form(url string) (*suite.Request, error) {
	in := &suite.Request{Method: c.Method, Protocol: c.Protocol, Address: c.Address}
	in.Scheme, in.Host, in.Path = cutURL(url)
	if in.Host == "" {
		return nil, fmt.Errorf("%w URL %q: it has no host", errInvalid, url)
	}
	for i, line := range c.Header {
		name, value, found := strings.Cut(line, ":")
		if !found || !request.ValidName(strings.TrimSpace(name)) {
			return nil, fmt.Errorf("%w --header %d: write NAME:VALUE", errInvalid, i+1) // it may hold a credential
		}
		in.Lines = append(in.Lines, suite.Line{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	if c.Body != "" {
		body, err := argument(c.Body)
		if err != nil {
			return nil, err
		}
		in.Body = &body
	}
	return in, nil
}

// cutURL takes a URL apart without changing a byte: what a path can hide is what is asked about.
func cutURL(url string) (scheme, host, target string) {
	scheme, rest, found := strings.Cut(url, "://")
	if !found || strings.ContainsAny(scheme, "/?#") {
		scheme, rest = "https", url
	}
	rest, _, _ = strings.Cut(rest, "#") // never sent
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		return scheme, rest, "/"
	}
	if host, target = rest[:end], rest[end:]; target[0] == '?' {
		target = "/" + target
	}
	return scheme, host, target
}

// argument returns the text of an argument, or that of the file whose name follows an at sign, without the line end.
func argument(text string) (string, error) {
	name, isFile := strings.CutPrefix(text, "@")
	if !isFile {
		return text, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("%w argument: %w", errInvalid, err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxArgument+1))
	if err == nil && len(data) > maxArgument {
		err = fmt.Errorf("larger than %d MiB", maxArgument>>20)
	}
	if err != nil {
		return "", fmt.Errorf("%w argument @%s: %w", errInvalid, name, err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}
