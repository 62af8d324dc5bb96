package rewrite

import (
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// yaml drops blanks at the ends of lines and empty lines at the end of the file; all else is its author's. A tab is
// refused.
func yaml(file *format.File) ([]byte, *format.Problem) {
	lines := linesOf(file.Data)
	for i, line := range lines {
		if at := strings.IndexByte(line, '\t'); at >= 0 {
			return nil, problemAt(file, i+1, columnAt(line, at), "a tab: write blanks, which look the same everywhere")
		}
		lines[i] = strings.TrimRight(line, " ")
	}
	out := join(lines)
	before, ok := contents(file)
	if !ok {
		return nil, problemAt(file, 0, 0, "this is no YAML that a bundle can hold; durward validate says why")
	}
	if after, ok := contents(newFile(file.Path, out)); !ok || !slices.Equal(before, after) {
		return nil, changed(file)
	}
	return out, nil
}

// contents lists the keys and values of a YAML file, with their places; false where it cannot be read.
func contents(file *format.File) ([]string, bool) {
	if file.At("$").Line == 0 {
		return nil, false
	}
	var out []string
	file.Walk(func(path []string, at format.Position, text string) {
		out = append(out, strings.Join(path, "\x00"), at.String(), text)
	})
	return out, true
}
