package verdict

// PolicyExplanation says why one policy answered as it did. It holds values of the request, so it is for operators and
// callers that may ask for it; clients never see it.
type PolicyExplanation struct {
	// Policy is the policy's name. Guard is set for a guard.
	Policy string
	Guard  bool
	// Effect is the policy's own answer.
	Effect Effect
	// Decider is the rule that decided; nil when none matched.
	Decider *RuleReference
	// Roles are the ways through role relations that the deciding rule took.
	Roles []RolePath
	// Matching are the rules that match, in the order in which they are tried, at most 100; only where all were asked for.
	Matching []RuleReference
	// Misses are the rules that came nearest, fewest failed conditions first. Only for denials.
	Misses []NearMiss
	// Change is the smallest change that would allow, as a sentence; "" when none is known.
	Change string
	// Partial is set when the time or a bound ended the search before every rule was looked at.
	Partial bool
}

// RuleReference names a rule.
type RuleReference struct {
	// Position is file:line; ID the rule's stable hash; Text the rule as CSV.
	Position, ID, Text string
	// Effect is what the rule does where it matches.
	Effect Effect
}

// RolePath is a way from a name to a role.
type RolePath struct {
	// Relation is g, g2, …; Domain is "" for relations without domains.
	Relation, Domain string
	// Names begin with the name that was asked about and end with the role. Positions are where each link stands, one
	// less than Names; "" for a link that the subject's token brought. A name is followed by a pattern that matches it, or a
	// pattern by a name that it matches, where the link or the rule stands that holds the pattern.
	Names, Positions []string
}

// NearMiss is a rule that did not match, with its conditions.
type NearMiss struct {
	// Rule is the rule; Failed is how many of its Conditions do not hold.
	Rule   RuleReference
	Failed int
	// Conditions are the matcher's conditions in order.
	Conditions []Condition
}

// Condition is one condition of a matcher, evaluated for one rule.
type Condition struct {
	// Text is the condition as the model has it, such as "g(r.sub, p.sub)".
	Text string
	// Holds is whether it holds. Wanted is what the rule wants, Got what the request has, each printable and bounded.
	Holds       bool
	Wanted, Got string
	// Error says why it cannot be evaluated; "" when it can.
	Error string
}
