package assembly

import (
	"cmp"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/blocksapi"
	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/state"
)

// maxBlockList bounds a list of blocks.
const maxBlockList = 100_000

// othersFollow bounds how long other replicas take to follow, with a margin for a busy machine.
const othersFollow = time.Second

// blocksAdmin shows over the admin listener what is blocked, blocks and lifts.
type blocksAdmin struct {
	list     *blocks.List
	snapshot func() *pipeline.Snapshot
	journal  journal
}

// register adds the paths. address is the listener's own.
func (a *blocksAdmin) register(mux *http.ServeMux, known *callers, address string) {
	host, _, _ := net.SplitHostPort(address)
	mux.Handle("GET "+blocksapi.ListPath, known.serve(func(r *http.Request, who caller) (any, *refusal) {
		if no := mayRead(r, who, host); no != nil {
			return nil, no
		}
		return a.show(r, who)
	}))
	change := func(handle func(*http.Request, caller) (any, *refusal)) http.Handler {
		return known.serve(func(r *http.Request, who caller) (any, *refusal) {
			if no := mayChange(r, host); no != nil {
				return nil, no
			}
			return handle(r, who)
		})
	}
	mux.Handle("POST "+blocksapi.PutPath, change(a.put))
	mux.Handle("POST "+blocksapi.LiftPath, change(a.lift))
}

// show answers what is blocked. Who looked is recorded.
func (a *blocksAdmin) show(r *http.Request, who caller) (any, *refusal) {
	query := r.URL.Query()
	most := 100
	if text := query.Get("n"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxBlockList {
			return nil, &refusal{http.StatusBadRequest, "n is a number from 1 to " + strconv.Itoa(maxBlockList)}
		}
		most = n
	}
	var kind blocks.Kind
	if text := query.Get("kind"); text != "" {
		if err := kind.UnmarshalText([]byte(text)); err != nil {
			return nil, refused(err)
		}
	}
	event, no := a.journal.event(r, who.name, "blocks.list")
	if no != nil {
		return nil, no
	}
	if no := a.journal.record(r, event, "done"); no != nil {
		return nil, no
	}
	out := blocksapi.List{Blocks: []blocksapi.Block{}, Held: a.list.Counts(), Most: blocks.Most}
	if at := a.list.Synced().UTC(); !at.IsZero() {
		out.Synced = &at
	}
	for _, b := range a.list.All() {
		if kind != 0 && b.Kind != kind || query.Get("bundle") != "" && b.Bundle != query.Get("bundle") {
			continue
		}
		if out.Total++; len(out.Blocks) < most {
			out.Blocks = append(out.Blocks, blockView(&b))
		}
	}
	return out, nil
}

func blockView(b *blocks.Block) blocksapi.Block {
	return blocksapi.Block{
		ID: b.ID(), Kind: b.Kind.String(), Bundle: b.Bundle, Issuer: b.Issuer, Value: b.Value, Before: timeOrNil(b.Before),
		Reason: b.Reason, By: b.By, Made: b.Made, Until: timeOrNil(b.Until),
	}
}

