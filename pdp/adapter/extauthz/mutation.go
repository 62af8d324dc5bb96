package extauthz

import (
	"errors"
	"strings"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	// maxFields, maxValue and maxFieldBytes bound what a verdict may set, well below the 60 KiB of headers that
	// gateways take by default.
	maxFields     = 128
	maxValue      = 8 << 10
	maxFieldBytes = 32 << 10
	// maxRemovals bounds what a verdict may remove. The names come from the client's own header lines.
	maxRemovals = maxLines
)

// errUnsafe says that a verdict holds a header that must not or cannot be carried.
var errUnsafe = errors.New("verdict holds a header that cannot be carried")

// mayBeSet reports whether a gateway can set the header exactly: a lower-case name, a value of visible ASCII
// without outer spaces (which the next parser trims, making "bob " into "bob"), and no header that frames the
// message, routes it, or steers the gateway.
func mayBeSet(f verdict.Field) bool {
	if f.Name == "" || f.Name[0] == ':' || !validName(f.Name) || f.Name != strings.ToLower(f.Name) {
		return false
	}
	name := request.CanonicalAlias(f.Name)
	return !framing(name) && !strings.HasPrefix(name, "proxy-") && !strings.HasPrefix(name, "x-envoy-") && visibleValue(f.Value)
}

// mayBeRemoved reports whether a gateway can remove the header. Envoy ignores the others without a word, and the
// verdict asked for them to be gone.
func mayBeRemoved(name string) bool {
	return name != "" && name[0] != ':' && validName(name) && !framing(strings.ToLower(name))
}

// framing lists what decides where a message ends, how a connection is used and where it goes (RFC 9110, section
// 7.6.1; RFC 9112, section 6). A gateway that lets such a header be changed hangs or is smuggled through.
func framing(name string) bool {
	switch name {
	case "host", "content-length", "transfer-encoding", "te", "trailer", "connection", "upgrade", "keep-alive", "http2-settings":
		return true
	}
	return false
}

func visibleValue(s string) bool {
	if len(s) > maxValue || strings.HasPrefix(s, " ") || strings.HasSuffix(s, " ") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !request.Visible(s[i]) {
			return false
		}
	}
	return true
}
