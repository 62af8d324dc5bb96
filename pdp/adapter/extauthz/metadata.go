package extauthz

import (
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	// maxText bounds a text in the metadata, in bytes; maxLimits the limits, maxExtra the stages' own values.
	maxText   = 512
	maxLimits = 32
	maxExtra  = 64
)

// metadata tells the gateway, for its log and its later filters, what clients must not learn. It is never empty,
// on allow and on deny: filters that find none may skip their own check.
func metadata(v *verdict.Verdict) *structpb.Struct {
	effect := verdict.Deny
	if v.Allowed() {
		effect = verdict.Allow
	}
	fields := make(map[string]*structpb.Value, 16)
	for i, f := range v.Obligations.Metadata {
		if i == maxExtra {
			break
		}
		putText(fields, f.Name, f.Value)
	}
	// After the stages' own, so that those cannot stand in for these.
	fields["effect"] = structpb.NewStringValue(effect.String())
	fields["decision_id"] = text(v.DecisionID)
	fields["reason"] = text(string(v.Reason))
	fields["degraded"] = structpb.NewBoolValue(v.Degraded)
	for _, f := range []verdict.Field{
		{Name: "subject", Value: v.Subject},
		{Name: "stage", Value: v.Stage},
		{Name: "policy", Value: v.Explanation.Policy},
		{Name: "rule", Value: v.Explanation.Rule},
		{Name: "rule_id", Value: v.Explanation.RuleID},
		{Name: "bundle", Value: v.Explanation.Bundle},
		{Name: "revision", Value: v.Explanation.Revision},
		{Name: "limit", Value: v.Explanation.Limit},
		{Name: "observed", Value: string(v.Explanation.Observed)},
	} {
		delete(fields, f.Name)
		putText(fields, f.Name, f.Value)
	}
	delete(fields, "limits")
	if limits := limitValues(v.Explanation.Limits); len(limits) > 0 {
		fields["limits"] = structpb.NewListValue(&structpb.ListValue{Values: limits})
	}
	return &structpb.Struct{Fields: fields}
}

func putText(fields map[string]*structpb.Value, name, value string) {
	if name != "" && value != "" {
		fields[clip(name)] = text(value)
	}
}

func limitValues(limits []verdict.LimitState) []*structpb.Value {
	limits = limits[:min(len(limits), maxLimits)]
	out := make([]*structpb.Value, 0, len(limits))
	for i := range limits {
		l := &limits[i]
		out = append(out, structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"name":          text(l.Name),
			"quota":         structpb.NewNumberValue(float64(l.Quota)),
			"remaining":     structpb.NewNumberValue(float64(l.Remaining)),
			"window_s":      structpb.NewNumberValue(l.Window.Seconds()),
			"reset_s":       structpb.NewNumberValue(l.Reset.Seconds()),
			"retry_after_s": structpb.NewNumberValue(l.RetryAfter.Seconds()),
			"refused":       structpb.NewBoolValue(l.Refused),
			"shadow":        structpb.NewBoolValue(l.Shadow),
			"degraded":      structpb.NewBoolValue(l.Degraded),
		}}))
	}
	return out
}

func text(s string) *structpb.Value { return structpb.NewStringValue(clip(s)) }

// clip bounds a text and makes it UTF-8: any other string fails the encoding of the whole response, which the
// gateway would take for an outage.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "\uFFFD")
}
