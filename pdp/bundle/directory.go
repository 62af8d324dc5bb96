package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

const (
	maxFiles       = 10_000
	maxFile        = 64 << 20  // of rules, a million of them; the decoder bounds YAML files further
	maxBundle      = 256 << 20 // held in memory, beside two compiled revisions, while it is loaded
	maxPathDepth   = 8
	maxDirectories = 2_000
)

// ErrRead is wrapped by the errors of a directory that cannot be read as a bundle.
var ErrRead = errors.New("read bundle")

// ErrChanging is wrapped when a directory kept changing while it was read.
var ErrChanging = errors.New("the directory changes while it is read")

// tree is a look at a directory without reading the files.
type tree struct {
	files       []string // slash-separated, sorted
	directories []string // the same, without the root
	fingerprint [sha256.Size]byte
	newest      time.Time
	bytes       int64 // of all files
}

// look lists what is in the root and takes its fingerprint: names, link targets, sizes and times. Links are followed
// as long as they stay inside the root.
func look(root *os.Root) (*tree, error) {
	t := &tree{}
	hash := sha256.New()
	if err := t.walk(root, ".", hash); err != nil {
		return nil, err
	}
	hash.Sum(t.fingerprint[:0])
	return t, nil
}

func (t *tree) walk(root *os.Root, directory string, hash io.Writer) error {
	entries, err := fs.ReadDir(root.FS(), directory)
	if err != nil {
		return fmt.Errorf("%w: list %q: %w", ErrRead, directory, reason(err))
	}
	for _, entry := range entries {
		name := path.Join(directory, entry.Name())
		target := ""
		if entry.Type()&fs.ModeSymlink != 0 {
			// Links that begin with a dot count too: a volume is swapped by such a one.
			if target, err = root.Readlink(name); err != nil {
				return fmt.Errorf("%w: read the link %q: %w", ErrRead, name, reason(err))
			}
			_, _ = fmt.Fprintf(hash, "%q -> %q\n", name, target)
		}
		if left(entry.Name()) {
			continue
		}
		info, err := root.Stat(name)
		switch {
		case err != nil && target != "":
			return fmt.Errorf("%w: the link %q to %q, which must be relative and lead to a file of the bundle: %w", ErrRead, name, target, reason(err))
		case err != nil:
			return fmt.Errorf("%w: %q: %w", ErrRead, name, reason(err))
		}
		if err := t.add(root, name, info, hash); err != nil {
			return err
		}
	}
	return nil
}

// left reports the names that are left alone wherever they stand.
func left(name string) bool {
	return strings.HasPrefix(name, ".") || name == "README.md" || name == "LICENSE"
}

func (t *tree) add(root *os.Root, name string, info fs.FileInfo, hash io.Writer) error {
	_, _ = fmt.Fprintf(hash, "%q %v %d %d\n", name, info.Mode(), info.Size(), info.ModTime().UnixNano())
	if info.ModTime().After(t.newest) {
		t.newest = info.ModTime()
	}
	switch {
	case info.IsDir():
		if strings.Count(name, "/")+1 >= maxPathDepth || len(t.directories) >= maxDirectories {
			return fmt.Errorf("%w: %q: deeper than %d or more than %d directories", ErrRead, name, maxPathDepth, maxDirectories)
		}
		t.directories = append(t.directories, name)
		return t.walk(root, name, hash)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %q is neither a file nor a directory", ErrRead, name)
	case len(t.files) >= maxFiles:
		return fmt.Errorf("%w: more than %d files", ErrRead, maxFiles)
	}
	t.files, t.bytes = append(t.files, name), t.bytes+info.Size()
	return nil
}

// reason returns the cause of a file system's error without the operation and path, which the caller words.
func reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// read returns the contents of the directory's files and the look that they belong to. A directory that changes
// meanwhile is read again, some times.
func (d Directory) read(between func()) (map[string][]byte, *tree, error) {
	const attempts = 5
	for range attempts {
		contents, seen, err := d.readOnce()
		if between != nil {
			between()
		}
		after, lookErr := d.look()
		if lookErr != nil {
			return nil, nil, lookErr
		}
		if err == nil && after.fingerprint == seen.fingerprint {
			return contents, seen, nil
		}
		// An error in a directory that stands still is an error; in one that moves it may be the movement.
		if err != nil && seen != nil && after.fingerprint == seen.fingerprint {
			return nil, nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, nil, fmt.Errorf("%w: %w", ErrRead, ErrChanging)
}

func (d Directory) look() (*tree, error) {
	root, err := os.OpenRoot(d.Path)
	if err != nil {
		return nil, fmt.Errorf("%w: open %q: %w", ErrRead, d.Path, reason(err))
	}
	defer func() { _ = root.Close() }()
	return look(root)
}

func (d Directory) readOnce() (map[string][]byte, *tree, error) {
	root, err := os.OpenRoot(d.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: open %q: %w", ErrRead, d.Path, reason(err))
	}
	defer func() { _ = root.Close() }()
	t, err := look(root)
	if err != nil {
		return nil, nil, err
	}
	if t.bytes > maxBundle {
		return nil, t, errLargeBundle
	}
	contents := make(map[string][]byte, len(t.files))
	total := 0
	for _, name := range t.files {
		data, err := readFile(root, name)
		if err != nil {
			return nil, t, fmt.Errorf("%w: %q: %w", ErrRead, name, reason(err))
		}
		if total += len(data); total > maxBundle {
			return nil, t, errLargeBundle
		}
		contents[name] = data
	}
	return contents, t, nil
}

var errLargeBundle = fmt.Errorf("%w: larger than %d MiB", ErrRead, maxBundle>>20)
var errNotRegular = errors.New("not a regular file")
var errTooLarge = fmt.Errorf("larger than %d MiB", maxFile>>20)

func readFile(root *os.Root, name string) ([]byte, error) {
	// Not to wait for a writer, should the file have become a pipe since the look.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	if info.Size() > maxFile {
		return nil, errTooLarge
	}
	// In one piece: a buffer that grows would hold a large file three times. One byte more shows the end.
	data := make([]byte, info.Size()+1)
	n, err := io.ReadFull(f, data)
	switch {
	case err == nil:
		return nil, ErrChanging // it grew
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return data[:n], nil
	}
	return nil, err
}
