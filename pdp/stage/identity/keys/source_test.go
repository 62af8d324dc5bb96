package keys

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const hour = time.Hour

func TestSourceFetchesWhenItIsMade(t *testing.T) {
	w := newWorld(t)
	w.issuer.says("/keys", set(t, "a", "b"), "Cache-Control", "public, max-age=600")
	s := w.byURL()
	if s.Current().Set(w.clock.Now(), hour) != nil && w.issuer.count("/keys") == 0 {
		t.Error("keys from nowhere")
	}
	if known, pending := w.next(s); known.Set(w.clock.Now(), 0) == nil || pending {
		t.Errorf("nothing known, pending %v", pending)
	}
	began := w.clock.Now()
	got := w.settled(s)
	if w.ids(s, 0) != "a b" || got.Host != w.host() || !got.Fetched.Equal(began) || !got.Fresh.Equal(began.Add(10*time.Minute)) ||
		!got.Due.Equal(began.Add(450*time.Second)) || got.Trouble != "" || !got.Failing.IsZero() {
		t.Errorf("keys %s, state %+v", w.ids(s, 0), got)
	}
	if n := w.issuer.count("/keys"); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestDownAtStart(t *testing.T) {
	w := newWorld(t)
	w.issuer.on("/keys", hangsUp)
	s := w.byURL()
	w.settled(s)
	before := w.issuer.count("/keys") // the HTTP client may try once more on a connection that was cut
	for range 100 {
		if known, pending := w.next(s); known.Set(w.clock.Now(), hour) != nil || pending {
			t.Fatal("known from nowhere, or pending")
		}
	}
	if n := w.issuer.count("/keys"); n != before {
		t.Errorf("%d requests within the window after the first", n-before)
	}
	got := s.state(s.Current())
	if got.Trouble == "" || !got.Failing.Equal(w.clock.Now()) || got.Set != nil || got.Host != w.host() {
		t.Errorf("%+v", got)
	}
	w.issuer.says("/keys", set(t, "a"))
	w.clock.advance(Window - time.Nanosecond)
	w.store.refresh()
	if known, _ := w.next(s); known.Set(w.clock.Now(), hour) != nil {
		t.Error("fetched within the window")
	}
	w.clock.advance(time.Nanosecond)
	if known, _ := w.next(s); known.Set(w.clock.Now(), hour) == nil {
		t.Errorf("not fetched after the window: %+v", w.settled(s))
	}
	if got := w.settled(s); got.Trouble != "" || !got.Failing.IsZero() {
		t.Errorf("still failing: %+v", got)
	}
}

// TestDownLater: the last good keys serve on, and for how long depends on who reads them.
func TestDownLater(t *testing.T) {
	w := newWorld(t)
	w.issuer.says("/keys", set(t, "a"), "Cache-Control", "max-age=600")
	s := w.byURL()
	w.settled(s)
	fetched := w.clock.Now()
	w.issuer.on("/keys", hangsUp)
	first := w.due(s)
	if first.Trouble == "" || !first.Failing.Equal(w.clock.Now()) || !first.Fetched.Equal(fetched) {
		t.Errorf("%+v", first)
	}
	for range 20 {
		if again := w.due(s); !again.Failing.Equal(first.Failing) || again.Due.Sub(w.clock.Now()) != Window {
			t.Fatalf("%+v", again)
		}
	}
	for _, row := range []struct {
		after, maxStale time.Duration
		want            string
	}{
		{10 * time.Minute, 0, "a"},
		{10*time.Minute + 1, 0, "none"},
		{10*time.Minute + 1, 1, "a"},
		{24*time.Hour + 10*time.Minute, 24 * time.Hour, "a"},
		{24*time.Hour + 10*time.Minute + 1, 24 * time.Hour, "none"},
	} {
		w.clock.advance(fetched.Add(row.after).Sub(w.clock.Now()))
		if got := w.ids(s, row.maxStale); got != row.want {
			t.Errorf("%v after the fetch, stale at most %v: %s, want %s", row.after, row.maxStale, got, row.want)
		}
	}
	w.issuer.says("/keys", set(t, "b"))
	if w.due(s); w.ids(s, 0) != "b" {
		t.Errorf("%s after the outage", w.ids(s, 0))
	}
}

// TestSlow: nobody waits longer than its own time, and nobody makes another fetch begin.
func TestSlow(t *testing.T) {
	w := newWorld(t)
	release, good := make(chan struct{}), set(t, "a")
	w.issuer.on("/keys", func(a http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = a.Write([]byte(good))
	})
	s := w.byURL()
	var waiting sync.WaitGroup
	for range 50 {
		waiting.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if known, pending := s.Next(ctx, s.Current()); !pending || known.Set(w.clock.Now(), hour) != nil {
				t.Error("an answer before there was one")
			}
			if ctx.Err() != nil {
				t.Log("no time left for the answer") // on a machine that is busy
			}
		})
	}
	waiting.Wait()
	patient := make(chan *Known)
	go func() {
		known, _ := w.next(s)
		patient <- known
	}()
	eventually(t, "one waits", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.waiting == 1
	})
	close(release)
	if known := <-patient; known.Set(w.clock.Now(), 0) == nil {
		t.Error("who waited learns nothing")
	}
	if n := w.issuer.count("/keys"); n != 1 {
		t.Errorf("%d requests", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting != 0 {
		t.Errorf("%d still wait", s.waiting)
	}
}

// endless is a context whose end is near and that never ends.
type endless struct{ context.Context }

func (endless) Deadline() (time.Time, bool) { return time.Now().Add(margin / 2), true }

// TestWaitingLeavesTimeForTheAnswer: who has no more than the margin left does not wait.
func TestWaitingLeavesTimeForTheAnswer(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.issuer.on("/keys", func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	s := w.byURL()
	if _, pending := s.Next(endless{t.Context()}, s.Current()); !pending {
		t.Error("not pending")
	}
}

func TestWaitingIsBounded(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.issuer.on("/keys", func(http.ResponseWriter, *http.Request) { <-release })
	s := w.byURL()
	var waiting sync.WaitGroup
	for range maxWaiting {
		waiting.Go(func() { w.next(s) })
	}
	eventually(t, "all wait", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.waiting == maxWaiting
	})
	if _, pending := s.Next(t.Context(), s.Current()); !pending {
		t.Error("one more is told that there is nothing to wait for")
	}
	close(release)
	waiting.Wait()
}

func testUnknownKeysFetchOncePerWindow(t *testing.T) {
	w := newWorld(t)
	w.issuer.says("/keys", set(t, "a"), "Cache-Control", "max-age=86400")
	s := w.byURL()
	w.settled(s)
	for window := range 3 {
		w.clock.advance(Window)
		var asking sync.WaitGroup
		for range 8 {
			asking.Go(func() {
				for range 500 {
					w.next(s)
				}
			})
		}
		asking.Wait()
		if n := w.issuer.count("/keys"); n != window+2 {
			t.Errorf("%d requests in %d windows and at the start", n, window+1)
		}
	}
}

func testRotation(t *testing.T) {
	w := newWorld(t)
	old, both, fresh := set(t, "a"), "", ""
	fresh = set(t, "b")
	both = strings.TrimSuffix(old, "]}") + "," + strings.TrimPrefix(fresh, `{"keys":[`)
	w.issuer.says("/keys", old)
	s := w.byURL()
	w.settled(s)
	for _, step := range []struct{ says, want string }{{both, "a b"}, {fresh, "b"}} {
		w.issuer.says("/keys", step.says)
		before := w.issuer.count("/keys")
		if w.due(s); w.ids(s, 0) != step.want || w.issuer.count("/keys") != before+1 {
			t.Errorf("%s after %d requests, want %s", w.ids(s, 0), w.issuer.count("/keys")-before, step.want)
		}
	}
}

// TestConditional: an unchanged set is not sent again, and the tag of a set that was refused confirms nothing.
func TestConditional(t *testing.T) {
	w := newWorld(t)
	tagged := func(body, tag string) http.HandlerFunc {
		return func(a http.ResponseWriter, r *http.Request) {
			a.Header().Set("ETag", tag)
			if r.Header.Get("If-None-Match") == tag {
				a.WriteHeader(http.StatusNotModified)
				return
			}
			a.Header().Set("Cache-Control", "max-age=900")
			_, _ = a.Write([]byte(body))
		}
	}
	w.issuer.on("/keys", tagged(set(t, "a"), `"1"`))
	s := w.byURL()
	w.settled(s)
	if r := w.issuer.last("/keys"); r.Header.Get("If-None-Match") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("Authorization") != "" {
		t.Errorf("the first request has %v", r.Header)
	}
	first := s.Current().Set(w.clock.Now(), 0)
	got := w.due(s)
	if s.Current().Set(w.clock.Now(), 0) != first || got.Trouble != "" || !got.Fetched.Equal(w.clock.Now()) || got.Fresh.Sub(got.Fetched) != 15*time.Minute {
		t.Errorf("after 304: %+v", got)
	}
	w.issuer.on("/keys", tagged(`{"keys":[]}`, `"2"`))
	for range 3 {
		if got := w.due(s); got.Trouble == "" || w.issuer.last("/keys").Header.Get("If-None-Match") != `"1"` || w.ids(s, hour) != "a" {
			t.Errorf("after a set that is refused: %+v, sent %v", got, w.issuer.last("/keys").Header)
		}
	}
	w.issuer.says("/keys", set(t, "untagged"))
	w.due(s)
	w.issuer.on("/keys", func(a http.ResponseWriter, _ *http.Request) { a.WriteHeader(http.StatusNotModified) })
	if got := w.due(s); w.ids(s, hour) != "untagged" || !strings.Contains(got.Trouble, "304") {
		t.Errorf("304 to a question without a tag: %+v", got)
	}
	other := w.store.Source(Place{Bundle: "other", Issuer: "x", URL: w.issuer.server.URL + "/keys"})
	if got := w.settled(other); got.Set != nil || !strings.Contains(got.Trouble, "304") {
		t.Errorf("304 to who has nothing: %+v", got)
	}
}

func TestSameBytesAreTheSameSet(t *testing.T) {
	w := newWorld(t)
	w.issuer.says("/keys", set(t, "a"))
	s := w.byURL()
	w.settled(s)
	first := s.Current().Set(w.clock.Now(), 0)
	if w.due(s); s.Current().Set(w.clock.Now(), 0) != first {
		t.Error("parsed again")
	}
}

func TestJitter(t *testing.T) {
	for _, jitter := range []float64{0, 0.5, 0.999} {
		s := &Source{store: &Store{options: Options{Jitter: func() float64 { return jitter }}}}
		began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, fresh := range []time.Duration{minFresh, maxFresh} {
			k := s.after(&Known{}, &answered{fresh: fresh}, nil, began)
			if early := k.due.Sub(began); early < fresh*3/4 || early > fresh*9/10 || early < Window {
				t.Errorf("due %v after the fetch of what is fresh for %v", early, fresh)
			}
		}
		if k := s.after(&Known{}, nil, http.ErrAbortHandler, began); k.due.Sub(began) < Window || k.due.Sub(began) > Window*3/2 {
			t.Errorf("due %v after a failure", k.due.Sub(began))
		}
	}
}

// testClockSetBack: keys are not kept for as long as a clock was wrong.
func testClockSetBack(t *testing.T) {
	w := newWorld(t)
	w.issuer.says("/keys", set(t, "a"))
	s := w.byURL()
	w.settled(s)
	w.clock.advance(-1000 * time.Hour)
	w.issuer.says("/keys", set(t, "b"))
	w.store.refresh()
	if w.settled(s); w.ids(s, 0) != "b" {
		t.Errorf("%s, %+v", w.ids(s, 0), w.settled(s))
	}
}

// TestStoreLooksByItself: the only test that waits for the store's own goroutine.
func TestStoreLooksByItself(t *testing.T) {
	w := newWorld(t)
	w.issuer.says("/keys", set(t, "a"))
	s := w.byURL()
	w.settled(s)
	w.issuer.says("/keys", set(t, "b"))
	w.clock.advance(maxFresh)
	eventually(t, "fetched without being asked", func() bool { return w.ids(s, maxFresh) == "b" })
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.states) != 2 {
		t.Errorf("%d fetches were told of", len(w.states))
	}
}

