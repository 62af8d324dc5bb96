package pattern

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// benchmarks are shapes of large sets: what pattern i is, and a value that it matches.
var benchmarks = []struct {
	name, function string
	pattern, value func(i int) string
}{
	{"items", "keyMatch2", text("/service%d/items/:id"), text("/service%d/items/42")},
	{"dotted", "keyMatch2", text("/tenant%d/v1.0/:id"), text("/tenant%d/v1.0/42")},
	{"dotted-first", "keyMatch2", text("/api/v1.0/tenant%d/:id/*"), text("/api/v1.0/tenant%d/42/x/y")},
	{"after-name", "keyMatch3", text("/{tenant}/service%d/{id}"), text("/t/service%d/42")},
	{"five-each", "keyMatch2", func(i int) string {
		return fmt.Sprintf("/tenants/t%d/projects/:pid/%s", i/5, []string{"tasks", "tasks/:tid", "members", "settings", "*"}[i%5])
	}, func(i int) string { return fmt.Sprintf("/tenants/t%d/projects/p1/tasks/7", i/5) }},
	{"prefix", "keyMatch", text("/service%d/*"), text("/service%d/items/42")},
	{"equal-names", "keyMatch4", text("/service%d/{id}/copy/{id}"), text("/service%d/42/copy/42")},
	{"glob", "globMatch", text("/service%d/**"), text("/service%d/items/42")},
	{"network", "ipMatch", func(i int) string { return fmt.Sprintf("%d.%d.%d.0/24", i>>16, i>>8&255, i&255) }, func(i int) string { return fmt.Sprintf("%d.%d.%d.9", i>>16, i>>8&255, i&255) }},
}

func text(format string) func(int) string {
	return func(i int) string { return fmt.Sprintf(format, i) }
}

// allocated returns the bytes in use.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkSet prints the time of a match, with values spread over the set, and the time and bytes that building takes for
// each pattern, beyond its text.
func BenchmarkSet(b *testing.B) {
	for _, x := range benchmarks {
		for _, n := range []int{1000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/%d", x.name, n), func(b *testing.B) {
				patterns := make([]string, n)
				for i := range patterns {
					patterns[i] = x.pattern(i)
				}
				r := rand.New(rand.NewPCG(1, 1))
				values := make([]string, 1<<14)
				for i := range values {
					values[i] = x.value(r.IntN(n))
				}
				before := allocated()
				begin := time.Now()
				s, err := NewSet(x.function, patterns)
				if err != nil {
					b.Fatal(err)
				}
				built := time.Since(begin)
				bytes := float64(allocated() - before)
				ids := make([]uint32, 0, 16)
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					if ids, _, err = s.Match(values[i%len(values)], ids[:0]); err != nil || len(ids) == 0 {
						b.Fatalf("%v, %v", ids, err)
					}
				}
				b.ReportMetric(float64(built.Nanoseconds())/float64(n), "build-ns/pattern")
				b.ReportMetric(bytes/float64(n), "B/pattern")
				runtime.KeepAlive(s)
				runtime.KeepAlive(patterns)
			})
		}
	}
}
