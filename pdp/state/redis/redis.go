// Package redis is a [state.Store] and [state.Marks] in Redis 6.2 or later: a single server, a master that sentinels name, or a
// cluster. A table lies in one slot, and each change of it, as each question for changes, is one run of a script; a large table is
// read in pages. Wake-ups are published. Nothing whose outcome is unknown is sent again.
package redis

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	_ "embed" // the scripts

	"github.com/durward-pdp/durward/pdp/state"
)

const (
	pageRecords = 1000
	pageBytes   = 1 << 20
	restarts    = 3 // of a reading in pages, when the table is lost meanwhile

	pingEvery = 5 * time.Second // of a connection that listens
)

// ErrBusy is returned for a mark that was not asked for because too many wait.
var ErrBusy = errors.New("too many wait for Redis")

//go:embed table.lua
var tableText string

//go:embed write.lua
var writeText string

//go:embed changes.lua
var changesText string

// Store keeps tables and marks. It is safe for concurrent use.
type Store struct {
	options Options
	client  goredis.UniversalClient
	address string
	write   *goredis.Script
	changes *goredis.Script
	marks   chan struct{} // holds one for each that waits
}

// New returns a store, which the caller closes. It does not connect: a server that is down fails calls, not the start.
func New(o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	client, address, err := o.connect()
	if err != nil {
		return nil, err
	}
	return &Store{
		options: o, client: client, address: address, marks: make(chan struct{}, o.MaxMarks),
		write: goredis.NewScript(tableText + writeText), changes: goredis.NewScript(tableText + changesText),
	}, nil
}

// Address returns where the server is, or whom the store asks for it, without credentials.
func (s *Store) Address() string { return s.address }

// Close closes the connections.
func (s *Store) Close() error {
	if err := s.client.Close(); err != nil && !errors.Is(err, goredis.ErrClosed) {
		return s.failed("close the connections", err)
	}
	return nil
}

func (s *Store) failed(what string, err error) error {
	return fmt.Errorf("%s: state in Redis at %s: %w", what, s.address, err)
}

// once is a command that the client does not send again: a cluster's client would after a connection broke.
type once struct{ *goredis.Cmd }

func (once) NoRetry() bool { return true }

func (s *Store) do(ctx context.Context, timeout time.Duration, args ...any) *goredis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := goredis.NewCmd(ctx, args...)
	_ = s.client.Process(ctx, once{cmd}) // the command holds its error
	return cmd
}

// run runs a script, by its text where the server does not know it: then nothing ran.
func (s *Store) run(ctx context.Context, script *goredis.Script, text, table string, args ...any) *goredis.Cmd {
	call := append([]any{"evalsha", script.Hash(), 4, key(table, "records"), key(table, "order"), key(table, "ends"), key(table, "meta")}, args...)
	cmd := s.do(ctx, s.options.TableTimeout, call...)
	if goredis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		call[0], call[1] = "eval", text
		cmd = s.do(ctx, s.options.TableTimeout, call...)
	}
	return cmd
}

func key(table, part string) string { return "durward:state:{" + table + "}:" + part }

