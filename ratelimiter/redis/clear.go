package redis

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"github.com/durward-pdp/durward/ratelimiter"
)

// Clear forgets a counter, and reports whether there was one. It may be repeated. It makes a call of its own, whatever the breaker thinks, within a second: operators
// ask for it, not requests. After an error the counter may be there or not.
func (s *Store) Clear(ctx context.Context, key ratelimiter.Key) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	n, err := s.deleteKey(ctx, string(key))
	if err != nil {
		return false, fmt.Errorf("forget a counter in Redis at %s: %w", s.Address(), err)
	}
	return n > 0, nil
}

// deleteKey deletes a key at the node that is in charge of it, or at the one that it names instead.
func (s *Store) deleteKey(ctx context.Context, key string) (int64, error) {
	slot, asking := 0, false
	if s.directory.clustered() {
		slot = slotOf(key)
	}
	n, err := s.directory.route(ctx, slot)
	for hop := 0; err == nil; hop++ {
		var deleted int64
		deleted, err = n.deleteKey(ctx, asking, key)
		to, moved, ok := redirection(err, n.addr)
		if !ok || hop == maxRedirects || !s.directory.clustered() {
			return deleted, err
		}
		if asking = !moved; moved {
			n, err = s.directory.moved(slot, to)
		} else {
			n, err = s.directory.node(to)
		}
	}
	return 0, err
}

func (n *node) deleteKey(ctx context.Context, asking bool, key string) (int64, error) {
	cmd := goredis.NewIntCmd(ctx, "del", key)
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
