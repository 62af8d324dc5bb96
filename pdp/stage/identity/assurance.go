package identity

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	// describeAssurance is fixed: what the login lacks is for the record alone.
	describeAssurance = "The operation needs a stronger or more recent authentication"
	// maxLoginNames bounds the classes and the methods of a route, maxLoginAge the age that it may allow: a year.
	maxLoginNames = 16
	maxLoginAge   = 366 * 24 * time.Hour
)

// assurance is the login strength that a route needs (RFC 9470); the zero assurance needs none.
type assurance struct {
	acr, amr []string
	maxAge   time.Duration
	// challenge is the WWW-Authenticate of a subject that lacks it.
	challenge string
}

func (a *assurance) needed() bool { return a.challenge != "" }

// checkAssurance compares the subject's login with what the route needs. A subject without a login, as one that showed a
// certificate, has neither class nor methods nor time.
func (p *part) checkAssurance(c *pipeline.Case, route *requirement, who *proven) refusal {
	a := &route.assurance
	if !a.needed() {
		return refusal{}
	}
	var lacks []string
	if len(a.acr) > 0 && !slices.Contains(a.acr, who.ACR) {
		lacks = append(lacks, "acr")
	}
	if !holdsAll(who.AMR, a.amr) {
		lacks = append(lacks, "amr")
	}
	if a.maxAge > 0 {
		switch age := c.Now.Sub(who.AuthTime); {
		case who.AuthTime.IsZero():
			lacks = append(lacks, "auth_time")
		case age < -who.leeway:
			lacks = append(lacks, "an auth_time that has passed")
		case age > a.maxAge:
			lacks = append(lacks, "a recent auth_time")
		}
	}
	if len(lacks) == 0 {
		return refusal{}
	}
	return refusal{verdict.AssuranceLow, about(who.Authenticator, who.KeyID) + "the login lacks " + strings.Join(lacks, ", ")}
}

// assurance reads the login strength of a route.
func (c *compiler) assurance(at string, r *format.Route, m mode) assurance {
	written := r.Assurance
	if written == nil {
		return assurance{}
	}
	at += ".assurance"
	if len(c.service.Identity.Accept) > 0 && (m == modeNone || !c.takes("jwt", "introspection")) {
		c.inService(at, "no token is accepted here, and only tokens tell of a login")
	}
	var age time.Duration
	if written.MaxAge != nil {
		age = time.Duration(*written.MaxAge)
	}
	switch {
	case len(written.ACR)+len(written.AMR) == 0 && written.MaxAge == nil:
		c.inService(at, "assurance asks for nothing: write acr, amr or max_age")
	case written.MaxAge != nil && (age < time.Second || age > maxLoginAge || age%time.Second != 0):
		c.inService(at+".max_age", "max_age is a whole number of seconds, from 1s to 366d")
	}
	c.loginNames(at+".acr", written.ACR)
	c.loginNames(at+".amr", written.AMR)
	out := assurance{acr: slices.Clone(written.ACR), amr: slices.Clone(written.AMR), maxAge: age}
	out.challenge = assuranceChallenge(c.service, &out)
	return out
}

// loginNames checks names that stand in a list with spaces between, and in a header.
func (c *compiler) loginNames(at string, names []string) {
	if len(names) > maxLoginNames {
		c.inService(at, fmt.Sprintf("more than %d names", maxLoginNames))
	}
	for i, name := range names {
		here := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case !isScope(name) || len(name) > maxIdentifier:
			c.inService(here, fmt.Sprintf("%q is no name of a login's strength: 1 to %d printable ASCII characters without space, quote and backslash", name, maxIdentifier))
		case slices.Contains(names[:i], name):
			c.inService(here, fmt.Sprintf("%q stands twice", name))
		}
	}
}

// assuranceChallenge asks for another login (RFC 9470, section 3). It says what the route needs, not what the subject's login
// lacks; methods have no place in it.
func assuranceChallenge(s *format.Service, a *assurance) string {
	parameters := []string{"error", string(verdict.InsufficientLogin), "error_description", describeAssurance}
	if len(a.acr) > 0 {
		parameters = append(parameters, "acr_values", strings.Join(a.acr, " "))
	}
	if a.maxAge > 0 {
		parameters = append(parameters, "max_age", strconv.FormatInt(int64(a.maxAge/time.Second), 10))
	}
	return challenge(s, parameters...)
}
