package replay

import (
	"bufio"
	"bytes"
	"container/heap"
	"errors"
	"fmt"
	"io"
)

// lookahead is how many records of each log are ordered by time: lines stand in the order in which decisions ended.
const lookahead = 1024

// Log reads the records of a decision log in order of their lines.
type Log struct {
	name   string
	lines  *bufio.Scanner
	number int
}

// NewLog returns a reader; the name stands in errors.
func NewLog(name string, in io.Reader) *Log {
	l := &Log{name: name, lines: bufio.NewScanner(in)}
	l.lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	return l
}

// Next returns the next record and passes over events. After the last one the error is io.EOF; others wrap ErrRecord.
func (l *Log) Next() (*Record, error) {
	for l.lines.Scan() {
		l.number++
		line := l.lines.Bytes()
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		r, err := read(line)
		switch {
		case errors.Is(err, errEvent):
		case err != nil:
			return nil, fmt.Errorf("%w in %s:%d: %w", ErrRecord, l.name, l.number, err)
		default:
			return r, nil
		}
	}
	if err := l.lines.Err(); err != nil {
		return nil, fmt.Errorf("%w in %s:%d: %w", ErrRecord, l.name, l.number+1, err)
	}
	return nil, io.EOF
}

// Merge reads several logs as one, ordered by time as far as each is in order but for 1,024 lines.
type Merge struct {
	logs    []*Log // nil for one that has ended
	waiting byTime
	begun   bool
}

// NewMerge returns a reader of all logs.
func NewMerge(logs ...*Log) *Merge { return &Merge{logs: logs} }

// Next returns the earliest record of those that are looked at. After the last one the error is io.EOF.
func (m *Merge) Next() (*Record, error) {
	if !m.begun {
		m.begun = true
		for i := range m.logs {
			for range lookahead {
				if err := m.fill(i); err != nil {
					return nil, err
				}
			}
		}
	}
	if len(m.waiting) == 0 {
		return nil, io.EOF
	}
	next := m.waiting[0]
	heap.Pop(&m.waiting)
	return next.record, m.fill(next.log)
}

// fill reads one more record of a log.
func (m *Merge) fill(i int) error {
	if m.logs[i] == nil {
		return nil
	}
	r, err := m.logs[i].Next()
	if errors.Is(err, io.EOF) {
		m.logs[i] = nil
		return nil
	}
	if err != nil {
		return err
	}
	heap.Push(&m.waiting, waiting{record: r, log: i})
	return nil
}

// waiting is a record whose turn has not come.
type waiting struct {
	record *Record
	log    int
}

// byTime is a heap of records.
type byTime []waiting

// Len implements heap.Interface.
func (h *byTime) Len() int { return len(*h) }

// Less implements heap.Interface.
func (h *byTime) Less(i, j int) bool { return (*h)[i].record.Time.Before((*h)[j].record.Time) }

// Swap implements heap.Interface.
func (h *byTime) Swap(i, j int) { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }

// Push implements heap.Interface.
func (h *byTime) Push(x any) {
	if w, ok := x.(waiting); ok {
		*h = append(*h, w)
	}
}

// Pop implements heap.Interface.
func (h *byTime) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = waiting{}
	*h = (*h)[:last]
	return w
}
