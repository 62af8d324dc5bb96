package format

import (
	"fmt"
	"strings"
)

// Position is a place in a file; line and column count from 1, and 0 means unknown.
type Position struct {
	File         string
	Line, Column int
}

// String returns file:line:column, with the unknown parts left out.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing that is wrong in a bundle.
type Problem struct {
	Position
	// Code is the finding's stable code in docs/lint ("rule-duplicate"); "" for what has no page of its own.
	Code string
	// Message says what is wrong, Hint what to do or what was meant; Excerpt is the source line with a caret.
	Message, Hint, Excerpt string
}

// Error returns the problem as one line, followed by the excerpt where there is one.
func (p Problem) Error() string {
	var b strings.Builder
	if place := p.Position.String(); place != "" {
		b.WriteString(place + ": ")
	}
	b.WriteString(withoutPasswords(p.Message)) // it may quote what stands in the file
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	if p.Excerpt != "" {
		b.WriteString("\n" + p.Excerpt)
	}
	return b.String()
}

// Problems are all the problems of a bundle, in file order. A nil slice is no error.
type Problems []Problem

// Error joins the problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}
