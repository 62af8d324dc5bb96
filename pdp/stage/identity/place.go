package identity

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// places are where a service takes a credential from. The zero places are the field Authorization alone.
type places struct {
	elsewhere bool     // Authorization is no place
	headers   []string // lower-case names
	cookies   []string
}

// notPlaces are fields that mean something else already.
var notPlaces = []string{"authorization", "proxy-authorization", "cookie", "set-cookie", "dpop", "client-cert", "client-cert-chain", "x-forwarded-client-cert"}

// places reads where credentials are taken from.
func (c *compiler) places() {
	written := c.service.Identity.Credentials
	if len(written) == 0 {
		return
	}
	out := places{elsewhere: true}
	for i, text := range written {
		at := fmt.Sprintf("$.identity.credentials[%d]", i)
		kind, name, _ := strings.Cut(text, ":")
		switch {
		case slices.Contains(written[:i], text):
			c.inService(at, fmt.Sprintf("%q twice", text))
		case text == "authorization":
			out.elsewhere = false
		case kind == "header" && isCredentialHeader(name):
			out.headers = append(out.headers, name)
		case kind == "cookie" && request.ValidName(name) && len(name) <= 128:
			out.cookies = append(out.cookies, name)
		case kind == "header" && request.ValidName(name) && name == strings.ToLower(name) && !slices.Contains(notPlaces, name):
			c.inService(at, fmt.Sprintf("the name %q does not say that it holds a credential, so records would show it; choose one with token, api-key or the like in it", name))
		default:
			c.inService(at, fmt.Sprintf("%q is no place for a credential; write authorization, header:NAME in lower case, or cookie:NAME", text))
		}
	}
	if len(out.headers)+len(out.cookies) > 4 {
		c.inService("$.identity.credentials", "more than four places beside authorization")
	}
	c.part.places = out
}

// isCredentialHeader says whether a field of this name may hold a credential, and is masked wherever header fields are shown.
func isCredentialHeader(name string) bool {
	return request.ValidName(name) && name == strings.ToLower(name) && request.MayHoldCredential(name) && !slices.Contains(notPlaces, name)
}

// search adds the credentials of headers and cookies to what the field Authorization holds. Two places are one too many, whatever
// stands there: the API behind may look at the other one. It allocates nothing.
func (p *places) search(c *pipeline.Case, found shown) (shown, verdict.Reason) {
	if p.elsewhere && found.raw != "" {
		return shown{}, verdict.CredentialsClash // where nobody here looks, and the API behind may
	}
	for _, name := range p.headers {
		value, count := "", 0
		for i := range c.Request.Header {
			if f := &c.Request.Header[i]; sameAlias(f.Name, name) {
				value = f.Value
				count++
				if f.Name != name {
					return shown{}, verdict.CredentialsClash // another spelling of the name, which some servers take for it
				}
			}
		}
		if count == 0 {
			continue
		}
		if found.raw != "" || count > 1 {
			return shown{}, verdict.CredentialsClash
		}
		value = strings.Trim(value, " \t")
		if value == "" || strings.ContainsAny(value, " \t,") {
			return shown{}, verdict.CredentialsMalformed
		}
		found = shown{raw: value}
	}
	for _, name := range p.cookies {
		value, count := cookie(c.Request.Header, name)
		switch {
		case count == 0:
			continue
		case found.raw != "" || count > 1:
			return shown{}, verdict.CredentialsClash
		case value == "" || strings.ContainsAny(value, "\" \t,"):
			return shown{}, verdict.CredentialsMalformed
		}
		found = shown{raw: value, cookie: true}
	}
	return found, ""
}

// sameAlias is request.CanonicalAlias for two names of which the second is in lower case, without its allocation.
func sameAlias(name, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(name) {
		a, b := name[i], lower[i]
		if 'A' <= a && a <= 'Z' {
			a += 'a' - 'A'
		}
		if a != b && !(a == '_' && b == '-' || a == '-' && b == '_') {
			return false
		}
	}
	return true
}

// cookie returns the first value of a cookie, and how often the name stands in all Cookie fields (RFC 6265, section 4.2.1). A comma is no
// separator there, but some servers take it for one: behind it the name counts twice, as what nobody can tell.
func cookie(h request.Header, name string) (value string, count int) {
	for i := range h {
		if h[i].Name != "cookie" {
			continue
		}
		for pair := range strings.SplitSeq(h[i].Value, ";") {
			first, more, _ := strings.Cut(pair, ",")
			if content, ok := cookieNamed(first, name); ok {
				if count++; count == 1 {
					value = content
				}
			}
			for hidden := range strings.SplitSeq(more, ",") {
				if _, ok := cookieNamed(hidden, name); ok {
					count += 2
				}
			}
		}
	}
	return value, count
}

// cookieNamed returns the value of a cookie-pair with a name.
func cookieNamed(pair, name string) (value string, ok bool) {
	key, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
	return strings.Trim(value, " \t"), strings.TrimRight(key, " \t") == name
}

// checkSite refuses a cookie's credential where a browser sent it along for another site: cookies come with every request, also with one
// that the user knows nothing of. Methods that change nothing are let through, but for upgrades, after which anything may follow.
// Browsers say Sec-Fetch-Site (Fetch Metadata), older ones Origin (RFC 6454); who says neither is none.
func (p *part) checkSite(c *pipeline.Case, _ *requirement, who *proven) refusal {
	if !who.shown.cookie {
		return refusal{}
	}
	switch _, upgrades := c.Request.Header.Get("upgrade"); c.Request.Method {
	case "GET", "HEAD", "OPTIONS":
		if upgrades == 0 {
			return refusal{}
		}
	}
	if site, count := c.Request.Header.Get("sec-fetch-site"); count > 0 {
		if count == 1 && (site == "same-origin" || site == "none") {
			return refusal{}
		}
		return refusal{verdict.CrossSite, "sec-fetch-site names another site"}
	}
	origin, count := c.Request.Header.Get("origin")
	if count == 0 {
		return refusal{}
	}
	if u, err := url.Parse(origin); err == nil && count == 1 && u.Scheme == "https" && strings.EqualFold(u.Host, c.Request.Host) {
		return refusal{}
	}
	return refusal{verdict.CrossSite, "origin is another site"}
}
