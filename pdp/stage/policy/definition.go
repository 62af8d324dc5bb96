package policy

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// maxModelLine is the longest line of a model, in bytes: casbin's reader silently cuts longer ones in two.
const maxModelLine = 4000

// sections maps the sections of a model to the keys that they hold.
var sections = map[string]string{
	"request_definition": "r",
	"policy_definition":  "p",
	"role_definition":    "g",
	"policy_effect":      "e",
	"matchers":           "m",
}

// definition is one "key = value" of a model, which may stand on several lines.
type definition struct {
	file  *format.File
	key   string
	value string
	spans []span
}

// span says where a stretch of a definition's value, from offset on, stands in the file.
type span struct {
	offset, line, column int
}

// problem returns a problem at an offset of the value.
func (d *definition) problem(offset int, text string) format.Problem {
	at := d.spans[0]
	for _, s := range d.spans {
		if s.offset <= offset {
			at = s
		}
	}
	return d.file.ProblemAt(at.line, at.column+offset-at.offset, text)
}

// find returns the offset of the first occurrence of text that is a word of its own, or 0.
func (d *definition) find(text string) int {
	isWord := func(at int) bool {
		if at < 0 || at >= len(d.value) {
			return false
		}
		c := d.value[at]
		return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	for from := 0; text != "" && from < len(d.value); from++ {
		at := strings.Index(d.value[from:], text)
		if at < 0 {
			return 0
		}
		from += at
		if !isWord(from) || !isWord(from-1) && !isWord(from+len(text)) {
			return from
		}
	}
	return 0
}

// modelReader reads model.conf as casbin's parser does, and refuses what that parser repairs or ignores.
type modelReader struct {
	file     *format.File
	problems format.Problems
	section  string
	defs     map[string]*definition

	// text and spans collect a definition that continues over lines.
	text      []byte
	spans     []span
	continued bool
}

// readModel returns the definitions of a model by key.
func readModel(file *format.File) (map[string]*definition, format.Problems) {
	r := &modelReader{file: file, defs: map[string]*definition{}}
	number := 0
	for line := range bytes.Lines(file.Data) {
		number++
		r.line(number, bytes.TrimRight(line, "\r\n"))
	}
	if r.continued {
		r.problem(number, 1, `the file ends after a line that ends in "\"`)
	}
	for section, key := range sections {
		if _, found := r.defs[key]; !found && key != "g" && len(r.problems) == 0 {
			r.problems = append(r.problems, file.ProblemAt(max(number, 1), 1, fmt.Sprintf("the model defines no %s in [%s]", key, section)))
		}
	}
	r.checkRelations()
	return r.defs, r.problems
}

func (r *modelReader) problem(line, column int, text string) {
	r.problems = append(r.problems, r.file.ProblemAt(line, column, text))
}

// line reads one physical line.
func (r *modelReader) line(number int, raw []byte) {
	switch {
	case len(raw) > maxModelLine:
		r.problem(number, maxModelLine, fmt.Sprintf("the line is longer than %d bytes", maxModelLine))
		return
	case !utf8.Valid(raw) || hasControl(string(raw)):
		r.problem(number, 1, "the line holds control characters or is not UTF-8")
		return
	}
	line := bytes.TrimSpace(raw)
	column := 1 + bytes.Index(raw, line)
	blank := len(line) == 0 || line[0] == '#' || line[0] == ';'
	header := len(line) > 0 && line[0] == '[' && line[len(line)-1] == ']'
	switch {
	case r.continued && (blank || header):
		r.problem(number, column, `a line that ends in "\" must be followed by the rest of the definition`)
		r.text, r.spans, r.continued = nil, nil, false
	case blank:
	case header:
		r.header(number, column, string(line[1:len(line)-1]))
	default:
		r.piece(number, column, line)
	}
}

func (r *modelReader) header(line, column int, name string) {
	if _, known := sections[name]; !known {
		r.problem(line, column, fmt.Sprintf("unknown section [%s]", printable(name)))
		name = ""
	}
	r.section = name
}

// piece adds one line to the definition that is being read, without its comment.
func (r *modelReader) piece(number, column int, line []byte) {
	continues := line[len(line)-1] == '\\'
	if continues {
		line = append(bytes.TrimSpace(line[:len(line)-1]), ' ')
	}
	end, inLiteral := commentStart(line)
	if inLiteral {
		r.problem(number, column+end, fmt.Sprintf("Casbin cuts the line at %q, also inside a string literal", line[end]))
		return
	}
	if end < len(line) && continues {
		r.problem(number, column+end, `a comment that ends in "\" would swallow the next line`)
		return
	}
	r.spans = append(r.spans, span{offset: len(r.text), line: number, column: column})
	r.text = append(r.text, line[:end]...)
	r.continued = continues
	if !continues {
		r.finish(number, column)
	}
}

// commentStart returns where the line's comment begins, or its length, and whether that place is inside a literal.
func commentStart(line []byte) (at int, inLiteral bool) {
	var quote byte
	for i, c := range line {
		switch {
		case c == '#' || c == ';':
			// An apostrophe in a comment opens no literal: only one that is closed after the character counts.
			return i, quote != 0 && bytes.IndexByte(line[i:], quote) >= 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote == c:
			quote = 0
		}
	}
	return len(line), false
}

// finish stores the definition that has been read.
func (r *modelReader) finish(line, column int) {
	text, spans := string(r.text), r.spans
	r.text, r.spans = nil, nil
	key, value, found := strings.Cut(text, "=")
	if !found {
		r.problem(line, column, "expected a section or KEY = VALUE")
		return
	}
	offset := len(key) + 1 + len(value) - len(strings.TrimLeft(value, " \t"))
	for i := range spans {
		spans[i].offset -= offset
	}
	d := &definition{file: r.file, key: strings.TrimSpace(key), value: strings.TrimSpace(value), spans: spans}
	if message := r.refuse(d); message != "" {
		r.problem(line, column, message)
		return
	}
	r.defs[d.key] = d
}

// refuse says why a definition cannot stand where it does, or "".
func (r *modelReader) refuse(d *definition) string {
	letter, known := sections[r.section]
	if !known {
		return "a definition outside of a known section"
	}
	number, isKey := strings.CutPrefix(d.key, letter)
	if !isKey || number != "" && !isNumber(number) || number == "1" {
		return fmt.Sprintf("[%s] holds %s, not %q", r.section, letter, printable(d.key))
	}
	if _, twice := r.defs[d.key]; twice {
		return fmt.Sprintf("%s is defined twice; Casbin takes the last one", d.key)
	}
	if number != "" && letter != "g" {
		return fmt.Sprintf("%s is not enforced by this version: write a policy of its own", d.key)
	}
	if d.value == "" {
		return fmt.Sprintf("%s is empty", d.key)
	}
	return ""
}

// checkRelations refuses gaps in g, g2, g3: Casbin stops reading at the first one.
func (r *modelReader) checkRelations() {
	for _, d := range r.defs {
		if d.key[0] != 'g' || d.key == "g" {
			continue
		}
		previous := "g"
		if n := atoi(d.key[1:]); n > 2 {
			previous = fmt.Sprintf("g%d", n-1)
		}
		if _, found := r.defs[previous]; !found {
			r.problems = append(r.problems, d.problem(0, fmt.Sprintf("%s without %s: Casbin ignores it", d.key, previous)))
		}
	}
}

// isNumber reports whether s is a number without leading zeros that is not too large to count relations.
func isNumber(s string) bool {
	if len(s) == 0 || len(s) > 2 || s[0] == '0' {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

// atoi returns the value of a number that isNumber accepted.
func atoi(s string) int {
	n := 0
	for i := 0; i < len(s); i++ {
		n = 10*n + int(s[i]-'0')
	}
	return n
}

// hasControl reports whether s holds a control character other than a tab.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 && c != '\t' || c == 0x7f })
}

// printable shortens a word from a file for a message; %q makes the rest harmless.
func printable(s string) string { return shorten(s, 40) }

// shorten cuts s to n bytes.
func shorten(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
