package bundle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
)

// server stands for what holds the snapshot.
type server struct {
	*Manager
	t *testing.T

	mu      sync.Mutex
	current *pipeline.Snapshot
	reports []Status
}

// serve makes a manager of the directories. A bundle whose rules hold "refused" is refused by the stage.
func serve(t *testing.T, poll time.Duration, directories ...string) *server {
	t.Helper()
	s := &server{t: t}
	o := ManagerOptions{Options: options(echo{refuse: "refused"}), Poll: poll, Publish: s.publish, Report: s.report, Jitter: func() float64 { return 0.5 }}
	o.Clock = time.Now
	for _, d := range directories {
		o.Directories = append(o.Directories, Directory{Path: d, Owner: "team " + filepath.Base(d)})
	}
	m, err := NewManager(o)
	must(t, err)
	s.Manager = m
	return s
}

func (s *server) publish(snapshot *pipeline.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = snapshot
}

func (s *server) report(status Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = append(s.reports, status)
}

// watch runs Watch until the test ends.
func (s *server) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Watch(ctx)
	}()
	s.t.Cleanup(func() {
		cancel()
		<-done
	})
}

// rules returns what the current snapshot decides by for a host, and "" where there is none. The rules, the revision in
// the route and the one of the bundle must be of one revision.
func (s *server) rules(host string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return ""
	}
	m := s.current.Routes.Match(&request.Request{Method: "GET", Host: host, Target: "/orders/7"})
	if m.Service == nil {
		return ""
	}
	for _, b := range s.current.Bundles {
		if b.Name == m.Service.Bundle && b.Revision != m.Service.Revision {
			s.t.Errorf("the service is of revision %s, its bundle of %s", m.Service.Revision, b.Revision)
		}
	}
	text, _ := s.current.Services[m.Service].Parts["echo"].(string)
	return strings.TrimSpace(text)
}

// eventually waits for a condition that real files and timers bring about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// version returns the sample as a bundle of another name and host, with rules of its own.
func version(t *testing.T, name, host, rules string) map[string][]byte {
	return sample(t, map[string][]string{
		"bundle.yaml":                  {"name: acme", "name: " + name},
		"services/orders/service.yaml": {"  - {host: orders.example.com}\n  - {host: api.example.com, prefix: /orders}\n", "  - {host: " + host + "}\n"},
		"services/orders/policy.csv":   {"", rules + "\n"},
	})
}

const hostA, hostB = "a.example.com", "b.example.com"

func TestLastGoodIsKept(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "a")
	write(t, dir, version(t, "a", hostA, "p, one"))
	s := serve(t, 0, dir)
	if s.Ready() {
		t.Error("ready before anything was loaded")
	}
	must(t, s.Load(ctx))
	if !s.Ready() || s.rules(hostA) != "p, one" || s.Status()[0].Active.Sequence != 1 {
		t.Fatalf("after the first load: %v, %q, %+v", s.Ready(), s.rules(hostA), s.Status())
	}
	first := s.Status()[0].Active
	for name, breakIt := range map[string]func(){
		"a typo":              func() { write(t, dir, map[string][]byte{"bundle.yaml": []byte("nme: x\n")}) },
		"a stage's complaint": func() { write(t, dir, version(t, "a", hostA, "p, refused")) },
		"a stage's fault":     func() { write(t, dir, version(t, "a", hostA, "p, panic")) },
		"deletion":            func() { must(t, os.RemoveAll(dir)) },
	} {
		t.Run(name, func(t *testing.T) {
			breakIt()
			if s.Load(ctx) == nil {
				t.Error("no error")
			}
			status := s.Status()[0]
			if status.Err == nil || status.Active != first || !s.Ready() || s.rules(hostA) != "p, one" {
				t.Errorf("%+v, rules %q", status, s.rules(hostA))
			}
			write(t, dir, version(t, "a", hostA, "p, one"))
			must(t, s.Load(ctx))
			if status := s.Status()[0]; status.Err != nil || status.Active != first {
				t.Errorf("after the repair: %+v", status)
			}
		})
	}
	write(t, dir, version(t, "a", hostA, "p, two"))
	must(t, s.Load(ctx))
	if status := s.Status()[0]; status.Active.Sequence != 2 || status.Active.Revision == first.Revision || s.rules(hostA) != "p, two" {
		t.Errorf("after a change: %+v, rules %q", status, s.rules(hostA))
	}
	// One report a change: loaded, four times broken and repaired, changed.
	if len(s.reports) != 10 || s.reports[0].Err != nil || s.reports[1].Err == nil {
		t.Errorf("%d reports: %+v", len(s.reports), s.reports)
	}
	must(t, s.Load(ctx))
	if len(s.reports) != 10 {
		t.Error("a load without a change was reported")
	}
}

