package bundle

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	quiet     = 100 * time.Millisecond // without a further change before a directory is read
	patience  = time.Second            // for that, at most
	maxWatch  = 2_000                  // directories; what is beyond is polled
	jitterMax = 0.25                   // of the interval
)

// Watch keeps the bundles up to date until ctx ends, and returns then. Looking at the directories at intervals is what
// it relies on; what the system tells of changes only makes it look earlier.
func (m *Manager) Watch(ctx context.Context) {
	var events <-chan fsnotify.Event
	var faults <-chan error
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = watcher.Close() }()
		events, faults = watcher.Events, watcher.Errors
		m.aim(watcher)
	}
	timer := time.NewTimer(0) // what changed before the watch began gives no hint
	defer timer.Stop()
	for {
		hinted := false
		select {
		case <-ctx.Done():
			return
		case fault := <-faults: // an overflow: something changed
			hinted = fault != nil
		case event := <-events:
			if hinted = m.concerns(event.Name); !hinted {
				continue
			}
		case <-timer.C:
		}
		if hinted {
			settle(ctx, events)
		}
		m.mu.Lock()
		m.refresh(ctx, false)
		m.mu.Unlock()
		next := m.interval()
		if watcher != nil && m.aim(watcher) {
			next = min(next, quiet) // what changed in a directory before it was watched gave no hint
		}
		timer.Reset(next)
	}
}

func (m *Manager) interval() time.Duration {
	d := m.options.Poll
	if m.options.Jitter != nil {
		d += time.Duration(m.options.Jitter() * jitterMax * float64(d))
	}
	return d
}

// settle waits until nothing more changes, within reason: files are replaced in bursts.
func settle(ctx context.Context, events <-chan fsnotify.Event) {
	end := time.NewTimer(patience)
	defer end.Stop()
	pause := time.NewTimer(quiet)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-pause.C:
			return
		case <-events:
			pause.Reset(quiet)
		}
	}
}

// concerns reports whether a path lies in a bundle, or is a bundle's directory or the link to it. The directories
// above are watched as well, where others have their files too.
func (m *Manager) concerns(name string) bool {
	name = filepath.Clean(name) // "./NAME", where the directory was given as NAME
	for _, e := range m.entries {
		path := filepath.Clean(e.Path)
		if name == path || filepath.Dir(name) != filepath.Dir(path) {
			return true
		}
	}
	return false
}

// aim watches the directories as they were when they were last looked at, and reports whether one is watched that was not before.
func (m *Manager) aim(watcher *fsnotify.Watcher) (added bool) {
	wanted := map[string]bool{}
	want := func(directory string) {
		// A watch stays with what a link pointed to, so the target is watched, and another one after a change.
		if target, err := filepath.EvalSymlinks(directory); err == nil {
			wanted[target] = true
		}
	}
	m.mu.Lock()
	seen := make([][]string, len(m.entries))
	for i, e := range m.entries {
		seen[i] = e.directories
	}
	m.mu.Unlock()
	for i, e := range m.entries {
		want(filepath.Dir(filepath.Clean(e.Path)))
		want(e.Path)
		for _, directory := range seen[i] {
			want(filepath.Join(e.Path, filepath.FromSlash(directory)))
		}
	}
	before := map[string]bool{}
	for _, watched := range watcher.WatchList() {
		before[watched] = true
		if !wanted[watched] {
			_ = watcher.Remove(watched) // it is gone already, or it is not wanted: both are fine
		}
	}
	n := 0
	for directory := range wanted {
		if n++; n > maxWatch {
			break
		}
		// One that cannot be watched is polled like all the others. To watch one again is free.
		if err := watcher.Add(directory); err == nil && !before[directory] {
			added = true
		}
	}
	return added
}
