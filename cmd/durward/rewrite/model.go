package rewrite

import (
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// model writes each definition as "key = value", the names of a definition with one blank behind the comma, and one
// empty line before each section. Matchers and effects keep their text, and definitions over several lines their lines.
func model(file *format.File) ([]byte, *format.Problem) {
	w := &modelWriter{}
	for i, line := range linesOf(file.Data) {
		if at, message := w.line(line); message != "" {
			return nil, problemAt(file, i+1, columnAt(line, at), "%s", message)
		}
	}
	if w.continued {
		return nil, problemAt(file, len(linesOf(file.Data)), 1, `the file ends after a line that ends in "\"`)
	}
	out := join(w.out)
	if !slices.Equal(definitions(file.Data), definitions(out)) {
		return nil, changed(file)
	}
	return out, nil
}

type modelWriter struct {
	out       []string
	section   string
	continued bool
}

// line adds one line, or says what is wrong with it and where.
func (w *modelWriter) line(line string) (at int, message string) {
	text := strings.TrimSpace(line)
	at = strings.Index(line, text)
	isComment := text != "" && (text[0] == '#' || text[0] == ';')
	isHeader := text != "" && text[0] == '[' && text[len(text)-1] == ']'
	switch {
	case w.continued && (text == "" || isComment || isHeader):
		return at, `a line that ends in "\" must be followed by the rest of the definition`
	case text == "":
		if n := len(w.out); n > 0 && w.out[n-1] != "" && !strings.HasPrefix(w.out[n-1], "[") {
			w.out = append(w.out, "")
		}
	case isComment:
		w.out = append(w.out, text)
	case isHeader:
		w.section = strings.TrimSpace(text[1 : len(text)-1])
		w.header(text)
	default:
		return w.piece(text, at)
	}
	return 0, ""
}

// header adds a section's name, with an empty line before it and before the comments that stand right above it.
func (w *modelWriter) header(text string) {
	first := len(w.out)
	for first > 0 && w.out[first-1] != "" && strings.ContainsRune("#;", rune(w.out[first-1][0])) {
		first--
	}
	if first > 0 && w.out[first-1] != "" {
		w.out = slices.Insert(w.out, first, "")
	}
	w.out = append(w.out, text)
}

// piece adds a line of a definition. What Casbin would cut as a comment stays behind it.
func (w *modelWriter) piece(text string, at int) (int, string) {
	body, continues := strings.CutSuffix(text, `\`)
	end, inLiteral := commentStart(body)
	if inLiteral {
		return at + end, "Casbin cuts the line here, also inside a string literal"
	}
	if continues && end < len(body) {
		return at + end, `a comment that ends in "\" would swallow the next line`
	}
	value, comment := strings.TrimSpace(body[:end]), body[end:]
	if w.continued {
		value = "    " + value
	} else {
		key, rest, found := strings.Cut(value, "=")
		if !found {
			return at, "expected a section or KEY = VALUE"
		}
		rest = strings.TrimSpace(rest)
		if isList(w.section) && !continues {
			rest = strings.Join(names(rest), ", ")
		}
		value = strings.TrimSpace(key) + " = " + rest
	}
	if continues {
		value = strings.TrimRight(value, " \t") + ` \`
	}
	w.out = append(w.out, strings.TrimRight(strings.TrimRight(value, " \t")+" "+comment, " \t"))
	w.continued = continues
	return 0, ""
}

// isList says whether a section's definitions are lists of names.
func isList(section string) bool {
	return section == "request_definition" || section == "policy_definition" || section == "role_definition"
}

func names(list string) []string {
	out := strings.Split(list, ",")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}

// commentStart returns where a line's comment begins, or its length, and whether that place is inside a literal.
func commentStart(line string) (at int, inLiteral bool) {
	var quote byte
	for i := range len(line) {
		switch c := line[i]; {
		case c == '#' || c == ';':
			return i, quote != 0 && strings.IndexByte(line[i:], quote) >= 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote == c:
			quote = 0
		}
	}
	return len(line), false
}

// definitions reads a model as Casbin's own reader does: lines that end in a backslash go on, and everything behind # or
// ; is a comment. It returns the section, key and value of each definition in order.
func definitions(data []byte) []string {
	var out []string
	section, text := "", ""
	for line := range strings.SplitSeq(string(data), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case line[0] == '[' && line[len(line)-1] == ']':
			section = line[1 : len(line)-1]
			continue
		}
		body, continues := strings.CutSuffix(line, `\`)
		if continues {
			text += strings.TrimSpace(body) + " "
			continue
		}
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		key, value, _ := strings.Cut(text+line, "=")
		text = ""
		value = strings.TrimSpace(value)
		if isList(section) {
			value = strings.Join(names(value), ",")
		}
		out = append(out, section, strings.TrimSpace(key), value)
	}
	return append(out, text)
}
