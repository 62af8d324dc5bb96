// Package layering holds the tests of the rules that docs/design/architecture.md states about the source tree: who may import
// whom, what is documented, how large things may grow, which names are refused. It parses the sources in process, so that the
// test cache sees every file that it depends on. The rules themselves are the tables in rules_test.go.
//
// Nothing imports this package and it exports nothing. It does not format, vet or lint: those are the business of `make check`.
package layering
