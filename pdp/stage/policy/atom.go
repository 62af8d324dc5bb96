package policy

// atomKind says what a condition compares.
type atomKind uint8

const (
	// atomEqual: r.x == p.y.
	atomEqual atomKind = iota
	// atomConstant: p.y == "text".
	atomConstant
	// atomRole: g(r.x, p.y) or g(r.x, p.y, r.d).
	atomRole
	// atomPattern: keyMatch2(r.x, p.y) and the like.
	atomPattern
	// atomAny: atoms of one column joined by ||.
	atomAny
	// atomRequest: a condition without p.
	atomRequest
)

// atom is a condition that tools and the index can look into: it reads one field of p at most.
type atom struct {
	kind atomKind
	// column is the field of p; -1 for atomRequest.
	column int
	// request is the request's side; its attribute and field name it. For atomRequest it is the whole condition.
	request *operand
	// relation and domain are those of atomRole; domain is nil without domains.
	relation *relation
	domain   *operand
	// function is the pattern function of atomPattern, patterns are those of the rules; of atomRole they are the roles that
	// rules name, where the names of the relation are patterns.
	function string
	patterns *patternTable
	// constant is the text of atomConstant.
	constant string
	// any are the members of atomAny.
	any []atom
}

// equalAtom returns the atom of left == right, or nil.
func equalAtom(left, right *operand) *atom {
	if left.column >= 0 {
		left, right = right, left
	}
	if right.column < 0 || left.column >= 0 || left.readsRule {
		return nil
	}
	if text, isText := left.constant.(string); isText {
		return &atom{kind: atomConstant, column: right.column, constant: text}
	}
	if left.constant != nil {
		return nil
	}
	return &atom{kind: atomEqual, column: right.column, request: left}
}

// roleAtom returns the atom of a call of a role relation, or nil.
func roleAtom(rel *relation, args []operand, targets *patternTable) *atom {
	name, role := &args[0], &args[1]
	if role.column < 0 || name.readsRule || name.constant != nil {
		return nil
	}
	a := &atom{kind: atomRole, column: role.column, request: name, relation: rel, patterns: targets}
	if rel.arity == 3 {
		if a.domain = &args[2]; a.domain.readsRule && a.domain.column < 0 {
			return nil
		}
	}
	return a
}

// patternAtom returns the atom of a call of a pattern function, or nil.
func patternAtom(function string, args []operand, table *patternTable) *atom {
	value, pattern := &args[0], &args[1]
	if len(args) != 2 || pattern.column < 0 || value.readsRule || value.constant != nil {
		return nil
	}
	return &atom{kind: atomPattern, column: pattern.column, request: value, function: function, patterns: table}
}

// anyAtom returns the atom of alternatives of one condition each that read the same field of p, or nil.
func anyAtom(alternatives [][]operand) *atom {
	joined := &atom{kind: atomAny, column: -1}
	for _, conditions := range alternatives {
		if len(conditions) != 1 || conditions[0].atom == nil {
			return nil
		}
		a := *conditions[0].atom
		if a.column < 0 || joined.column >= 0 && joined.column != a.column {
			return nil
		}
		joined.column = a.column
		if a.kind == atomAny {
			joined.any = append(joined.any, a.any...)
		} else {
			joined.any = append(joined.any, a)
		}
	}
	return joined
}

// withAtom completes a condition: one that does not read p is an atom as a whole.
func withAtom(o operand, a *atom) operand {
	if o.atom = a; a == nil && !o.readsRule && o.constant == nil {
		whole := o
		o.atom = &atom{kind: atomRequest, column: -1, request: &whole}
	}
	return o
}
