package keys

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

const (
	openID = "/.well-known/openid-configuration"
	oauth  = "/.well-known/oauth-authorization-server"
)

// errAbsent is wrapped by errors about a document that is not where it was looked for.
var errAbsent = errors.New("there is no metadata")

// documents are the URLs where an issuer's metadata can be, in the order in which they are tried: after its path (OpenID Connect Discovery,
// section 4), then before it (RFC 8414, sections 3.1 and 5).
func documents(issuer *url.URL) []string {
	path := strings.TrimSuffix(issuer.EscapedPath(), "/")
	origin := issuer.Scheme + "://" + issuer.Host
	if path == "" {
		return []string{origin + openID, origin + oauth}
	}
	return []string{origin + path + openID, origin + oauth + path, origin + openID + path}
}

// metadata are the members of an issuer's document that matter here.
type metadata struct {
	Issuer string `json:"issuer"`
	Keys   string `json:"jwks_uri"`
}

// parseMetadata reads an issuer's document, of which both members must be there and the issuer exactly the expected one (RFC 8414, section 3.3).
func parseMetadata(data []byte, issuer string) (*url.URL, error) {
	var m metadata
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, errors.New("the metadata is no strict JSON object with issuer and jwks_uri")
	}
	if m.Issuer != issuer {
		return nil, fmt.Errorf("the metadata is of another issuer: %.200q, not %.200q", m.Issuer, issuer)
	}
	u, err := ParseURL(m.Keys)
	if err != nil {
		return nil, fmt.Errorf("jwks_uri %w", err)
	}
	return u, nil
}

// discover returns the URL of the issuer's key set, and that of the document that said so. The one that said so before is tried first.
func (s *Source) discover(ctx context.Context, before string) (keys *url.URL, document string, err error) {
	issuer, err := ParseIssuer(s.place.Issuer)
	if err != nil {
		return nil, "", fmt.Errorf("the issuer %w", err)
	}
	tries := documents(issuer)
	if i := slices.Index(tries, before); i > 0 {
		tries[0], tries[i] = tries[i], tries[0]
	}
	var first error
	for _, document := range tries {
		keys, err = s.ask(ctx, document)
		if err == nil {
			return keys, document, nil
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, errAbsent) {
			return nil, "", err
		}
	}
	return nil, "", first
}

// ask reads one document.
func (s *Source) ask(ctx context.Context, document string) (*url.URL, error) {
	u, err := ParseURL(document)
	if err != nil {
		return nil, err
	}
	answer, err := s.get(ctx, u, "")
	switch {
	case err != nil:
		return nil, err
	case answer.Status >= 300 && answer.Status < 500:
		return nil, fmt.Errorf("%w at %s: status %d", errAbsent, u.Path, answer.Status)
	case answer.Status != http.StatusOK:
		return nil, fmt.Errorf("the metadata at %s: status %d", u.Path, answer.Status)
	}
	return parseMetadata(answer.Body, s.place.Issuer)
}
