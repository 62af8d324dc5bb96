// Package demo is the guided tour behind `durward demo`: it starts the quickstart on this machine, sends real requests
// through Envoy, and prints for each what was asked, what came back, and which rule, limit or check made it so.
//
// Only the command imports it. Nothing that it prints about a decision is written down here: all of it is read from
// the response and from the record of the decision.
package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/durward-pdp/durward/clients/authz"
	"github.com/durward-pdp/durward/deploy/quickstart/reports"
	"github.com/durward-pdp/durward/deploy/quickstart/stack"
)

// askedPrefix begins the names of Envoy's counters of its questions.
const askedPrefix = "cluster.orders.ext_authz."

// Options say how the demo runs.
type Options struct {
	// Out is where the tour is printed; Colour paints it.
	Out    io.Writer
	Colour bool
	// Binary is the durward program to run; "" is none and fails.
	Binary string
	// Dir is the run directory; "" makes one and removes it at the end. Tools is where Envoy and Redis are.
	Dir, Tools string
	// FreePorts takes free ports at once; without it they are taken when the quickstart's own are in use.
	FreePorts bool
	// Bundle holds files that replace the bundle's own, by their path in the bundle.
	Bundle map[string]string
	// Stay serves after the tour, until the context ends.
	Stay bool
	// Clock is the time for certificates and tokens.
	Clock func() time.Time
}

// Run starts the quickstart, makes the tour, and stops what it started.
func Run(ctx context.Context, o Options) error {
	_, err := run(ctx, o)
	if ctx.Err() == nil {
		return err
	}
	return nil // interrupted: whatever that broke is no news
}

// journey is what the tour found.
type journey struct {
	stops []*stop
	// asked counts Envoy's questions to Durward by their outcome: ok, denied, error, invalid and more.
	asked map[string]int64
}

// run returns what the tour found, as far as it came.
func run(ctx context.Context, o Options) (j journey, err error) {
	p := &printer{out: o.Out, colour: o.Colour}
	issuer, err := newIssuer(o.Clock())
	if err != nil {
		return j, err
	}
	p.line("Starting Envoy, Redis, two replicas of Durward and a sample API ...")
	s, err := start(ctx, o, issuer.keys, p)
	if err != nil {
		return j, err
	}
	defer func() {
		if failed := s.Close(); failed != nil {
			err = errors.Join(err, failed)
		}
	}()
	tokens, err := issuer.mint(s.Dir)
	if err != nil {
		return j, err
	}
	address, closeReports, err := serveReports(ctx, s)
	if err != nil {
		return j, err
	}
	defer func() { _ = closeReports() }()
	p.running(s, address)
	if err := j.make(ctx, &guide{stack: s, tokens: tokens, binary: o.Binary}, p); err != nil {
		return j, err
	}
	if o.Stay {
		p.farewell(s, address)
		<-ctx.Done()
		p.line("Stopping.")
	}
	return j, p.err
}

// make makes the visits and prints them.
func (j *journey) make(ctx context.Context, g *guide, p *printer) error {
	for i, v := range tour {
		found, err := g.visit(ctx, v)
		if err != nil {
			return fmt.Errorf("visit %d, %s: %w", i+1, v.title, err)
		}
		j.stops = append(j.stops, found)
		if p.stop(i+1, found); p.err != nil {
			return fmt.Errorf("printing: %w", p.err)
		}
	}
	stats, err := g.stack.Stats(ctx)
	if err != nil {
		return err
	}
	j.asked = map[string]int64{}
	for name, n := range stats {
		if outcome, ok := strings.CutPrefix(name, askedPrefix); ok {
			j.asked[outcome] = n
		}
	}
	p.line("")
	p.line("That was the tour: %d stops. Envoy asked Durward: %d allowed, %d denied, %d failed, %d answers invalid.",
		len(j.stops), j.asked["ok"], j.asked["denied"], j.asked["error"], j.asked["invalid"])
	return nil
}

// start starts the quickstart where its files say, or on free ports where somebody else listens there.
func start(ctx context.Context, o Options, keys []byte, p *printer) (*stack.Stack, error) {
	options := stack.Options{
		Binary: o.Binary, Dir: o.Dir, Tools: o.Tools, FreePorts: o.FreePorts, KeySet: keys, Bundle: o.Bundle, Clock: o.Clock,
	}
	if o.Binary == "" {
		return nil, fmt.Errorf("%w: durward itself", stack.ErrNoProgram)
	}
	s, err := stack.Start(ctx, options)
	if errors.Is(err, stack.ErrTaken) {
		p.line("Free ports are used instead of the quickstart's own: %v", err)
		options.FreePorts = true
		s, err = stack.Start(ctx, options)
	}
	return s, err
}

// serveReports starts the sample service that asks for itself.
func serveReports(ctx context.Context, s *stack.Stack) (address string, closeClient func() error, err error) {
	certificate, err := s.Certificate("reports")
	if err != nil {
		return "", nil, err
	}
	client, err := authz.New(s.Replicas[0].Address, authz.WithTimeout(time.Second), authz.WithTLS(&tls.Config{
		RootCAs: s.Authority.Pool(), Certificates: []tls.Certificate{certificate}, ServerName: "durward.example.com", MinVersion: tls.VersionTLS13,
	}))
	if err != nil {
		return "", nil, fmt.Errorf("starting the reports service: %w", err)
	}
	if address, err = s.Serve(ctx, reportsHost, reports.New(client)); err != nil {
		return "", nil, errors.Join(err, client.Close())
	}
	return address, client.Close, nil
}

func (p *printer) running(s *stack.Stack, reportsAddress string) {
	p.line("  Envoy           https://%s  (orders.example.com; statistics on http://%s)", s.Edge, s.EnvoyAdmin)
	for i, r := range s.Replicas {
		p.line("  replica %d       %s  (metrics on http://%s/metrics)", i+1, r.Address, r.Admin)
	}
	p.line("  Redis           %s", s.Redis.Address)
	p.line("  reports service https://%s  (%s)", reportsAddress, reportsHost)
	p.line("  directory       %s", s.Dir)
}

// farewell prints what to try while everything runs.
func (p *printer) farewell(s *stack.Stack, reportsAddress string) {
	edge, reports := port(s.Edge), port(reportsAddress)
	p.line("All of it runs on until you interrupt it (Ctrl-C). In another terminal:")
	p.line("")
	p.line("  cd %s", quoted(s.Dir))
	p.line("  curl -i --cacert tls/ca.crt --resolve %[1]s:%[2]s:127.0.0.1 -H \"Authorization: Bearer $(cat %[3]s/alice)\" https://%[1]s:%[2]s/orders/7", ordersHost, edge, tokensDir)
	p.line("  curl -i --cacert tls/ca.crt --resolve %[1]s:%[2]s:127.0.0.1 --cert tls/batch.crt --key tls/batch.key https://%[1]s:%[2]s/orders/7", ordersHost, edge)
	p.line("  curl -i --cacert tls/ca.crt --resolve %[1]s:%[2]s:127.0.0.1 -H \"Authorization: Bearer $(cat %[3]s/alice-reports)\" https://%[1]s:%[2]s/tenants/acme/reports/1", reportsHost, reports, tokensDir)
	p.line("  tail -f records-*.jsonl")
	p.line("")
	p.line("Edit the rules in bundle/%s: they are in force within seconds. Tokens: %s/", ordersRules, tokensDir)
}

func port(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return port
}
