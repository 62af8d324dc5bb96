package format

import (
	"crypto/sha256"
	"maps"
	"path"
	"slices"
	"sync"
)

// Files are the files of a bundle, by slash-separated path inside it. They are immutable.
type Files struct {
	byPath map[string]*File
	sorted []string
}

// File is one file of a bundle.
type File struct {
	// Path is the path inside the bundle; Data its content. Neither may be changed.
	Path string
	Data []byte

	once sync.Once
	root *node

	summed sync.Once
	sum    [sha256.Size]byte
}

// NewFiles returns the files with the given contents.
func NewFiles(contents map[string][]byte) *Files {
	f := &Files{byPath: make(map[string]*File, len(contents))}
	for p, data := range contents {
		f.byPath[p] = &File{Path: p, Data: data}
	}
	f.sorted = slices.Sorted(maps.Keys(f.byPath))
	return f
}

// Only returns the files among these that have the given paths. Whoever reads them sees no other.
func (f *Files) Only(paths []string) *Files {
	some := &Files{byPath: make(map[string]*File, len(paths))}
	for _, p := range paths {
		if file, ok := f.byPath[p]; ok {
			some.byPath[p] = file
		}
	}
	some.sorted = slices.Sorted(maps.Keys(some.byPath))
	return some
}

// Get returns the file that ref names: absolute inside the bundle ("/shared/roles.csv") or relative to dir.
// A reference cannot leave the bundle.
func (f *Files) Get(dir, ref string) (*File, bool) {
	p := path.Join("/", dir, ref)
	if path.IsAbs(ref) {
		p = path.Clean(ref)
	}
	file, ok := f.byPath[p[1:]]
	return file, ok
}

// Paths returns the paths of the files, sorted. The caller must not change them.
func (f *Files) Paths() []string { return f.sorted }

// Sum returns the SHA-256 of the content, which is computed once.
func (f *File) Sum() [sha256.Size]byte {
	f.summed.Do(func() { f.sum = sha256.Sum256(f.Data) })
	return f.sum
}

// Problem returns a problem at the YAML path ("$.routes[2].path") of the file, with an excerpt and a caret, or at the
// file as a whole for "".
func (f *File) Problem(yamlPath, message string) Problem {
	at := f.At(yamlPath)
	return f.ProblemAt(at.Line, at.Column, message)
}
