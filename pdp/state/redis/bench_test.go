package redis_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/state"
)

// BenchmarkWholeTable reads 100,000 records, as a replica does that starts, and says for how long Redis is busy with each page.
func BenchmarkWholeTable(b *testing.B) {
	server := redistest.Start(b)
	s := open(b, single(server))
	var all sync.WaitGroup
	for w := range 16 {
		all.Go(func() {
			for i := w; i < 100_000; i += 16 {
				if _, err := s.Write(b.Context(), "t", state.Record{ID: fmt.Sprintf("record-%d", i), Value: make([]byte, 100)}, false); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	readings := 0
	b.ResetTimer()
	server.Do("CONFIG", "RESETSTAT")
	for b.Loop() {
		changes, err := s.Changes(b.Context(), "t", state.Cursor{})
		if err != nil || len(changes.Records) != 100_000 {
			b.Fatal(len(changes.Records), err)
		}
		readings++
	}
	b.ReportMetric(float64(server.Calls("evalsha"))/float64(readings), "pages")
	_, spent, _ := strings.Cut(server.Do("INFO", "commandstats"), "cmdstat_evalsha:")
	_, spent, _ = strings.Cut(spent, "usec_per_call=")
	spent, _, _ = strings.Cut(spent, ",")
	each, err := strconv.ParseFloat(spent, 64)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(each, "redis-µs/page")
}

// BenchmarkMark is one round trip.
func BenchmarkMark(b *testing.B) {
	s := open(b, single(redistest.Start(b)))
	n := 0
	for b.Loop() {
		n++
		if first, err := s.Mark(b.Context(), strconv.Itoa(n), 1e9); !first || err != nil {
			b.Fatal(first, err)
		}
	}
}
