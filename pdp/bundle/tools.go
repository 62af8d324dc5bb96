package bundle

import "github.com/durward-pdp/durward/pdp/bundle/format"

// ReadDirectory returns the contents of a bundle's files by slash-separated path, as a server would read them.
func ReadDirectory(path string) (map[string][]byte, error) {
	contents, _, err := Directory{Path: path}.read(nil)
	return contents, err
}

// Parse returns the decoded form of a bundle's files, for tools that look into bundles, or what is wrong with their
// form. What the files mean is checked by Build alone.
func Parse(contents map[string][]byte) (*format.Bundle, format.Problems) {
	files := format.NewFiles(contents)
	b, problems := parse(files, newStock(files, nil))
	if problems = tidy(problems); len(problems) > 0 {
		return nil, problems
	}
	return b, nil
}
