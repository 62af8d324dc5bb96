package stack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// sendTime bounds a request of the stack's clients.
	sendTime = 15 * time.Second
	// maxHead bounds a response's status line and headers, maxBody its body, in bytes.
	maxHead, maxBody = 256 << 10, 4 << 20
)

var errTooLong = errors.New("the response is longer than allowed")

// clientTLS trusts the stack's authority alone and shows the certificate, if there is one.
func (s *Stack) clientTLS(host string, certificate *tls.Certificate) *tls.Config {
	config := &tls.Config{RootCAs: s.Authority.Pool(), ServerName: host, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return config
}

// Client returns a client for https://HOST/ of the stack's hosts, whatever the port: it connects to Envoy, or to what
// Serve serves. It follows no redirects. certificate may be nil. A target that must not be cleaned stands in the
// request's URL.Opaque.
func (s *Stack) Client(certificate *tls.Certificate) *http.Client {
	var dialer net.Dialer
	client := &http.Client{
		Timeout:       sendTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: s.clientTLS("", certificate), ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 256, DisableCompression: true,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				host, _, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				return dialer.DialContext(ctx, network, s.addressOf(host))
			},
		},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, client)
	return client
}

// Field is a line of a header.
type Field struct {
	Name, Value string
}

// Message is a request as it goes over the wire, in HTTP/1.1.
type Message struct {
	// Method, Host and Target are written as they are: nothing is cleaned, escaped or added.
	Method, Host, Target string
	// Header holds further lines, in their order.
	Header []Field
	// Body is sent with its length unless it is nil.
	Body []byte
	// Certificate, if not nil, is shown in the handshake.
	Certificate *tls.Certificate
}

// Answer is what came back.
type Answer struct {
	// Status is the status code.
	Status int
	// Lines are the status line and the header lines, as they came over the wire.
	Lines []string
	// Header holds the same lines, parsed.
	Header http.Header
	// Body is the decoded body.
	Body []byte
}

// Text returns the message as it is sent, without its body.
func (m *Message) Text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s HTTP/1.1\r\nhost: %s\r\n", m.Method, m.Target, m.Host)
	for _, f := range m.Header {
		out.WriteString(f.Name + ": " + f.Value + "\r\n")
	}
	if m.Body != nil {
		out.WriteString("content-length: " + strconv.Itoa(len(m.Body)) + "\r\n")
	}
	out.WriteString("connection: close\r\n\r\n")
	return out.String()
}

// Send sends a message over a TLS connection of its own, to whoever serves its host, and reads the response.
func (s *Stack) Send(ctx context.Context, m Message) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	host, _, err := net.SplitHostPort(m.Host)
	if err != nil {
		host = m.Host
	}
	dialer := tls.Dialer{Config: s.clientTLS(host, m.Certificate)}
	conn, err := dialer.DialContext(ctx, "tcp", s.addressOf(host))
	if err != nil {
		return nil, fmt.Errorf("sending %s %s: %w", m.Method, m.Target, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // ends what waits
	defer stop()
	if _, err := conn.Write(append([]byte(m.Text()), m.Body...)); err != nil {
		return nil, fmt.Errorf("sending %s %s: %w", m.Method, m.Target, err)
	}
	answer, err := readAnswer(conn, m.Method)
	if err != nil {
		return nil, fmt.Errorf("reading the answer to %s %s: %w", m.Method, m.Target, err)
	}
	return answer, nil
}

// readAnswer reads one response and keeps its head as it came.
func readAnswer(r io.Reader, method string) (*Answer, error) {
	reader := bufio.NewReader(r)
	var head bytes.Buffer
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if head.Len()+len(line) > maxHead {
			return nil, errTooLong
		}
		head.WriteString(line)
		if strings.TrimRight(line, "\r\n") == "" {
			break
		}
	}
	text := strings.TrimRight(head.String(), "\r\n")
	response, err := http.ReadResponse(bufio.NewReader(io.MultiReader(&head, reader)), &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, errTooLong
	}
	return &Answer{Status: response.StatusCode, Lines: strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), Header: response.Header, Body: body}, nil
}
