// Package decisiontest runs the decision tests of a policy bundle, tests/*.yaml, and tables of who can do what.
//
// It turns the YAML form into requests, mints the tokens, keeps the clock, compares verdicts with what is expected,
// counts which routes and rules were seen, and writes reports. What decides is behind the interfaces Lab and Session:
// the engine that a server runs, without its network. The command and tests import it. It never decides itself, opens
// no file and reads no clock.
package decisiontest
