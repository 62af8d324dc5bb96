package assembly

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// localCaller is the name of whoever connects to a listener that names no callers.
const localCaller = "local"

// minToken is the shortest token of a caller, in bytes: 128 bits in base64.
const minToken = 22

// caller is who asks, and what is believed of it.
type caller struct {
	name                                                         string
	clientAddress, certificate, service, dryRun, explain, report bool
}

// callers knows the callers of one listener. It is immutable.
type callers struct {
	named []knownCaller
}

type knownCaller struct {
	caller
	sans  []string
	token *[sha256.Size]byte
}

// newCallers reads the callers' tokens. Without callers everybody is the local caller, who is believed all: such a
// listener is reached from this machine alone, or the operator spelled out that it is insecure.
func newCallers(configured []settings.Caller) (*callers, error) {
	c := &callers{}
	for _, one := range configured {
		k := knownCaller{sans: one.SANs, caller: caller{
			name:          one.Name,
			clientAddress: slices.Contains(one.Asserts, "client_address"),
			certificate:   slices.Contains(one.Asserts, "certificate"),
			service:       slices.Contains(one.Asserts, "service"),
			dryRun:        slices.Contains(one.Asserts, "dry_run"),
			explain:       slices.Contains(one.Asserts, "explain"),
			report:        slices.Contains(one.Asserts, "report"),
		}}
		if one.TokenFile != "" {
			data, err := os.ReadFile(one.TokenFile)
			if err != nil {
				return nil, fmt.Errorf("reading the token of caller %q: %w", one.Name, err)
			}
			token := strings.TrimSpace(string(data))
			if len(token) < minToken {
				return nil, fmt.Errorf("reading the token of caller %q: %s holds fewer than %d characters", one.Name, one.TokenFile, minToken)
			}
			sum := sha256.Sum256([]byte(token))
			k.token = &sum
		}
		c.named = append(c.named, k)
	}
	return c, nil
}

// ofRPC returns who made the RPC; false for nobody that the listener knows.
func (c *callers) ofRPC(ctx context.Context) (caller, bool) {
	var leaf *x509.Certificate
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
			leaf = info.State.VerifiedChains[0][0]
		}
	}
	authorization := ""
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		if values := md.Get("authorization"); len(values) == 1 {
			authorization = values[0]
		}
	}
	return c.find(leaf, authorization)
}

// find returns the caller with the verified certificate or the bearer token.
func (c *callers) find(leaf *x509.Certificate, authorization string) (caller, bool) {
	if len(c.named) == 0 {
		return caller{name: localCaller, clientAddress: true, certificate: true, service: true, dryRun: true, explain: true, report: true}, true
	}
	token, hasToken := strings.CutPrefix(authorization, "Bearer ")
	sum := sha256.Sum256([]byte(token))
	for i := range c.named {
		k := &c.named[i]
		// Where both are configured, both must fit.
		if len(k.sans) > 0 && !hasSAN(leaf, k.sans) {
			continue
		}
		if k.token != nil && (!hasToken || subtle.ConstantTimeCompare(sum[:], k.token[:]) != 1) {
			continue
		}
		return k.caller, true
	}
	return caller{}, false
}

func hasSAN(leaf *x509.Certificate, wanted []string) bool {
	if leaf == nil {
		return false
	}
	for _, u := range leaf.URIs {
		if slices.Contains(wanted, u.String()) {
			return true
		}
	}
	for _, name := range leaf.DNSNames {
		if slices.Contains(wanted, name) {
			return true
		}
	}
	return false
}
