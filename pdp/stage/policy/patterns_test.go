package policy

import "github.com/durward-pdp/durward/pdp/stage/policy/pattern"

// compilePattern compiles one pattern of a function.
func compilePattern(function, text string) (pattern.Apply, error) {
	f, _ := pattern.Find(function)
	return f.Compile(text)
}
