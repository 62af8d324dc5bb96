package stack

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// maxHeader bounds the headers of a request to a service of this process, in bytes.
const maxHeader = 64 << 10

// serve answers requests on l until the stack is closed.
func (s *Stack) serve(l net.Listener, h http.Handler) {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // handshakes that clients gave up
	}
	s.mu.Lock()
	s.servers = append(s.servers, server)
	s.mu.Unlock()
	s.serving.Go(func() { _ = server.Serve(l) }) // ends when the server is closed
}

// Serve answers HTTPS for a host, on a port of its own, with the stack's certificate of the edge. The stack's clients
// and Send find it by its name, beside Envoy. It returns its host:port, and ends with the stack.
func (s *Stack) Serve(ctx context.Context, host string, h http.Handler) (string, error) {
	certificate, err := s.Certificate("edge")
	if err != nil {
		return "", err
	}
	l, err := listen(ctx, 0)
	if err != nil {
		return "", fmt.Errorf("serving %s: %w", host, err)
	}
	address := l.Addr().String()
	s.serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}), h)
	s.mu.Lock()
	s.hosts[host] = address
	s.mu.Unlock()
	return address, nil
}

// addressOf is where a host of the stack is served: by this process, or by Envoy.
func (s *Stack) addressOf(host string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if address, ok := s.hosts[host]; ok {
		return address
	}
	return s.Edge
}
