// Package pattern holds Casbin's pattern functions (keyMatch and its family, regexMatch, globMatch, ipMatch), one pattern
// at a time and as sets that match many patterns of one function at once.
//
// Every function means exactly what casbin's own means, traps included: "." in a key pattern is any character, keyMatch
// ignores what follows its first "*". It differs in two ways only. What makes casbin panic or fail is an error here, of
// the pattern when it is compiled, of the value when it is applied. And since no match can be stopped once it has begun, a
// value that is too long for a costly pattern is refused before.
//
// The policy stage imports it, and tools may. It knows nothing of rules, requests or decisions, and no text of a value
// reaches an error.
package pattern
