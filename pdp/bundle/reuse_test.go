package bundle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/google/go-cmp/cmp"
)

// counting is a stage that notes for which services it compiles. Its part is all that it can read.
type counting struct {
	name  string
	calls map[string]int
	main  *format.File // of the last call
}

func (c *counting) Name() string { return c.name }

func (c *counting) Compile(b *format.Bundle, s *format.Service) (any, format.Problems) {
	c.calls[s.Name]++
	c.main = b.File
	p := readable{}
	for _, name := range b.Files.Paths() {
		file, _ := b.Files.Get("", name)
		p[name] = string(file.Data)
	}
	if len(b.Services) != 1 || b.Services[0] != s {
		return nil, format.Problems{s.File.Problem("", "a stage sees another service")}
	}
	return p, nil
}

// readable are the files that a compiler saw.
type readable map[string]string

// Report returns a line that all services say, and those of the rules that ask for one.
func (r readable) Report() []string {
	lines := []string{"read"}
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if strings.Contains(r[name], "remark") {
			lines = append(lines, name+" is remarkable")
		}
	}
	return lines
}

const tenth = 10 // every tenth service refers to shared/common.csv

// many returns a bundle of n services s0000, s0001, …
func many(n int) map[string][]byte {
	contents := map[string][]byte{
		"bundle.yaml": []byte(`format: 1
requires: "1.0"
name: many
authenticators:
  corp: {kind: jwt, issuer: "https://idp.example.com", algorithms: [ES256], jwks: {file: keys/corp.json}}
guards:
  - {name: blocked, model: shared/deny.conf, rules: [shared/deny.csv], request: {sub: subject.key}}
`),
		"keys/corp.json":    []byte(`{"keys": []}`),
		"shared/deny.conf":  []byte("[request_definition]\nr = sub\n"),
		"shared/deny.csv":   []byte("p, user:corp:mallory\n"),
		"shared/model.conf": []byte("[request_definition]\nr = sub, act\n"),
		"shared/common.csv": []byte("p, reader, read\n"),
	}
	for i := range n {
		addService(contents, serviceName(i), i%tenth == 0)
	}
	return contents
}

func serviceName(i int) string { return fmt.Sprintf("s%04d", i) }

func addService(contents map[string][]byte, name string, common bool) {
	rules := "[policy.csv]"
	if common {
		rules = "[policy.csv, /shared/common.csv]"
	}
	contents["services/"+name+"/service.yaml"] = []byte(`service: ` + name + `
match: [{host: ` + name + `.example.com}]
identity: {mode: required, accept: [corp], audiences: [` + name + `]}
policies:
  - {name: main, model: /shared/model.conf, rules: ` + rules + `, request: {sub: subject.key, act: action}}
routes:
  - {name: read, path: "/things/{id}", methods: [GET], action: read}
  - {name: write, path: "/things/{id}", methods: [PUT, DELETE], action: write}
  - {name: list, path: /things, methods: [GET], action: list}
`)
	contents["services/"+name+"/policy.csv"] = []byte("p, " + name + ", write\n")
}

// reloading is a manager of one directory with two counting stages.
type reloading struct {
	*Manager
	t        *testing.T
	dir      string
	stages   [2]*counting
	contents map[string][]byte
	current  *pipeline.Snapshot
}

func newReloading(t *testing.T, contents map[string][]byte) *reloading {
	t.Helper()
	r := &reloading{t: t, dir: filepath.Join(t.TempDir(), "bundle"), contents: contents}
	o := options()
	for i := range r.stages {
		r.stages[i] = &counting{name: fmt.Sprint("stage", i), calls: map[string]int{}}
		o.Compilers = append(o.Compilers, r.stages[i])
	}
	write(t, r.dir, contents)
	m, err := NewManager(ManagerOptions{Options: o, Directories: []Directory{{Path: r.dir}}, Publish: func(s *pipeline.Snapshot) { r.current = s }})
	must(t, err)
	r.Manager = m
	return r
}

// load writes files (nil removes one), loads, and returns for which services the stages compiled.
func (r *reloading) load(changed map[string][]byte) ([]string, error) {
	r.t.Helper()
	for name, data := range changed {
		if data != nil {
			r.contents[name] = data
			write(r.t, r.dir, map[string][]byte{name: data})
			continue
		}
		delete(r.contents, name)
		must(r.t, os.Remove(filepath.Join(r.dir, filepath.FromSlash(name))))
	}
	for _, stage := range r.stages {
		clear(stage.calls)
	}
	err := r.Load(context.Background())
	if diff := cmp.Diff(r.stages[0].calls, r.stages[1].calls); diff != "" {
		r.t.Errorf("one stage compiled for other services than the other:\n%s", diff)
	}
	for name, calls := range r.stages[0].calls {
		if calls != 1 {
			r.t.Errorf("%s was compiled %d times", name, calls)
		}
	}
	return slices.Sorted(maps.Keys(r.stages[0].calls)), err
}

