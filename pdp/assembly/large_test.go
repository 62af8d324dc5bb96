package assembly

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"math"
	randv2 "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	runtimemetrics "runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// large makes the tests of large bundles as large as a bundle is meant to be.
var large = flag.Bool("large", false, "load a million rules of p and of g instead of a hundred thousand")

const (
	largeHost, smallHost = "large.example.com", "small.example.com"

	perRole = 10 // rules of p for each role; each user has one role
)

// largeModel is RBAC on what the request is about.
const largeModel = `[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
`

// largeBundle has a service with n rules of p and n of g, and a small one beside it. Which actions are granted depends
// on the generation, so that an answer by the rules of another one is wrong.
func largeBundle(n, generation int) map[string][]byte {
	service := func(name, host string) []byte {
		return []byte(`service: ` + name + `
match: [{host: ` + host + `}]
identity: {mode: required, accept: [corp]}
policies:
  - {name: main, model: /shared/model.conf, rules: [policy.csv], request: {sub: subject.key, obj: resource.id, act: action}, max_cost: 1h}
routes:
  - {name: read, path: "/things/{id}", methods: [GET], action: read, resource: {type: thing, id: params.id}}
  - {name: write, path: "/things/{id}", methods: [PUT], action: write, resource: {type: thing, id: params.id}}
`)
	}
	return map[string][]byte{
		"bundle.yaml":                 []byte("format: 1\nrequires: \"1.0\"\nname: large\nauthenticators:\n  corp: {kind: mtls, sans: [\"spiffe://example.com/*\"]}\n"),
		"shared/model.conf":           []byte(largeModel),
		"services/large/service.yaml": service("large", largeHost),
		"services/large/policy.csv":   largeRules(n, generation),
		"services/small/service.yaml": service("small", smallHost),
		"services/small/policy.csv":   []byte("p, role0, thing0, read\ng, service:corp:u0, role0\n"),
	}
}

// granted is the one action that the rules of a generation grant on a thing.
func granted(thing, generation int) string {
	if (thing+generation)%2 == 0 {
		return "read"
	}
	return "write"
}

// roleOf returns the role of a user among so many roles; roles have things perRole*role and the ones after it.
func roleOf(user, roles int) int { return user * 7919 % roles }

func rolesOf(n int) int { return max(1, n/perRole) }

func largeRules(n, generation int) []byte {
	var b bytes.Buffer
	roles := rolesOf(n)
	for i := range n {
		b.WriteString("p, role" + strconv.Itoa(i/perRole%roles) + ", thing" + strconv.Itoa(i) + ", " + granted(i, generation) + "\n")
	}
	for i := range n {
		b.WriteString("g, service:corp:u" + strconv.Itoa(i) + ", role" + strconv.Itoa(roleOf(i, roles)) + "\n")
	}
	return b.Bytes()
}

// loading is an engine with the stages of a server, and the manager of one directory.
type loading struct {
	*pdp.Engine
	manager   *bundle.Manager
	dir       string
	published atomic.Int64
	during    func() // called in the middle of each service that is compiled, if not nil
}

// inTheMiddle is the last of the compilers: a load does not go on before it returns.
type inTheMiddle struct{ *loading }

// Name implements bundle.Compiler.
func (inTheMiddle) Name() string { return "in-the-middle" }

// Compile implements bundle.Compiler.
func (m inTheMiddle) Compile(*format.Bundle, *format.Service) (any, format.Problems) {
	if m.during != nil {
		m.during()
	}
	return nil, nil
}

