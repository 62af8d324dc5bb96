package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxLines bounds the lines that wait to be written.
	maxLines = 1024
	// flushTime bounds the wait for them at the end.
	flushTime = time.Second
)

// lineQueue is a log's writer that never blocks who logs: decisions do not wait for whoever reads standard error, and
// who stopped reading it. Lines that find no room are lost, and the next line that is written says how many.
type lineQueue struct {
	lines chan []byte
	done  chan struct{} // closed when the last line is written

	mu     sync.Mutex
	lost   int
	closed bool
}

func newLineQueue(out io.Writer) *lineQueue {
	q := &lineQueue{lines: make(chan []byte, maxLines), done: make(chan struct{})}
	go q.run(out)
	return q
}

// Write queues one line.
func (q *lineQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return len(line), nil
	}
	select {
	case q.lines <- bytes.Clone(line):
	default:
		q.lost++
	}
	return len(line), nil
}

func (q *lineQueue) run(out io.Writer) {
	defer close(q.done)
	for line := range q.lines {
		_, _ = out.Write(line) // there is nobody left to tell
		q.mu.Lock()
		lost := q.lost
		q.lost = 0
		q.mu.Unlock()
		if lost > 0 {
			_, _ = fmt.Fprintf(out, `{"time":%q,"level":"WARN","msg":"log lines are lost: they were not read in time","lines":%d}`+"\n",
				time.Now().Format(time.RFC3339Nano), lost)
		}
	}
}

// flush writes what waits, for a moment, and takes no more.
func (q *lineQueue) flush() {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.lines)
	}
	q.mu.Unlock()
	timer := time.NewTimer(flushTime)
	defer timer.Stop()
	select {
	case <-q.done:
	case <-timer.C:
	}
}

// newLogger returns the server's log, and what writes out the rest of it at the end.
func newLogger(out io.Writer, level string) (logger *slog.Logger, flush func()) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	q := newLineQueue(out)
	return slog.New(slog.NewJSONHandler(q, &slog.HandlerOptions{Level: l})), q.flush
}
