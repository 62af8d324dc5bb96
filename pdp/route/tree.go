package route

import "strings"

// node is a place in the tree of a service's templates: everything that the segments so far have in common.
type node struct {
	literals map[string]*literal // by decoded text
	param    *node
	rest     *leaf
	end      *leaf
}

// literal is a child for one fixed segment, with its canonical spelling.
type literal struct {
	spelled string
	node    *node
}

// leaf holds the routes of one shape; their methods are disjoint.
type leaf struct {
	routes []*Route
	allow  []string
}

// leafFor returns the leaf of a template, which it makes if there is none.
func (n *node) leafFor(segments []segment) *leaf {
	for _, s := range segments {
		switch s.kind {
		case literalSegment:
			if n.literals == nil {
				n.literals = map[string]*literal{}
			}
			child := n.literals[decode(s.text)]
			if child == nil {
				child = &literal{spelled: s.text, node: &node{}}
				n.literals[decode(s.text)] = child
			}
			n = child.node
		case paramSegment:
			if n.param == nil {
				n.param = &node{}
			}
			n = n.param
		case restSegment:
			if n.rest == nil {
				n.rest = &leaf{}
			}
			return n.rest
		}
	}
	if n.end == nil {
		n.end = &leaf{}
	}
	return n.end
}

// route returns the leaf's route for a method, exactly as declared.
func (l *leaf) route(method string) *Route {
	for _, r := range l.routes {
		for _, m := range r.Methods {
			if m == method {
				return r
			}
		}
	}
	return nil
}

// span is the part of a path that a parameter takes.
type span struct {
	begin, end int
	rest       bool
}

// search is one walk through a tree. Each node is visited at most once, so a walk is bounded by the templates.
type search struct {
	path      string
	spans     [maxParams]span
	count     int
	ambiguous bool
}

// find returns the leaf of the most specific template that matches the path from begin on: from the left, a literal
// before {name} before {name...}. A segment that is a literal only after decoding reserved characters, or without its
// parameters, is ambiguous: some servers would take it for the literal and some would not.
func (s *search) find(n *node, begin int) *leaf {
	if begin > len(s.path) {
		return n.end
	}
	end := len(s.path)
	if i := strings.IndexByte(s.path[begin:], '/'); i >= 0 {
		end = begin + i
	}
	text := s.path[begin:end]
	if child := n.literals[decode(text)]; child != nil {
		if child.spelled != text {
			s.ambiguous = true
			return nil
		}
		if l := s.find(child.node, end+1); l != nil || s.ambiguous {
			return l
		}
	}
	if stem, more := cutParameters(text); more && n.literals[decode(stem)] != nil {
		s.ambiguous = true
		return nil
	}
	if text == "" {
		return nil
	}
	if n.param != nil {
		s.push(span{begin: begin, end: end})
		if l := s.find(n.param, end+1); l != nil || s.ambiguous {
			return l
		}
		s.count--
	}
	// A path that ends in a slash is another path, so it never falls to a wider template.
	if n.rest != nil && !strings.HasSuffix(s.path, "/") {
		s.push(span{begin: begin, end: len(s.path), rest: true})
		return n.rest
	}
	return nil
}

// cutParameters returns a segment without its parameters, and whether it has any.
func cutParameters(segment string) (stem string, found bool) {
	end := strings.IndexByte(segment, ';')
	if escaped := strings.Index(segment, "%3B"); escaped >= 0 && (end < 0 || escaped < end) {
		end = escaped
	}
	if end < 0 {
		return segment, false
	}
	return segment[:end], true
}

func (s *search) push(p span) {
	s.spans[s.count] = p
	s.count++
}

// params decodes the values that the walk found, once, and names them as the route does.
func (s *search) params(r *Route) []Param {
	if s.count == 0 {
		return nil
	}
	params := make([]Param, s.count)
	for i, p := range s.spans[:s.count] {
		value := s.path[p.begin:p.end]
		if p.rest {
			value = decodeRest(value)
		} else {
			value = decode(value)
		}
		params[i] = Param{Name: r.params[i], Value: value}
	}
	return params
}
