package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// defaultTimeout bounds a question to a server.
const defaultTimeout = 5 * time.Second

// serverFlags say how a running server is asked.
type serverFlags struct {
	Server          string        `placeholder:"ADDR" help:"Ask a running server: host:port or unix:PATH of a native listener. Nothing is charged unless --enforce is there."`
	Enforce         bool          `help:"Let the server charge limits, as for a real request."`
	Insecure        bool          `help:"Talk in plain text to a server beyond this machine."`
	CA              string        `name:"ca" placeholder:"FILE" help:"Root certificates of the server."`
	Cert            string        `placeholder:"FILE" help:"Client certificate, with --key."`
	Key             string        `placeholder:"FILE" help:"Its private key."`
	CallerTokenFile string        `placeholder:"FILE" help:"File with the token that names this caller to the server."`
	Timeout         time.Duration `default:"5s" help:"How long to wait for the server."`
}

// used reports whether a flag stands there that is about servers alone.
func (f *serverFlags) used() bool {
	return f.Enforce || f.Insecure || f.CA != "" || f.Cert != "" || f.Key != "" || f.CallerTokenFile != "" || f.Timeout != defaultTimeout
}

// askServer asks a server over the native API.
func (c *checkCommand) askServer(ctx context.Context) (*decision, error) {
	options, err := c.Server.options()
	if err != nil {
		return nil, err
	}
	r, err := c.question()
	if err != nil {
		return nil, err
	}
	target := c.Server.Server
	client, err := authz.New(target, options...)
	if err != nil {
		return nil, fmt.Errorf("%w --server: %w", errInvalid, err)
	}
	defer func() { _ = client.Close() }()
	return decided(client.Check(ctx, *r))
}

// decided returns what a server has decided. Every denial is an error too; one without an id is of no server.
func decided(d authz.Decision, err error) (*decision, error) {
	switch {
	case d.ID != "":
		v := answerOf(&d)
		return newDecision(&v, "", ""), nil
	case err == nil:
		err = errors.New("the server's answer names no decision")
	}
	return nil, err
}

// question is the request as the native API has it.
func (c *checkCommand) question() (*authz.Request, error) {
	in, err := c.form(c.Bundle) // the one argument
	if err != nil {
		return nil, err
	}
	h := &authz.HTTP{Method: in.Method, Scheme: in.Scheme, Host: in.Host, Target: in.Path, Protocol: in.Protocol}
	if in.Body != nil {
		h.Body = []byte(*in.Body)
	}
	h.BodySize = int64(len(h.Body))
	for _, line := range in.Lines {
		h.Header = append(h.Header, authz.Field(line))
	}
	token, err := argument(c.Token)
	if err != nil {
		return nil, err
	}
	if token != "" {
		h.Header = append(h.Header, authz.Field{Name: "authorization", Value: "Bearer " + token})
	}
	if address, err := netip.ParseAddr(in.Address); err == nil {
		h.PeerAddress = netip.AddrPortFrom(address, 0).String()
	} else if in.Address != "unknown" {
		return nil, fmt.Errorf("%w --address: %w", errInvalid, err)
	}
	levels := map[request.Explain]authz.Explain{request.ExplainDecision: authz.ExplainDecision, request.ExplainAll: authz.ExplainAll}
	return &authz.Request{HTTP: h, DryRun: !c.Server.Enforce, Explain: levels[c.Explain.level]}, nil
}

// options are those of the client. Plain text is for this machine, unless it is spelled out.
func (f *serverFlags) options() ([]authz.Option, error) {
	options := []authz.Option{authz.WithTimeout(f.Timeout)}
	if f.CallerTokenFile != "" {
		token, err := argument("@" + f.CallerTokenFile)
		if err != nil {
			return nil, err
		}
		options = append(options, authz.WithToken(strings.TrimSpace(token)))
	}
	if f.Insecure || f.CA == "" && f.Cert == "" && isLocal(f.Server) {
		return append(options, authz.WithInsecure()), nil
	}
	config, err := clientTLS(f.CA, f.Cert, f.Key)
	if err != nil {
		return nil, err
	}
	return append(options, authz.WithTLS(config)), nil
}

// clientTLS reads what a client shows and whom it trusts.
func clientTLS(ca, cert, key string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		data, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("%w --ca: %w", errInvalid, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%w --ca: %s holds no certificate", errInvalid, ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, fmt.Errorf("%w: --cert and --key belong together", errInvalid)
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%w --cert: %w", errInvalid, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// isLocal reports whether an address cannot leave this machine.
func isLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// answerOf turns a client's decision into a verdict.
func answerOf(d *authz.Decision) verdict.Verdict {
	e := &d.Explanation
	v := verdict.Verdict{
		Status: d.Status, Reason: verdict.Reason(d.Reason), DecisionID: d.ID, Stage: d.Stage, Degraded: d.Degraded, RetryAfter: d.RetryAfter,
		Obligations: verdict.Obligations{SetUpstream: fieldsOf(d.SetUpstream), RemoveUpstream: d.RemoveUpstream, SetResponse: fieldsOf(d.SetResponse)},
		Explanation: verdict.Explanation{Bundle: e.Bundle, Revision: e.Revision, Policy: e.Policy, Rule: e.Rule, RuleID: e.RuleID, Limit: e.Limit},
	}
	if d.Allowed {
		v.Effect = verdict.Allow
	}
	for _, l := range e.Limits {
		v.Explanation.Limits = append(v.Explanation.Limits, verdict.LimitState(l))
	}
	for i := range e.Policies {
		v.Explanation.Policies = append(v.Explanation.Policies, explanationOf(&e.Policies[i]))
	}
	return v
}

func fieldsOf(in []authz.Field) []verdict.Field {
	var out []verdict.Field
	for _, f := range in {
		out = append(out, verdict.Field(f))
	}
	return out
}

func explanationOf(in *authz.PolicyExplanation) verdict.PolicyExplanation {
	out := verdict.PolicyExplanation{Policy: in.Policy, Guard: in.Guard, Change: in.Change, Partial: in.Partial}
	if in.Allowed {
		out.Effect = verdict.Allow
	}
	if in.Decider != nil {
		decider := ruleOf(in.Decider)
		out.Decider = &decider
	}
	for _, way := range in.Roles {
		out.Roles = append(out.Roles, verdict.RolePath(way))
	}
	for i := range in.Matching {
		out.Matching = append(out.Matching, ruleOf(&in.Matching[i]))
	}
	for i := range in.Misses {
		miss := verdict.NearMiss{Rule: ruleOf(&in.Misses[i].Rule), Failed: in.Misses[i].Failed}
		for _, one := range in.Misses[i].Conditions {
			miss.Conditions = append(miss.Conditions, verdict.Condition(one))
		}
		out.Misses = append(out.Misses, miss)
	}
	return out
}

func ruleOf(r *authz.RuleReference) verdict.RuleReference {
	out := verdict.RuleReference{Position: r.Position, ID: r.ID, Text: r.Text, Effect: verdict.Allow}
	if r.Denies {
		out.Effect = verdict.Deny
	}
	return out
}
