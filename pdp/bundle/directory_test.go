package bundle

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes the files below a directory.
func write(t testing.TB, directory string, contents map[string][]byte) {
	t.Helper()
	for name, data := range contents {
		path := filepath.Join(directory, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRead(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, map[string][]byte{"secret.csv": []byte("s")})
	for _, test := range []struct {
		name  string
		setup func(t *testing.T, dir string)
		want  string // the paths read, or the error after ErrRead
	}{
		{"plain", func(*testing.T, string) {}, "a.csv b/c.csv"},
		{"what is left alone", func(t *testing.T, dir string) {
			write(t, dir, map[string][]byte{".git/config": nil, ".gitignore": nil, "README.md": nil, "b/README.md": nil, "LICENSE": nil, "b/.x.swp": nil})
		}, "a.csv b/c.csv"},
		{"a volume of links", func(t *testing.T, dir string) {
			write(t, dir, map[string][]byte{"..2026_01_01/d.csv": nil, "..2026_01_01/e/f.csv": nil})
			must(t, os.Symlink("..2026_01_01", filepath.Join(dir, "..data")))
			must(t, os.Symlink("..data/d.csv", filepath.Join(dir, "d.csv")))
			must(t, os.Symlink("..data/e", filepath.Join(dir, "e")))
		}, "a.csv b/c.csv d.csv e/f.csv"},
		{"a link out", func(t *testing.T, dir string) {
			must(t, os.Symlink(filepath.Join(outside, "secret.csv"), filepath.Join(dir, "x.csv")))
		}, `secret.csv", which must be relative and lead to a file of the bundle: path escapes from parent`},
		{"a relative link out", func(t *testing.T, dir string) {
			must(t, os.Symlink("../../../../../../../../etc/hostname", filepath.Join(dir, "b", "x.csv")))
		}, `the link "b/x.csv" to "../../../../../../../../etc/hostname", which must be relative and lead to a file of the bundle: path escapes from parent`},
		{"a directory out", func(t *testing.T, dir string) {
			must(t, os.Symlink(outside, filepath.Join(dir, "x")))
		}, `path escapes from parent`},
		{"a link to nothing", func(t *testing.T, dir string) {
			must(t, os.Symlink("nothing", filepath.Join(dir, "x.csv")))
		}, `the link "x.csv" to "nothing", which must be relative and lead to a file of the bundle: no such file or directory`},
		{"a circle", func(t *testing.T, dir string) {
			must(t, os.Symlink(".", filepath.Join(dir, "b", "x")))
		}, `deeper than 8 or more than 2000 directories`},
		{"a pipe", func(t *testing.T, dir string) {
			must(t, syscall.Mkfifo(filepath.Join(dir, "x.csv"), 0o644))
		}, `"x.csv" is neither a file nor a directory`},
		{"a large file", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "x.csv"), nil, 0o644))
			must(t, os.Truncate(filepath.Join(dir, "x.csv"), maxFile+1))
		}, `"x.csv": larger than 64 MiB`},
		{"large in all", func(t *testing.T, dir string) {
			for _, name := range []string{"1.csv", "2.csv", "3.csv", "4.csv", "5.csv"} {
				must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
				must(t, os.Truncate(filepath.Join(dir, name), maxFile))
			}
		}, `larger than 256 MiB`},
		{"gone", func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) }, `no such file or directory`},
		{"a file", func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
			must(t, os.WriteFile(dir, nil, 0o644))
		}, `not a directory`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bundle")
			write(t, dir, map[string][]byte{"a.csv": []byte("1"), "b/c.csv": []byte("2")})
			test.setup(t, dir)
			contents, _, err := Directory{Path: dir}.read(nil)
			if err != nil {
				if !errors.Is(err, ErrRead) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %s", err, test.want)
				}
				return
			}
			if diff := cmp.Diff(test.want, strings.Join(slices.Sorted(maps.Keys(contents)), " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadThroughALink(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string][]byte{"one/a.csv": []byte("1")})
	must(t, os.Symlink("one", filepath.Join(dir, "current")))
	contents, _, err := Directory{Path: filepath.Join(dir, "current")}.read(nil)
	if err != nil || string(contents["a.csv"]) != "1" {
		t.Errorf("%v, %v", contents, err)
	}
}

// TestReadSeesNoHalves changes the directory between the reading and the second look.
func TestReadSeesNoHalves(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string][]byte{"a.csv": []byte("old"), "b.csv": []byte("old")})
	changes := 1
	contents, _, err := Directory{Path: dir}.read(func() {
		if changes--; changes >= 0 {
			write(t, dir, map[string][]byte{"a.csv": []byte("newer"), "b.csv": []byte("newer")})
		}
	})
	if err != nil || string(contents["a.csv"]) != "newer" || string(contents["b.csv"]) != "newer" {
		t.Errorf("%s, %v", contents, err)
	}
	size := 0
	_, _, err = Directory{Path: dir}.read(func() {
		size++
		write(t, dir, map[string][]byte{"a.csv": []byte(strings.Repeat("x", size))})
	})
	if !errors.Is(err, ErrChanging) {
		t.Errorf("a directory that never rests: %v", err)
	}
}

// TestFingerprintSeesLinks swaps between two trees that differ in nothing but content.
func TestFingerprintSeesLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string][]byte{"..0/a.csv": []byte("old"), "..1/a.csv": []byte("new")})
	for _, name := range []string{"..0/a.csv", "..1/a.csv", "..0", "..1"} {
		must(t, os.Chtimes(filepath.Join(dir, name), instant, instant))
	}
	must(t, os.Symlink("..0", filepath.Join(dir, "..data")))
	must(t, os.Symlink("..data/a.csv", filepath.Join(dir, "a.csv")))
	before, err := Directory{Path: dir}.look()
	must(t, err)
	swap(t, filepath.Join(dir, "..data"), "..1")
	after, err := Directory{Path: dir}.look()
	must(t, err)
	if before.fingerprint == after.fingerprint {
		t.Error("the same fingerprint after the swap")
	}
}

func TestReadDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, sample(t, nil))
	contents, err := ReadDirectory(dir)
	if diff := cmp.Diff(sample(t, nil), contents); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	write(t, dir, map[string][]byte{"x.txt": nil, "bundle.yaml": []byte("nme: x\n")})
	contents, err = ReadDirectory(dir)
	must(t, err)
	_, problems := Build(contents, options(echo{}))
	if len(problems) != 2 || problems[0].File != "bundle.yaml" || problems[1].File != "x.txt" {
		t.Errorf("%v", problems)
	}
	if _, err = ReadDirectory(filepath.Join(dir, "nowhere")); !errors.Is(err, ErrRead) {
		t.Error(err)
	}
}
