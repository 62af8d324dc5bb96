package bundle

import "github.com/durward-pdp/durward/pdp/bundle/format"

// apiKeys checks what only authenticators of kind api_key have, and what they have not.
func (c *checker) apiKeys(p part, a *format.Authenticator) {
	if a.Keys.File != "" {
		c.refer(p, ".keys.file", a.Keys.File)
	}
	if a.Kind != "api_key" {
		if a.Prefix != "" {
			c.add(p, ".prefix", "prefix has no meaning for an authenticator of kind %s", a.Kind)
		}
		if a.Keys.File != "" || a.Keys.Table {
			c.add(p, ".keys", "keys has no meaning for an authenticator of kind %s", a.Kind)
		}
		return
	}
	if len(a.SANs) > 0 {
		c.add(p, ".sans", "sans has no meaning for an authenticator of kind api_key")
	}
	if (a.Keys.File != "") == a.Keys.Table {
		c.add(p, "", "an authenticator of kind api_key needs keys: {file: PATH} or keys: {table: true}")
	}
}
