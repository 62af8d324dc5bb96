package assembly

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// serviceCount is how many services a large platform puts into one bundle.
const serviceCount = 1000

// platform is a bundle of n services with rules, roles and limits of their own, and a guard before all of them.
func platform(n int) map[string][]byte {
	contents := map[string][]byte{
		"bundle.yaml": []byte(`format: 1
requires: "1.0"
name: platform
authenticators:
  corp: {kind: mtls, sans: ["spiffe://example.com/*"]}
guards:
  - {name: blocked, model: shared/deny.conf, rules: [shared/deny.csv], request: {sub: subject.key}}
limit_definitions:
  everyone: {rate: 10000/min, by: [], shadow: true}
`),
		"shared/model.conf": []byte(largeModel),
		"shared/deny.conf": []byte(`[request_definition]
r = sub
[policy_definition]
p = sub, eft
[policy_effect]
e = !some(where (p.eft == deny))
[matchers]
m = r.sub == p.sub
`),
		"shared/deny.csv": []byte("p, service:corp:mallory, deny\n"),
	}
	for i := range n {
		name := fmt.Sprintf("s%04d", i)
		contents["services/"+name+"/service.yaml"] = []byte(`service: ` + name + `
match: [{host: ` + name + `.example.com}]
identity: {mode: required, accept: [corp]}
policies:
  - {name: main, model: /shared/model.conf, rules: [policy.csv], request: {sub: subject.key, obj: resource.id, act: action}}
defaults: {limits: [everyone]}
limit_definitions:
  per-subject: {rate: 100/min, by: [subject.key]}
routes:
  - {name: read, path: "/things/{id}", methods: [GET], action: read, resource: {type: thing, id: params.id}}
  - {name: write, path: "/things/{id}", methods: [PUT], action: write, resource: {type: thing, id: params.id}, limits: [per-subject]}
  - {name: health, path: /health, methods: [GET], access: public}
`)
		contents["services/"+name+"/policy.csv"] = platformRules(1)
	}
	return contents
}

// platformRules lets u0 read so many things.
func platformRules(things int) []byte {
	var b strings.Builder
	for i := range things {
		fmt.Fprintf(&b, "p, reader, thing%d, read\n", i)
	}
	for i := range 20 {
		fmt.Fprintf(&b, "p, writer, thing%d, write\ng, service:corp:u%d, reader\ng, service:corp:w%d, writer\n", i, i, i)
	}
	return []byte(b.String())
}

// TestManyServices: an edit of one service's rules is live soon and compiles nothing else, and each service still
// answers for itself.
func TestManyServices(t *testing.T) {
	l := newLoading(t, platform(serviceCount))
	if load := l.load(t); load.Compiled != serviceCount {
		t.Fatalf("%+v", load)
	}
	l.write(t, map[string][]byte{"services/s0500/policy.csv": platformRules(2)})
	if load := l.load(t); load.Compiled != 1 || load.Reused != serviceCount-1 {
		t.Errorf("after an edit: %+v", load)
	}
	for _, test := range []struct {
		user    int
		host    string
		thing   int
		allowed bool
	}{
		{1, "s0500", 1, true}, {1, "s0500", 2, false}, {1, "s0501", 1, false}, {1, "s0501", 0, true}, {1, "s0999", 0, true}, {30, "s0000", 0, false},
	} {
		v := l.as(test.user, "GET", test.host+".example.com", test.thing)
		if v.Allowed() != test.allowed || !test.allowed && v.Reason != verdict.NoMatchingRule || v.Explanation.Revision != l.Snapshot().Bundles[0].Revision {
			t.Errorf("%+v: %s (%s)", test, v.Reason, v.Explanation.Detail)
		}
	}
}

