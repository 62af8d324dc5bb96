package faults

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart"
	"github.com/durward-pdp/durward/deploy/quickstart/stack"
	"github.com/durward-pdp/durward/pdp/bundle"
)

// files returns the quickstart's bundle with the keys of an issuer, and with changes; an empty text removes a file.
func files(t *testing.T, i issuer, changes map[string]string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	root, err := fs.Sub(quickstart.Files, "bundle")
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		out[path], err = fs.ReadFile(root, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if i.keys != nil {
		out["keys/corp.jwks.json"] = i.keys
	}
	for path, text := range changes {
		if out[path] = []byte(text); text == "" {
			delete(out, path)
		}
	}
	return out
}

// write writes a bundle into a directory of its own and returns its path and revision.
func write(t *testing.T, contents map[string][]byte) (path, revision string) {
	t.Helper()
	path = t.TempDir()
	for name, data := range contents {
		put(t, filepath.Join(path, name), string(data))
	}
	return path, bundle.Revision(contents)
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// point makes a link lead to a directory, at once, whatever reads it meanwhile.
func point(t *testing.T, link, directory string) {
	t.Helper()
	next := link + ".next"
	if err := os.Symlink(directory, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, link); err != nil {
		t.Fatal(err)
	}
}

// revision is one of two versions of a bundle that say the opposite of each other, in every file that counts.
type revision struct {
	path, id string
	// suffix ends the names of its routes; line is where its only rule stands.
	suffix string
	line   int
	// allows is the path that may be read; the other one may not.
	allows string
}

func (r *revision) judges(path string) (effect, route, rule string) {
	route = map[string]string{"/orders": "list", "/orders/7": "read"}[path] + r.suffix
	if path == r.allows {
		return "allow", route, fmt.Sprintf("services/orders/policy.csv:%d", r.line)
	}
	return "deny", route, ""
}

func revisions(t *testing.T, i issuer) [2]revision {
	t.Helper()
	var out [2]revision
	for n, action := range []string{"orders:list", "orders:read"} {
		r := &out[n]
		r.suffix, r.allows, r.line = []string{"-old", "-new"}[n], []string{"/orders", "/orders/7"}[n], 1+n
		service := strings.NewReplacer("name: list,", "name: list"+r.suffix+",", "name: share,", "name: read"+r.suffix+",",
			"[share]", "[wide]").Replace(ordersService)
		r.path, r.id = write(t, files(t, i, map[string]string{
			servicePath:                  service,
			"services/orders/policy.csv": strings.Repeat("# the rule moves\n", n) + "p, reader, " + action + "\n",
		}))
	}
	return out
}

// broken returns bundles that must not be loaded, and what the log must say of each.
func broken(t *testing.T, i issuer) (paths, whys []string) {
	t.Helper()
	for _, b := range []struct{ file, text, why string }{
		{"services/orders/policy.csv", "p, reader, orders:list\np, reader\n", "services/orders/policy.csv:2:"},
		{servicePath, strings.Replace(ordersService, "routes:", "rotues:", 1), servicePath + ":"},
		{"services/orders/model.conf", "", "model.conf"},
		{"keys/corp.jwks.json", `{"keys": [`, "keys/corp.jwks.json"},
	} {
		path, _ := write(t, files(t, i, map[string]string{servicePath: ordersService, b.file: b.text}))
		paths, whys = append(paths, path), append(whys, b.why)
	}
	return append(paths, filepath.Join(t.TempDir(), "gone")), append(whys, "no such file")
}

// TestBundleReplacedUnderLoad replaces a bundle 200 times by its opposite, every tenth time by a broken one.
func TestBundleReplacedUnderLoad(t *testing.T) {
	const times = 200
	i := newIssuer(t)
	good := revisions(t, i)
	bad, whys := broken(t, i)
	link := filepath.Join(t.TempDir(), "current")
	point(t, link, good[0].path)
	g := startWith(t, i, stack.Options{Settings: settings(t, "{dir: bundle}", "{dir: "+link+"}")})
	l := g.load(8, 10*time.Millisecond, func(client, n int) call {
		return call{http.MethodGet, []string{"/orders", "/orders/7"}[(client+n)%2]}
	})
	ended := sync.OnceValue(l.end)
	defer ended()

	current, refusals := 0, 0
	for n := range times {
		if n%10 == 9 {
			point(t, link, bad[refusals%len(bad)])
			refusals++
			g.await(t, `durward_bundle_loads_total{bundle="acme",result="refused"}`, float64(refusals))
		} else {
			current = 1 - current
			point(t, link, good[current].path)
		}
		// Also after a broken one the last good one serves.
		g.await(t, `durward_bundle_info{bundle="acme",revision="`+good[current].id+`"}`, 1)
	}
	answers := ended()
	g.checkEnvoy(t)
	byRevision := checkRevisions(t, good, answers, g.recordsOf(t, answers))
	t.Logf("%d decisions by the one revision, %d by the other", byRevision[0], byRevision[1])
	for _, r := range g.Replicas {
		log, err := os.ReadFile(r.Log)
		if err != nil {
			t.Fatal(err)
		}
		for _, why := range whys {
			if !strings.Contains(string(log), why) {
				t.Errorf("%s does not say why a bundle was refused: %s", r.Name, why)
			}
		}
	}
}

// await waits until a metric of all replicas has a value.
func (g *gateway) await(t *testing.T, name string, value float64) {
	t.Helper()
	for _, r := range g.Replicas {
		eventually(t, fmt.Sprintf("%s %v of %s", name, value, r.Name), func() bool { return metrics(t, r.Admin)[name] == value })
	}
}

// checkRevisions wants every answer to be what the revision that its record names says, in every part of the record.
func checkRevisions(t *testing.T, good [2]revision, answers []answer, found map[string]record) (counts [2]int) {
	t.Helper()
	for _, a := range answers {
		r := found[a.id()]
		status := map[string]int{"allow": http.StatusOK, "deny": http.StatusForbidden}[r.Effect]
		if !a.own() || a.status != status {
			t.Errorf("%s: status %d, %v, recorded %s", a.path, a.status, a.err, r.Effect)
			continue
		}
		n := 0
		if r.Revision == good[1].id {
			n = 1
		}
		counts[n]++
		effect, route, rule := good[n].judges(a.path)
		if r.Revision != good[n].id || r.Effect != effect || r.Route != route || r.Rule != rule {
			t.Errorf("%s: revision %s, %s, route %s, rule %q; that revision says %s, %s, %q", a.path, r.Revision, r.Effect, r.Route, r.Rule, effect, route, rule)
		}
	}
	if counts[0] == 0 || counts[1] == 0 {
		t.Errorf("%d decisions by the one revision, %d by the other: both must have served", counts[0], counts[1])
	}
	return counts
}
