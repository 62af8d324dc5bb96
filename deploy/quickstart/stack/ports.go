package stack

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// maxReplicas bounds the replicas of a stack.
const maxReplicas = 12

// ports are where a stack listens, on loopback.
type ports struct {
	edge, envoyAdmin, orders, redis int
	replica, admin                  [maxReplicas]int
}

// shipped are the ports that stand in the quickstart's files. Replicas beyond the second follow their pattern.
func shipped() ports {
	p := ports{edge: 8443, envoyAdmin: 9901, orders: 8081, redis: 6390}
	for i := range maxReplicas {
		p.replica[i], p.admin[i] = 9191+100*i, 9192+100*i
	}
	return p
}

// used lists the ports that a stack of so many replicas listens on.
func (p *ports) used(replicas int) []int {
	all := []int{p.edge, p.envoyAdmin, p.orders, p.redis}
	return append(append(all, p.replica[:replicas]...), p.admin[:replicas]...)
}

// ErrTaken is returned when somebody else listens where the quickstart's files say.
var ErrTaken = errors.New("these addresses are in use")

func taken(ctx context.Context, all []int) []string {
	var out []string
	for _, port := range all {
		if !free(ctx, port) {
			out = append(out, local(port))
		}
	}
	return out
}

const (
	// Free ports are searched below the range from which systems take the local ports of outgoing connections.
	lowPort, highPort = 12000, 32000
	// A stack takes a block of ports; the first is its mark, held for as long as the stack lives.
	blockSize, maxTries = 32, 200
)

var errNoPorts = errors.New("no block of free ports was found")

// freePorts finds ports that nobody listens on. mark keeps other stacks, of any process, off them until it is closed.
func freePorts(ctx context.Context) (p ports, mark net.Listener, err error) {
	for range maxTries {
		var random [4]byte
		if _, err := rand.Read(random[:]); err != nil {
			return p, nil, fmt.Errorf("choosing ports: %w", err)
		}
		first := lowPort + int(binary.BigEndian.Uint32(random[:])%((highPort-lowPort)/blockSize))*blockSize
		if p, mark, err = block(ctx, first); err == nil {
			return p, mark, nil
		}
	}
	return p, nil, errors.Join(errNoPorts, err)
}

// block takes the block that begins with first.
func block(ctx context.Context, first int) (p ports, mark net.Listener, err error) {
	if mark, err = listen(ctx, first); err != nil {
		return p, nil, err
	}
	p = ports{edge: first + 1, envoyAdmin: first + 2, orders: first + 3, redis: first + 4}
	for i := range maxReplicas {
		p.replica[i], p.admin[i] = first+8+2*i, first+9+2*i
	}
	if taken := taken(ctx, p.used(maxReplicas)); len(taken) > 0 {
		return p, nil, errors.Join(fmt.Errorf("%w: %v", ErrTaken, taken), mark.Close())
	}
	return p, mark, nil
}

func free(ctx context.Context, port int) bool {
	l, err := listen(ctx, port)
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func listen(ctx context.Context, port int) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp4", local(port))
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
