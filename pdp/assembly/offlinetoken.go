package assembly

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/token"
)

// TokenReport is what one service says of a token.
type TokenReport struct {
	Service       string `json:"service"`
	Authenticator string `json:"authenticator,omitzero"`
	// Reason is why the service refuses the token, "" where it would take it from a request that shows what it is bound to.
	Reason string       `json:"reason,omitzero"`
	Detail string       `json:"detail,omitzero"`
	Checks []TokenCheck `json:"checks"`
}

// TokenCheck is what one check says of a token.
type TokenCheck struct {
	Name string `json:"name"`
	// Answer is ok, refused or skipped; Reason and Detail say why it is refused.
	Answer string `json:"answer"`
	Detail string `json:"detail,omitzero"`
}

// InspectToken says what each check of each service that takes tokens says of one, or of the one service that is named.
func (o *Offline) InspectToken(ctx context.Context, service, raw string, now time.Time) ([]TokenReport, error) {
	var services []*pipeline.Service
	var names []string
	for _, s := range o.snapshot.Services {
		names = append(names, s.Route.Name)
		if service == "" || s.Route.Name == service {
			services = append(services, s)
		}
	}
	if service != "" && len(services) == 0 {
		slices.Sort(names)
		return nil, fmt.Errorf("the bundle has no service %q, but %q", service, names)
	}
	slices.SortFunc(services, func(a, b *pipeline.Service) int { return strings.Compare(a.Route.Name, b.Route.Name) })
	out := []TokenReport{}
	for _, s := range services {
		said, err := o.stages.identity.Inspect(ctx, s, raw, now)
		if err != nil {
			return nil, err
		}
		report := TokenReport{Service: s.Route.Name, Authenticator: said.Authenticator, Reason: string(said.Reason), Detail: said.Detail, Checks: TokenChecks(said.Findings)}
		out = append(out, report)
	}
	return out, nil
}

// TokenChecks words findings.
func TokenChecks(findings []token.Finding) []TokenCheck {
	out := []TokenCheck{}
	for _, f := range findings {
		check := TokenCheck{Name: f.Check, Answer: "ok"}
		switch {
		case f.Skipped:
			check.Answer = "skipped"
		case f.Err != nil:
			check.Answer, check.Detail = "refused", f.Err.Error()
		}
		out = append(out, check)
	}
	return out
}

// givenKeys is the identity stage's compiler with one key set in the place of every issuer's.
type givenKeys struct {
	bundle.Compiler
	set []byte
}

// Compile implements bundle.Compiler. What the bundle says of keys is checked first.
func (c givenKeys) Compile(b *format.Bundle, s *format.Service) (any, format.Problems) {
	if _, problems := c.Compiler.Compile(b, s); len(problems) > 0 {
		return nil, problems
	}
	const file = "given.jwks.json"
	contents := map[string][]byte{file: c.set}
	for _, p := range b.Files.Paths() {
		f, _ := b.Files.Get("", p)
		contents[p] = f.Data
	}
	replaced := *b
	replaced.Files = format.NewFiles(contents)
	replaced.Authenticators = maps.Clone(b.Authenticators)
	for name, a := range b.Authenticators {
		if a.Kind == "jwt" {
			a.JWKS = format.JWKS{File: file}
			replaced.Authenticators[name] = a
		}
	}
	return c.Compiler.Compile(&replaced, s)
}
