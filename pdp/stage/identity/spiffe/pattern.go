package spiffe

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// maxSegments bounds the segments of a pattern, maxName the name of a parameter.
	maxSegments = 64
	maxName     = 64
)

// ErrPattern is wrapped by errors about a pattern that cannot be read. They are fit for its author.
var ErrPattern = errors.New("pattern of SPIFFE ids")

// Pattern matches ids of one trust domain. It is immutable; the zero Pattern matches none.
type Pattern struct {
	trustDomain string
	segments    []segment
}

type segmentKind uint8

const (
	literal segmentKind = iota
	parameter
	rest // one segment or more
)

// segment is one segment of a pattern; text is the literal or the parameter's name.
type segment struct {
	kind segmentKind
	text string
}

// Param is what stands in an id in the place of a parameter.
type Param struct {
	Name, Value string
}

// ParsePattern reads a pattern of paths in a trust domain: "/ns/{ns}/sa/{sa}", where {name} stands for one segment, or
// "/ns/shop/*", where * at the end stands for one segment or more.
func ParsePattern(trustDomain, path string) (Pattern, error) {
	if err := checkTrustDomain(trustDomain); err != nil {
		return Pattern{}, fmt.Errorf("%w: %w", ErrPattern, err)
	}
	below, ok := strings.CutPrefix(path, "/")
	if !ok {
		return Pattern{}, fmt.Errorf("%w: a path begins with /", ErrPattern)
	}
	texts := strings.Split(below, "/")
	if len(texts) > maxSegments || len(path) > maxID {
		return Pattern{}, fmt.Errorf("%w: longer than %d segments or %d bytes", ErrPattern, maxSegments, maxID)
	}
	p := Pattern{trustDomain: trustDomain, segments: make([]segment, 0, len(texts))}
	for i, text := range texts {
		s, err := parseSegment(text, i == len(texts)-1)
		if err != nil {
			return Pattern{}, err
		}
		if s.kind == parameter && p.Has(s.text) {
			return Pattern{}, fmt.Errorf("%w: {%s} stands twice", ErrPattern, s.text)
		}
		p.segments = append(p.segments, s)
	}
	return p, nil
}

func parseSegment(text string, last bool) (segment, error) {
	inner, opened := strings.CutPrefix(text, "{")
	name, closed := strings.CutSuffix(inner, "}")
	switch {
	case text == "*" && last:
		return segment{kind: rest}, nil
	case opened && closed && isName(name):
		return segment{kind: parameter, text: name}, nil
	}
	if err := checkSegment(text); err != nil {
		return segment{}, fmt.Errorf("%w: %q is no segment; write a literal, {name}, or * as the last one: %w", ErrPattern, text, err)
	}
	return segment{text: text}, nil
}

func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || i > 0 && ('0' <= c && c <= '9' || c == '_')) {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// Has says whether the pattern has a parameter of the name.
func (p Pattern) Has(name string) bool {
	for _, s := range p.segments {
		if s.kind == parameter && s.text == name {
			return true
		}
	}
	return false
}

// Match reports whether the pattern fits the id, and what its parameters stand for, in order.
func (p Pattern) Match(id ID) (params []Param, ok bool) {
	if p.trustDomain == "" || id.TrustDomain() != p.trustDomain || id.Path() == "" {
		return nil, false
	}
	path, more := id.Path()[1:], true
	for _, s := range p.segments {
		if !more {
			return nil, false
		}
		if s.kind == rest {
			return params, true
		}
		var text string
		text, path, more = strings.Cut(path, "/")
		switch {
		case s.kind == parameter:
			params = append(params, Param{s.text, text})
		case s.text != text:
			return nil, false
		}
	}
	if more {
		return nil, false
	}
	return params, true
}

// Overlaps reports whether an id can fit both patterns.
func (p Pattern) Overlaps(q Pattern) bool {
	if p.trustDomain != q.trustDomain {
		return false
	}
	for i := 0; i < len(p.segments) && i < len(q.segments); i++ {
		a, b := p.segments[i], q.segments[i]
		if a.kind == rest || b.kind == rest {
			return true
		}
		if a.kind == literal && b.kind == literal && a.text != b.text {
			return false
		}
	}
	return len(p.segments) == len(q.segments)
}
