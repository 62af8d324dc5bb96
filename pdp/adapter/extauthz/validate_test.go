package extauthz

import (
	"fmt"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

// The rules of what Envoy takes, written without the code under test.
var (
	tokenPattern = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9a-z-]+$")
	valuePattern = regexp.MustCompile(`^([!-~]([ -~]*[!-~])?)?$`)
	neverSet     = regexp.MustCompile(`^(host|content-length|transfer-encoding|te|trailer|connection|upgrade|keep-alive|proxy-.*|x-envoy-.*)$`)
)

// validateMutations returns what is wrong with a response: what Envoy's validate_mutations refuses, and what it
// lets through although the request then hangs, loses a header or is allowed.
func validateMutations(out *authv3.CheckResponse) (faults []string) {
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if out == nil {
		return []string{"no response: allows"}
	}
	if _, err := proto.Marshal(out); err != nil {
		add("cannot be encoded: %v", err)
	}
	if out.GetStatus() == nil {
		add("no status: allows")
	}
	if len(out.GetDynamicMetadata().GetFields()) == 0 {
		add("no dynamic metadata: later filters may skip their check")
	}
	code := out.GetStatus().GetCode()
	if code < 0 || code > 16 {
		add("status code %d is none of gRPC's", code)
	}
	switch answer := out.GetHttpResponse().(type) {
	case *authv3.CheckResponse_OkResponse:
		if code != 0 {
			add("ok_response with code %d", code)
		}
		faults = append(faults, validateOK(answer.OkResponse)...)
	case *authv3.CheckResponse_DeniedResponse:
		if code == 0 {
			add("denied_response with code 0: allows")
		}
		if s := answer.DeniedResponse.GetStatus().GetCode(); s < 300 || s > 599 {
			add("denied with HTTP status %d", s)
		}
		if n := len(answer.DeniedResponse.GetBody()); n >= 1024 {
			add("body of %d bytes", n)
		}
		faults = append(faults, validateFields("denied", answer.DeniedResponse.GetHeaders())...)
	default:
		add("oneof is %T", answer)
	}
	return faults
}

func validateOK(ok *authv3.OkHttpResponse) []string {
	faults := validateFields("upstream", ok.GetHeaders())
	faults = append(faults, validateFields("response", ok.GetResponseHeadersToAdd())...)
	set := map[string]bool{}
	for _, h := range ok.GetHeaders() {
		if name := h.GetHeader().GetKey(); set[name] {
			faults = append(faults, "upstream header "+name+" set twice")
		} else {
			set[name] = true
		}
		if h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			faults = append(faults, "upstream header appended to the client's")
		}
	}
	for _, name := range ok.GetHeadersToRemove() {
		lower := strings.ToLower(name)
		if !tokenPattern.MatchString(lower) || lower == "host" {
			faults = append(faults, fmt.Sprintf("removal of %q has no effect", name))
		}
		if set[lower] {
			faults = append(faults, "header "+name+" set and removed")
		}
	}
	if len(ok.GetQueryParametersToSet())+len(ok.GetQueryParametersToRemove()) > 0 {
		faults = append(faults, "query parameters changed")
	}
	if ok.GetDynamicMetadata() != nil { //nolint:staticcheck // the deprecated field would replace ours
		faults = append(faults, "deprecated dynamic_metadata set")
	}
	return faults
}

func validateFields(where string, fields []*corev3.HeaderValueOption) (faults []string) {
	count := map[string]int{}
	for _, h := range fields {
		count[h.GetHeader().GetKey()]++
	}
	for _, h := range fields {
		name, value := h.GetHeader().GetKey(), h.GetHeader().GetValue()
		if !tokenPattern.MatchString(name) || !valuePattern.MatchString(value) {
			faults = append(faults, fmt.Sprintf("%s header %q: %q", where, name, value))
		}
		if neverSet.MatchString(strings.ReplaceAll(name, "_", "-")) {
			faults = append(faults, fmt.Sprintf("%s header %s must never be set", where, name))
		}
		if len(h.GetHeader().GetRawValue()) > 0 {
			faults = append(faults, where+" header with raw_value: set to nothing")
		}
		if h.GetAppend() != nil { //nolint:staticcheck // both must not be set
			faults = append(faults, where+" header with the deprecated append")
		}
		appends := h.GetAppendAction() == corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		if wants := count[name] > 1 || where == "response" && name == "set-cookie" || where == "denied" && name == "set-cookie"; appends != wants {
			faults = append(faults, fmt.Sprintf("%s header %s with action %v", where, name, h.GetAppendAction()))
		}
	}
	return faults
}