// newLoading has no server around it: no wire, no records.
func newLoading(t testing.TB, contents map[string][]byte) *loading {
	t.Helper()
	l := &loading{dir: filepath.Join(t.TempDir(), "bundle")}
	l.write(t, contents)
	counting, limiter, err := newCounting(time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeLimiter(limiter); err != nil {
			t.Error(err)
		}
	})
	all := stagesWith(counting, identity.Options{})
	line, err := newPipeline(&all, time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.Engine, err = pdp.New(pdp.Options{Pipeline: line, Recorder: forgetful{}, Clock: time.Now, Random: rand.Reader, Budget: time.Minute}); err != nil {
		t.Fatal(err)
	}
	l.manager, err = bundle.NewManager(bundle.ManagerOptions{
		Options:     bundle.Options{Compilers: append(all.compilers(), inTheMiddle{l}), Clock: time.Now, ClientAddress: true},
		Directories: []bundle.Directory{{Path: l.dir}},
		Publish: func(s *pipeline.Snapshot) {
			l.published.Add(1)
			l.Publish(s)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *loading) write(t testing.TB, contents map[string][]byte) {
	t.Helper()
	for name, data := range contents {
		path := filepath.Join(l.dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		// Renamed into place: who reads at this moment must not see the half of a large file.
		hidden := filepath.Join(filepath.Dir(path), ".new")
		if err := os.WriteFile(hidden, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(hidden, path); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *loading) load(t testing.TB) pipeline.LoadInfo {
	t.Helper()
	if err := l.manager.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	return l.manager.Status()[0].Active.Load
}

// as asks for a user by number.
func (l *loading) as(user int, method, host string, thing int) verdict.Verdict {
	id := "u" + strconv.Itoa(user)
	who := subject.Subject{Key: "service:corp:" + id, Kind: subject.KindService, Authenticator: "corp", ID: id}
	return l.DecideGiven(context.Background(), call(method, host, "/things/thing"+strconv.Itoa(thing)), pdp.Given{Subject: who})
}

// askers decide again and again and compare every answer with the rules of the revision that it names.
type askers struct {
	*loading
	sizes sync.Map // revision -> size and generation of its rules
	stop  atomic.Bool
	wait  sync.WaitGroup

	mu         sync.Mutex
	n, allowed int
	took       []time.Duration // of the decisions since they were last asked for
	wrong      int
	firstWrong string
}

// rulesOf says what the rules of a revision are.
type rulesOf struct{ n, generation int }

// pause is the time between two questions of an asker: as from a gateway, there is not always one waiting.
const pause = 200 * time.Microsecond

func (a *askers) start(count int) {
	for i := range count {
		a.wait.Go(func() {
			random := randv2.New(randv2.NewPCG(uint64(i), 1))
			for !a.stop.Load() {
				a.ask(random)
				time.Sleep(pause)
			}
		})
	}
}

// change writes other rules. Those of the small service stay: it goes through every revision as it is.
func (a *askers) change(t *testing.T, next rulesOf) {
	t.Helper()
	files := largeBundle(next.n, next.generation)
	a.sizes.Store(bundle.Revision(files), next)
	a.write(t, map[string][]byte{"services/large/policy.csv": files["services/large/policy.csv"]})
}

// end stops the askers and says what they saw.
func (a *askers) end(t *testing.T) {
	t.Helper()
	a.stop.Store(true)
	a.wait.Wait()
	if a.wrong > 0 {
		t.Errorf("%d of %d answers were wrong; the first: %s", a.wrong, a.n, a.firstWrong)
	}
	if a.allowed == 0 || a.allowed == a.n {
		t.Errorf("%d of %d decisions were allowed: the test asks the wrong questions", a.allowed, a.n)
	}
}

// since returns how many decisions there were since the last call, and in words how long they took.
func (a *askers) since() (n int, words string) {
	a.mu.Lock()
	took := a.took
	a.took = nil
	a.mu.Unlock()
	if len(took) == 0 {
		return 0, "no decision"
	}
	slices.Sort(took)
	at := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))].Round(time.Microsecond / 10) }
	return len(took), fmt.Sprintf("%d decisions, median %v, 99%% %v, longest %v", len(took), at(.5), at(.99), at(1))
}

// more waits for so many decisions more, and reports whether they came.
func (a *askers) more(n int) bool {
	count := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.n
	}
	first := count()
	for deadline := time.Now().Add(patience); count() < first+n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func (a *askers) ask(random *randv2.Rand) {
	s := a.Snapshot() // the size that the question is made for; the answer may come from a later revision
	hint, _ := a.sizes.Load(s.Bundles[0].Revision)
	n := hint.(rulesOf).n
	user, host := random.IntN(n), largeHost
	thing := roleOf(user, rolesOf(n))*perRole + random.IntN(perRole)
	switch random.IntN(4) {
	case 0:
		thing = random.IntN(n) // most likely of another role
	case 1:
		user, thing, host = random.IntN(2), 0, smallHost
	}
	method := []string{"GET", "PUT"}[random.IntN(2)]
	began := time.Now()
	v := a.as(user, method, host, thing)
	took := time.Since(began)
	problem := a.judge(&v, user, method, host, thing)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	a.took = append(a.took, took)
	if v.Allowed() {
		a.allowed++
	}
	if problem != "" {
		if a.wrong++; a.wrong == 1 {
			a.firstWrong = problem
		}
	}
}

// judge returns what is wrong with an answer, or "".
func (a *askers) judge(v *verdict.Verdict, user int, method, host string, thing int) string {
	x, known := a.sizes.Load(v.Explanation.Revision)
	if !known {
		return fmt.Sprintf("%s %s: unknown revision %q, %s", method, host, v.Explanation.Revision, v.Reason)
	}
	rules := x.(rulesOf)
	action := map[string]string{"GET": "read", "PUT": "write"}[method]
	want := user < rules.n && thing < rules.n && roleOf(user, rolesOf(rules.n)) == thing/perRole && granted(thing, rules.generation) == action
	if host == smallHost {
		want = user == 0 && thing == 0 && action == "read"
	}
	reason := verdict.NoMatchingRule
	if want {
		reason = verdict.Allowed
	}
	if v.Reason != reason || v.Allowed() != want {
		return fmt.Sprintf("u%d %s %s thing%d by generation %d: %s (%s), want %s", user, method, host, thing, rules.generation, v.Reason, v.Explanation.Detail, reason)
	}
	return ""
}

// heap returns what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// longestPause returns the longest time that the collector stopped the world for since the last call.
func longestPause(before *runtimemetrics.Float64Histogram) (*runtimemetrics.Float64Histogram, time.Duration) {
	sample := []runtimemetrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	runtimemetrics.Read(sample)
	now := sample[0].Value.Float64Histogram()
	longest := 0.0
	for i, n := range now.Counts {
		if (before == nil || n > before.Counts[i]) && n > 0 && !math.IsInf(now.Buckets[i+1], 1) {
			longest = now.Buckets[i+1]
		}
	}
	return now, time.Duration(longest * float64(time.Second))
}

// peakRSS returns the most memory that the process had, and forgets it where the system lets it.
func peakRSS() (mib int) {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			mib, _ = strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600)
	return mib / 1024
}

// TestDecisionsGoOnWhileALargeBundleLoads: while large bundles are loaded and put in force every decision is answered,
// by the rules of the revision that it names. A load that does not go on holds none of them up.
func TestDecisionsGoOnWhileALargeBundleLoads(t *testing.T) {
	size := 100_000
	if *large {
		size = 1_000_000
	}
	const start = 1000
	revisions := []rulesOf{{start, 0}, {size, 1}, {size, 2}, {start, 3}}
	l := newLoading(t, largeBundle(start, 0))
	a := &askers{loading: l}
	a.sizes.Store(bundle.Revision(largeBundle(start, 0)), revisions[0])
	l.load(t)
	small, text := heap(), len(largeRules(size, 1))
	a.start(4)
	pauses, _ := longestPause(nil)
	peakRSS()
	l.during = func() {
		if published := l.published.Load(); !a.more(100) || l.published.Load() != published {
			t.Error("in the middle of a load nothing is decided, or by what is not compiled yet")
		}
	}
	for i, next := range revisions[1:] {
		a.change(t, next)
		runtime.GC()
		_, before := a.since()
		load := l.load(t)
		_, during := a.since()
		var longest time.Duration
		pauses, longest = longestPause(pauses)
		t.Logf("%d + %d rules: loaded in %v; before %s; meanwhile %s; longest pause of the collector %v; peak %d MiB",
			next.n, next.n, load.Took.Round(time.Millisecond), before, during, longest, peakRSS())
		if load.Compiled != 1 || load.Reused != 1 {
			t.Errorf("%+v", load)
		}
		if got, want := l.Snapshot().Bundles[0].Sequence, uint64(i+2); got != want {
			t.Errorf("sequence %d, want %d", got, want)
		}
		if !a.more(100) { // by the new one, which the askers judge too
			t.Error("after the load nothing is decided")
		}
		if next.n > start {
			used := heap() - small
			t.Logf("in use: %d MiB, %d bytes a rule beside %d of text", used>>20, int(used)/(2*next.n), text/(2*next.n))
		}
	}
	a.end(t)
	if got := l.published.Load(); got != int64(len(revisions)) {
		t.Errorf("%d snapshots were in force for %d revisions", got, len(revisions))
	}
	if left := int64(heap()) - int64(small); left > int64(text) {
		t.Errorf("%d MiB are still in use after the large revisions went", left>>20)
	}
}
