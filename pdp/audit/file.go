package audit

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// File is a sink that appends to a file which others may move away. It is safe for concurrent use.
type File struct {
	path string

	mu   sync.Mutex
	file *os.File
	info fs.FileInfo
}

// OpenFile opens the file for appending, for its owner alone where it makes it.
func OpenFile(path string) (*File, error) {
	f := &File{path: path}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// Write appends whole lines. A file that was moved or deleted is opened anew first, and so is one that failed: the count
// holds whole lines only, and the torn one is ended when the file is opened again.
func (f *File) Write(lines []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil || f.moved() {
		if err := f.reopen(); err != nil {
			return 0, err
		}
	}
	n, err := f.file.Write(lines)
	if err == nil {
		return n, nil
	}
	_ = f.drop()
	return wholeLines(lines[:n]), fmt.Errorf("writing records: %w", err)
}

// wholeLines returns how many bytes of what was written end with a line.
func wholeLines(written []byte) int { return bytes.LastIndexByte(written, '\n') + 1 }

// Reopen makes the next Write open the file anew, after a rotation.
func (f *File) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drop()
}

// Close closes the file. A later Write opens it again.
func (f *File) Close() error { return f.Reopen() }

func (f *File) drop() error {
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file, f.info = nil, nil
	if err := file.Close(); err != nil {
		return fmt.Errorf("closing the record file: %w", err)
	}
	return nil
}

// moved reports whether the path leads to another file than the open one. Any doubt is a yes: opening says more.
func (f *File) moved() bool {
	info, err := os.Stat(f.path)
	return err != nil || !os.SameFile(info, f.info)
}

func (f *File) reopen() error {
	// What a failed close loses was written before: there is nothing to write again.
	_ = f.drop()
	return f.open()
}

func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening the record file: %w", err)
	}
	info, err := file.Stat()
	if err == nil {
		err = endLine(file, info)
	}
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("opening the record file: %w", err)
	}
	f.file, f.info = file, info
	return nil
}

// endLine ends a line that a crash or a full disk left torn, so that only that one is lost.
func endLine(file *os.File, info fs.FileInfo) error {
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := file.ReadAt(last, info.Size()-1); err != nil {
		return err
	}
	if last[0] == '\n' {
		return nil
	}
	_, err := file.Write([]byte{'\n'})
	return err
}
