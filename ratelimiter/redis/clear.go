package redis

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	_ "embed" // the script

	"github.com/durward-pdp/durward/ratelimiter"
)

//go:embed clear.lua
var clearText string

// Clear forgets a counter, and reports whether there was one. It may be repeated. It makes a call of its own, whatever the breaker thinks, within a second: operators
// ask for it, not requests. After an error the counter may be there or not.
func (s *Store) Clear(ctx context.Context, key ratelimiter.Key) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	n, err := int64(0), error(nil)
	if h, record, shared := homeOfKey(key); shared {
		name := recordName(record)
		where := string(h.append(nil))
		n, err = s.forget(ctx, where, "eval", recordsText+clearText, 1, where, name[:])
	}
	if err == nil && n == 0 {
		n, err = s.forget(ctx, string(key), "del", string(key)) // of another algorithm, or with no other beside it
	}
	if err != nil {
		return false, fmt.Errorf("forget a counter in Redis at %s: %w", s.Address(), err)
	}
	return n > 0, nil
}

// forget runs a command that answers a number at the node that is in charge of the key, or at the one that it names instead.
func (s *Store) forget(ctx context.Context, key string, command ...any) (int64, error) {
	slot, asking := 0, false
	if s.directory.clustered() {
		slot = slotOf(key)
	}
	n, err := s.directory.route(ctx, slot)
	for hop := 0; err == nil; hop++ {
		var answer int64
		answer, err = n.number(ctx, asking, command)
		to, moved, ok := redirection(err, n.addr)
		if !ok || hop == maxRedirects || !s.directory.clustered() {
			return answer, err
		}
		if asking = !moved; moved {
			n, err = s.directory.moved(slot, to)
		} else {
			n, err = s.directory.node(to)
		}
	}
	return 0, err
}

// number runs a command that answers a number.
func (n *node) number(ctx context.Context, asking bool, command []any) (int64, error) {
	cmd := goredis.NewIntCmd(ctx, command...)
	if !asking {
		_ = n.client.Process(ctx, cmd) // the command holds the error too
		return cmd.Result()
	}
	pipe := n.client.Pipeline()
	pipe.Do(ctx, "asking")
	_ = pipe.Process(ctx, cmd)
	_, _ = pipe.Exec(ctx)
	return cmd.Result()
}