// agrees compares what serves with a load of the same files from nothing: whatever was taken over must be what would
// have been made.
func (r *reloading) agrees() {
	r.t.Helper()
	fresh, problems := Build(r.contents, r.options.Options)
	if len(problems) > 0 {
		r.t.Fatal(problems)
	}
	revision := Revision(r.contents)
	if len(r.current.Services) != len(fresh.Services) {
		r.t.Errorf("%d services, want %d", len(r.current.Services), len(fresh.Services))
	}
	for _, want := range fresh.Services {
		host := want.Route.Name + ".example.com"
		m := r.current.Routes.Match(&request.Request{Method: "DELETE", Host: host, Target: "/things/7"})
		if m.Route == nil || m.Route.Service != m.Service || r.current.Services[m.Service] == nil {
			r.t.Errorf("%s: match %+v", host, m)
			continue
		}
		got := r.current.Services[m.Service]
		if got.Route != m.Service || m.Service.Revision != revision {
			r.t.Errorf("%s serves as of revision %s, want %s", host, m.Service.Revision, revision)
		}
		if diff := cmp.Diff(want.Parts, got.Parts); diff != "" {
			r.t.Errorf("%s was taken over although it differs:\n%s", host, diff)
		}
		if diff := cmp.Diff(want.Report, got.Report); diff != "" {
			r.t.Errorf("%s: report\n%s", host, diff)
		}
	}
}

// TestOnlyWhatChangedIsCompiled: of many services those are made anew of which an input changed. With few services there
// are more kinds of edits, and at each step all is compared with a load from nothing.
func TestOnlyWhatChangedIsCompiled(t *testing.T) {
	t.Run("few", func(t *testing.T) { editMany(t, 40, true) })
	t.Run("a thousand", func(t *testing.T) { editMany(t, 1000, false) })
}

func editMany(t *testing.T, n int, thorough bool) {
	var all, users []string
	for i := range n {
		all = append(all, serviceName(i))
		if i%tenth == 0 {
			users = append(users, serviceName(i))
		}
	}
	moved := map[string][]byte{}
	addService(moved, "moved", true)
	appended := func(name string) []byte { return append(slices.Clone(many(n)[name]), '#', '\n') }
	r := newReloading(t, many(n))
	for _, step := range []struct {
		name    string
		changed map[string][]byte
		want    []string
	}{
		{"the first load", nil, all},
		{"nothing", nil, nil},
		{"rules", map[string][]byte{"services/s0007/policy.csv": []byte("p, s0007, read\n")}, []string{"s0007"}},
		{"two services", map[string][]byte{"services/s0008/service.yaml": appended("services/s0008/service.yaml"), "services/s0010/policy.csv": []byte("p, x, y\n")}, []string{"s0008", "s0010"}},
		{"a shared file", map[string][]byte{"shared/common.csv": []byte("p, reader, list\n")}, users},
		{"a shared file of all", map[string][]byte{"shared/model.conf": []byte("[request_definition]\nr = sub, act\n# said again\n")}, all},
		{"keys", map[string][]byte{"keys/corp.json": []byte(`{"keys": [ ]}`)}, all},
		{"a guard", map[string][]byte{"shared/deny.csv": []byte("p, user:corp:trudy\n")}, all},
		{"bundle.yaml", map[string][]byte{"bundle.yaml": appended("bundle.yaml")}, all},
		{"a service is renamed", map[string][]byte{
			"services/s0020/service.yaml": nil, "services/s0020/policy.csv": nil,
			"services/moved/service.yaml": moved["services/moved/service.yaml"], "services/moved/policy.csv": moved["services/moved/policy.csv"],
		}, []string{"moved"}},
		{"a service goes", map[string][]byte{"services/moved/service.yaml": nil, "services/moved/policy.csv": nil}, nil},
		{"rules move to another file", map[string][]byte{
			"services/s0031/policy.csv": nil, "services/s0031/rules.csv": []byte("p, s0031, write\n"),
			"services/s0031/service.yaml": []byte(strings.Replace(string(many(n)["services/s0031/service.yaml"]), "policy.csv", "rules.csv", 1)),
		}, []string{"s0031"}},
		{"a decision test", map[string][]byte{"tests/a.yaml": []byte("suite: a\n")}, nil},
	} {
		if !thorough && !slices.Contains([]string{"the first load", "rules", "a shared file", "bundle.yaml"}, step.name) {
			continue
		}
		t.Run(step.name, func(t *testing.T) {
			r.t = t
			got, err := r.load(step.changed)
			must(t, err)
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("compiled (-want +got):\n%s", diff)
			}
			if status := r.Status()[0]; step.name != "nothing" && (status.Active.Load.Compiled != len(step.want) || status.Active.Load.Compiled+status.Active.Load.Reused != len(r.current.Services)) {
				t.Errorf("the status speaks of %+v, %d services", status.Active.Load, len(r.current.Services))
			}
			if thorough {
				r.agrees()
			}
		})
	}
}

