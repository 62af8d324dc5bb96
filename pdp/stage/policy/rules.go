package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// maxRuleLine is the longest line of a rule file in bytes; casbin's file adapter has the same limit.
const maxRuleLine = 64 << 10

// maxProblems is how many problems of one policy are told; the first few of a thousand are enough.
const maxProblems = 50

// ruleReader reads rule files into the rules of p and of each role relation.
type ruleReader struct {
	model    *casbinModel
	problems format.Problems
	// sets are by type; they share values and files.
	sets   map[string]*ruleSet
	values *values
	files  []fileSpan
	// eft is the column of p that says whether a rule allows or denies, or -1.
	eft int
	// fields and columns are those of the present line.
	fields  []string
	columns []int
}

// readRules reads rule files in order. There is a set for p and for each role relation.
func readRules(m *casbinModel, files []*format.File) (map[string]*ruleSet, format.Problems) {
	size := 0
	for _, file := range files {
		size += len(file.Data)
	}
	r := &ruleReader{model: m, sets: map[string]*ruleSet{}, values: newValues(size), eft: index(m.rule, "eft")}
	r.sets["p"] = &ruleSet{ptype: "p", width: len(m.rule), values: r.values}
	for name, arity := range m.arities {
		r.sets[name] = &ruleSet{ptype: name, width: arity, values: r.values}
	}
	lines := uint32(0)
	for _, file := range files {
		r.files = append(r.files, fileSpan{path: file.Path, file: file, first: lines})
		// One copy of the text for as long as it is read; what is kept of it is copied once more, without repetitions.
		for line := range strings.Lines(string(file.Data)) {
			if lines++; len(r.problems) < maxProblems {
				r.line(file, lines-1, strings.TrimRight(line, "\r\n"))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.sets)) {
		set := r.sets[name]
		set.files = r.files
		set.cells, set.lines = slices.Clip(set.cells), slices.Clip(set.lines)
		set.duplicates(r.duplicate)
	}
	return r.sets, r.problems
}

// line reads the line of a number that counts the lines of all files.
func (r *ruleReader) line(file *format.File, number uint32, raw string) {
	refuse := func(column int, text string) {
		r.problems = append(r.problems, file.ProblemAt(int(number-r.files[len(r.files)-1].first)+1, column, text))
	}
	switch {
	case len(raw) > maxRuleLine:
		refuse(maxRuleLine, fmt.Sprintf("the line is longer than %d bytes", maxRuleLine))
		return
	case !utf8.ValidString(raw):
		refuse(1, "the line is not UTF-8")
		return
	}
	text := strings.TrimSpace(raw)
	start := 1 + strings.Index(raw, text)
	if text == "" || text[0] == '#' {
		return
	}
	var message string
	r.fields, r.columns, message = appendFields(r.fields[:0], r.columns[:0], text)
	if message != "" {
		refuse(start+r.columns[len(r.columns)-1], message)
		return
	}
	for i, field := range r.fields {
		if message := refuseField(field); message != "" {
			refuse(start+r.columns[i], message)
			return
		}
	}
	set := r.sets[r.fields[0]]
	switch {
	case set == nil:
		refuse(start, r.unknownType(r.fields[0]))
	case len(r.fields)-1 != set.width:
		refuse(start, fmt.Sprintf("%s has %d fields here and %d in the model", set.ptype, len(r.fields)-1, set.width))
	default:
		if message := r.add(set, number); message != "" {
			refuse(1, message)
		}
	}
}

// splitFields splits a line as encoding/csv does with leading blanks trimmed, and returns where each field begins.
// On an error the last column is the error's.
func splitFields(text string) (fields []string, columns []int, message string) {
	return appendFields(nil, nil, text)
}

func appendFields(fields []string, columns []int, text string) (_ []string, _ []int, message string) {
	rest := text
	for {
		rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
		at := len(text) - len(rest)
		columns = append(columns, at)
		var field string
		if strings.HasPrefix(rest, `"`) {
			var closed bool
			if field, rest, closed = quoted(rest[1:]); !closed {
				return fields, columns, "a quoted field must end on its line, before a comma"
			}
		} else {
			end := strings.IndexByte(rest, ',')
			if end < 0 {
				end = len(rest)
			}
			field, rest = rest[:end], rest[end:]
			if strings.Contains(field, `"`) {
				return fields, columns, `a field that holds a quote must be quoted, and the quote doubled: "a ""b"" c"`
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

func (r *ruleReader) unknownType(ptype string) string {
	switch {
	case ptype == "":
		return "the rule has no type; it begins with p or the name of a role relation"
	case ptype[0] == 'p' && isNumber(ptype[1:]):
		return ptype + " is not enforced by this version: write a policy of its own"
	}
	return fmt.Sprintf("the model has no %q", printable(ptype))
}

// add keeps the present line as a rule, and says what is wrong with its eft.
func (r *ruleReader) add(set *ruleSet, number uint32) string {
	row := uint32(len(set.lines)) //nolint:gosec // as many as lines
	for _, field := range r.fields[1:] {
		id := r.values.intern(field)
		if id == 0 {
			return "the rules hold too many different values"
		}
		set.cells = append(set.cells, id)
	}
	set.lines = append(set.lines, number)
	if row%64 == 0 {
		set.denies = append(set.denies, 0)
	}
	if set.ptype != "p" || r.eft < 0 {
		return ""
	}
	switch eft := r.fields[1+r.eft]; eft {
	case "allow":
	case "deny":
		set.denies.set(row)
	case "indeterminate": // Casbin's own word for a rule that never decides
		set.cells, set.lines = set.cells[:len(set.cells)-set.width], set.lines[:row]
		set.mute++
	default:
		return fmt.Sprintf("eft must be allow or deny, not %q; Casbin ignores such a rule", printable(eft))
	}
	return ""
}

// duplicate refuses a rule that Casbin would take for an earlier one.
func (r *ruleReader) duplicate(first, second ruleRef) {
	if len(r.problems) >= maxProblems {
		return
	}
	text := "the rule stands at " + first.position() + " already"
	if !slices.Equal(first.set.row(first.row), second.set.row(second.row)) {
		text = "Casbin takes this rule for the one at " + first.position() + ": joined with commas they are equal"
	}
	r.problems = append(r.problems, second.problem(text))
}
