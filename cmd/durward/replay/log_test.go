package replay

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func lineAt(id string, at time.Time) string {
	return fmt.Sprintf(`{"decision_id":%q,"time":%q,"effect":"allow","reason":"allowed"}`+"\n", id, at.Format(time.RFC3339Nano))
}

const eventLine = `{"event":"limits.peek","id":"e","time":"2026-01-01T00:00:00Z","outcome":"done"}` + "\n"

func TestLogPassesOverEvents(t *testing.T) {
	text := eventLine + "\n" + lineAt("a", midnight) + eventLine + lineAt("b", midnight)
	l := NewLog("x", strings.NewReader(text))
	for _, want := range []string{"a", "b"} {
		if r, err := l.Next(); err != nil || r.DecisionID != want {
			t.Fatalf("%v, %v", r, err)
		}
	}
	if _, err := l.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if r, err := Find(strings.NewReader(eventLine+lineAt("a", midnight)), ""); err != nil || r.DecisionID != "a" {
		t.Errorf("explain: %v, %v", r, err)
	}
}

func TestLogNamesBadLines(t *testing.T) {
	for text, want := range map[string]string{
		lineAt("a", midnight) + "\n{\n": "record in x.jsonl:3: ",
		"{}\n":                          "record in x.jsonl:1: this is no record",
		lineAt("a", midnight) + strings.Repeat("y", 2<<20): "record in x.jsonl:2: ",
	} {
		l := NewLog("x.jsonl", strings.NewReader(text))
		var err error
		for err == nil {
			_, err = l.Next()
		}
		if !errors.Is(err, ErrRecord) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// Several logs, each a little out of order, come out as one in order, with nothing lost.
func TestMergeOrders(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var logs []*Log
	total := 0
	for i := range 3 {
		var lines []string
		for n := range 1500 * (i + 1) {
			lines = append(lines, lineAt(fmt.Sprintf("%d-%d", i, n), midnight.Add(time.Duration(n)*time.Second)))
		}
		for n := 0; n+500 < len(lines); n += 500 { // decisions that took longer
			rng.Shuffle(500, func(a, b int) { lines[n+a], lines[n+b] = lines[n+b], lines[n+a] })
		}
		total += len(lines)
		logs = append(logs, NewLog("x", strings.NewReader(strings.Join(lines, ""))))
	}
	m := NewMerge(logs...)
	seen := map[string]bool{}
	var times []time.Time
	for {
		r, err := m.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[r.DecisionID] = true
		times = append(times, r.Time)
	}
	if len(seen) != total || len(times) != total || !slices.IsSortedFunc(times, time.Time.Compare) {
		t.Errorf("%d of %d records, %d of them different, in order: %t", len(times), total, len(seen), slices.IsSortedFunc(times, time.Time.Compare))
	}
	if _, err := NewMerge(NewLog("x", strings.NewReader("{"))).Next(); !errors.Is(err, ErrRecord) {
		t.Error(err)
	}
}

// FuzzLog holds that no line is a panic, and that what is taken for a record is one.
func FuzzLog(f *testing.F) {
	f.Add(lineAt("a", midnight) + eventLine)
	f.Add(whole)
	b := &format.Bundle{}
	f.Fuzz(func(t *testing.T, text string) {
		l := NewLog("x", strings.NewReader(text))
		for {
			r, err := l.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, ErrRecord) {
					t.Fatal(err)
				}
				return
			}
			if r.DecisionID == "" || r.Event != "" {
				t.Fatalf("%+v is no record", r)
			}
			r.Denied()
			r.Of(b, "request.header.x")
		}
	})
}
