package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"slices"
	"sort"
	"strconv"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// ruleSet holds the rules of one type (p, g, g2, …) of a policy in the order in which they are tried, as columns of
// value ids. It is immutable once it is sorted.
type ruleSet struct {
	ptype string
	width int
	// cells are the ids of the fields, rule by rule.
	cells []uint32
	// lines say where the rules stand: a number that counts the lines of all files; files say where each begins.
	lines  []uint32
	files  []fileSpan
	denies bitset
	values *values
	// mute is the number of rules that never decide and are left out.
	mute int
}

// fileSpan is a rule file, and the number of its first line among the lines of all files. The file is nil once the policy
// is compiled: the path is enough then, and the text is not kept.
type fileSpan struct {
	path  string
	file  *format.File
	first uint32
}

// forgetFiles lets go of the text of the files, of all sets of the policy.
func (s *ruleSet) forgetFiles() {
	for i := range s.files {
		s.files[i].file = nil
	}
}

// len returns the number of rules.
func (s *ruleSet) len() int {
	if s == nil {
		return 0
	}
	return len(s.lines)
}

// row returns the ids of the fields of a rule.
func (s *ruleSet) row(row uint32) []uint32 {
	return s.cells[int(row)*s.width : (int(row)+1)*s.width]
}

// cell returns the id of one field of a rule.
func (s *ruleSet) cell(row uint32, field int) uint32 { return s.cells[int(row)*s.width+field] }

// ref returns a reference to a rule.
func (s *ruleSet) ref(row uint32) ruleRef { return ruleRef{set: s, row: row} }

// at returns the file and the line of a rule.
func (s *ruleSet) at(row uint32) (file *fileSpan, line int) {
	number := s.lines[row]
	i := sort.Search(len(s.files), func(i int) bool { return s.files[i].first > number }) - 1
	return &s.files[i], int(number-s.files[i].first) + 1
}

// permute puts the rules into another order: order[i] is the present place of the rule that comes to place i.
func (s *ruleSet) permute(order []uint32) {
	cells, lines := make([]uint32, 0, len(s.cells)), make([]uint32, 0, len(s.lines))
	denies := newBitset(len(s.lines))
	for i, from := range order {
		cells = append(cells, s.row(from)...)
		lines = append(lines, s.lines[from])
		if s.denies.has(from) {
			denies.set(uint32(i))
		}
	}
	s.cells, s.lines, s.denies = cells, lines, denies
}

// duplicates calls found with each rule that Casbin takes for an earlier one: joined with commas they are equal.
func (s *ruleSet) duplicates(found func(first, second ruleRef)) {
	size := 64
	for size < 2*s.len() {
		size *= 2
	}
	type slot struct{ hash, row uint32 } // row counts from 1
	slots := make([]slot, size)
	var h maphash.Hash
	for i := range s.lines {
		added := s.ref(uint32(i))
		h.Reset()
		for field, id := range s.row(added.row) {
			if field > 0 {
				_ = h.WriteByte(',')
			}
			_, _ = h.WriteString(s.values.text(id))
		}
		sum := h.Sum64()
		hash, at := uint32(sum>>32), int(sum&uint64(size-1)) //nolint:gosec // halves of a hash
		for ; slots[at].row != 0; at = (at + 1) & (size - 1) {
			if first := s.ref(slots[at].row - 1); slots[at].hash == hash && slices.Equal(first.joined(), added.joined()) {
				found(first, added)
				break
			}
		}
		if slots[at].row == 0 {
			slots[at] = slot{hash: hash, row: added.row + 1}
		}
	}
}

// ruleRef names a rule. The zero ruleRef is no rule.
type ruleRef struct {
	set *ruleSet
	row uint32
}

func (r ruleRef) valid() bool { return r.set != nil }

// value returns a field as a value of expressions, which allocates; text as a string, cell as an id.
func (r ruleRef) value(field int) any   { return r.text(field) }
func (r ruleRef) text(field int) string { return r.set.values.text(r.cell(field)) }
func (r ruleRef) cell(field int) uint32 { return r.set.cell(r.row, field) }

func (r ruleRef) denies() bool { return r.set.denies.has(r.row) }

// joined returns the fields joined with commas, by which Casbin tells rules apart.
func (r ruleRef) joined() []byte {
	var text []byte
	for field := range r.set.width {
		if field > 0 {
			text = append(text, ',')
		}
		text = append(text, r.text(field)...)
	}
	return text
}

// position returns where the rule stands: file:line.
func (r ruleRef) position() string {
	file, line := r.set.at(r.row)
	return file.path + ":" + strconv.Itoa(line)
}

// id returns a short hash of the rule's type and fields, which stays when the rule moves to another line.
func (r ruleRef) id(ptype string) string {
	var buffer [256]byte
	text := append(buffer[:0], ptype...)
	for i := range r.set.width {
		field := r.text(i)
		text = append(text, ',')
		text = strconv.AppendInt(text, int64(len(field)), 10)
		text = append(text, ':')
		text = append(text, field...)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// Position returns where a rule stands: file:line.
func (s *ruleSet) Position(row uint32) string { return s.ref(row).position() }

// ID returns a rule's short hash.
func (s *ruleSet) ID(row uint32) string { return s.ref(row).id(s.ptype) }

func (r ruleRef) problem(text string) format.Problem {
	span, line := r.set.at(r.row)
	if span.file == nil {
		return format.Problem{Position: format.Position{File: span.path, Line: line, Column: 1}, Message: text}
	}
	return span.file.ProblemAt(line, 1, text)
}

// fieldProblem returns a problem of one field. It reads the line again: rules do not keep their columns.
func (r ruleRef) fieldProblem(field int, text string) format.Problem {
	span, number := r.set.at(r.row)
	if span.file == nil {
		return r.problem(text)
	}
	at := 0
	for line := range bytes.Lines(span.file.Data) {
		if at++; at < number {
			continue
		}
		trimmed := bytes.TrimSpace(line)
		if _, columns, _ := splitFields(string(trimmed)); field+1 < len(columns) {
			return span.file.ProblemAt(number, 1+bytes.Index(line, trimmed)+columns[field+1], text)
		}
		break
	}
	return r.problem(text)
}
