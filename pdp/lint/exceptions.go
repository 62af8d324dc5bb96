package lint

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// marker begins an exception, after the "#" of a comment.
const marker = "lint:allow"

var exceptionPattern = regexp.MustCompile(`^lint:allow ([a-z][a-z-]*) until ([0-9]{4}-[0-9]{2}-[0-9]{2}): ([^\s].{2,199})$`)

// exception is an exception with the lines that it is about.
type exception struct {
	Exception
	file *format.File
	// from and to are the first and last line, both included; whole is set for all of the file.
	from, to int
	whole    bool
	used     bool
}

// covers reports whether the exception is about a finding.
func (e *exception) covers(code string, at format.Position) bool {
	return e.Code == code && e.file.Path == at.File && (e.whole || at.Line >= e.from && at.Line <= e.to)
}

// exceptionReader collects the exceptions of a file line by line.
type exceptionReader struct {
	run  *run
	file *format.File
	yaml bool
	// pending are comments that wait for the line that they are about; top is set until the first line that is not one.
	pending []*exception
	top     bool
	// open are exceptions about a line of YAML and all that is indented below it.
	open []openException
	all  []*exception
}

type openException struct {
	*exception
	indent int
}

// readExceptions finds the exceptions of a file: comments above the line that they are about, or a first block of
// comments, which an empty line ends, for the whole file.
func (r *run) readExceptions(file *format.File) []*exception {
	if !bytes.Contains(file.Data, []byte(marker)) {
		return nil
	}
	reader := &exceptionReader{run: r, file: file, yaml: path.Ext(file.Path) == ".yaml", top: true}
	number := 0
	for raw := range bytes.Lines(file.Data) {
		number++
		reader.line(number, string(bytes.TrimRight(raw, "\r\n")))
	}
	for _, e := range reader.open {
		e.to = number
	}
	for _, e := range reader.pending {
		e.whole = reader.top
		e.from = number + 1
	}
	return reader.all
}

func (r *exceptionReader) line(number int, text string) {
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		if r.top {
			for _, e := range r.pending {
				e.whole = true
			}
			r.pending = nil
		}
		r.top = r.top && len(r.all) == 0 && number == 1
	case trimmed[0] == '#':
		r.comment(number, 1+strings.Index(text, trimmed), strings.TrimSpace(trimmed[1:]))
	default:
		r.top = false
		r.content(number, len(text)-len(strings.TrimLeft(text, " ")))
	}
}

// content is a line that is no comment: waiting exceptions are about it.
func (r *exceptionReader) content(number, indent int) {
	r.open = slices.DeleteFunc(r.open, func(e openException) bool {
		if e.indent < indent {
			return false
		}
		e.to = number - 1
		return true
	})
	for _, e := range r.pending {
		e.from, e.to = number, number
		if r.yaml {
			r.open = append(r.open, openException{e, indent})
		}
	}
	r.pending = nil
}

func (r *exceptionReader) comment(number, column int, text string) {
	if !strings.HasPrefix(text, marker) {
		return
	}
	malformed := func(message string) {
		p := r.file.ProblemAt(number, column, message)
		p.Hint = "# lint:allow CODE until 2026-12-31: reason"
		r.run.add("exception-malformed", p)
	}
	parts := exceptionPattern.FindStringSubmatch(text)
	if parts == nil {
		malformed("an exception names a code, a last day and a reason")
		return
	}
	c, known := codeOf(parts[1])
	if !known {
		p := r.file.ProblemAt(number, column, fmt.Sprintf("there is no code %q", parts[1]))
		if near := format.Nearest(parts[1], excusable()); near != "" {
			p.Hint = fmt.Sprintf("did you mean %q?", near)
		}
		r.run.add("exception-malformed", p)
		return
	}
	if c.from != fromCheck {
		malformed(fmt.Sprintf("there is no exception from %s", c.name))
		return
	}
	until, err := time.Parse(time.DateOnly, parts[2])
	if err != nil {
		malformed(fmt.Sprintf("%s is no day", parts[2]))
		return
	}
	e := &exception{file: r.file, Exception: Exception{
		Code: c.name, Reason: parts[3], Until: until, At: format.Position{File: r.file.Path, Line: number, Column: column},
	}}
	r.pending = append(r.pending, e)
	r.all = append(r.all, e)
}

// except moves the findings that an exception allows today, and reports exceptions that have expired or allow nothing.
func (r *run) except(found []Finding) (kept, excepted []Finding) {
	byFile := map[string][]*exception{}
	for _, name := range r.bundle.Files.Paths() {
		file, _ := r.bundle.Files.Get("", name)
		byFile[name] = r.readExceptions(file)
	}
	for _, f := range found {
		var valid *exception
		for _, e := range byFile[f.File] {
			if !e.covers(f.Code, f.Position) {
				continue
			}
			e.used = true
			if !r.today.After(e.Until.AddDate(0, 0, 1).Add(-1)) {
				valid = e
			}
		}
		if valid == nil {
			kept = append(kept, f)
			continue
		}
		f.Exception = &valid.Exception
		excepted = append(excepted, f)
	}
	for _, name := range r.bundle.Files.Paths() {
		for _, e := range byFile[name] {
			switch {
			case !e.used:
				r.add("exception-unused", e.file.ProblemAt(e.At.Line, e.At.Column, fmt.Sprintf("nothing here is %s any more: remove the exception", e.Code)))
			case r.today.After(e.Until.AddDate(0, 0, 1).Add(-1)):
				r.add("exception-expired", e.file.ProblemAt(e.At.Line, e.At.Column,
					fmt.Sprintf("the exception from %s ended on %s: mend what it is about, or give it a new day", e.Code, e.Until.Format(time.DateOnly))))
			}
		}
	}
	return kept, excepted
}
