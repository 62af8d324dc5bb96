package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// maxTokenInput bounds what is read, beyond what any service takes.
const maxTokenInput = 64 << 10

type tokenCommand struct {
	Inspect tokenInspectCommand `cmd:"" help:"Say what a token holds, and what each check of a bundle would say of it."`
}

// tokenInspectCommand reads a token from a file or standard input, never from an argument: those are in the list of processes and in the
// shell's history.
type tokenInspectCommand struct {
	File    string  `arg:"" optional:"" default:"-" help:"File that holds the token; - is standard input."`
	Bundle  string  `placeholder:"DIR" help:"Directory of a bundle whose checks are asked."`
	Service string  `placeholder:"NAME" help:"Service of the bundle to ask; all that take tokens without it."`
	JWKS    string  `name:"jwks" placeholder:"FILE" help:"Key set to verify with, in the place of the issuers': keys by URL are not fetched here."`
	Claims  bool    `help:"Show the values of all claims. They may say who somebody is."`
	Now     instant `placeholder:"TIME" help:"When the token is used, as in 2026-01-01T12:00:00Z; now without it."`
	Output  string  `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// inspected is what the command prints; docs/guide/check.md describes the JSON form. No part of it lets anybody use the token.
type inspected struct {
	// Hash is the credential_hash of records.
	Hash   string      `json:"credential_hash"`
	Header tokenHeader `json:"header"`
	// Malformed is why nothing else is known.
	Malformed string                 `json:"malformed,omitzero"`
	Claims    []tokenClaim           `json:"claims"`
	Signature []assembly.TokenCheck  `json:"signature,omitempty"`
	Services  []assembly.TokenReport `json:"services,omitempty"`
	now       time.Time
}

type tokenHeader struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ"`
	KeyID     string `json:"kid"`
	// Offered names the members that offer a key, which nobody uses.
	Offered []string `json:"offered_keys,omitempty"`
}

type tokenClaim struct {
	Name string `json:"name"`
	// Value is what the claim holds, or what kind of thing where it is masked.
	Value  any  `json:"value"`
	Masked bool `json:"masked,omitzero"`
}

// Validate refuses flags that need others.
func (c *tokenInspectCommand) Validate() error {
	if c.Service != "" && c.Bundle == "" {
		return errors.New("--service needs --bundle")
	}
	return nil
}

// Run inspects one token. That a service refuses it is an answer and no failure.
func (c *tokenInspectCommand) Run(ctx context.Context, s streams) error {
	raw, err := c.read(s)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(raw))
	x := &inspected{Hash: hex.EncodeToString(sum[:]), Claims: []tokenClaim{}, now: c.Now.Time}
	if x.now.IsZero() {
		x.now = time.Now()
	}
	if err := c.inspect(ctx, x, raw); err != nil {
		return err
	}
	if c.Output == "json" {
		err = writeJSON(s.out, x)
	} else {
		var p page
		x.writeTo(&p)
		_, err = io.WriteString(s.out, p.String())
	}
	if err == nil && x.Malformed != "" {
		return fmt.Errorf("%w token: %s", errInvalid, x.Malformed)
	}
	return err
}

// read returns the token of the file, or of standard input.
func (c *tokenInspectCommand) read(s streams) (string, error) {
	if c.File == "-" {
		return readToken(s.in)
	}
	if strings.Count(c.File, ".") == 2 && strings.HasPrefix(c.File, "eyJ") {
		return "", fmt.Errorf("%w argument: a token as an argument is seen by everybody on this machine; write it to a file, or to standard input", errInvalid)
	}
	f, err := os.Open(c.File)
	if err != nil {
		return "", fmt.Errorf("%w file: %w", errInvalid, err)
	}
	defer func() { _ = f.Close() }()
	return readToken(f)
}

// readToken returns a token without what surrounds it in files and headers. Its errors hold nothing of it.
func readToken(in io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxTokenInput+1))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	if len(data) > maxTokenInput { // a part of it would be another token, with another hash
		return "", fmt.Errorf("%w input: longer than any token, %d KiB", errInvalid, maxTokenInput>>10)
	}
	text := strings.TrimSpace(string(data))
	if scheme, rest, found := strings.Cut(text, " "); found && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")) {
		text = strings.TrimSpace(rest)
	}
	if text == "" {
		return "", fmt.Errorf("%w input: it holds no token", errInvalid)
	}
	return text, nil
}

func (c *tokenInspectCommand) inspect(ctx context.Context, x *inspected, raw string) error {
	var keys []byte
	var set *token.KeySet
	if c.JWKS != "" {
		var err error
		if keys, err = os.ReadFile(c.JWKS); err != nil {
			return fmt.Errorf("%w --jwks: %w", errInvalid, err)
		}
		if set, err = token.ParseKeySet(keys); err != nil {
			return fmt.Errorf("%w --jwks: %s: %w", errInvalid, c.JWKS, err)
		}
	}
	parsed, err := token.Parse(raw, len(raw)) // a service may take longer ones than most
	if err != nil {
		x.Malformed = err.Error()
		return nil //nolint:nilerr // that it is no token is the answer
	}
	h := parsed.Header()
	x.Header = tokenHeader{Algorithm: h.Algorithm, Type: h.Type, KeyID: h.KeyID, Offered: h.IgnoredKeys}
	x.Claims = claimsShown(parsed.UnverifiedClaims(), c.Claims)
	if c.Bundle != "" {
		return c.askServices(ctx, x, raw, keys)
	}
	if set != nil {
		x.Signature = signatureChecks(parsed, set, x.now)
	}
	return nil
}