// Write implements [state.Store].
func (s *Store) Write(ctx context.Context, table string, r state.Record, ifAbsent bool) (bool, error) {
	if err := r.Check(); err != nil {
		return false, err
	}
	expires := int64(0)
	if !r.Expires.IsZero() {
		expires = max(1, r.Expires.UnixMicro())
	}
	n, err := s.run(ctx, s.write, tableText+writeText, table,
		r.ID, r.Value, expires, flag(r.Deleted), flag(ifAbsent), r.Version, rand.Text(), key(table, "changed")).Int()
	if err != nil {
		return false, s.failed("write to "+table, err)
	}
	return n == 1, nil
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Changes implements [state.Store].
func (s *Store) Changes(ctx context.Context, table string, since state.Cursor) (state.Changes, error) {
	out := state.Changes{Next: since}
	for begun, more, starts := false, true, 0; more; begun = true {
		page, err := s.page(ctx, table, out.Next, begun)
		if err != nil {
			return state.Changes{}, s.failed("read "+table, err)
		}
		if page.whole {
			if starts++; starts > restarts {
				return state.Changes{}, s.failed("read "+table, errors.New("the table is lost again and again"))
			}
			out.Records, out.Whole = nil, true
		}
		out.Records = append(out.Records, page.records...)
		if len(out.Records) > s.options.MaxRecords {
			return state.Changes{}, s.failed("read "+table, state.ErrFull)
		}
		out.Next, more = page.next, page.more
	}
	return out, nil
}

// page is one reply.
type page struct {
	records     []state.Record
	next        state.Cursor
	whole, more bool
}

func (s *Store) page(ctx context.Context, table string, since state.Cursor, begun bool) (p page, err error) {
	reply, err := s.run(ctx, s.changes, tableText+changesText, table,
		since.Epoch, since.Sequence, flag(begun), pageRecords, pageBytes).Slice()
	if err != nil {
		return p, err
	}
	return decodePage(reply)
}

var errReply = errors.New("what stands in Redis was not written by this program")

// decodePage reads what changes.lua returns.
func decodePage(reply []any) (p page, err error) {
	if len(reply) < 5 || len(reply)%2 == 0 {
		return p, errReply
	}
	epoch, ok := reply[0].(string)
	sequence, err := number(reply[1])
	now, err2 := number(reply[4])
	if !ok || err != nil || err2 != nil {
		return p, errReply
	}
	p.next = state.Cursor{Epoch: epoch, Sequence: sequence}
	p.whole, p.more = reply[2] == int64(1), reply[3] == int64(1)
	for i := 5; i < len(reply); i += 2 {
		id, ok := reply[i].(string)
		text, ok2 := reply[i+1].(string)
		if !ok || !ok2 {
			return p, errReply
		}
		r, err := decodeRecord(id, text)
		if err != nil {
			return p, err
		}
		if r.Expires.IsZero() || r.Expires.UnixMicro() > int64(now) { //nolint:gosec // microseconds
			p.records = append(p.records, r)
		}
	}
	return p, nil
}

// number reads a number that a script wrote as text, for replies round it.
func number(v any) (uint64, error) {
	text, ok := v.(string)
	if !ok {
		return 0, errReply
	}
	return strconv.ParseUint(text, 10, 63)
}

// Listen implements [state.Store].
func (s *Store) Listen(ctx context.Context, table string, wake func()) error {
	listening := s.client.Subscribe(ctx, key(table, "changed"))
	defer func() { _ = listening.Close() }()
	defer context.AfterFunc(ctx, func() { _ = listening.Close() })() // a read does not end with its context
	for silent := false; ctx.Err() == nil; {
		message, err := listening.ReceiveTimeout(ctx, pingEvery)
		var slow interface{ Timeout() bool }
		switch {
		case err == nil:
			silent = false
			if _, pong := message.(*goredis.Pong); !pong {
				wake() // a change, or the beginning
			}
		case ctx.Err() != nil:
		case errors.As(err, &slow) && slow.Timeout() && !silent:
			silent = true
			if err := listening.Ping(ctx); err != nil {
				return s.failed("listen to "+table, err)
			}
		default:
			return s.failed("listen to "+table, err)
		}
	}
	return ctx.Err()
}

// Mark implements [state.Marks].
func (s *Store) Mark(ctx context.Context, mark string, lasts time.Duration) (first bool, err error) {
	select {
	case s.marks <- struct{}{}:
		defer func() { <-s.marks }()
	default:
		return false, s.failed("mark", ErrBusy)
	}
	hash := sha256.Sum256([]byte(mark))
	name := "durward:mark:" + base64.RawURLEncoding.EncodeToString(hash[:])
	err = s.do(ctx, s.options.MarkTimeout, "set", name, "1", "nx", "px", max(1, lasts.Milliseconds())).Err()
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, goredis.Nil):
		return false, nil
	}
	return false, s.failed("mark", err)
}