func TestNothingIsPublishedBeforeAllBundlesLoaded(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, version(t, "a", hostA, "p, one"))
	s := serve(t, 0, a, b)
	if err := s.Load(ctx); err == nil || !errors.Is(err, ErrRead) {
		t.Errorf("a directory that is not there: %v", err)
	}
	if s.Ready() || s.current != nil || s.Status()[0].Active.Name != "" {
		t.Errorf("published without %s: %+v", b, s.Status())
	}
	write(t, b, version(t, "b", hostB, "p, two"))
	must(t, s.Load(ctx))
	if !s.Ready() || s.rules(hostA) != "p, one" || s.rules(hostB) != "p, two" {
		t.Errorf("%+v", s.Status())
	}
	if got := s.current.Bundles; len(got) != 2 || got[0].Name != "a" || got[1].Name != "b" {
		t.Errorf("bundles %+v", got)
	}
	// One team's mistake does not stop the other's change.
	write(t, a, version(t, "a", hostA, "p, refused"))
	write(t, b, version(t, "b", hostB, "p, three"))
	if s.Load(ctx) == nil || s.rules(hostA) != "p, one" || s.rules(hostB) != "p, three" {
		t.Errorf("%+v", s.Status())
	}
}

func TestConflicts(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	write(t, c, version(t, "c", "e.example.com", "p, c"))
	write(t, a, version(t, "a", hostA, "p, one"))
	write(t, b, version(t, "b", hostB, "p, two"))
	s := serve(t, 0, a, b, c)
	must(t, s.Load(ctx))

	write(t, b, version(t, "b", hostA, "p, thief"))
	err := s.Load(ctx)
	if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "a/orders") || !strings.Contains(err.Error(), "b/orders") || !strings.Contains(err.Error(), hostA) {
		t.Errorf("the error does not name both and the host: %v", err)
	}
	if s.rules(hostA) != "p, one" || s.rules(hostB) != "p, two" {
		t.Error("the conflict changed what serves")
	}
	// When a gives the host up, what waits for it goes through, though b did not change again.
	write(t, a, version(t, "a", "c.example.com", "p, moved"))
	must(t, s.Load(ctx))
	if s.rules(hostA) != "p, thief" || s.rules("c.example.com") != "p, moved" || s.rules(hostB) != "" {
		t.Errorf("after the move: %+v", s.Status())
	}
	// An exchange fits only as a whole.
	write(t, a, version(t, "a", hostA, "p, a again"))
	write(t, b, version(t, "b", "c.example.com", "p, b again"))
	must(t, s.Load(ctx))
	if s.rules(hostA) != "p, a again" || s.rules("c.example.com") != "p, b again" {
		t.Errorf("after the exchange: %+v", s.Status())
	}
	// One that fits nowhere does not stop those that do, in whatever order they make room for each other.
	write(t, a, version(t, "a", "c.example.com", "p, a third"))
	write(t, b, version(t, "b", "d.example.com", "p, b third"))
	write(t, c, version(t, "c", "d.example.com", "p, c third"))
	if err := s.Load(ctx); !errors.Is(err, ErrConflict) || s.rules("c.example.com") != "p, a third" || s.rules("d.example.com") != "p, b third" || s.rules("e.example.com") != "p, c" {
		t.Errorf("error %v, %+v", err, s.Status())
	}
	write(t, b, version(t, "a", hostB, "p, same name"))
	if err := s.Load(ctx); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("two bundles of a name: %v", err)
	}
}

