// Package lint finds what is legal in a policy bundle and probably not meant: rules that can never match, roles that
// nobody has, routes that no rule allows, log-ins without a limit. What a server would refuse to load it reports as
// errors, with the same codes and pages.
//
// The command and its tests import it. It reads a bundle and decides nothing: no finding keeps a bundle from a server.
// Every code has a page in docs/lint. The work is bounded by the size of the bundle, never by its square, and so is
// what is reported.
package lint
