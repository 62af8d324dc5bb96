package keys

import (
	"fmt"
	"net/http"
	"runtime"
	"testing"
)

func TestOneSourceForOnePlace(t *testing.T) {
	w := newWorld(t)
	w.issuer.says("/keys", set(t, "a"))
	s := w.byURL()
	w.settled(s)
	// A thousand reloads of the same bundle.
	for range 1000 {
		if w.byURL() != s {
			t.Fatal("another source")
		}
	}
	if n := w.issuer.count("/keys"); n != 1 {
		t.Errorf("%d requests", n)
	}
	for _, other := range []Place{
		{Bundle: "other", Issuer: s.place.Issuer, URL: s.place.URL}, {Bundle: "acme", Issuer: "https://other", URL: s.place.URL},
		{Bundle: "acme", Issuer: s.place.Issuer},
	} {
		if w.store.Source(other) == s {
			t.Errorf("%+v shares the source", other)
		}
	}
	runtime.KeepAlive(s)
}

// TestSourcesAreForgotten: a thousand reloads, each with another place, leave nothing behind, neither memory nor goroutines nor requests.
func TestSourcesAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.issuer.says("/keys", set(t, "a"), "Cache-Control", "max-age=60")
	kept := w.byURL()
	w.settled(kept)
	before := runtime.NumGoroutine()
	for i := range 1000 {
		s := w.store.Source(Place{Bundle: "acme", Issuer: fmt.Sprint("https://idp.example.com/", i), URL: w.issuer.server.URL + "/keys"})
		if i%20 == 0 {
			w.settled(s)
		}
	}
	eventually(t, "one source is left", func() bool {
		runtime.GC()
		if len(w.store.States()) != 1 {
			return false
		}
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		return len(w.store.sources) == 1
	})
	eventually(t, "no goroutine is left", func() bool {
		w.client.Close() // connections that idle
		return runtime.NumGoroutine() <= before
	})
	requests := w.issuer.count("/keys")
	w.due(kept)
	if n := w.issuer.count("/keys") - requests; n != 1 {
		t.Errorf("%d requests for one source", n)
	}
	runtime.KeepAlive(kept)
}

func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	w := newWorld(t)
	release := make(chan struct{})
	w.issuer.on("/keys", func(http.ResponseWriter, *http.Request) { <-release })
	s := w.byURL()
	eventually(t, "a request is under way", func() bool { return w.issuer.count("/keys") == 1 })
	w.store.Close() // hangs where the fetch is not ended
	close(release)
	w.clock.advance(maxFresh)
	w.store.refresh()
	other := w.store.Source(Place{Bundle: "late", URL: w.issuer.server.URL + "/keys"})
	if !other.began.IsZero() {
		t.Error("a fetch has begun")
	}
	for _, source := range []*Source{s, other} {
		if known, pending := w.next(source); known.Set(w.clock.Now(), hour) != nil || pending {
			t.Errorf("known %v, pending %v", known, pending)
		}
	}
	w.store.Close()
	w.mu.Lock()
	told := len(w.states)
	w.mu.Unlock()
	if n := w.issuer.count("/keys"); n != 1 || told != 0 {
		t.Errorf("%d requests, %d told of", n, told)
	}
	w.issuer.server.Close()
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+2 })
}

func TestStates(t *testing.T) {
	w := newWorld(t)
	w.issuer.says("/keys", set(t, "a"))
	held := []*Source{w.byURL(), w.byDiscovery("/x"), w.store.Source(Place{Bundle: "abc", Issuer: "x", URL: w.issuer.server.URL + "/absent"})}
	for _, s := range held {
		w.settled(s)
	}
	got := w.store.States()
	if len(got) != 3 || got[0].Bundle != "abc" || got[0].Trouble != "the key set: status 404" || got[1].Issuer != w.issuer.server.URL+"/x" || got[1].Host != "" || got[2].Set == nil {
		t.Errorf("%+v", got)
	}
	runtime.KeepAlive(held)
}

func TestPrintable(t *testing.T) {
	if got := printable("a\nb\x00\u202e\xff"); got != "a?b????" && got != "a?b???" {
		t.Errorf("%q", got)
	}
}
