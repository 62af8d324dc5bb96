package format

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxFileBytes = 1 << 20
	maxDepth     = 32
	maxTokens    = 100_000 // bounds the memory of the parser, some hundred bytes for each, and its time, quadratic in the keys of a mapping
	maxProblems  = 50      // of one file; a file with more is another kind of file
)

// kind is what a node holds.
type kind uint8

const (
	kindText kind = iota + 1
	kindNumber
	kindBool
	kindNull
	kindSequence
	kindMapping
)

// String returns the kind as messages name it.
func (k kind) String() string {
	return [...]string{"nothing", "text", "a number", "true or false", "nothing", "a list", "a mapping"}[k]
}

// node is one value of a YAML file, reduced to what the format uses: no anchors, tags, or other second ways to say a
// thing.
type node struct {
	kind         kind
	line, column int
	text         string  // of a scalar, as written
	items        []*node // of a sequence
	entries      []entry // of a mapping, in file order
}

// entry is one key of a mapping.
type entry struct {
	key          string
	line, column int
	value        *node
}

// reader turns a file into nodes and collects what is wrong with it.
type reader struct {
	file     *File
	problems Problems
}

func (r *reader) at(n *node, message, hint string) {
	r.place(n.line, n.column, message, hint)
}

func (r *reader) token(t *token.Token, message string) {
	line, column := place(t)
	r.place(line, column, message, "")
}

// place adds a problem, unless there are so many that nobody reads them and making them costs too much.
func (r *reader) place(line, column int, message, hint string) {
	if r.full() {
		return
	}
	p := r.file.ProblemAt(line, column, message)
	p.Hint = hint
	r.problems = append(r.problems, p)
}

// whole adds a problem of the file as a whole.
func (r *reader) whole(message string) {
	r.problems = append(r.problems, Problem{Position: Position{File: r.file.Path}, Message: message})
}

func (r *reader) full() bool { return len(r.problems) >= maxProblems }

func place(t *token.Token) (line, column int) {
	if t == nil || t.Position == nil {
		return 0, 0
	}
	return t.Position.Line, t.Position.Column
}

// parse reads the one document of the file. It returns nil when the file is empty or cannot be read.
func (r *reader) parse() (root *node) {
	if len(r.file.Data) > maxFileBytes {
		r.whole(fmt.Sprintf("larger than %d KiB", maxFileBytes>>10))
		return nil
	}
	if r.problems = r.file.CheckText(); len(r.problems) > 0 {
		return nil
	}
	// The parser is code of others, and its input comes from people: a fault of it is a problem of the file.
	defer func() {
		if recover() != nil {
			r.whole("cannot be read as YAML")
			root = nil
		}
	}()
	source := strings.ReplaceAll(string(r.file.Data), "\r\n", "\n")
	tokens := lexer.Tokenize(source)
	r.checkTokens(tokens)
	if len(r.problems) > 0 {
		return nil
	}
	if !complete(source, tokens) {
		r.whole("cannot be read as YAML to its end")
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntax(err)
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil
	}
	if len(file.Docs) > 1 {
		r.token(file.Docs[1].GetToken(), "a second document; a file holds one")
		return nil
	}
	return r.convert(file.Docs[0].Body, 1)
}

func (r *reader) syntax(err error) {
	var at yaml.Error
	if !errors.As(err, &at) {
		r.whole("cannot be read as YAML")
		return
	}
	r.notYAML(at.GetToken(), at.GetMessage())
}

// notYAML reports what the parser says. It may quote a tab, the one control character that a file may hold.
func (r *reader) notYAML(t *token.Token, message string) {
	line, column := place(t)
	hint := ""
	if strings.Contains(message, "\t") {
		message, hint = strings.ReplaceAll(message, "\t", `\t`), "YAML is indented with spaces"
	}
	r.place(line, column, "not YAML: "+message, hint)
}

// checkTokens refuses what the format does not use before anything recurses over it or expands it.
func (r *reader) checkTokens(tokens token.Tokens) {
	if len(tokens) > maxTokens {
		r.token(tokens[maxTokens], fmt.Sprintf("more than %d YAML tokens", maxTokens))
		return
	}
	flow, content := 0, false
	var block []int // columns of the open block collections, so that no line nests deeper than the parser may recurse
	for _, t := range tokens {
		if r.full() {
			return
		}
		switch t.Type {
		case token.InvalidType:
			r.notYAML(t, t.Error)
			return
		case token.DocumentHeaderType:
			if content {
				r.token(t, "a second document; a file holds one")
			}
		case token.DocumentEndType:
			r.token(t, "the mark of a document's end; a file holds one document")
		case token.AnchorType, token.AliasType, token.TagType, token.MergeKeyType, token.DirectiveType, token.MappingKeyType:
			r.token(t, "anchors, aliases, merge keys, tags, directives and \"? \" keys are not part of this format; write the value out")
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			block = nest(block, t.Position.Column)
		case token.MappingValueType:
			if flow == 0 && t.Prev != nil {
				block = nest(block, t.Prev.Position.Column)
			}
			if flow > 0 && glued(t) {
				r.token(t, "a colon without a space after it: put the text in quotes, or write the space")
			}
		default: // scalars, commas and comments nest nothing
		}
		if t.Type != token.CommentType {
			content = true
		}
		if flow+len(block) > 2*maxDepth {
			r.token(t, fmt.Sprintf("nested deeper than %d levels", maxDepth))
			return
		}
	}
}

