package lint

import (
	"regexp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// origin says what finds a code.
type origin uint8

const (
	fromCheck     origin = iota // a check of this package; an exception may allow it
	fromLoad                    // the load: such a bundle does not serve
	fromException               // an exception that is wrong itself
)

// code is a stable name of what can be found.
type code struct {
	name, title string
	severity    Severity
	from        origin
}

// codes are all codes, as the index of docs/lint lists them.
var codes = []code{
	{"deny-ignored", "a deny rule has no effect", Error, fromCheck},
	{"rule-shadowed", "another rule answers before, or instead of, this one", Warning, fromCheck},
	{"rule-unreachable", "no route can make the rule match", Warning, fromCheck},
	{"route-never-allowed", "no rule can allow the route", Warning, fromCheck},
	{"subject-unknown", "nobody can be the subject", Warning, fromCheck},
	{"grant-any-subject", "a rule grants to every subject", Warning, fromCheck},
	{"grant-broad", "a wildcard grants more than reading", Warning, fromCheck},
	{"role-unassigned", "nobody has the role", Warning, fromCheck},
	{"role-unused", "no rule mentions the role", Warning, fromCheck},
	{"member-unknown", "nobody can be the member", Warning, fromCheck},
	{"roles-unfiltered", "roles of a token bypass the list of allowed roles", Warning, fromCheck},
	{"role-pattern-any", "a pattern in roles matches every name", Warning, fromCheck},
	{"roles-any", "an issuer may assert every role", Note, fromCheck},
	{"keymatch-regex", "a key pattern holds characters of regular expressions", Warning, fromCheck},
	{"keymatch-star", "what follows the star of a key pattern", Warning, fromCheck},
	{"keymatch-suffix", "a named part of a key pattern swallows its suffix", Warning, fromCheck},
	{"keymatch-bar", "a bar in a key pattern breaks its anchors", Warning, fromCheck},
	{"regex-unanchored", "a regular expression matches anywhere in the value", Warning, fromCheck},
	{"path-rules", "rules match raw paths beside routes", Warning, fromCheck},
	{"path-deny", "a deny rule on raw paths can be evaded", Warning, fromCheck},
	{"encoded-slash", "an encoded slash is kept beside literal segments", Warning, fromCheck},
	{"login-address-limit", "a log-in lacks a limit by address that counts every attempt", Warning, fromCheck},
	{"limit-unused", "no route uses the limit", Warning, fromCheck},
	{"anonymous-unlimited", "an anonymous route has no limit", Note, fromCheck},
	{"public-write", "a public route changes something", Note, fromCheck},
	{"authenticator-unused", "no service accepts the authenticator", Warning, fromCheck},
	{"tls-optional", "plain text is accepted", Warning, fromCheck},
	{"observe-active", "policy denials of a route only alarm", Note, fromCheck},
	{"observe-expired", "an observation has ended", Warning, fromCheck},
	{"matcher-linear", "every rule is tried", Note, fromCheck},

	{"bundle-invalid", "the bundle does not load", Error, fromLoad},
	{"effect-unknown", "the effect is none of Casbin's five texts", Error, fromLoad},
	{"effect-default-allow", "the effect allows without a rule", Error, fromLoad},
	{"login-without-limit", "a log-in has no limit", Error, fromLoad},
	{"matcher-literal", "Casbin rewrites a string literal", Error, fromLoad},
	{"matcher-name", "the matcher uses an unknown name", Error, fromLoad},
	{"matcher-pattern", "a request would bring the pattern", Error, fromLoad},
	{"matcher-syntax", "the matcher cannot be read", Error, fromLoad},
	{"matcher-types", "values of unlike types are compared", Error, fromLoad},
	{"matcher-without-rules", "the matcher does not read the rules", Error, fromLoad},
	{"model-definition", "Casbin ignores or replaces a definition", Error, fromLoad},
	{"pattern-invalid", "a pattern of a rule cannot be read", Error, fromLoad},
	{"policy-cost", "decisions take too long", Error, fromLoad},
	{"policy-empty", "there are no rules", Error, fromLoad},
	{"role-conditional", "roles depend on conditions", Error, fromLoad},
	{"role-cycle", "roles lead back to themselves", Error, fromLoad},
	{"role-depth", "a chain of roles is too long", Error, fromLoad},
	{"role-key-shaped", "a role has the form of a subject's key", Error, fromLoad},
	{"role-member", "a client could choose the name of a role", Error, fromLoad},
	{"rule-blank", "a field begins or ends with a blank", Error, fromLoad},
	{"rule-collision", "Casbin takes two rules for one", Error, fromLoad},
	{"rule-duplicate", "a rule stands twice", Error, fromLoad},
	{"rule-effect", "a rule neither allows nor denies", Error, fromLoad},
	{"rule-type", "the model does not know the rule's type", Error, fromLoad},
	{"rule-width", "a rule has another number of fields than the model", Error, fromLoad},

	{"exception-expired", "an exception has ended", Warning, fromException},
	{"exception-malformed", "an exception cannot be read", Error, fromException},
	{"exception-unused", "an exception allows nothing", Warning, fromException},
}

func codeOf(name string) (code, bool) {
	for _, c := range codes {
		if c.name == name {
			return c, true
		}
	}
	return code{}, false
}

// excusable lists the codes that an exception may allow.
func excusable() []string {
	var names []string
	for _, c := range codes {
		if c.from == fromCheck {
			names = append(names, c.name)
		}
	}
	return names
}

// loadCodes find the code of what a load refuses by the fixed part of its message. A problem that bears a code keeps it.
var loadCodes = []struct {
	code    string
	message *regexp.Regexp
}{
	{"effect-unknown", regexp.MustCompile(`^unsupported effect`)},
	{"effect-default-allow", regexp.MustCompile(`^this effect allows without a rule`)},
	{"login-without-limit", regexp.MustCompile(`a login needs a limit$`)},
	{"matcher-literal", regexp.MustCompile(`^Casbin (cuts the line at|rewrites this string literal|turns \[ \])|^a backslash in a string literal|looks like a date|^a quote inside a string literal|^the string literal`)},
	{"matcher-name", regexp.MustCompile(`^unknown (function|name) |^[rp] has no field `)},
	{"matcher-pattern", regexp.MustCompile(`a request must not bring it$|^the pattern of .* must be a string literal`)},
	{"matcher-syntax", regexp.MustCompile(`^the expression (cannot be read|is empty)|^a list stands where a value|^nothing stands between the parentheses`)},
	{"matcher-types", regexp.MustCompile(`which are never equal$|^a whole object cannot be compared|^the (left|right) side of in is|has no members$|^the list of in holds|takes strings, not|takes \d+ arguments and has \d+$|fields in \[role_definition\] and \d+ here$|^values have no methods`)},
	{"matcher-without-rules", regexp.MustCompile(`^the matcher does not read p`)},
	{"model-definition", regexp.MustCompile(`is defined twice;|^unknown section |is not enforced by this version: write a policy of its own$|Casbin ignores it$|^\[[a-z_]+\] holds |^the model defines no | is empty$`)},
	{"pattern-invalid", regexp.MustCompile(`not a pattern of |^the subject .* is a pattern of |^the expression in `)},
	{"policy-cost", regexp.MustCompile(`ms a decision: .* is allowed; `)},
	{"policy-empty", regexp.MustCompile(`^there is no rule for p`)},
	{"role-conditional", regexp.MustCompile(`^conditional roles`)},
	{"role-cycle", regexp.MustCompile(`form a cycle$`)},
	{"role-depth", regexp.MustCompile(`^the chain of roles is longer`)},
	{"role-key-shaped", regexp.MustCompile(`has the shape of a subject's key`)},
	{"role-member", regexp.MustCompile(`could be chosen to equal a role's|^the members of .* must be fields`)},
	{"rule-blank", regexp.MustCompile(`^the field begins or ends with a blank`)},
	{"rule-collision", regexp.MustCompile(`^Casbin takes this rule for the one at`)},
	{"rule-duplicate", regexp.MustCompile(`^the rule stands at .* already$`)},
	{"rule-effect", regexp.MustCompile(`^eft must be allow or deny`)},
	{"rule-type", regexp.MustCompile(`^the model has no "|^the rule has no type`)},
	{"rule-width", regexp.MustCompile(`has \d+ fields here and \d+ in the model$`)},
}

// loadCode returns the code of a problem of the load.
func loadCode(p *format.Problem) string {
	if _, known := codeOf(p.Code); known {
		return p.Code
	}
	for _, c := range loadCodes {
		if c.message.MatchString(p.Message) {
			return c.code
		}
	}
	return "bundle-invalid"
}
