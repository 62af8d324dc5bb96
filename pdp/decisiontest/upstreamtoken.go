package decisiontest

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// upstreamToken compares claims of the token that the API behind receives. Its signature is the throw-away key's, and nobody's concern.
func (c *comparison) upstreamToken(want map[string]any) {
	if len(want) == 0 {
		return
	}
	claims, ok := map[string]any(nil), false
	if c.verdict.Allowed() {
		claims, ok = tokenClaims(c.verdict.Obligations.SetUpstream)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got := absent
		if value, there := claims[name]; there {
			got = asJSON(value)
		} else if !ok {
			got = "no token"
		}
		if wanted := asJSON(want[name]); wanted != got {
			c.add("upstream_token."+name, wanted, got)
		}
	}
}

// tokenClaims returns the claims of the first header that carries a token.
func tokenClaims(set []verdict.Field) (map[string]any, bool) {
	for _, f := range set {
		parts := strings.Split(strings.TrimPrefix(f.Value, "Bearer "), ".")
		if len(parts) != 3 {
			continue
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		var claims map[string]any
		if err == nil && json.Unmarshal(payload, &claims) == nil && claims != nil {
			return claims, true
		}
	}
	return nil, false
}

func asJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return "nothing"
	}
	return string(data)
}
