package format

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	excerptWidth  = 100 // characters of a source line that an excerpt shows
	excerptBefore = 60  // of them before the caret, at most
)

// CheckText returns what makes a file unsafe to read or to review as text: bytes that are not UTF-8, a byte order
// mark, control characters, and characters that make a line look different from what it says.
func (f *File) CheckText() Problems {
	var problems Problems
	line, column := 1, 0
	data := f.Data
	for len(data) > 0 && len(problems) < maxProblems {
		if plain := plainText(data); plain > 0 { // nearly all of what is in rules
			column += plain
			data = data[plain:]
			continue
		}
		r, size := utf8.DecodeRune(data)
		column++
		if r == utf8.RuneError && size == 1 {
			return append(problems, f.ProblemAt(line, column, "this byte is not UTF-8"))
		}
		next := byte(0)
		if len(data) > size {
			next = data[size]
		}
		if message := unsafeRune(r, next); message != "" {
			problems = append(problems, f.ProblemAt(line, column, message))
		}
		if r == '\n' {
			line, column = line+1, 0
		}
		data = data[size:]
	}
	return problems
}

// plainText returns how many bytes at the begin of data are printable ASCII: nothing is wrong with those.
func plainText(data []byte) int {
	for i, c := range data {
		if c < 0x20 || c > 0x7E {
			return i
		}
	}
	return len(data)
}

// unsafeRune says what is wrong with r, which the byte next follows; "" when nothing is.
func unsafeRune(r rune, next byte) string {
	switch {
	case r == '\n' || r == '\t':
		return ""
	case r == '\r':
		if next == '\n' {
			return ""
		}
		return "a carriage return without a line feed; save the file with \\n line ends"
	case r == 0xFEFF:
		return "a byte order mark; save the file as UTF-8 without one"
	case r < 0x20 || r >= 0x7F && r <= 0x9F:
		return fmt.Sprintf("the control character U+%04X", r)
	case invisible(r):
		return fmt.Sprintf("the invisible character U+%04X, which makes the line read differently from what it says", r)
	}
	return ""
}

// invisible reports line separators and the formatting characters, which reorder text or have no width.
func invisible(r rune) bool {
	return r == 0x2028 || r == 0x2029 || unicode.Is(unicode.Cf, r)
}

// ProblemAt returns a problem at a line and column of the file, with an excerpt and a caret.
func (f *File) ProblemAt(line, column int, message string) Problem {
	p := Problem{Position: Position{File: f.Path, Line: line, Column: column}, Message: message}
	if source, ok := f.line(line); ok && column > 0 {
		p.Excerpt = excerpt(source, line, column)
	}
	return p
}

// line returns one line of the file, without its end.
func (f *File) line(number int) (string, bool) {
	if number < 1 {
		return "", false
	}
	rest := f.Data
	for ; number > 1; number-- {
		_, after, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			return "", false
		}
		rest = after
	}
	source, _, _ := bytes.Cut(rest, []byte("\n"))
	return strings.TrimSuffix(string(source), "\r"), true
}

// excerpt shows the line around the column, with a caret below it. What a terminal would obey is escaped.
func excerpt(source string, line, column int) string {
	runes := []rune(withoutPasswords(source))
	at := min(column-1, len(runes))
	from := max(0, at-excerptBefore)
	to := min(len(runes), from+excerptWidth)
	margin := fmt.Sprintf("%5d | ", line)

	var text, indent strings.Builder
	if from > 0 {
		text.WriteString("…")
		indent.WriteByte(' ')
	}
	for i, r := range runes[from:to] {
		shown := visible(r)
		text.WriteString(shown)
		if from+i < at {
			indent.WriteString(strings.Repeat(" ", utf8.RuneCountInString(shown)))
		}
	}
	if to < len(runes) {
		text.WriteString("…")
	}
	return margin + text.String() + "\n" + strings.Repeat(" ", len(margin)-2) + "| " + indent.String() + "^"
}

// withoutPasswords hides what may be the password of a connection string: in every word, what stands between its first
// colon and its last at sign ("redis://user:secret@host"). The number of characters stays, so that a caret fits.
func withoutPasswords(text string) string {
	if !strings.ContainsRune(text, '@') {
		return text
	}
	runes := []rune(text)
	for begin := 0; begin < len(runes); begin++ {
		end := begin
		colon, at := -1, -1
		for ; end < len(runes) && !unicode.IsSpace(runes[end]); end++ {
			switch {
			case runes[end] == ':' && colon < 0:
				colon = end
			case runes[end] == '@':
				at = end
			}
		}
		for i := colon + 1; colon >= 0 && i < at; i++ {
			runes[i] = '*'
		}
		begin = end
	}
	return string(runes)
}

func visible(r rune) string {
	switch {
	case r == '\t':
		return "  "
	case r == utf8.RuneError, !unicode.IsPrint(r):
		return fmt.Sprintf("\\u%04x", r)
	}
	return string(r)
}

// Nearest returns the candidate that name was probably meant to be: at an edit distance of at most 2, and less than
// half of the name. It returns "" when there is none.
func Nearest(name string, candidates []string) string {
	limit := min(2, (len(name)-1)/2)
	best, bestDistance := "", limit+1
	for _, candidate := range candidates {
		if more := len(candidate) - len(name); more > limit || -more > limit {
			continue // so many insertions alone
		}
		d := distance(name, candidate)
		if d < bestDistance || d == bestDistance && d <= limit && candidate < best {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// didYouMean is Nearest as a hint.
func didYouMean(name string, candidates []string) string {
	if near := Nearest(name, candidates); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

// distance is the optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours.
func distance(a, b string) int {
	const long = 64
	if len(a) > long || len(b) > long {
		return long
	}
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
