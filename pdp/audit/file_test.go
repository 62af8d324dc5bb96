package audit

import (
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, f *File, line string) {
	t.Helper()
	if n, err := f.Write([]byte(line)); err != nil || n != len(line) {
		t.Fatalf("Write = %d, %v", n, err)
	}
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q (%v), want %q", filepath.Base(path), got, err, want)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.jsonl")
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "1\n")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	t.Run("moved", func(t *testing.T) {
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		write(t, f, "2\n")
		holds(t, path+".1", "1\n")
		holds(t, path, "2\n")
	})
	t.Run("deleted", func(t *testing.T) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		write(t, f, "3\n")
		holds(t, path, "3\n")
	})
	t.Run("truncated", func(t *testing.T) {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		write(t, f, "4\n")
		holds(t, path, "4\n")
	})
	t.Run("asked to", func(t *testing.T) {
		if err := f.Reopen(); err != nil {
			t.Fatal(err)
		}
		write(t, f, "5\n")
		holds(t, path, "4\n5\n")
	})
	t.Run("closed", func(t *testing.T) {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
	t.Run("torn by a crash", func(t *testing.T) {
		if err := os.WriteFile(path, []byte("6\n7"), 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err = OpenFile(path); err != nil {
			t.Fatal(err)
		}
		write(t, f, "8\n")
		holds(t, path, "6\n7\n8\n")
	})
	t.Run("failing", func(t *testing.T) {
		// The descriptor is closed under it, as a failed disk would: the next write opens the file again.
		if err := f.file.Close(); err != nil {
			t.Fatal(err)
		}
		if n, err := f.Write([]byte("9\n")); err == nil || n != 0 {
			t.Fatalf("Write = %d, %v; want an error", n, err)
		}
		write(t, f, "9\n")
		holds(t, path, "6\n7\n8\n9\n")
	})
	t.Run("no way to open it", func(t *testing.T) {
		if err := os.Rename(path, path+".2"); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if n, err := f.Write([]byte("10\n")); err == nil || n != 0 {
			t.Errorf("Write = %d, %v; want an error", n, err)
		}
	})
	if _, err := OpenFile(filepath.Join(t.TempDir(), "none", "x")); err == nil {
		t.Error("a file in no directory was opened")
	}
}

func TestWholeLines(t *testing.T) {
	for written, want := range map[string]int{"": 0, "a": 0, "a\n": 2, "a\nb": 2, "a\nb\n": 4} {
		if got := wholeLines([]byte(written)); got != want {
			t.Errorf("wholeLines(%q) = %d, want %d", written, got, want)
		}
	}
}
