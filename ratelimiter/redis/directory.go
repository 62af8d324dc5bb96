package redis

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	lookTimeout = 500 * time.Millisecond // for one server that is asked who is in charge
	lookPause   = 200 * time.Millisecond // between two rounds, however often calls fail
	lookEvery   = 5 * time.Second        // without any failure: a master that is cut off with us does not fail
)

// errNoServer is wrapped by the error of a decision for which no server is known. Nothing was sent.
var errNoServer = errors.New("not asked: no server is known to be in charge")

// layout says which servers are in charge of which slots.
type layout []span

type span struct {
	first, last int
	addr        string
}

// directory knows the node in charge of each slot. A single server is in charge for good. Sentinels and clusters are
// asked in the background: at the start, after calls that failed, and now and then; what a MOVED says holds at once.
type directory struct {
	store *Store
	look  func(context.Context) (layout, error) // nil: a single server
	slots []atomic.Pointer[node]                // one for all, unless it is a cluster

	end     context.CancelFunc
	wake    chan struct{}
	looked  chan struct{} // closed after the first round
	closing chan struct{} // closed by close
	first   sync.Once
	looking sync.Mutex // one round at a time
	ended   sync.WaitGroup

	mu     sync.Mutex
	nodes  map[string]*node
	closed bool
}

func newDirectory(s *Store, slots int) *directory {
	return &directory{
		store: s, slots: make([]atomic.Pointer[node], slots), nodes: map[string]*node{},
		end: func() {}, wake: make(chan struct{}, 1), looked: make(chan struct{}),
		closing: make(chan struct{}),
	}
}

// clustered reports whether keys lie in slots.
func (d *directory) clustered() bool { return len(d.slots) > 1 }

func (d *directory) start() {
	ctx, end := context.WithCancel(context.Background()) //nolint:forbidigo // it ends with the store
	d.end = end
	d.ended.Go(func() { d.run(ctx) })
}

// run asks who is in charge until the directory is closed.
func (d *directory) run(ctx context.Context) {
	pause, often := time.NewTimer(0), time.NewTicker(lookEvery)
	defer pause.Stop()
	defer often.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		_ = d.refresh(ctx) // whoever finds no server says so
		pause.Reset(lookPause)
		select {
		case <-d.wake:
		case <-often.C:
		case <-ctx.Done():
			return
		}
	}
}

// refresh asks once, and puts the answer in force.
func (d *directory) refresh(ctx context.Context) error {
	d.looking.Lock()
	defer d.looking.Unlock()
	defer d.first.Do(func() { close(d.looked) })
	l, err := d.look(ctx)
	if err != nil {
		return err
	}
	d.install(l)
	return nil
}

// doubt has who is in charge looked up again soon.
func (d *directory) doubt() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// route returns the node in charge of a slot. Before the first answer it waits for a while.
func (d *directory) route(ctx context.Context, slot int) (*node, error) {
	if n := d.slots[slot].Load(); n != nil {
		return n, nil
	}
	d.doubt()
	timer := time.NewTimer(d.store.opt.Timeout / 2)
	defer timer.Stop()
	select {
	case <-d.looked:
	case <-timer.C:
	case <-ctx.Done():
	}
	if n := d.slots[slot].Load(); n != nil {
		return n, nil
	}
	return nil, errNoServer
}

// left reports whether a node is no longer in charge of a slot.
func (d *directory) left(n *node, slot int) bool { return d.slots[slot].Load() != n }

// node returns the node at an address.
func (d *directory) node(addr string) (*node, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.nodeLocked(addr)
}

func (d *directory) nodeLocked(addr string) (*node, error) {
	if d.closed {
		return nil, ErrClosed
	}
	n, ok := d.nodes[addr]
	if !ok {
		n = d.store.newNode(d.store.opt.server(addr))
		d.nodes[addr] = n
	}
	return n, nil
}

// moved returns the node to which a slot has moved, and sends what comes there.
func (d *directory) moved(slot int, addr string) (*node, error) {
	d.doubt() // a slot seldom moves alone
	n, err := d.node(addr)
	if err == nil {
		d.slots[slot].Store(n)
	}
	return n, err
}

// install puts a layout in force. Nodes that are in charge of nothing answer what waits and go.
func (d *directory) install(l layout) {
	d.mu.Lock()
	defer d.mu.Unlock()
	owners, used := make([]*node, len(d.slots)), map[string]bool{}
	for _, part := range l {
		n, err := d.nodeLocked(part.addr)
		if err != nil {
			return
		}
		used[part.addr] = true
		for i := max(part.first, 0); i <= min(part.last, len(owners)-1); i++ {
			owners[i] = n
		}
	}
	for i, n := range owners {
		d.slots[i].Store(n)
	}
	for addr, n := range d.nodes {
		if !used[addr] {
			delete(d.nodes, addr)
			d.ended.Go(func() { d.dismiss(n) })
		}
	}
}

// dismiss closes a node that nobody is sent to any more: once calls of other nodes that were sent there, by ASK, have had their
// time, for one that is cut off may have charged.
func (d *directory) dismiss(n *node) {
	n.breaker.retire(d.store.opt.Now())
	n.queue.close()
	guests := time.NewTimer(d.store.opt.Timeout)
	defer guests.Stop()
	select {
	case <-guests.C:
	case <-d.closing:
	}
	_ = n.close() // connections to a server that is gone
}

// all returns the nodes.
func (d *directory) all() []*node {
	d.mu.Lock()
	defer d.mu.Unlock()
	nodes := make([]*node, 0, len(d.nodes))
	for _, n := range d.nodes {
		nodes = append(nodes, n)
	}
	return nodes
}

func (d *directory) close() error {
	d.mu.Lock()
	if !d.closed {
		close(d.closing)
	}
	d.closed = true
	d.mu.Unlock()
	d.end()
	var errs []error
	for _, n := range d.all() {
		n.queue.close() // of all, before any is waited for
	}
	for _, n := range d.all() {
		errs = append(errs, n.close())
	}
	d.ended.Wait()
	return errors.Join(errs...)
}
