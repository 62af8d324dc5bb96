package route

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of a template.
const (
	maxSegments = 64
	maxParams   = 16
	maxName     = 64
)

// ErrTemplate is wrapped by errors about a path template that cannot be read.
var ErrTemplate = errors.New("path template")

type segmentKind uint8

const (
	literalSegment segmentKind = iota
	paramSegment
	restSegment
)

// segment is one segment of a template; text is a literal in canonical form or a parameter's name.
type segment struct {
	kind segmentKind
	text string
}

// Params returns the names of a template's parameters, in order.
func Params(template string) ([]string, error) {
	segments, err := parseTemplate(template)
	if err != nil {
		return nil, err
	}
	return paramNames(segments), nil
}

func paramNames(segments []segment) []string {
	names := []string{}
	for _, s := range segments {
		if s.kind != literalSegment {
			names = append(names, s.text)
		}
	}
	return names
}

// parseTemplate reads "/orders/{id}/files/{rest...}". A template may end in a slash, and then matches only paths
// that do; its literals stand as canonical paths have them.
func parseTemplate(template string) ([]segment, error) {
	if !strings.HasPrefix(template, "/") {
		return nil, fmt.Errorf("%w: %q does not begin with /", ErrTemplate, template)
	}
	texts := strings.Split(template[1:], "/")
	if len(template) > maxPath || len(texts) > maxSegments {
		return nil, fmt.Errorf("%w: longer than %d bytes or %d segments", ErrTemplate, maxPath, maxSegments)
	}
	segments := make([]segment, 0, len(texts))
	seen := map[string]bool{}
	for i, text := range texts {
		s, err := parseSegment(text, i == len(texts)-1)
		if err != nil {
			return nil, err
		}
		if s.kind != literalSegment && seen[s.text] {
			return nil, fmt.Errorf("%w: parameter {%s} stands twice", ErrTemplate, s.text)
		}
		if s.kind != literalSegment {
			seen[s.text] = true
		}
		segments = append(segments, s)
	}
	if len(seen) > maxParams {
		return nil, fmt.Errorf("%w: more than %d parameters", ErrTemplate, maxParams)
	}
	return segments, nil
}

func parseSegment(text string, last bool) (segment, error) {
	if strings.ContainsAny(text, "{}") {
		return parseParam(text, last)
	}
	if text == "" {
		if !last {
			return segment{}, fmt.Errorf("%w: empty segments have no canonical path", ErrTemplate)
		}
		return segment{}, nil
	}
	canonical, _, ok := canonicalPath("/" + text)
	switch {
	case !ok:
		return segment{}, fmt.Errorf("%w: no canonical path holds the segment %q", ErrTemplate, text)
	case canonical[1:] != text:
		return segment{}, fmt.Errorf("%w: segment %q never matches, its canonical form is %q", ErrTemplate, text, canonical[1:])
	}
	return segment{text: text}, nil
}

func parseParam(text string, last bool) (segment, error) {
	name, opened := strings.CutPrefix(text, "{")
	name, closed := strings.CutSuffix(name, "}")
	if !opened || !closed {
		return segment{}, fmt.Errorf("%w: a parameter takes a whole segment, as {name} or {name...}, not %q", ErrTemplate, text)
	}
	kind := paramSegment
	if rest, ok := strings.CutSuffix(name, "..."); ok {
		name, kind = rest, restSegment
		if !last {
			return segment{}, fmt.Errorf("%w: {%s...} must be the last segment", ErrTemplate, name)
		}
	}
	if !validParamName(name) {
		return segment{}, fmt.Errorf("%w: %q is no name of letters, digits, - and _", ErrTemplate, name)
	}
	return segment{kind: kind, text: name}, nil
}

func validParamName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isAlphanumeric(s[i]) && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return true
}
