package audit

import (
	"bytes"
	"time"
)

// write is the writer's goroutine: it takes all that is queued, writes it, and takes what came meanwhile.
func (l *Log) write() {
	defer close(l.done)
	var batch []byte
	for {
		var closed bool
		if batch, closed = l.take(batch); len(batch) == 0 {
			if closed {
				return
			}
			<-l.wake
			continue
		}
		left := l.deliver(batch)
		l.finish(left)
		if left > 0 {
			return
		}
	}
}

// take hands the queued lines over and leaves the spare buffer in their place.
func (l *Log) take(spare []byte) (batch []byte, closed bool) {
	if cap(spare) > maxKept {
		spare = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	batch, l.pending = l.pending, spare[:0]
	l.writing, l.waiting, l.handed = l.waiting, 0, len(batch)
	return batch, l.closed
}

// deliver writes the lines and tries again until all are written or the time to close is over. It returns how many
// records were left.
func (l *Log) deliver(lines []byte) int {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		n, err := l.options.Sink.Write(lines)
		n = min(max(n, 0), len(lines))
		if written := bytes.Count(lines[:n], []byte{'\n'}); written > 0 {
			l.options.Observe.Written(written)
			pause = firstPause
		}
		if lines = lines[n:]; len(lines) == 0 {
			return 0
		}
		if err != nil {
			l.options.Observe.Failed(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.giveUp:
			timer.Stop()
			return bytes.Count(lines, []byte{'\n'})
		}
	}
}

// finish makes room for what was written. Records left over stay counted, as not written, with all that still waits.
func (l *Log) finish(left int) {
	l.mu.Lock()
	l.written += uint64(l.writing - left) //nolint:gosec // never more are left than there were
	l.writing, l.handed = left, 0
	lost := left
	if left > 0 {
		lost += l.waiting
	}
	l.announceRoom()
	l.mu.Unlock()
	if lost > 0 {
		l.options.Observe.Dropped(lost, DroppedUnwritten)
	}
}