// BenchmarkManyServices measures a bundle of a thousand services with the stages of a server: the first load with the
// memory that it takes, a load after an edit of one file, and the time from the edit until it decides, with the pause
// that a burst of changes is waited for.
func BenchmarkManyServices(b *testing.B) {
	contents := platform(serviceCount)
	b.Run("first-load", func(b *testing.B) {
		before := heap()
		var used uint64
		for b.Loop() {
			l := newLoading(b, contents)
			l.load(b)
			b.StopTimer()
			used = heap() - before
			runtime.KeepAlive(l)
			b.StartTimer()
		}
		b.ReportMetric(float64(used)/serviceCount, "B/service")
	})
	l := newLoading(b, contents)
	l.load(b)
	edits := 0
	edit := func() int {
		edits++
		l.write(b, map[string][]byte{"services/s0500/policy.csv": platformRules(2 + edits%50)})
		return 1 + edits%50
	}
	b.Run("one-file", func(b *testing.B) {
		for b.Loop() {
			edit()
			l.load(b)
		}
	})
	b.Run("edit-to-live", func(b *testing.B) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.manager.Watch(ctx)
		}()
		defer func() {
			cancel()
			<-done
		}()
		for b.Loop() {
			last := l.Snapshot().Bundles[0].Revision
			for edit(); l.Snapshot().Bundles[0].Revision == last; time.Sleep(time.Millisecond) {
			}
		}
	})
}

// TestGuardsAreHeldOnce: the guards before all services are one thing in memory, after the edits of services too.
func TestGuardsAreHeldOnce(t *testing.T) {
	const services, blocked, most = 100, 5000, 16 << 20 // a copy for each service would be 40 MiB and more
	contents := platform(services)
	var b strings.Builder
	for i := range blocked {
		fmt.Fprintf(&b, "p, service:corp:mallory%d, deny\n", i)
	}
	contents["shared/deny.csv"] = []byte(b.String())
	before := heap()
	l := newLoading(t, contents)
	l.load(t)
	for i := range services {
		l.write(t, map[string][]byte{fmt.Sprintf("services/s%04d/policy.csv", i): platformRules(2)})
		if load := l.load(t); load.Compiled != 1 {
			t.Fatalf("%+v", load)
		}
	}
	if used := int64(heap()) - int64(before); used > most {
		t.Errorf("%d MiB in use", used>>20)
	}
	if v := l.as(1, "GET", "s0007.example.com", 0); !v.Allowed() {
		t.Errorf("%s: %s", v.Reason, v.Explanation.Detail)
	}
	if v := l.as(1, "GET", "s0007.example.com", 2); v.Allowed() {
		t.Error("a thing that no rule names is allowed")
	}
}

// TestGuardsOfTwoBundlesAreHeldOnce: bundles whose services are edited in turn do not take each other's guards out of hand.
func TestGuardsOfTwoBundlesAreHeldOnce(t *testing.T) {
	const services, most = 50, 16 << 20 // a copy for each service would be 40 MiB
	var blocked strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&blocked, "p, service:corp:mallory%d, deny\n", i)
	}
	counting, limiter, err := newCounting(time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := stagesWith(counting, identity.Options{})
	var current *pipeline.Snapshot
	o := bundle.ManagerOptions{
		Options: bundle.Options{Compilers: all.compilers(), Clock: time.Now, ClientAddress: true},
		Publish: func(s *pipeline.Snapshot) { current = s },
	}
	bundles := []*loading{}
	for _, name := range []string{"one", "two"} {
		contents := platform(services)
		contents["shared/deny.csv"] = []byte(blocked.String())
		for file, data := range contents {
			text := strings.ReplaceAll(string(data), ".example.com}", "."+name+".example.com}")
			contents[file] = []byte(strings.Replace(text, "name: platform", "name: "+name, 1))
		}
		b := &loading{dir: filepath.Join(t.TempDir(), name)}
		b.write(t, contents)
		bundles = append(bundles, b)
		o.Directories = append(o.Directories, bundle.Directory{Path: b.dir})
	}
	manager, err := bundle.NewManager(o)
	if err == nil {
		err = manager.Load(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	before := heap()
	for i := range services {
		for _, b := range bundles {
			b.write(t, map[string][]byte{fmt.Sprintf("services/s%04d/policy.csv", i): platformRules(2)})
			if err := manager.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if used := int64(heap()) - int64(before); used > most || len(current.Services) != 2*services {
		t.Errorf("%d MiB more in use for %d services", used>>20, len(current.Services))
	}
	if err := closeLimiter(limiter); err != nil {
		t.Error(err)
	}
}
