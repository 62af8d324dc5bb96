package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds how deep objects and arrays nest; the outermost is depth 1.
const maxDepth = 32

// maxExactInteger is the largest magnitude below which a float64 tells all
// integers apart (RFC 7493 section 2.2).
const maxExactInteger = 1 << 53

// syntaxError says what is wrong with a JSON text and where, without quoting it.
type syntaxError struct {
	offset int64
	detail string
}

func (e *syntaxError) Error() string { return e.detail }

// parseJSON reads exactly one JSON value. Duplicate names, invalid UTF-8, lone
// surrogates, trailing data and deep nesting are errors. Objects become
// map[string]any, arrays []any, numbers float64; a number that a float64
// cannot hold (an integer beyond 2^53, an overflow) stays text, as a
// json.Number, so that two different numbers never become equal.
func parseJSON(data []byte) (any, *syntaxError) {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	value, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	switch _, tail := d.ReadToken(); {
	case errors.Is(tail, io.EOF):
		return value, nil
	default:
		return nil, &syntaxError{offset: d.InputOffset(), detail: "data after the JSON value"}
	}
}

// parseObject is parseJSON for a text that must be an object.
func parseObject(data []byte) (map[string]any, *syntaxError) {
	value, err := parseJSON(data)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, &syntaxError{detail: "not a JSON object"}
	}
	return object, nil
}

func parseValue(d *jsontext.Decoder, depth int) (any, *syntaxError) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, explainSyntax(d, err)
	}
	switch t.Kind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
		if depth >= maxDepth {
			return nil, &syntaxError{offset: d.InputOffset(), detail: "nested too deep"}
		}
		if t.Kind() == jsontext.KindBeginArray {
			return parseElements(d, depth+1)
		}
		return parseMembers(d, depth+1)
	case jsontext.KindString:
		return t.String(), nil
	case jsontext.KindNumber:
		return parseNumber(t.String()), nil
	case jsontext.KindTrue:
		return true, nil
	case jsontext.KindFalse:
		return false, nil
	case jsontext.KindNull:
		return nil, nil
	default:
		return nil, &syntaxError{offset: d.InputOffset(), detail: "not valid JSON"}
	}
}

func parseMembers(d *jsontext.Decoder, depth int) (any, *syntaxError) {
	members := map[string]any{}
	for {
		t, err := d.ReadToken()
		if err != nil {
			return nil, explainSyntax(d, err)
		}
		if t.Kind() == jsontext.KindEndObject {
			return members, nil
		}
		name := t.String()
		value, failed := parseValue(d, depth)
		if failed != nil {
			return nil, failed
		}
		members[name] = value
	}
}

func parseElements(d *jsontext.Decoder, depth int) (any, *syntaxError) {
	elements := []any{}
	for d.PeekKind() != jsontext.KindEndArray {
		value, err := parseValue(d, depth)
		if err != nil {
			return nil, err
		}
		elements = append(elements, value)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, explainSyntax(d, err)
	}
	return elements, nil
}

func parseNumber(text string) any {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n > maxExactInteger || n < -maxExactInteger {
			return json.Number(text)
		}
		return float64(n)
	} else if errors.Is(err, strconv.ErrRange) {
		return json.Number(text)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return json.Number(text)
	}
	return f
}

// explainSyntax replaces the decoder's text, which quotes its input.
func explainSyntax(d *jsontext.Decoder, err error) *syntaxError {
	e := &syntaxError{offset: d.InputOffset(), detail: "not valid JSON"}
	if syntactic := (*jsontext.SyntacticError)(nil); errors.As(err, &syntactic) {
		e.offset = syntactic.ByteOffset
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		e.detail = "duplicate member name"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.detail = "ends too early"
	}
	return e
}

// position turns a byte offset into a line and a column, both from 1; the
// column counts bytes.
func position(data []byte, offset int64) (line, column int) {
	before := data[:min(max(offset, 0), int64(len(data)))]
	return bytes.Count(before, []byte{'\n'}) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}
