package verdict

// Candidate is what the next version of a policy says of a request. It never changes the verdict.
type Candidate struct {
	// Policy is the policy's name.
	Policy string
	// Effect is the candidate's answer; Reason is why it denies, "" where it allows.
	Effect Effect
	Reason Reason
	// Rule and RuleID are the rule that decided, as in Explanation.
	Rule, RuleID string
	// Disagrees is set when the policy in force answers otherwise.
	Disagrees bool
}