// TestReuseAndMistakes: what is wrong is found though the service around it did not change, the last good revision
// serves on as it was, and after the repair nothing is compiled that was good before.
func TestReuseAndMistakes(t *testing.T) {
	contents := many(20)
	const borrower, lent = "services/s0002/service.yaml", "services/s0001/lent.csv"
	own := contents[borrower]
	contents[lent] = []byte("p, lent, read\n")
	contents[borrower] = []byte(strings.Replace(string(own), "[policy.csv]", "[policy.csv, /"+lent+"]", 1))
	r := newReloading(t, contents)
	_, err := r.load(nil)
	must(t, err)
	before, good := r.current, maps.Clone(r.contents)
	for name, test := range map[string]struct {
		changed map[string][]byte
		want    string
	}{
		"a reference to nothing":  {map[string][]byte{"shared/common.csv": nil}, `the bundle has no file "/shared/common.csv"`},
		"a file nobody refers to": {map[string][]byte{"services/s0003/more.csv": []byte("p, a, b\n")}, "services/s0003/more.csv: nothing in the bundle refers to this file"},
		// The service in whose directory it lies did not change, and never referred to it.
		"a file lent to nobody":     {map[string][]byte{borrower: own}, lent + ": nothing in the bundle refers to this file"},
		"a host of another service": {map[string][]byte{"services/s0004/service.yaml": []byte(strings.Replace(string(good["services/s0004/service.yaml"]), "s0004.example.com", "s0005.example.com", 1))}, "both claim s0005.example.com"},
		"a key that goes":           {map[string][]byte{"keys/corp.json": nil}, "keys/corp.json"},
		"a typo in one service":     {map[string][]byte{"services/s0006/service.yaml": []byte("srvice: s0006\n")}, "services/s0006/service.yaml:1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			if _, err := r.load(test.changed); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if r.current != before {
				t.Error("a bad revision was published")
			}
			repair := map[string][]byte{}
			for file := range test.changed {
				repair[file] = good[file]
			}
			compiled, err := r.load(repair)
			must(t, err)
			if len(compiled) > 0 || r.current != before {
				t.Errorf("after the repair %q were compiled", compiled)
			}
		})
	}
}

// TestTakenOverServicesAreCopies: a decision in flight reads the service and the routes of the revision that it began with.
func TestTakenOverServicesAreCopies(t *testing.T) {
	r := newReloading(t, many(2))
	_, err := r.load(nil)
	must(t, err)
	q := &request.Request{Method: "GET", Host: "s0000.example.com", Target: "/things/7"}
	old, revision := r.current.Routes.Match(q), r.Status()[0].Active.Revision
	service := r.current.Services[old.Service]
	parts := maps.Clone(service.Parts)
	_, err = r.load(map[string][]byte{"services/s0001/policy.csv": []byte("p, x, y\n")})
	must(t, err)
	if old.Service.Revision != revision || service.Route != old.Service || old.Route.Service != old.Service || !cmp.Equal(parts, service.Parts) {
		t.Error("the old revision changed under a decision")
	}
	fresh := r.current.Routes.Match(q)
	if fresh.Service == old.Service || fresh.Route == old.Route || r.current.Services[old.Service] != nil {
		t.Error("the new revision answers with the old one's routes")
	}
}