// askServices asks the services of the bundle.
func (c *tokenInspectCommand) askServices(ctx context.Context, x *inspected, raw string, keys []byte) error {
	contents, err := readBundle(c.Bundle)
	if err != nil {
		return err
	}
	off, err := assembly.NewOffline(assembly.OfflineOptions{Contents: contents, Keys: keys})
	if err != nil {
		return invalidBundle(c.Bundle, err)
	}
	x.Services, err = off.InspectToken(ctx, c.Service, raw, x.now)
	if err != nil {
		return fmt.Errorf("%w --service: %w", errInvalid, err)
	}
	return nil
}

// signatureChecks says whether a key of the set signed the token, without a bundle that says what else must hold.
func signatureChecks(t *token.Token, set *token.KeySet, now time.Time) []assembly.TokenCheck {
	algorithm := t.Header().Algorithm
	v, err := token.NewVerifier(token.Config{Issuer: t.Issuer(), Algorithms: []string{algorithm}})
	if err != nil {
		return []assembly.TokenCheck{{Name: "key", Answer: "refused", Detail: err.Error()}}
	}
	checks := assembly.TokenChecks(v.Inspect(t, set, token.Audiences{}, now))
	return slices.DeleteFunc(checks, func(f assembly.TokenCheck) bool { return f.Name != "key" && f.Name != "signature" })
}

// claimsShown lists claims by name. Without all, only those show their values that say nothing of a person.
func claimsShown(claims map[string]any, all bool) []tokenClaim {
	out := []tokenClaim{}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		value := claims[name]
		if all || slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat"}, name) {
			out = append(out, tokenClaim{Name: name, Value: value})
		} else {
			out = append(out, tokenClaim{Name: name, Value: kindOf(value), Masked: true})
		}
	}
	return out
}

// kindOf says what kind of thing a claim holds.
func kindOf(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("text of %d bytes", len(v))
	case []any:
		return fmt.Sprintf("list of %d", len(v))
	case map[string]any:
		return fmt.Sprintf("object with %d members", len(v))
	case bool:
		return "true or false"
	case nil:
		return "null"
	}
	return "number"
}

// writeTo writes what is known for people.
func (x *inspected) writeTo(p *page) {
	if x.Malformed != "" {
		p.addf("no token: %s\n", shown(x.Malformed))
		p.row("hash", x.Hash)
		return
	}
	p.addf("token, not verified unless a check below says so\n")
	p.row("hash", x.Hash)
	p.row("alg", x.Header.Algorithm)
	p.row("typ", x.Header.Type)
	p.row("kid", x.Header.KeyID)
	p.row("offers", strings.Join(x.Header.Offered, " ")+ifAny(x.Header.Offered, ", never used"))
	for _, c := range x.Claims {
		p.row(shown(c.Name), c.text(x.now))
	}
	writeChecks(p, x.Signature)
	for i := range x.Services {
		s := &x.Services[i]
		p.addf("service %s: %s\n", s.Service, tokenAnswer(s))
		p.row("detail", s.Detail)
		writeChecks(p, s.Checks)
	}
}

// tokenAnswer is what a service says of the token as a whole.
func tokenAnswer(r *assembly.TokenReport) string {
	if r.Reason == "" {
		return "good, by authenticator " + r.Authenticator + "; what it is bound to is seen in a request alone"
	}
	return fmt.Sprintf("%d %s", verdict.Reason(r.Reason).Status(), r.Reason) + ", " + shown(verdict.Reason(r.Reason).Info().Text)
}

func writeChecks(p *page, checks []assembly.TokenCheck) {
	for _, c := range checks {
		text := c.Answer
		if c.Detail != "" {
			text += ": " + c.Detail
		}
		p.row(c.Name, text)
	}
}

func ifAny(list []string, text string) string {
	if len(list) == 0 {
		return ""
	}
	return text
}

// text shows a claim; times as times, beside now.
func (c *tokenClaim) text(now time.Time) string {
	if c.Masked {
		return "(" + fmt.Sprint(c.Value) + ")"
	}
	if seconds, ok := c.Value.(float64); ok && slices.Contains([]string{"exp", "nbf", "iat"}, c.Name) && seconds > -1e11 && seconds < 1e11 {
		at := time.Unix(int64(seconds), 0).UTC()
		d := at.Sub(now).Round(time.Second)
		if d < 0 {
			return at.Format(time.RFC3339) + ", " + (-d).String() + " ago"
		}
		return at.Format(time.RFC3339) + ", in " + d.String()
	}
	return fmt.Sprint(c.Value)
}
