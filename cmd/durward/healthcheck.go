package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

var (
	errNotReady = errors.New("the server is not ready")
	errNoAnswer = errors.New("no answer about readiness")
)

type healthcheckCommand struct {
	Admin   string        `help:"Admin address of the server: host:port or unix:PATH." env:"DURWARD_ADMIN" default:"127.0.0.1:9192" placeholder:"ADDR"`
	Timeout time.Duration `help:"How long to wait." default:"2s"`
}

// Run asks /readyz.
func (c *healthcheckCommand) Run(ctx context.Context, s streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	network, address := "tcp", c.Admin
	if path, ok := strings.CutPrefix(c.Admin, "unix:"); ok {
		network, address = "unix", path
	}
	var dialer net.Dialer
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, address)
	}}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://durward/readyz", nil)
	if err != nil {
		return fmt.Errorf("asking for readiness: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking for readiness: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusServiceUnavailable:
		return errNotReady
	default: // 400 is also what a listener with TLS says to plain text
		return fmt.Errorf("%w: %s answers %s; is that the admin address, and without TLS?", errNoAnswer, c.Admin, response.Status)
	}
	_, err = fmt.Fprintln(s.out, "ready")
	return err
}