func TestConflictAtTheStart(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, version(t, "a", hostA, "p, one"))
	write(t, b, version(t, "b", hostA, "p, two"))
	s := serve(t, 0, a, b)
	if err := s.Load(ctx); !errors.Is(err, ErrConflict) || s.Ready() {
		t.Errorf("ready %v, error %v", s.Ready(), err)
	}
	if s.Status()[0].Err != nil || s.Status()[1].Err == nil {
		t.Errorf("the later one is to blame: %+v", s.Status())
	}
}

func TestManagerOptions(t *testing.T) {
	publish := func(*pipeline.Snapshot) {}
	good := ManagerOptions{Options: Options{Clock: time.Now}, Directories: []Directory{{Path: "a"}}, Publish: publish}
	if _, err := NewManager(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*ManagerOptions){
		"no directory":    func(o *ManagerOptions) { o.Directories = nil },
		"empty directory": func(o *ManagerOptions) { o.Directories = []Directory{{}} },
		"directory twice": func(o *ManagerOptions) { o.Directories = []Directory{{Path: "a"}, {Path: "./a/"}} },
		"no publisher":    func(o *ManagerOptions) { o.Publish = nil },
		"no clock":        func(o *ManagerOptions) { o.Clock = nil },
		"interval":        func(o *ManagerOptions) { o.Poll = -1 },
	} {
		o := good
		spoil(&o)
		if _, err := NewManager(o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWatch changes real directories under a watch. The hints come from the system where it gives them; the interval
// is an hour in half of the cases, so that they alone can be it, and short in the other half.
func TestWatch(t *testing.T) {
	for name, poll := range map[string]time.Duration{"by hints": time.Hour, "by looking": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			dir := filepath.Join(base, "current")
			write(t, filepath.Join(base, "1"), version(t, "a", hostA, "p, one"))
			write(t, filepath.Join(base, "2"), version(t, "a", hostA, "p, two"))
			must(t, os.Symlink("1", dir))
			s := serve(t, poll, dir)
			must(t, s.Load(context.Background()))
			s.watch()

			swap(t, dir, "2")
			eventually(t, "the other target serves", func() bool { return s.rules(hostA) == "p, two" })
			write(t, dir, map[string][]byte{"services/orders/policy.csv": []byte("p, three\n")})
			eventually(t, "the edit below the new target serves", func() bool { return s.rules(hostA) == "p, three" })
			write(t, dir, map[string][]byte{"bundle.yaml": []byte("x\n")})
			eventually(t, "the mistake is seen", func() bool { return s.Status()[0].Err != nil })
			must(t, os.Remove(dir))
			eventually(t, "the deletion is seen", func() bool { return errors.Is(s.Status()[0].Err, ErrRead) })
			if s.rules(hostA) != "p, three" {
				t.Errorf("after the deletion the rules are %q", s.rules(hostA))
			}
			must(t, os.Symlink("1", dir))
			eventually(t, "the link is back", func() bool { return s.rules(hostA) == "p, one" })
			write(t, dir, map[string][]byte{"services/new/service.yaml": []byte("service: new\n")})
			eventually(t, "a new service is seen", func() bool { return s.Status()[0].Err != nil })
		})
	}
}

// swap points a link elsewhere, atomically.
func swap(t testing.TB, link, target string) {
	t.Helper()
	must(t, os.Symlink(target, link+".new"))
	must(t, os.Rename(link+".new", link))
}

// TestWatchVolume swaps the link inside the directory, as volumes of configuration do.
func TestWatchVolume(t *testing.T) {
	dir := t.TempDir()
	for i, rules := range []string{"p, one", "p, two"} {
		write(t, filepath.Join(dir, fmt.Sprintf("..%d", i)), version(t, "a", hostA, rules))
	}
	must(t, os.Symlink("..0", filepath.Join(dir, "..data")))
	for _, name := range []string{"bundle.yaml", "keys", "shared", "services"} {
		must(t, os.Symlink("..data/"+name, filepath.Join(dir, name)))
	}
	s := serve(t, time.Hour, dir)
	must(t, s.Load(context.Background()))
	// Between the first load and the watch nothing is missed either.
	swap(t, filepath.Join(dir, "..data"), "..1")
	s.watch()
	eventually(t, "the other revision serves", func() bool { return s.rules(hostA) == "p, two" })
	swap(t, filepath.Join(dir, "..data"), "..0")
	eventually(t, "the first revision serves again", func() bool { return s.rules(hostA) == "p, one" })
}

// TestWatchUnderReplacement replaces the bundle 200 times, every tenth broken, while it is asked.
func TestWatchUnderReplacement(t *testing.T) {
	const replacements = 200
	before := runtime.NumGoroutine()
	t.Run("replace", func(t *testing.T) {
		base := t.TempDir()
		dir := filepath.Join(base, "current")
		write(t, filepath.Join(base, "0"), version(t, "a", hostA, "p, good 000"))
		must(t, os.Symlink("0", dir))
		s := serve(t, 5*time.Millisecond, dir)
		must(t, s.Load(context.Background()))
		s.watch()
		stop, asked := make(chan struct{}), make(chan int)
		go func() {
			n := 0
			for ; ; n++ {
				select {
				case <-stop:
					asked <- n
					return
				default:
				}
				if rules := s.rules(hostA); !strings.HasPrefix(rules, "p, good ") {
					t.Errorf("served %q", rules)
					<-stop
					asked <- n
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		last := ""
		for i := 1; i <= replacements; i++ {
			// The same size and, on a coarse clock, the same time as the one before.
			rules := fmt.Sprintf("p, good %03d", i)
			if i%10 == 0 {
				rules = "p, refused"
			} else {
				last = rules
			}
			write(t, filepath.Join(base, fmt.Sprint(i)), version(t, "a", hostA, rules))
			swap(t, dir, fmt.Sprint(i))
			if i%50 == 1 {
				eventually(t, "the watch keeps up", func() bool { return s.rules(hostA) == rules })
			}
		}
		eventually(t, "the last one is judged", func() bool { return s.Status()[0].Err != nil })
		write(t, filepath.Join(base, "end"), version(t, "a", hostA, last))
		swap(t, dir, "end")
		eventually(t, "the last good one serves", func() bool { return s.rules(hostA) == last && s.Status()[0].Err == nil })
		close(stop)
		if n := <-asked; n == 0 {
			t.Error("nobody asked")
		}
		t.Logf("%d revisions were active of %d", s.Status()[0].Active.Sequence, replacements)
	})
	eventually(t, "the watch's goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

// TestEditsInPlaceShow writes the same file again and again, faster than the file system's clock may tick.
func TestEditsInPlaceShow(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, version(t, "a", hostA, "p, 000"))
	s := serve(t, 5*time.Millisecond, dir)
	must(t, s.Load(context.Background()))
	s.watch()
	for i := range 50 {
		rules := fmt.Sprintf("p, %03d", i)
		write(t, dir, map[string][]byte{"services/orders/policy.csv": []byte(rules + "\n")})
		if i%5 == 0 {
			eventually(t, rules+" serves", func() bool { return s.rules(hostA) == rules })
		}
	}
	eventually(t, "the last edit serves", func() bool { return s.rules(hostA) == "p, 049" })
}

// TestConcerns: the system names what changed by the directory that is watched, which is "." for a bundle without a path.
func TestConcerns(t *testing.T) {
	for name, want := range map[string]bool{"./late": true, "late": true, "late/bundle.yaml": true, "./other": false, "other": false} {
		if got := serve(t, time.Hour, "late").concerns(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
