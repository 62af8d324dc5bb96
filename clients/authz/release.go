package authz

import (
	"context"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc/status"

	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// Permits are what an allow holds of limits on concurrency. Copies of a decision share them.
type Permits struct {
	client   *Client
	held     []string
	released atomic.Bool
}

// Release tells the server that what was allowed has ended, where limits on concurrency count it; else it does nothing. The
// client's timeout bounds it, also where ctx has ended before, as that of a request has. Only the first call for a decision is
// sent. After an error the permits expire in their time, so that it may be ignored. It is safe for concurrent use.
func (d *Decision) Release(ctx context.Context) error {
	p := d.Permits
	if p == nil || p.client == nil || p.released.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.client.options.timeout)
	defer cancel()
	if _, err := p.client.service.Release(ctx, &durwardv1.ReleaseRequest{Permits: p.held}); err != nil {
		code := status.Code(err)
		return fmt.Errorf("releasing the permits of a decision: %w", status.Error(code, code.String()))
	}
	return nil
}
