package native

import (
	"errors"
	"net/http"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

const (
	// maxFields, maxValue and maxFieldBytes bound what a verdict may set.
	maxFields     = 128
	maxValue      = 8 << 10
	maxFieldBytes = 32 << 10
	// maxMetadata bounds what is told besides.
	maxMetadata = 64
)

// errUnsafe says that a verdict holds a header that must not or cannot be carried.
var errUnsafe = errors.New("verdict holds a header that cannot be carried")

// respond renders a verdict, to the letter or not at all.
func respond(v *verdict.Verdict) (*durwardv1.CheckResponse, error) {
	out := denial(v)
	obligations := &durwardv1.Obligations{}
	if err := setFields(&obligations.SetResponse, v.Obligations.SetResponse, true); err != nil {
		return out, err
	}
	if v.Allowed() {
		if err := upstream(obligations, &v.Obligations); err != nil {
			return out, err
		}
	}
	for i, f := range v.Obligations.Metadata {
		if i == maxMetadata {
			break
		}
		if obligations.Metadata == nil {
			obligations.Metadata = map[string]string{}
		}
		obligations.Metadata[clip(f.Name)] = clip(f.Value)
	}
	out.Obligations = obligations
	if v.Allowed() {
		out.Effect, out.HttpStatus, out.PublicReason = durwardv1.Effect_EFFECT_ALLOW, http.StatusOK, ""
		out.Permits = v.Permits
	}
	return out, nil
}

// denial is where every response begins: whatever the verdict says, without its obligations, is a no.
func denial(v *verdict.Verdict) *durwardv1.CheckResponse {
	status, public := v.HTTPStatus(), v.Reason.Public()
	if v.Allowed() {
		status = http.StatusForbidden
	}
	if public == "" {
		public = verdict.AccessDenied
	}
	out := &durwardv1.CheckResponse{
		Effect:       durwardv1.Effect_EFFECT_DENY,
		HttpStatus:   int32(status),
		PublicReason: clip(string(public)),
		Reason:       clip(string(v.Reason)),
		DecisionId:   clip(v.DecisionID),
		Stage:        clip(v.Stage),
		Degraded:     v.Degraded,
		Explanation:  explanation(&v.Explanation),
	}
	if v.RetryAfter > 0 {
		out.RetryAfter = durationpb.New(v.RetryAfter)
	}
	return out
}

func upstream(out *durwardv1.Obligations, o *verdict.Obligations) error {
	if err := setFields(&out.SetUpstream, o.SetUpstream, false); err != nil {
		return err
	}
	if len(o.RemoveUpstream) > maxLines {
		return errUnsafe
	}
	for _, name := range o.RemoveUpstream {
		if !request.ValidName(name) || framing(request.CanonicalAlias(name)) {
			return errUnsafe
		}
		if !setsName(o.SetUpstream, strings.ToLower(name)) {
			out.RemoveUpstream = append(out.RemoveUpstream, name)
		}
	}
	return nil
}

// setFields carries headers. Two upstream values for one name would leave the winner to the caller, so they are refused;
// a response may have several lines of one name.
func setFields(out *[]*durwardv1.HeaderLine, fields []verdict.Field, repeat bool) error {
	if len(fields) > maxFields {
		return errUnsafe
	}
	total := 0
	for i, f := range fields {
		total += len(f.Name) + len(f.Value)
		if !mayBeSet(f) || total > maxFieldBytes || !repeat && setsName(fields[:i], f.Name) {
			return errUnsafe
		}
		*out = append(*out, &durwardv1.HeaderLine{Name: f.Name, Value: []byte(f.Value)})
	}
	return nil
}

// mayBeSet reports whether a caller can set the header exactly: a lower-case name, a value of visible ASCII without
// outer spaces, and no header that frames the message.
func mayBeSet(f verdict.Field) bool {
	name := request.CanonicalAlias(f.Name)
	if !request.ValidName(f.Name) || f.Name != strings.ToLower(f.Name) || framing(name) || strings.HasPrefix(name, "proxy-") {
		return false
	}
	if len(f.Value) > maxValue || strings.Trim(f.Value, " ") != f.Value {
		return false
	}
	for i := 0; i < len(f.Value); i++ {
		if !request.Visible(f.Value[i]) {
			return false
		}
	}
	return true
}

// framing lists what decides where a message ends, how a connection is used and where it goes (RFC 9110, section 7.6.1;
// RFC 9112, section 6).
func framing(name string) bool {
	switch name {
	case "host", "content-length", "transfer-encoding", "te", "trailer", "connection", "upgrade", "keep-alive", "http2-settings":
		return true
	}
	return false
}

func setsName(fields []verdict.Field, name string) bool {
	for i := range fields {
		if fields[i].Name == name {
			return true
		}
	}
	return false
}
