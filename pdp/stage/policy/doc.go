// Package policy decides whether the rules allow a request: Casbin models and rules, with Casbin's syntax and meaning.
//
// A model and its rules are compiled once, when a bundle is loaded, and refused there when Casbin would read them in
// a way that their author cannot have meant. A decision then runs the rules in order, in a loop of this package, over
// the text that casbin's own parser made of the model: the same decision and the same deciding rule as casbin's
// Enforcer, where that one answers. Where it reports an error, the request is denied with a reason; no text of an
// error or a panic leaves the package. Policies must all allow; guards can only deny and never grant.
//
// Subjects and roles live in different namespaces: subject keys have the shape KIND:AUTHENTICATOR:ID, and a role that
// has that shape is refused in rules and ignored in tokens, so that no name in a token makes its bearer a role.
//
// The assembly imports it for the stage table, and tools over bundles may. It is the only package that imports
// casbin and govaluate. It verifies no credentials, keeps no state between decisions and reads no clock.
package policy
