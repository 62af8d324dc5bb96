package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// lookCluster asks a node of the cluster, one that answers if possible, which masters serve which slots.
func (s *Store) lookCluster(ctx context.Context) (layout, error) {
	nodes := s.directory.all()
	rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] }) //nolint:gosec // who is asked first is no secret
	slices.SortStableFunc(nodes, func(a, b *node) int { return int(a.breaker.look().State) - int(b.breaker.look().State) })
	var errs []error
	for _, n := range nodes {
		l, err := slotsAt(ctx, n.client.WithTimeout(lookTimeout), n.addr)
		if err == nil {
			return l, nil
		}
		errs = append(errs, err)
	}
	for _, addr := range s.opt.Addresses {
		l, err := s.slotsAtSeed(ctx, addr)
		if err == nil {
			return l, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no node of the Redis Cluster says who serves what: %w", errors.Join(errs...))
}

func (s *Store) slotsAtSeed(ctx context.Context, addr string) (layout, error) {
	client := goredis.NewClient(s.opt.visit(addr))
	defer func() { _ = client.Close() }()
	return slotsAt(ctx, client, addr)
}

func slotsAt(ctx context.Context, client *goredis.Client, addr string) (layout, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	slots, err := client.ClusterSlots(ctx).Result() //nolint:staticcheck // Redis 6.2 has nothing else
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	var l layout
	for _, part := range slots {
		if len(part.Nodes) > 0 { // the first is the master
			l = append(l, span{first: part.Start, last: part.End, addr: besides(part.Nodes[0].Addr, addr)})
		}
	}
	if len(l) == 0 {
		return nil, fmt.Errorf("%s: it knows of no slots", addr)
	}
	return l, nil
}

// besides completes an address without a host, which means that of the node that named it. Redis writes IPv6 without
// brackets.
func besides(addr, namedBy string) string {
	colon := strings.LastIndexByte(addr, ':')
	if colon < 0 {
		return addr
	}
	host := strings.Trim(addr[:colon], "[]")
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(namedBy)
	}
	return net.JoinHostPort(host, addr[colon+1:])
}

// redirection reads MOVED and ASK, with which a node of a cluster says that it ran nothing and who would. Their text ends
// with the address.
func redirection(err error, from string) (to string, moved, ok bool) {
	if to, moved = goredis.IsMovedError(err); !moved {
		if to, ok = goredis.IsAskError(err); !ok {
			return "", false, false
		}
	}
	return besides(strings.TrimSpace(to), from), moved, true
}

// lookSentinels asks the sentinels who is the master. One that was started anew, or is cut off, may name a server that is
// none: its answer is passed over.
func (s *Store) lookSentinels(ctx context.Context) (layout, error) {
	var errs []error
	for i := range s.opt.Addresses {
		sentinel := s.opt.Addresses[(s.turn+i)%len(s.opt.Addresses)]
		addr, err := s.masterAt(ctx, sentinel)
		if err == nil {
			s.turn += i // the one that knew is asked first the next time
			return layout{{addr: addr}}, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", sentinel, err))
	}
	return nil, fmt.Errorf("no sentinel knows the master %q: %w", s.opt.Master, errors.Join(errs...))
}

func (s *Store) masterAt(ctx context.Context, sentinel string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*lookTimeout)
	defer cancel()
	o := s.opt.visit(sentinel)
	o.Username, o.Password = s.opt.SentinelUsername, s.opt.SentinelPassword
	client := goredis.NewSentinelClient(o)
	defer func() { _ = client.Close() }()
	master, err := client.GetMasterAddrByName(ctx, s.opt.Master).Result()
	if err != nil {
		return "", err
	}
	if len(master) != 2 {
		return "", errors.New("it named no address")
	}
	addr := net.JoinHostPort(master[0], master[1])
	if n := s.directory.slots[0].Load(); n != nil && n.addr == addr {
		return addr, nil
	}
	server := goredis.NewClient(s.opt.visit(addr))
	defer func() { _ = server.Close() }()
	if role, err := server.Do(ctx, "role").Slice(); err == nil && len(role) > 0 && role[0] != "master" {
		return "", fmt.Errorf("it names %s, which is no master", addr)
	}
	return addr, nil // one that does not answer is the breaker's
}