// glued reports a colon inside brackets that readers of YAML differ about: [urn:a] is one text to some and a mapping to
// others.
func glued(colon *token.Token) bool {
	if colon.Next == nil || colon.Prev == nil || colon.Next.Position.Line != colon.Position.Line ||
		colon.Next.Position.Column != colon.Position.Column+1 {
		return false
	}
	quoted := colon.Prev.Type == token.DoubleQuoteType || colon.Prev.Type == token.SingleQuoteType
	next := colon.Next.Type
	end := next == token.CollectEntryType || next == token.MappingEndType || next == token.SequenceEndType
	return !quoted && !end
}

func nest(columns []int, column int) []int {
	for len(columns) > 0 && columns[len(columns)-1] >= column {
		columns = columns[:len(columns)-1]
	}
	return append(columns, column)
}

// convert reduces the parser's tree to nodes.
func (r *reader) convert(n ast.Node, depth int) *node {
	out := &node{}
	out.line, out.column = place(n.GetToken())
	if depth > maxDepth {
		r.at(out, fmt.Sprintf("nested deeper than %d levels", maxDepth), "")
		return nil
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		out.kind = kindMapping
		r.entries(out, n.Values, depth)
	case *ast.MappingValueNode:
		out.kind = kindMapping
		r.entries(out, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		out.kind = kindSequence
		for _, value := range n.Values {
			if item := r.convert(value, depth+1); item != nil {
				out.items = append(out.items, item)
			}
		}
	case *ast.StringNode:
		out.kind, out.text = kindText, n.Value
		if n.GetToken().Type == token.StringType && numberLike(n.Value) {
			out.kind = kindNumber
		}
		r.checkValue(out)
	case *ast.LiteralNode:
		out.kind, out.text = kindText, n.Value.Value
		r.checkValue(out)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = kindNumber, n.GetToken().Value
	case *ast.BoolNode:
		out.kind, out.text = kindBool, n.GetToken().Value
	case *ast.NullNode:
		out.kind = kindNull
	default:
		r.at(out, "this YAML is not part of the format", "")
		return nil
	}
	return out
}

func (r *reader) entries(out *node, values []*ast.MappingValueNode, depth int) {
	seen := make(map[string]int, len(values))
	for i, value := range values {
		key := &node{}
		key.line, key.column = place(value.Key.GetToken())
		if i == 0 && !isFlow(out, key) {
			out.line, out.column = key.line, key.column
		}
		text, ok := value.Key.(*ast.StringNode)
		if !ok || text.GetToken().Type == token.StringType && numberLike(text.Value) {
			r.at(key, "a key must be text; put it in quotes", "")
			continue
		}
		key.text = text.Value
		r.checkValue(key)
		switch first := seen[key.text]; {
		case key.text == "":
			r.at(key, "an empty key", "")
			continue
		case first != 0:
			r.at(key, fmt.Sprintf("the key %s stands twice; first on line %d", short(key.text), first), "")
			continue
		}
		seen[key.text] = key.line
		child := r.convert(value.Value, depth+1)
		if child == nil {
			continue
		}
		if child.kind == kindNull {
			child.line, child.column = key.line, key.column
		}
		out.entries = append(out.entries, entry{key: key.text, line: key.line, column: key.column, value: child})
	}
}

// isFlow reports whether the mapping begins before its first key, with a brace.
func isFlow(out, first *node) bool {
	return out.line != 0 && (out.line < first.line || out.line == first.line && out.column < first.column)
}

// checkValue refuses in a decoded text what CheckText refuses in a file: escapes can smuggle it in.
func (r *reader) checkValue(n *node) {
	for _, c := range n.text {
		if message := unsafeRune(c, 0); message != "" {
			r.at(n, "the text holds "+message, "")
			return
		}
	}
}

// numberLike reports whether other YAML readers may take a plain scalar for a number.
func numberLike(text string) bool {
	digits := strings.TrimLeft(text, "+-")
	if len(text)-len(digits) > 1 || digits == "" {
		return false
	}
	if prefix := strings.ToLower(digits[:min(2, len(digits))]); prefix == "0x" || prefix == "0o" || prefix == "0b" {
		return strings.Trim(digits[2:], "0123456789abcdefABCDEF_") == ""
	}
	if digits[0] != '.' && (digits[0] < '0' || digits[0] > '9') || digits == "." {
		return false
	}
	_, err := strconv.ParseFloat(strings.ReplaceAll(digits, "_", ""), 64)
	return err == nil || errors.Is(err, strconv.ErrRange)
}

// complete reports whether the tokens hold every character of the source but white space, so that nothing that a
// reviewer sees was dropped on the way.
func complete(source string, tokens token.Tokens) bool {
	rest := source
	for _, t := range tokens {
		if t.Type == token.DoubleQuoteType {
			after, ok := afterQuoted(rest)
			if !ok {
				return false
			}
			rest = after
			continue
		}
		for _, c := range t.Origin {
			if unicode.IsSpace(c) {
				continue
			}
			after, ok := strings.CutPrefix(strings.TrimLeftFunc(rest, unicode.IsSpace), string(c))
			if !ok {
				return false
			}
			rest = after
		}
	}
	return strings.TrimSpace(rest) == ""
}

// afterQuoted returns what follows the double-quoted scalar that source begins with. The lexer's own copy of such a
// scalar has some escapes undone.
func afterQuoted(source string) (string, bool) {
	rest, ok := strings.CutPrefix(strings.TrimLeftFunc(source, unicode.IsSpace), `"`)
	for i := 0; ok && i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '"':
			return rest[i+1:], true
		}
	}
	return "", false
}