func timeOrNil(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// refused is what is answered where the list does not take a block, or nobody knows whether it did.
func refused(err error) *refusal {
	switch {
	case errors.Is(err, blocks.ErrBlock):
		return &refusal{http.StatusBadRequest, err.Error()}
	case errors.Is(err, state.ErrFull):
		return &refusal{http.StatusServiceUnavailable, "there are as many blocks as there may be, " + strconv.Itoa(blocks.Most) +
			": nothing more is blocked until some end or are lifted; a block of an issuer's or subject's older tokens (before) may stand for many"}
	}
	return &refusal{http.StatusServiceUnavailable, "what replicas share did not answer: it may be done or not; ask for the list, and try again"}
}

// put blocks. It is recorded before, or not done.
func (a *blocksAdmin) put(r *http.Request, who caller) (any, *refusal) {
	var wish blocksapi.Put
	if no := readDocument(r.Body, &wish); no != nil {
		return nil, no
	}
	b, no := a.blockOf(&wish, who)
	if no != nil {
		return nil, no
	}
	out := blocksapi.Result{Hits: a.hits(b), WithinMS: othersFollow.Milliseconds()}
	if no := doubts(b, &wish, out.Hits, a.sources()); no != nil {
		return nil, no
	}
	out.Remarks = remarks(b, out.Hits)
	if wish.DryRun {
		old, known := a.list.Get(b.ID())
		if out.Block, out.Known, out.DryRun = blockView(b), known, true; known {
			out.Remarks = append(out.Remarks, "the same is blocked already, "+endText(old.Until)+": "+old.Reason)
		}
		return out, nil
	}
	var in blocks.Block
	no = a.act(r, who, "blocks.put", b, func() (err error) {
		in, out.Known, err = a.list.Put(r.Context(), *b)
		return err
	})
	if no != nil {
		return nil, no
	}
	out.Block = blockView(&in)
	return out, nil
}

// lift takes a block away. It is recorded before, or not done.
func (a *blocksAdmin) lift(r *http.Request, who caller) (any, *refusal) {
	var wish blocksapi.Lift
	if no := readDocument(r.Body, &wish); no != nil {
		return nil, no
	}
	b, ok := a.list.Get(wish.ID)
	if !ok {
		return nil, &refusal{http.StatusNotFound, "there is no such block: the list says which there are"}
	}
	out := blocksapi.Result{Block: blockView(&b), Known: true, DryRun: wish.DryRun, Hits: a.hits(&b), WithinMS: othersFollow.Milliseconds()}
	if wish.DryRun {
		return out, nil
	}
	no := a.act(r, who, "blocks.lift", &b, func() error {
		_, _, err := a.list.Lift(r.Context(), wish.ID)
		return err
	})
	if no != nil {
		return nil, no
	}
	return out, nil
}

// act does what is recorded before and after.
func (a *blocksAdmin) act(r *http.Request, who caller, what string, b *blocks.Block, change func() error) *refusal {
	do, no := a.journal.begin(r, who.name, what)
	if no != nil {
		return no
	}
	describe(do.event, b)
	if no := do.requested(); no != nil {
		return no
	}
	if err := change(); err != nil {
		return do.failed(refused(err))
	}
	return do.done("it is done")
}

// describe writes a block into the record of an action.
func describe(e *audit.Event, b *blocks.Block) {
	e.Bundle, e.Detail = b.Bundle, b.Detail()
	for _, v := range []audit.EventValue{{Name: "kind", Value: b.Kind.String()}, {Name: "issuer", Value: b.Issuer}, {Name: "value", Value: b.Value}, {Name: "before", Value: timeText(b.Before)}} {
		if v.Value != "" {
			e.Key = append(e.Key, v)
		}
	}
	e.Key = append(e.Key, audit.EventValue{Name: "until", Value: cmp.Or(timeText(b.Until), "never")})
}

func timeText(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

func endText(at time.Time) string {
	if at.IsZero() {
		return "for ever"
	}
	return "until " + timeText(at)
}

// source is an authenticator of a service in force.
type source struct {
	bundle, service string
	identity.Source
}

// sources returns the authenticators in force by bundle, service and name.
func (a *blocksAdmin) sources() []source {
	s := a.snapshot()
	if s == nil {
		return nil
	}
	var out []source
	for at, compiled := range s.Services {
		for _, from := range identity.Sources(compiled) {
			out = append(out, source{at.Bundle, at.Name, from})
		}
	}
	slices.SortFunc(out, func(x, y source) int {
		return cmp.Or(cmp.Compare(x.bundle, y.bundle), cmp.Compare(x.service, y.service), cmp.Compare(x.Authenticator, y.Authenticator))
	})
	return out
}

// hits returns the services that take credentials that a block may be about.
func (a *blocksAdmin) hits(b *blocks.Block) []string {
	out := []string{}
	if b.Kind == blocks.Network {
		if s := a.snapshot(); s != nil {
			for at := range s.Services {
				out = append(out, at.Bundle+"/"+at.Name)
			}
		}
		slices.Sort(out)
		return out
	}
	for _, from := range a.sources() {
		if name := from.bundle + "/" + from.service; mayTake(b, &from) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
