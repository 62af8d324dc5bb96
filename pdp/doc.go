// Package pdp is the policy decision point: Engine takes a request.Request and returns a verdict.Verdict.
//
// The map of the tree, in the order in which a request passes:
//
//	adapter/*         speak wire protocols and render verdicts
//	request           what arrived, normalised once
//	route             canonical paths or refusal; the service and route of a request
//	attribute         dotted names for what is known about a request
//	pipeline          the stages in order: deadlines, failure modes, the grant
//	stage/inspection  is the request well formed?
//	stage/limits      is quota left?
//	stage/identity    who is calling?
//	stage/policy      do the rules allow it?
//	stage/upstream    what may the API behind receive?
//	verdict           the answer
//	audit             the record of the decision
//	bundle            policy files, compiled into snapshots
//	token             strict tokens and keys
//	assembly          the one place that wires all of this
//
// The engine imports the pipeline and audit alone: it knows no stage and no wire protocol. It has no switch that
// turns enforcement off; before the first snapshot it denies everything.
package pdp
