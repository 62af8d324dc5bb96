package native

import (
	"strings"

	"github.com/durward-pdp/durward/pdp/request"
)

// cleanText reports whether s is free of all control characters, the tab among them.
func cleanText(s string) bool { return request.CleanValue(s) && strings.IndexByte(s, '\t') < 0 }

// clip bounds a text and makes it UTF-8: any other string would fail the encoding of the whole response, which the
// caller would take for an outage.
func clip(s string) string {
	const limit = 512
	return strings.ToValidUTF8(s[:min(len(s), limit)], "\uFFFD")
}
