package rewrite

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// rules writes each rule with one blank behind its commas and quotes only where they are needed. Comments and empty lines
// stay, so that no rule changes its line: records and tests name rules by it.
func rules(file *format.File) ([]byte, *format.Problem) {
	lines := linesOf(file.Data)
	out := make([]string, len(lines))
	for i, line := range lines {
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' {
			lines[i], out[i] = text, text
			continue
		}
		start := strings.Index(line, text)
		fields, offsets, message := split(text)
		for j, field := range fields {
			if message == "" && strings.TrimSpace(field) != field {
				message, offsets = "the field begins or ends with a blank, which Casbin takes for a part of it: decide whether it is one", offsets[:j+1]
			}
		}
		if message != "" {
			return nil, problemAt(file, i+1, columnAt(line, start+offsets[len(offsets)-1]), "%s", message)
		}
		lines[i], out[i] = text, rule(fields)
	}
	if result := join(out); sameRules(join(lines), result) {
		return result, nil
	}
	return nil, changed(file)
}

// rule is the canonical form of a rule.
func rule(fields []string) string {
	written := make([]string, len(fields))
	for i, field := range fields {
		if strings.ContainsAny(field, `,"`) || i == 0 && strings.HasPrefix(field, "#") {
			field = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
		}
		written[i] = field
	}
	return strings.TrimRight(strings.Join(written, ", "), " ")
}

// sameRules reports whether two files hold the same rules in the same lines, as the standard library's reader sees them,
// set as Casbin sets it.
func sameRules(before, after []byte) bool {
	old, now := newReader(before), newReader(after)
	for {
		a, errOld := old.Read()
		b, errNow := now.Read()
		if errOld != nil || errNow != nil {
			return errors.Is(errOld, io.EOF) && errors.Is(errNow, io.EOF)
		}
		lineOld, _ := old.FieldPos(0)
		lineNow, _ := now.FieldPos(0)
		if lineOld != lineNow || !slices.Equal(a, b) {
			return false
		}
	}
}

func newReader(data []byte) *csv.Reader {
	r := csv.NewReader(bytes.NewReader(data))
	r.Comment, r.TrimLeadingSpace, r.FieldsPerRecord, r.ReuseRecord = '#', true, -1, true
	return r
}

// split takes a rule apart and says where each field begins. A message is about the last of them.
func split(text string) (fields []string, offsets []int, message string) {
	for rest := text; ; {
		rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
		offsets = append(offsets, len(text)-len(rest))
		var field string
		if strings.HasPrefix(rest, `"`) {
			end := closing(rest)
			if end < 0 {
				return fields, offsets, "a quoted field must end on its line, before a comma"
			}
			field, rest = strings.ReplaceAll(rest[1:end], `""`, `"`), rest[end+1:]
		} else {
			end := strings.IndexByte(rest, ',')
			if end < 0 {
				end = len(rest)
			}
			if field, rest = rest[:end], rest[end:]; strings.Contains(field, `"`) {
				return fields, offsets, "a field that holds a quote must be quoted, and the quote doubled"
			}
		}
		if fields = append(fields, field); rest == "" {
			return fields, offsets, ""
		}
		rest = rest[1:]
	}
}

// closing returns where the quote that opens a field is closed, -1 where it is not, or not before a comma.
func closing(text string) int {
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			continue
		}
		if i+1 < len(text) && text[i+1] == '"' {
			i++
			continue
		}
		if i+1 == len(text) || text[i+1] == ',' {
			return i
		}
		return -1
	}
	return -1
}