func TestUnusableKeysAreListed(t *testing.T) {
	w := newWorld(t)
	weak := strings.Replace(set(t, "weak"), `"ES256"`, `"RS256"`, 1)
	good := set(t, "good")
	w.issuer.says("/keys", strings.TrimSuffix(weak, "]}")+","+strings.TrimPrefix(good, `{"keys":[`))
	s := w.byURL()
	if got := w.settled(s); w.ids(s, 0) != "good" || len(got.Set.Unusable()) != 1 || got.Trouble != "" {
		t.Errorf("keys %s, state %+v", w.ids(s, 0), got)
	}
}

// badSets are refused whole.
func badSets(t testing.TB) map[string]string {
	one := strings.TrimSuffix(strings.TrimPrefix(set(t, "a"), `{"keys":[`), "]}")
	many := make([]string, 65)
	for i := range many {
		many[i] = strings.Replace(one, `"a"`, `"a`+strconv.Itoa(i)+`"`, 1)
	}
	return map[string]string{
		"empty":            `{"keys":[]}`,
		"two of a kid":     `{"keys":[` + one + `,` + one + `]}`,
		"a secret too":     `{"keys":[` + one + `,{"kty":"oct","k":"` + strings.Repeat("A", 43) + `"}]}`,
		"65 keys":          `{"keys":[` + strings.Join(many, ",") + `]}`,
		"HTML":             "<!DOCTYPE html><html><body>Log in</body></html>",
		"nothing":          "",
		"null":             "null",
		"keys twice":       `{"keys":[` + one + `],"keys":[` + one + `]}`,
		"deep":             `{"keys":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"cut":              `{"keys":[` + one,
		"257 KiB":          `{"keys":[` + one + `],"x":"` + strings.Repeat("x", 257<<10) + `"}`,
		"10 MB":            `{"keys":[` + one + `],"x":"` + strings.Repeat("x", 10<<20) + `"}`,
		"private":          `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","d":"AAAA"}]}`,
		"no usable key":    `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`,
		"line feed in kid": `{"keys":[{"kty":"RSA","kid":"a\nb","n":"AQAB","e":"AQAB"}]}`,
	}
}

func TestBadSetsKeepTheLastGoodOne(t *testing.T) {
	w := newWorld(t)
	w.issuer.says("/keys", set(t, "good"))
	s := w.byURL()
	w.settled(s)
	for name, body := range badSets(t) {
		w.issuer.says("/keys", body)
		got := w.due(s)
		if w.ids(s, hour) != "good" || got.Trouble == "" || len(got.Trouble) > maxTrouble {
			t.Errorf("%s: keys %s, trouble %q", name, w.ids(s, hour), got.Trouble)
		}
	}
	w.issuer.says("/keys", set(t, "next"))
	if got := w.due(s); w.ids(s, 0) != "next" || got.Trouble != "" {
		t.Errorf("afterwards: keys %s, trouble %q", w.ids(s, 0), got.Trouble)
	}
}

// TestBadSetsAtTheStart: nothing is known, so nobody is told that a key is unknown.
func TestBadSetsAtTheStart(t *testing.T) {
	for name, body := range badSets(t) {
		w := newWorld(t)
		w.issuer.says("/keys", body)
		s := w.byURL()
		if w.settled(s); w.ids(s, hour) != "none" {
			t.Errorf("%s: keys %s", name, w.ids(s, hour))
		}
	}
}

// testBadAnswers: what is not 200 is no set, and a redirect leads nowhere.
func testBadAnswers(t *testing.T) {
	w := newWorld(t)
	elsewhere := newIssuer(t)
	elsewhere.says("/", set(t, "evil"))
	good := set(t, "good")
	w.issuer.says("/keys", good)
	s := w.byURL()
	w.settled(s)
	for name, answer := range map[string]http.HandlerFunc{
		"redirect to a private address": func(a http.ResponseWriter, r *http.Request) {
			http.Redirect(a, r, elsewhere.server.URL+"/", http.StatusFound)
		},
		"redirect to itself": func(a http.ResponseWriter, r *http.Request) {
			http.Redirect(a, r, "/keys", http.StatusTemporaryRedirect)
		},
		"an error with keys": func(a http.ResponseWriter, _ *http.Request) {
			a.WriteHeader(http.StatusInternalServerError)
			_, _ = a.Write([]byte(good))
		},
		"not found": http.NotFound,
		"created":   func(a http.ResponseWriter, _ *http.Request) { a.WriteHeader(http.StatusCreated) },
		"cut off":   hangsUp,
		"shorter": func(a http.ResponseWriter, _ *http.Request) {
			a.Header().Set("Content-Length", "1000")
			_, _ = a.Write([]byte(good[:20]))
		},
	} {
		w.issuer.on("/keys", answer)
		before := w.issuer.count("/keys")
		got := w.due(s)
		if w.ids(s, hour) != "good" || got.Trouble == "" {
			t.Errorf("%s: keys %s, trouble %q", name, w.ids(s, hour), got.Trouble)
		}
		if n := w.issuer.count("/keys") - before; n != 1 && name != "cut off" {
			t.Errorf("%s: %d requests", name, n)
		}
	}
	if n := elsewhere.count("/"); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}
