package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// maxRuleLine is the longest line of a rule file in bytes; casbin's file adapter has the same limit.
const maxRuleLine = 64 << 10

// maxProblems is how many problems of one policy are told; the first few of a thousand are enough.
const maxProblems = 50

// rule is one line of a rule file.
type rule struct {
	// values are the fields after the type, each a string: boxed once, because the matcher reads them as any.
	values []any
	file   *format.File
	line   int
	denies bool
}

func (r *rule) text(field int) string {
	text, _ := r.values[field].(string)
	return text
}

// position returns where the rule stands: file:line.
func (r *rule) position() string { return r.file.Path + ":" + strconv.Itoa(r.line) }

// id returns a short hash of the rule's type and fields, which stays when the rule moves to another line.
func (r *rule) id(ptype string) string {
	var buffer [256]byte
	text := append(buffer[:0], ptype...)
	for i := range r.values {
		field := r.text(i)
		text = append(text, ',')
		text = strconv.AppendInt(text, int64(len(field)), 10)
		text = append(text, ':')
		text = append(text, field...)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

func (r *rule) problem(text string) format.Problem {
	return r.file.ProblemAt(r.line, 1, text)
}

// fieldProblem returns a problem of one field. It reads the line again: rules do not keep their columns.
func (r *rule) fieldProblem(field int, text string) format.Problem {
	number := 0
	for line := range bytes.Lines(r.file.Data) {
		if number++; number < r.line {
			continue
		}
		trimmed := bytes.TrimSpace(line)
		if _, columns, _ := splitFields(string(trimmed)); field+1 < len(columns) {
			return r.file.ProblemAt(r.line, 1+bytes.Index(line, trimmed)+columns[field+1], text)
		}
		break
	}
	return r.problem(text)
}

// ruleReader reads rule files into the rules of p and of each role relation.
type ruleReader struct {
	model    *casbinModel
	problems format.Problems
	// rules are by type; known finds duplicates the way Casbin does, by the fields joined with commas.
	rules map[string][]*rule
	known map[string]*rule
	boxed map[string]any
}

// readRules reads rule files in order.
func readRules(m *casbinModel, files []*format.File) (map[string][]*rule, format.Problems) {
	r := &ruleReader{model: m, rules: map[string][]*rule{}, known: map[string]*rule{}, boxed: map[string]any{}}
	for _, file := range files {
		number := 0
		for line := range bytes.Lines(file.Data) {
			number++
			r.line(file, number, bytes.TrimRight(line, "\r\n"))
		}
	}
	return r.rules, r.problems
}

func (r *ruleReader) line(file *format.File, number int, raw []byte) {
	if len(r.problems) >= maxProblems {
		return
	}
	refuse := func(column int, text string) {
		r.problems = append(r.problems, file.ProblemAt(number, column, text))
	}
	switch {
	case len(raw) > maxRuleLine:
		refuse(maxRuleLine, fmt.Sprintf("the line is longer than %d bytes", maxRuleLine))
		return
	case !utf8.Valid(raw):
		refuse(1, "the line is not UTF-8")
		return
	}
	text := string(bytes.TrimSpace(raw))
	start := 1 + bytes.Index(raw, []byte(text))
	if text == "" || text[0] == '#' {
		return
	}
	fields, columns, message := splitFields(text)
	if message != "" {
		refuse(start+columns[len(columns)-1], message)
		return
	}
	for i, field := range fields {
		if message := refuseField(field); message != "" {
			refuse(start+columns[i], message)
			return
		}
	}
	ptype, want := fields[0], r.width(fields[0])
	switch {
	case want == 0:
		refuse(start, r.unknownType(ptype))
	case len(fields)-1 != want:
		refuse(start, fmt.Sprintf("%s has %d fields here and %d in the model", ptype, len(fields)-1, want))
	default:
		r.add(file, number, fields)
	}
}

// splitFields splits a line as encoding/csv does with leading blanks trimmed, and returns where each field begins.
// On an error the last column is the error's.
func splitFields(text string) (fields []string, columns []int, message string) {
	rest := text
	for {
		rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
		at := len(text) - len(rest)
		columns = append(columns, at)
		var field string
		if strings.HasPrefix(rest, `"`) {
			var closed bool
			if field, rest, closed = quoted(rest[1:]); !closed {
				return nil, columns, "a quoted field must end on its line, before a comma"
			}
		} else {
			end := strings.IndexByte(rest, ',')
			if end < 0 {
				end = len(rest)
			}
			field, rest = rest[:end], rest[end:]
			if strings.Contains(field, `"`) {
				return nil, columns, `a field that holds a quote must be quoted, and the quote doubled: "a ""b"" c"`
			}
		}
		fields = append(fields, field)
		if rest == "" {
			return fields, columns, ""
		}
		rest = rest[1:]
	}
}

// quoted reads a quoted field after its opening quote. What follows it is "" or begins with a comma.
func quoted(text string) (field, rest string, closed bool) {
	var b strings.Builder
	for {
		end := strings.IndexByte(text, '"')
		if end < 0 {
			return "", "", false
		}
		b.WriteString(text[:end])
		text = text[end+1:]
		if !strings.HasPrefix(text, `"`) {
			return b.String(), text, text == "" || text[0] == ','
		}
		b.WriteByte('"')
		text = text[1:]
	}
}

// refuseField says why no field can hold this text, or "".
func refuseField(field string) string {
	if strings.TrimSpace(field) != field {
		return "the field begins or ends with a blank, which Casbin takes for a part of it"
	}
	if strings.ContainsFunc(field, unicode.IsControl) {
		return "the field holds a control character"
	}
	return ""
}

// width returns how many fields rules of a type have; 0 for unknown types.
func (r *ruleReader) width(ptype string) int {
	if ptype == "p" {
		return len(r.model.rule)
	}
	return r.model.arities[ptype]
}

func (r *ruleReader) unknownType(ptype string) string {
	switch {
	case ptype == "":
		return "the rule has no type; it begins with p or the name of a role relation"
	case ptype[0] == 'p' && isNumber(ptype[1:]):
		return ptype + " is not enforced by this version: write a policy of its own"
	}
	return fmt.Sprintf("the model has no %q", printable(ptype))
}

// add keeps a rule, unless Casbin would take it for one that is there already.
func (r *ruleReader) add(file *format.File, number int, fields []string) {
	added := &rule{file: file, line: number, values: make([]any, len(fields)-1)}
	for i, field := range fields[1:] {
		value, found := r.boxed[field]
		if !found {
			field = strings.Clone(field)
			value = field
			r.boxed[field] = value
		}
		added.values[i] = value
	}
	ptype := fields[0]
	key := strings.Join(fields, ",")
	if first, found := r.known[key]; found {
		text := "the rule stands at " + first.position() + " already"
		if first.id(ptype) != added.id(ptype) {
			text = "Casbin takes this rule for the one at " + first.position() + ": joined with commas they are equal"
		}
		r.problems = append(r.problems, added.problem(text))
		return
	}
	r.known[key] = added
	if message := r.effect(ptype, added); message != "" {
		r.problems = append(r.problems, added.problem(message))
	}
	r.rules[ptype] = append(r.rules[ptype], added)
}

// effect reads the rule's eft, and says what is wrong with it.
func (r *ruleReader) effect(ptype string, added *rule) string {
	column := index(r.model.rule, "eft")
	if ptype != "p" || column < 0 {
		return ""
	}
	switch added.text(column) {
	case "allow":
	case "deny":
		added.denies = true
	default:
		return fmt.Sprintf("eft must be allow or deny, not %q; Casbin ignores such a rule", printable(added.text(column)))
	}
	return ""
}
