package assembly

import (
	"time"

	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/descriptors"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/inspection"
	"github.com/durward-pdp/durward/pdp/stage/limits"
	"github.com/durward-pdp/durward/pdp/stage/network"
	"github.com/durward-pdp/durward/pdp/stage/policy"
	"github.com/durward-pdp/durward/pdp/stage/upstream"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// stages are the stages of a server.
type stages struct {
	network    *network.Stage
	inspection *inspection.Stage
	limits     *limits.Stage
	identity   *identity.Stage
	policy     *policy.Stage
	upstream   *upstream.Stage

	descriptors *descriptors.Stage // alone, for requests that bring descriptors
}

// table is the order in which requests are judged. It is security policy: what costs little and needs nothing
// comes first, nobody is charged for what identity or policy refuse, and the API's headers are made last.
func (s *stages) table() []pipeline.Step {
	return []pipeline.Step{
		{Point: "network", Stage: s.network},
		{Point: "inspection.shape", Stage: s.inspection.Shape()},
		{Point: "limits.gate", Stage: s.limits.Gate(), Failure: verdict.LimitsUnavailable},
		{Point: "identity", Stage: s.identity, Failure: verdict.KeysUnavailable},
		{Point: "policy", Stage: s.policy},
		{Point: "inspection.body", Stage: s.inspection.Body()},
		{Point: "limits.take", Stage: s.limits.Take(), Failure: verdict.LimitsUnavailable},
		{Point: "upstream", Stage: s.upstream},
	}
}

// descriptorTable is what requests that bring descriptors go through: limits alone.
func (s *stages) descriptorTable() []pipeline.Step {
	return []pipeline.Step{{Point: "limits.descriptors", Stage: s.descriptors, Failure: verdict.LimitsUnavailable}}
}

// reportTable is what failures that APIs report go through: who the subject is, and the limits that count denials.
func (s *stages) reportTable() []pipeline.Step {
	return []pipeline.Step{
		{Point: "identity", Stage: s.identity, Failure: verdict.KeysUnavailable},
		{Point: "limits.report", Stage: s.limits.Report(), Failure: verdict.LimitsUnavailable},
	}
}

// compilers are the stages that compile a part of every service, in the order in which problems are reported: all but network, which
// is no matter of bundles.
func (s *stages) compilers() []bundle.Compiler {
	return []bundle.Compiler{s.inspection, s.limits, s.identity, s.policy, s.upstream}
}

// stagesWith returns the stages around the one that differs between servers and tools. Descriptors are compiled and not
// taken: only servers do.
func stagesWith(counting *limits.Stage, credentials identity.Options) stages {
	return stages{network: network.New(credentials.Blocks), inspection: inspection.New(), limits: counting, identity: identity.New(credentials), policy: policy.New(), upstream: upstream.New(upstream.Options{}), descriptors: &descriptors.Stage{}}
}

// observer is told of each step of a decision.
type observer func(point string, took time.Duration, outcome pipeline.Outcome, err error)

// newPipeline returns the pipeline of the table; observe may be nil.
func newPipeline(s *stages, clock func() time.Time, observe observer) (*pipeline.Pipeline, error) {
	return pipeline.New(pipeline.Options{Steps: s.table(), Settler: s.limits, Clock: clock, Observe: observe})
}

// newReportPipeline returns the pipeline of failures that APIs report.
func newReportPipeline(s *stages, clock func() time.Time, observe observer) (*pipeline.Pipeline, error) {
	return pipeline.New(pipeline.Options{Steps: s.reportTable(), Settler: s.limits, Clock: clock, Observe: observe})
}

// newDescriptorPipeline returns the pipeline of requests that bring descriptors. It settles nothing: the stage charges what
// a refusal costs itself.
func newDescriptorPipeline(s *stages, clock func() time.Time, observe observer) (*pipeline.Pipeline, error) {
	return pipeline.New(pipeline.Options{Steps: s.descriptorTable(), Clock: clock, Observe: observe})
}
