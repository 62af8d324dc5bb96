package grpcauthz

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/durward-pdp/durward/clients/authz"
)

// WithReports reports allowed RPCs that the handler then ends with a code for which failed returns true, such as the
// Unauthenticated of a log-in: limits with `count: denied` count them. The report is made before the answer leaves. observe, if
// not nil, is told of each report, with an error if the server did not accept it. The server must permit this program to report.
func WithReports(failed func(method string, code codes.Code) bool, observe func(method string, err error)) Option {
	return func(o *options) {
		o.failed, o.reported = failed, observe
		if observe == nil {
			o.reported = func(string, error) {}
		}
	}
}

// report reports an RPC that ended with err, if it is to be.
func (o *options) report(ctx context.Context, method string, d authz.Decision, err error) {
	if o.failed != nil && o.failed(method, status.Code(err)) {
		o.reported(method, d.Report(ctx, authz.Failed))
	}
}
