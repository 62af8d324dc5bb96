package bundle

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
)

// ManagerOptions configure a Manager.
type ManagerOptions struct {
	// Options say how each bundle is loaded; Clock is mandatory.
	Options
	// Directories are the bundles, in the order in which they are asked at the start: of two that conflict then, the
	// earlier one serves.
	Directories []Directory
	// Publish receives each snapshot; it must be quick. It is called first when every directory had a good bundle:
	// until then a bundle that is missing could be the stricter one for a request.
	Publish func(*pipeline.Snapshot)
	// Report, if not nil, is told whenever a directory's status changes, in the goroutine that found it.
	Report func(Status)
	// Poll is how often directories are looked at; 0 is 2s. What the system says of changes comes on top.
	Poll time.Duration
	// Jitter returns a random number from 0 to 1, so that replicas do not look at shared storage at once. nil is none.
	Jitter func() float64
}

// ErrOptions is wrapped by errors about options that cannot work.
var ErrOptions = errors.New("bundle options")

// Manager loads the bundles of a server, watches them, and keeps the last good revision of each.
type Manager struct {
	options ManagerOptions

	mu        sync.Mutex // held while bundles are loaded; guards what follows
	entries   []*entry
	published bool

	statusMu sync.Mutex // never held for long, so that a probe does not wait for a load
	status   []Status

	between func() // in tests: called between the reading of a directory and the second look
}

// entry is one directory and how its bundle stands.
type entry struct {
	Directory
	good    *compiled // serves, or waits for the others at the start; nil before the first one
	pending *compiled // is fine by itself and conflicts with another bundle
	err     error     // why the files as they are do not serve

	judged      string // the revision that was last compiled; "" none
	fingerprint [32]byte
	directories []string // below it, when it was last looked at
	racy        bool     // a file changed so shortly before it was read that another change need not show
	looks       int      // since the last reading
}

// NewManager checks the options. It reads nothing: Load does.
func NewManager(o ManagerOptions) (*Manager, error) {
	switch {
	case len(o.Directories) == 0:
		return nil, fmt.Errorf("%w: no directory", ErrOptions)
	case o.Publish == nil || o.Clock == nil:
		return nil, fmt.Errorf("%w: no publisher or no clock", ErrOptions)
	case o.Poll < 0:
		return nil, fmt.Errorf("%w: a negative interval", ErrOptions)
	}
	if o.Poll == 0 {
		o.Poll = 2 * time.Second
	}
	m := &Manager{options: o}
	for _, d := range o.Directories {
		if d.Path == "" || slices.ContainsFunc(m.entries, func(e *entry) bool { return filepath.Clean(e.Path) == filepath.Clean(d.Path) }) {
			return nil, fmt.Errorf("%w: directory %q is empty or stands twice", ErrOptions, d.Path)
		}
		m.entries = append(m.entries, &entry{Directory: d})
	}
	m.setStatus()
	return m, nil
}

// Load reads every directory whose content may have changed and publishes a new snapshot if there is one. It returns
// why directories do not serve as they are, each with its path; what served before goes on serving.
func (m *Manager) Load(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh(ctx, true)
	var errs []error
	for _, e := range m.entries {
		if e.err != nil {
			errs = append(errs, fmt.Errorf("bundle %q: %w", e.Path, e.err))
		}
	}
	if err := ctx.Err(); err != nil {
		errs = append(errs, fmt.Errorf("load bundles: %w", err))
	}
	return errors.Join(errs...)
}

// Ready reports whether a snapshot was published.
func (m *Manager) Ready() bool {
	m.statusMu.Lock()
	defer m.statusMu.Unlock()
	return !slices.ContainsFunc(m.status, func(s Status) bool { return s.Active.Name == "" })
}

// Status returns how the directories' bundles stand, in the order of the options.
func (m *Manager) Status() []Status {
	m.statusMu.Lock()
	defer m.statusMu.Unlock()
	return slices.Clone(m.status)
}

// refresh looks at every directory, compiles what is new, activates what fits, and reports what changed. With force
// it reads the files even where they look unchanged.
func (m *Manager) refresh(ctx context.Context, force bool) {
	news := false
	for _, e := range m.entries {
		if ctx.Err() != nil {
			return
		}
		before := e.err
		fresh := m.examine(e, force)
		news = news || fresh || (before == nil) != (e.err == nil) || before != nil && before.Error() != e.err.Error()
	}
	if !news {
		return
	}
	if m.activate() {
		m.publish()
	}
	m.setStatus()
}

