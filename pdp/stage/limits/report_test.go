package limits

import (
	"testing"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// report runs the report of a failure and returns its case.
func (b *bench) report(headers ...string) *pipeline.Case {
	b.t.Helper()
	p, err := pipeline.New(pipeline.Options{Settler: b.stage, Clock: b.clock, Steps: []pipeline.Step{
		{Point: "identity", Stage: b.act("identity", verdict.TokenExpired)},
		{Point: "limits.report", Stage: b.stage.Report(), Failure: verdict.LimitsUnavailable},
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	c := b.newCase(headers...)
	c.Request.Failure = &request.Failure{DecisionID: "d1"}
	p.Run(b.t.Context(), c)
	return c
}

// A reported failure charges the limits that count denials alone: the others were charged when the request was allowed.
func TestReportCharges(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		for how, want := range map[string]int64{
			"count: denied": 99, "count: denied, at: gate": 99, "count: denied, shadow: true": 99, "count: denied, cost: 3": 97,
			"count: all": 100, "count: all, at: gate": 100, "count: allowed": 100, "shadow: true": 100,
		} {
			b := open("a: {rate: 100/d, by: [client.address], "+how+"}", "last: {rate: 100/d, by: [client.address], count: denied}")
			b.want(b.report(), verdict.ReportedFailure, "limits.report")
			b.wantLeft(99, "last")
			if got := b.left("a"); got != want {
				t.Errorf("%s: %d left, want %d", how, got, want)
			}
		}
	})
}

// The subject is that of the report's own credentials. Without it the limits are charged that count by something else.
func TestReportOfASubject(t *testing.T) {
	b := newBench(t, nil, "user: {rate: 100/d, by: [subject.key], count: denied, missing: skip}", "address: {rate: 100/d, by: [client.address], count: denied}")
	b.want(b.report("user=alice"), verdict.ReportedFailure, "limits.report")
	b.wantLeft(99, "user", "user=alice")
	b.wantLeft(99, "address")
	b.want(b.report("user=alice", "identity=deny"), verdict.TokenExpired, "identity")
	b.wantLeft(98, "address")
	b.wantLeft(99, "user", "user=alice")
	b.want(b.report("identity=fail"), verdict.StageFailed, "identity")
	b.wantLeft(98, "address")
}

// What was reported too often is refused before identity, without a word to the API.
func TestReportsExhaust(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("failures: {rate: 5/h, by: [client.address], count: denied}")
		for left := range int64(5) {
			b.want(b.decide(), verdict.Allowed, "")
			b.report()
			b.wantLeft(4-left, "failures")
		}
		b.want(b.decide("identity=deny"), verdict.LimitExceeded, "limits.gate")
	})
}

func TestReportNotCompiled(t *testing.T) {
	b := newBench(t, nil, "a: {rate: 1/d, by: [client.address], count: denied}")
	b.service.Parts = nil
	b.want(b.report(), verdict.LimitsUnavailable, "limits.report")
}
