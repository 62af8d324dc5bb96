package edge

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// backends are the APIs of this process: one speaks gRPC, one upgrades connections.
type backends struct {
	host             string
	greeter, sockets int
}

func serveBackends() (*backends, error) {
	b := &backends{host: "127.0.0.1"}
	greeter, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	sockets, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b.greeter, b.sockets = greeter.Addr().(*net.TCPAddr).Port, sockets.Addr().(*net.TCPAddr).Port
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var in emptypb.Empty
		if err := stream.RecvMsg(&in); err != nil {
			return err
		}
		return stream.SendMsg(&emptypb.Empty{})
	}))
	go func() { _ = server.Serve(greeter) }() // until the process ends
	go func() {
		_ = (&http.Server{Handler: http.HandlerFunc(upgrade), ReadHeaderTimeout: 10 * time.Second}).Serve(sockets)
	}()
	return b, nil
}

// upgrade agrees to every upgrade, names the caller, and then echoes.
func upgrade(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nx-subject: "+
		r.Header.Get("X-Durward-Subject")+"\r\n\r\n")
	_, _ = io.Copy(conn, buffered)
}

// writeForeign writes a certificate with the gateway's name that another authority signed.
func writeForeign(dir string) error {
	now := time.Now()
	other, err := stack.NewAuthority(now)
	if err != nil {
		return err
	}
	certificate, key, err := other.Issue(stack.Wanted{Names: []string{"gateway.example.com"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "foreign.crt"), certificate, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "foreign.key"), key, 0o600)
}

// dial connects; what waits on the connection ends with ctx.
func dial(ctx context.Context, address string, encrypted bool, config *tls.Config) (net.Conn, error) {
	var dialer interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	} = &net.Dialer{}
	if encrypted {
		dialer = &tls.Dialer{Config: config}
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return conn, nil
}