// TestReuseOfWhatWaits: a revision that is good by itself and waits for another bundle to make room is not made again.
func TestReuseOfWhatWaits(t *testing.T) {
	ctx, base := context.Background(), t.TempDir()
	stage := &counting{name: "stage", calls: map[string]int{}}
	o := ManagerOptions{Options: options(stage), Publish: func(*pipeline.Snapshot) {}}
	for _, name := range []string{"a", "b"} {
		contents := many(3)
		contents["bundle.yaml"] = []byte(strings.Replace(string(contents["bundle.yaml"]), "name: many", "name: "+name, 1))
		write(t, filepath.Join(base, name), contents)
		o.Directories = append(o.Directories, Directory{Path: filepath.Join(base, name)})
	}
	m, err := NewManager(o)
	must(t, err)
	if err := m.Load(ctx); !errors.Is(err, ErrConflict) || len(stage.calls) != 3 || stage.calls["s0001"] != 2 {
		t.Fatalf("%v, compiled %v", err, stage.calls)
	}
	clear(stage.calls)
	write(t, filepath.Join(base, "b"), map[string][]byte{"services/s0001/policy.csv": []byte("p, x, y\n")})
	if err := m.Load(ctx); !errors.Is(err, ErrConflict) || len(stage.calls) != 1 || stage.calls["s0001"] != 1 {
		t.Errorf("%v, compiled %v", err, stage.calls)
	}
}

// TestWhatAllServicesShareHasOneIdentity: stages keep what they made of bundle.yaml by its file, so that the edits of a
// thousand services do not leave a thousand copies of the guards.
func TestWhatAllServicesShareHasOneIdentity(t *testing.T) {
	r := newReloading(t, many(3))
	_, err := r.load(nil)
	must(t, err)
	first := r.stages[0].main
	for _, rules := range []string{"p, a, b\n", "p, c, d\n"} {
		_, err = r.load(map[string][]byte{"services/s0001/policy.csv": []byte(rules)})
		must(t, err)
		if r.stages[0].main != first {
			t.Error("an edit of a service changed the identity")
		}
	}
	_, err = r.load(map[string][]byte{"shared/deny.csv": []byte("p, user:corp:trudy\n")})
	must(t, err)
	if r.stages[0].main == first {
		t.Error("an edit of a guard did not change the identity")
	}
}

// TestReport: what the parts say is told per load for what was compiled, and per snapshot for all.
func TestReport(t *testing.T) {
	r := newReloading(t, many(3))
	_, err := r.load(nil)
	must(t, err)
	if diff := cmp.Diff([]string{"s0000 and 2 more: read"}, r.Status()[0].Report); diff != "" {
		t.Error(diff)
	}
	_, err = r.load(map[string][]byte{"services/s0001/policy.csv": []byte("p, remark, y\n")})
	must(t, err)
	if diff := cmp.Diff([]string{"s0001: read", "s0001: services/s0001/policy.csv is remarkable"}, r.Status()[0].Report); diff != "" {
		t.Error(diff)
	}
	want := []string{"s0000 and 2 more: read", "s0001: services/s0001/policy.csv is remarkable"}
	if diff := cmp.Diff(want, Report(r.current, "many")); diff != "" {
		t.Error(diff)
	}
	if got := Report(r.current, "other"); len(got) > 0 {
		t.Errorf("another bundle's report: %q", got)
	}
}

// BenchmarkManyServices measures a bundle of a thousand services with stages that do next to nothing: what reading,
// checking and taking over cost.
func BenchmarkManyServices(b *testing.B) {
	const n = 1000
	contents := many(n)
	dir := filepath.Join(b.TempDir(), "bundle")
	write(b, dir, contents)
	o := ManagerOptions{Options: options(&counting{name: "stage", calls: map[string]int{}}), Directories: []Directory{{Path: dir}}, Publish: func(*pipeline.Snapshot) {}}
	o.Clock = time.Now
	load := func(b *testing.B, m *Manager) {
		if err := m.Load(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			m, err := NewManager(o)
			must(b, err)
			load(b, m)
		}
	})
	m, err := NewManager(o)
	must(b, err)
	load(b, m)
	edits := 0
	b.Run("one-file-changed", func(b *testing.B) {
		for b.Loop() {
			edits++
			write(b, dir, map[string][]byte{"services/s0500/policy.csv": fmt.Appendf(nil, "p, edit%d, write\n", edits)})
			load(b, m)
			if got := m.Status()[0].Active.Load; got.Compiled != 1 || got.Reused != n-1 {
				b.Fatalf("%+v", got)
			}
		}
	})
	b.Run("look", func(b *testing.B) {
		for b.Loop() {
			if _, err := m.entries[0].look(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
