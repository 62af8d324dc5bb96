// Package rewrite brings the files of a policy bundle into their canonical form: Casbin rules and models, and the
// blanks of YAML.
//
// The command imports it. It never changes what a file means: each result is read again by other means and compared,
// and a file that cannot be read, or whose meaning would change, is refused. It opens no file.
package rewrite

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// File returns the canonical form of a bundle's file. Files of other kinds than rules (.csv), models (.conf) and YAML
// come back as they are. A problem says why the file must stay as it is.
func File(path string, data []byte) ([]byte, *format.Problem) {
	var rewrite func(*format.File) ([]byte, *format.Problem)
	switch {
	case strings.HasSuffix(path, ".csv"):
		rewrite = rules
	case strings.HasSuffix(path, ".conf"):
		rewrite = model
	case strings.HasSuffix(path, ".yaml"):
		rewrite = yaml
	default:
		return data, nil
	}
	file := newFile(path, data)
	if problems := file.CheckText(); len(problems) > 0 {
		return nil, &problems[0]
	}
	return rewrite(file)
}

func newFile(path string, data []byte) *format.File {
	file, _ := format.NewFiles(map[string][]byte{path: data}).Get("", "/"+path)
	return file
}

// linesOf splits a text into its lines without their ends, and drops empty lines at its end.
func linesOf(data []byte) []string {
	lines := strings.Split(string(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))), "\n")
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// join is the text of lines, each with its end.
func join(lines []string) []byte {
	if len(lines) == 0 {
		return nil
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

func problemAt(file *format.File, line, column int, message string, arguments ...any) *format.Problem {
	p := file.ProblemAt(line, column, fmt.Sprintf(message, arguments...))
	return &p
}

// columnAt is the column of a byte of a line, counted in characters.
func columnAt(line string, offset int) int { return utf8.RuneCountInString(line[:offset]) + 1 }

// changed is the problem of a file whose meaning would change. It is a fault of this package.
func changed(file *format.File) *format.Problem {
	return problemAt(file, 0, 0, "the canonical form would mean something else, so the file stays as it is")
}