// examine brings one entry up to date with its directory and reports whether it holds a new candidate.
func (m *Manager) examine(e *entry, force bool) bool {
	const readAnyway = 30 // looks; a change that keeps size and time of a file shows at last
	e.looks++
	if !force && !e.racy && e.looks < readAnyway {
		t, err := e.look()
		if err == nil {
			e.directories = t.directories
			if t.fingerprint == e.fingerprint {
				return false
			}
		}
	}
	began := m.options.Clock()
	contents, t, err := e.read(m.between)
	if err != nil {
		e.err, e.judged, e.pending, e.looks, e.racy = err, "", nil, 0, true
		return false
	}
	const resolution = time.Second // of the times that a file system keeps, and more
	e.directories = t.directories
	e.fingerprint, e.looks, e.racy = t.fingerprint, 0, m.options.Clock().Sub(t.newest) < resolution
	files := format.NewFiles(contents)
	revision := revisionOf(files)
	if revision == e.judged {
		return false
	}
	before := e.pending // the latest revision that was good by itself
	if before == nil {
		before = e.good
	}
	e.judged, e.pending = revision, nil
	if e.good != nil && e.good.info.Revision == revision {
		e.err = nil
		return false
	}
	o := m.options.Options
	o.Observe = o.Observe || e.Observe
	c, problems := compile(files, before, &o)
	if len(problems) > 0 {
		e.err = problems
		return false
	}
	c.info.Load.Took = m.options.Clock().Sub(began)
	e.err, e.pending = nil, c
	return true
}

// activate makes the pending bundles good that fit beside the others, and reports whether there is one.
func (m *Manager) activate() bool {
	all := func(e *entry) *compiled {
		if e.pending != nil {
			return e.pending
		}
		return e.good
	}
	// Bundles that move a host between them fit only together.
	if _, err := m.join(all); err == nil {
		return m.promote(func(*entry) bool { return true })
	}
	changed := false
	// Each success may make room for another one.
	for again := true; again; {
		again = false
		for _, e := range m.entries {
			if e.pending == nil {
				continue
			}
			_, err := m.join(func(other *entry) *compiled {
				if other == e {
					return e.pending
				}
				return other.good
			})
			if e.err = err; err == nil {
				again = m.promote(func(other *entry) bool { return other == e })
				changed = changed || again
			}
		}
	}
	return changed
}

// promote makes the chosen pending bundles good.
func (m *Manager) promote(chosen func(*entry) bool) bool {
	changed := false
	for _, e := range m.entries {
		if e.pending == nil || !chosen(e) {
			continue
		}
		e.pending.info.Sequence = 1
		if e.good != nil {
			e.pending.info.Sequence = e.good.info.Sequence + 1
		}
		e.pending.info.Loaded = m.options.Clock()
		e.good, e.pending, e.err = e.pending, nil, nil
		changed = true
	}
	return changed
}

// join makes a snapshot of what choose returns for the entries; nil leaves one out.
func (m *Manager) join(choose func(*entry) *compiled) (*pipeline.Snapshot, error) {
	var bundles []*compiled
	for _, e := range m.entries {
		if c := choose(e); c != nil {
			bundles = append(bundles, c)
		}
	}
	return snapshot(bundles)
}

// publish hands the good bundles out, once there is one of every directory.
func (m *Manager) publish() {
	for _, e := range m.entries {
		if e.good == nil {
			return
		}
	}
	s, err := m.join(func(e *entry) *compiled { return e.good })
	if err != nil {
		return // cannot be: activate joined the same bundles
	}
	m.options.Publish(s)
	m.published = true
}

// setStatus makes the entries' state visible and reports what changed.
func (m *Manager) setStatus() {
	status := make([]Status, len(m.entries))
	for i, e := range m.entries {
		status[i] = Status{Directory: e.Directory, Err: e.err}
		if e.good != nil && m.published {
			status[i].Active, status[i].Report = e.good.info, e.good.report
		}
	}
	m.statusMu.Lock()
	old := m.status
	m.status = status
	m.statusMu.Unlock()
	if m.options.Report == nil || old == nil {
		return
	}
	for i := range status {
		if status[i].Active != old[i].Active || !sameError(status[i].Err, old[i].Err) {
			m.options.Report(status[i])
		}
	}
}

func sameError(a, b error) bool {
	if a == nil || b == nil {
		return (a == nil) == (b == nil)
	}
	return a.Error() == b.Error()
}
