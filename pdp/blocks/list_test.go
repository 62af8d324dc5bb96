package blocks

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/state/memory"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newList(t testing.TB, s state.Store, c *clock) *List {
	t.Helper()
	l, err := New(Options{Clock: c.Now, Open: func(changed func([]state.Record, bool)) (*state.Table, error) {
		return state.NewTable(state.TableOptions{Store: s, Name: Table, Clock: c.Now, Most: Most, Changed: changed})
	}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// block completes a block.
func (c *clock) block(b Block) Block {
	b.Reason, b.By, b.Made = "leaked", "ops", c.Now()
	return b
}

func put(t testing.TB, l *List, b Block) Block {
	t.Helper()
	in, _, err := l.Put(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

const issuer = "https://idp.example.com"

// alice is a credential that every kind of block can be about.
func alice(c *clock) Credential {
	return Credential{
		Bundle: "acme", Authenticator: "corp", Issuer: issuer, Subject: "user:corp:alice", Name: "a-1", Token: "t1", Session: "s1", Client: "shop", Key: "k1",
		Issued: c.Now().Add(-time.Minute),
	}
}

// TestCredential: each kind of block is about its own part of a credential and nothing else; what a new credential would mend revokes,
// what it would not blocks.
func TestCredential(t *testing.T) {
	c := newClock()
	now := c.Now()
	for name, row := range map[string]struct {
		block Block
		want  string // revoked, blocked or nothing
	}{
		"token":                    {Block{Kind: Token, Issuer: issuer, Value: "t1"}, "revoked"},
		"token of another issuer":  {Block{Kind: Token, Issuer: issuer + "/", Value: "t1"}, ""},
		"token by session":         {Block{Kind: Token, Issuer: issuer, Value: "s1"}, ""},
		"token in this bundle":     {Block{Kind: Token, Bundle: "acme", Issuer: issuer, Value: "t1"}, "revoked"},
		"token in another bundle":  {Block{Kind: Token, Bundle: "other", Issuer: issuer, Value: "t1"}, ""},
		"token by authenticator":   {Block{Kind: Token, Issuer: "corp", Value: "t1"}, ""},
		"session":                  {Block{Kind: Session, Issuer: issuer, Value: "s1"}, "revoked"},
		"session elsewhere":        {Block{Kind: Session, Issuer: "https://other.example.com", Value: "s1"}, ""},
		"key":                      {Block{Kind: Key, Issuer: "corp", Value: "k1"}, "revoked"},
		"key by issuer":            {Block{Kind: Key, Issuer: issuer, Value: "k1"}, ""},
		"subject":                  {Block{Kind: Subject, Value: "user:corp:alice"}, "blocked"},
		"subject in this bundle":   {Block{Kind: Subject, Bundle: "acme", Value: "user:corp:alice"}, "blocked"},
		"subject in another":       {Block{Kind: Subject, Bundle: "other", Value: "user:corp:alice"}, ""},
		"subject by sub":           {Block{Kind: Subject, Issuer: issuer, Value: "a-1"}, "blocked"},
		"subject by key of issuer": {Block{Kind: Subject, Issuer: issuer, Value: "user:corp:alice"}, ""},
		"sub without issuer":       {Block{Kind: Subject, Value: "a-1"}, ""},
		"client":                   {Block{Kind: Client, Issuer: issuer, Value: "shop"}, "blocked"},
		"client elsewhere":         {Block{Kind: Client, Issuer: "x", Value: "shop"}, ""},
		"issued before":            {Block{Kind: Issuer, Issuer: issuer, Before: now}, "revoked"},
		"issued at that time":      {Block{Kind: Issuer, Issuer: issuer, Before: now.Add(-time.Minute)}, ""},
		"issuer elsewhere":         {Block{Kind: Issuer, Issuer: "x", Before: now}, ""},
		"subject's older":          {Block{Kind: Subject, Value: "user:corp:alice", Before: now}, "revoked"},
		"subject's older by sub":   {Block{Kind: Subject, Issuer: issuer, Value: "a-1", Before: now}, "revoked"},
		"subject's newer":          {Block{Kind: Subject, Value: "user:corp:alice", Before: now.Add(-time.Hour)}, ""},
		"network":                  {Block{Kind: Network, Value: "192.0.2.0/24"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newList(t, memory.New(c.Now), c)
			credential := alice(c)
			check := func(when time.Time, want string) {
				t.Helper()
				revoked, blocked := l.Credential(&credential, when)
				got := ""
				if revoked != nil {
					got = "revoked"
				} else if blocked != nil {
					got = "blocked"
				}
				if got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			check(now, "")
			row.block.Until = now.Add(time.Hour)
			in := put(t, l, c.block(row.block))
			check(now, row.want)
			check(now.Add(time.Hour-1), row.want)
			check(now.Add(time.Hour), "") // its end
			if _, ok, err := l.Lift(t.Context(), in.ID()); !ok || err != nil {
				t.Fatal(ok, err)
			}
			check(now, "")
		})
	}
	t.Run("without a time of issue", func(t *testing.T) {
		l := newList(t, memory.New(c.Now), c)
		put(t, l, c.block(Block{Kind: Issuer, Issuer: issuer, Before: now}))
		credential := alice(c)
		credential.Issued = time.Time{}
		if revoked, _ := l.Credential(&credential, now); revoked == nil {
			t.Error("what says nothing of its age passes")
		}
	})
	t.Run("without an issuer", func(t *testing.T) {
		l := newList(t, memory.New(c.Now), c)
		put(t, l, c.block(Block{Kind: Token, Issuer: "corp", Value: "t1"}))
		credential := alice(c)
		credential.Issuer = ""
		if revoked, _ := l.Credential(&credential, now); revoked == nil {
			t.Error("the authenticator's name does not stand for the issuer")
		}
	})
	t.Run("with nothing", func(t *testing.T) { // a block's empty fields are no wildcard, and neither are a credential's
		l := newList(t, memory.New(c.Now), c)
		for _, k := range []Kind{Token, Session, Key, Subject, Client} {
			put(t, l, c.block(Block{Kind: k, Issuer: issuer, Value: "x"}))
		}
		if revoked, blocked := l.Credential(&Credential{}, now); revoked != nil || blocked != nil {
			t.Error(revoked, blocked)
		}
	})
}

func TestNetwork(t *testing.T) {
	c := newClock()
	l := newList(t, memory.New(c.Now), c)
	for _, text := range []string{"192.0.2.0/24", "198.51.100.7", "2001:db8::/48", "2001:db8:1::1", "::ffff:203.0.113.0/120", "10.1.2.3/8"} {
		put(t, l, c.block(Block{Kind: Network, Value: text}))
	}
	ended := c.block(Block{Kind: Network, Value: "192.0.2.128/25", Until: c.Now().Add(time.Second)})
	put(t, l, ended)
	c.advance(time.Second)
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.0/24", "192.0.2.255": "192.0.2.0/24", "192.0.3.0": "", "198.51.100.7": "198.51.100.7/32", "198.51.100.8": "",
		"2001:db8::ffff": "2001:db8::/48", "2001:db8:1::1": "2001:db8:1::1/128", "2001:db8:1::2": "", "203.0.113.9": "203.0.113.0/24",
		"::ffff:192.0.2.1": "192.0.2.0/24", "10.200.0.1": "10.0.0.0/8", "::": "", "0.0.0.0": "",
	} {
		got := ""
		if b := l.Network(netip.MustParseAddr(text), c.Now()); b != nil {
			got = b.Value
		}
		if got != want {
			t.Errorf("%s is in %q, want %q", text, got, want)
		}
	}
	if b := l.Network(netip.Addr{}, c.Now()); b != nil {
		t.Error("an unknown address is in a network")
	}
	// A wider block that is lifted leaves the narrower one.
	wide := put(t, l, c.block(Block{Kind: Network, Value: "192.0.0.0/16"}))
	if b := l.Network(netip.MustParseAddr("192.0.3.1"), c.Now()); b == nil {
		t.Error("the wide network is open")
	}
	if _, ok, err := l.Lift(t.Context(), wide.ID()); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if b := l.Network(netip.MustParseAddr("192.0.3.1"), c.Now()); b != nil {
		t.Error("still in", b.Value)
	}
	if b := l.Network(netip.MustParseAddr("192.0.2.1"), c.Now()); b == nil {
		t.Error("the narrow network is open")
	}
}

// TestPutNeverShortens: whoever blocks again moves ends back and not forward, whatever the replica knew.
func TestPutNeverShortens(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	one, two := newList(t, s, c), newList(t, s, c)
	session := func(until time.Duration, reason string) Block {
		b := c.block(Block{Kind: Session, Issuer: issuer, Value: "s1"})
		if until > 0 {
			b.Until = c.Now().Add(until)
		}
		b.Reason = reason
		return b
	}
	first := put(t, one, session(time.Hour, "one"))
	in, known, err := two.Put(t.Context(), session(time.Minute, "two"))
	if err != nil || !known || in.Reason != "one" || !in.Until.Equal(first.Until) {
		t.Errorf("a shorter one: %+v, %v, %v", in, known, err)
	}
	in, known, err = two.Put(t.Context(), session(2*time.Hour, "three"))
	if err != nil || !known || in.Reason != "three" || !in.Until.Equal(c.Now().Add(2*time.Hour)) {
		t.Errorf("a longer one: %+v, %v, %v", in, known, err)
	}
	put(t, one, session(0, "forever"))
	in = put(t, two, session(time.Hour, "four"))
	if in.Reason != "forever" || !in.Until.IsZero() || len(two.All()) != 1 {
		t.Errorf("after never: %+v", in)
	}
	before := c.block(Block{Kind: Issuer, Issuer: issuer, Before: c.Now(), Until: c.Now().Add(time.Hour)})
	put(t, one, before)
	earlier := before
	earlier.Before, earlier.Until = c.Now().Add(-time.Hour), c.Now().Add(2*time.Hour)
	if in = put(t, one, earlier); !in.Before.Equal(before.Before) || !in.Until.Equal(earlier.Until) {
		t.Errorf("an earlier time of issue: %+v", in)
	}
}

// racing is a store where somebody else is faster, each time.
type racing struct {
	state.Store
	before func()
}

func (r *racing) Write(ctx context.Context, table string, record state.Record, ifAbsent bool) (bool, error) {
	r.before()
	return r.Store.Write(ctx, table, record, ifAbsent)
}

// TestPutsAtOnce: of two replicas that block the same at the same time none shortens what the other made.
func TestPutsAtOnce(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	faster := newList(t, s, c)
	var others []Block
	slower := newList(t, &racing{s, func() {
		if len(others) > 0 {
			b := others[0]
			others = others[1:]
			put(t, faster, b)
		}
	}}, c)
	session := func(value string, until time.Duration) Block {
		b := c.block(Block{Kind: Session, Issuer: issuer, Value: value})
		if until > 0 {
			b.Until = c.Now().Add(until)
		}
		return b
	}
	others = []Block{session("new", 0)}
	if in := put(t, slower, session("new", time.Hour)); !in.Until.IsZero() {
		t.Errorf("a new block ends at %v, while another made it for ever", in.Until)
	}
	put(t, slower, session("longer", time.Minute))
	others = []Block{session("longer", 3*time.Hour)}
	if in := put(t, slower, session("longer", 2*time.Hour)); !in.Until.Equal(c.Now().Add(3 * time.Hour)) {
		t.Errorf("a known block ends at %v", in.Until)
	}
	others = []Block{session("longer", 4*time.Hour), session("longer", 5*time.Hour)}
	if in := put(t, slower, session("longer", 6*time.Hour)); !in.Until.Equal(c.Now().Add(6 * time.Hour)) {
		t.Errorf("the longest ends at %v", in.Until)
	}
	for n := range 2 * attempts {
		others = append(others, session("busy", time.Duration(n+1)*time.Minute))
	}
	if _, _, err := slower.Put(t.Context(), session("busy", time.Hour)); err == nil || errors.Is(err, ErrBlock) {
		t.Errorf("others are always faster: %v", err)
	}
}

// TestReplicas: a change reaches other replicas, and what a store lost is written back by a replica that lives.
func TestReplicas(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	one, two := newList(t, s, c), newList(t, s, c)
	sync := func(lists ...*List) {
		t.Helper()
		for _, l := range lists {
			if err := l.table.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	sync(two)
	b := put(t, one, c.block(Block{Kind: Token, Issuer: issuer, Value: "t1"}))
	revoked := func(l *List) bool {
		credential := alice(c)
		found, _ := l.Credential(&credential, c.Now())
		return found != nil
	}
	if !revoked(one) || revoked(two) {
		t.Fatal(revoked(one), revoked(two))
	}
	sync(two)
	if !revoked(two) {
		t.Error("the other replica does not know")
	}
	s.Lose()
	fresh := newList(t, s, c) // restarted together with the store
	sync(fresh, one, fresh)
	if !revoked(one) || !revoked(fresh) {
		t.Error("lost", revoked(one), revoked(fresh))
	}
	if _, ok, err := fresh.Lift(t.Context(), b.ID()); !ok || err != nil {
		t.Fatal(ok, err)
	}
	sync(one, two)
	if revoked(one) || revoked(two) || revoked(fresh) {
		t.Error("lifted, and still in force")
	}
	if _, ok, err := one.Lift(t.Context(), b.ID()); ok || err != nil {
		t.Error("lifted twice", err)
	}
}

// TestUnreadable: what cannot be read blocks nobody, takes nothing else away, and is counted.
func TestUnreadable(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	l := newList(t, s, c)
	good := c.block(Block{Kind: Token, Issuer: issuer, Value: "t1"})
	data, err := good.encode()
	if err != nil {
		t.Fatal(err)
	}
	for id, value := range map[string]string{"x": "{", good.ID() + "0": string(data), "token-1": `{"kind":"planet"}`, "y": "null"} {
		if _, err := s.Write(t.Context(), Table, state.Record{ID: id, Value: []byte(value)}, false); err != nil {
			t.Fatal(err)
		}
	}
	put(t, l, good)
	if got := l.All(); len(got) != 1 || l.Unreadable() < 4 {
		t.Errorf("%v, %d unreadable", got, l.Unreadable())
	}
}

func TestFull(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	l := newList(t, s, c)
	fill(t, s, c, Most)
	if err := l.table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Put(t.Context(), c.block(Block{Kind: Token, Issuer: issuer, Value: "one more"})); !errors.Is(err, state.ErrFull) {
		t.Errorf("beyond the bound: %v", err)
	}
	if len(l.All()) != Most {
		t.Error(len(l.All()))
	}
}

// fill writes blocks of sessions and networks to the store.
func fill(t testing.TB, s state.Store, c *clock, n int) {
	t.Helper()
	for i := range n {
		b := c.block(Block{Kind: Session, Bundle: "acme", Issuer: issuer, Value: fmt.Sprintf("3b241101-e2bb-4255-8caf-%012d", i), Until: c.Now().Add(24 * time.Hour)})
		if i%100 == 0 {
			b = c.block(Block{Kind: Network, Value: netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}).String()})
		}
		if err := b.Check(); err != nil {
			t.Fatal(err)
		}
		data, err := b.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(context.Background(), Table, state.Record{ID: b.ID(), Value: data, Expires: b.Until}, false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestQuestionsAllocateNothing, with as many blocks as there may be. It prints what they take.
func TestQuestionsAllocateNothing(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	fill(t, s, c, Most)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := newList(t, s, c)
	if err := l.table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d blocks: %d MiB on each replica", len(l.All()), (after.HeapAlloc-before.HeapAlloc)>>20)
	credential, address, now := alice(c), netip.MustParseAddr("198.51.100.7"), c.Now()
	hit := credential
	hit.Session = fmt.Sprintf("3b241101-e2bb-4255-8caf-%012d", 77)
	if n := testing.AllocsPerRun(100, func() {
		if revoked, blocked := l.Credential(&credential, now); revoked != nil || blocked != nil {
			t.Error("blocked")
		}
		if revoked, _ := l.Credential(&hit, now); revoked == nil {
			t.Error("not blocked")
		}
		if l.Network(address, now) != nil {
			t.Error("blocked")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBlockIsChecked(t *testing.T) {
	c := newClock()
	long := strings.Repeat("x", MaxValue+1)
	for name, row := range map[string]struct {
		block Block
		want  string
	}{
		"no kind":              {Block{Value: "x"}, "the kind is missing"},
		"unknown kind":         {Block{Kind: 99, Issuer: issuer, Value: "x"}, "the kind is missing"},
		"token without issuer": {Block{Kind: Token, Value: "x"}, "the issuer is missing"},
		"token without value":  {Block{Kind: Token, Issuer: issuer}, "the value is missing"},
		"key without issuer":   {Block{Kind: Key, Value: "x"}, "the issuer is missing"},
		"subject of nobody":    {Block{Kind: Subject}, "the value is missing"},
		"issuer for ever":      {Block{Kind: Issuer, Issuer: issuer}, "issued before a time"},
		"issuer with a value":  {Block{Kind: Issuer, Issuer: issuer, Value: "x", Before: c.Now()}, "issued before a time"},
		"token before":         {Block{Kind: Token, Issuer: issuer, Value: "x", Before: c.Now()}, "of issuers and subjects"},
		"network of a bundle":  {Block{Kind: Network, Value: "192.0.2.0/24", Bundle: "acme"}, "for all bundles"},
		"no network":           {Block{Kind: Network, Value: "192.0.2.0/33"}, "no address and no network"},
		"zone":                 {Block{Kind: Network, Value: "fe80::1%eth0"}, "no address and no network"},
		"host name":            {Block{Kind: Network, Value: "example.com"}, "no address and no network"},
		"mapped and too wide":  {Block{Kind: Network, Value: "::ffff:0.0.0.0/90"}, "no address and no network"},
		"long":                 {Block{Kind: Token, Issuer: issuer, Value: long}, "longer than 2048 bytes"},
		"control character":    {Block{Kind: Token, Issuer: issuer, Value: "a\nb"}, "control characters"},
		"no UTF-8":             {Block{Kind: Token, Issuer: issuer, Value: "a\xff"}, "control characters"},
	} {
		b := c.block(row.block)
		if err := b.Check(); !errors.Is(err, ErrBlock) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, change := range []func(*Block){func(b *Block) { b.Reason = "" }, func(b *Block) { b.By = "" }, func(b *Block) { b.Made = time.Time{} }, func(b *Block) { b.Reason = long }} {
		b := c.block(Block{Kind: Token, Issuer: issuer, Value: "x"})
		if change(&b); b.Check() == nil {
			t.Errorf("%+v passes", b)
		}
	}
}

// TestIDsAreInjective: no two different things share an id, and the same thing has one.
func TestIDsAreInjective(t *testing.T) {
	c := newClock()
	seen := map[string]Block{}
	for _, b := range []Block{
		{Kind: Token, Issuer: "a", Value: "bc"}, {Kind: Token, Issuer: "ab", Value: "c"}, {Kind: Token, Bundle: "a", Issuer: "b", Value: "c"}, {Kind: Session, Issuer: "a", Value: "bc"},
		{Kind: Subject, Value: "abc"}, {Kind: Subject, Value: "abc", Before: c.Now()}, {Kind: Subject, Issuer: "a", Value: "bc"}, {Kind: Subject, Bundle: "a", Value: "bc"},
	} {
		if other, taken := seen[b.ID()]; taken {
			t.Errorf("%+v and %+v are both %s", b, other, b.ID())
		}
		seen[b.ID()] = b
	}
	a, b := c.block(Block{Kind: Network, Value: "10.1.2.3/8"}), c.block(Block{Kind: Network, Value: "::ffff:10.0.0.0/104"})
	if err := errors.Join(a.Check(), b.Check()); err != nil || a.ID() != b.ID() {
		t.Error(a, b, err)
	}
}

// FuzzDecode: what a store may hold never panics, and what is read is written the same way again.
func FuzzDecode(f *testing.F) {
	c := newClock()
	for _, b := range []Block{
		c.block(Block{Kind: Token, Issuer: issuer, Value: "t1"}), c.block(Block{Kind: Network, Value: "2001:db8::/32", Until: c.Now()}),
		c.block(Block{Kind: Issuer, Issuer: issuer, Before: c.Now()}),
	} {
		data, err := b.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b.ID(), data)
	}
	f.Add("x", []byte(`{"kind":"network","value":"::ffff:1.2.3.4/96"}`))
	f.Fuzz(func(t *testing.T, id string, data []byte) {
		b, err := decode(id, data)
		if err != nil {
			return
		}
		v := newView(1)
		v.set(id, b)
		again, err := b.encode()
		if err != nil {
			t.Fatal(err)
		}
		twice, err := decode(id, again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, twice); diff != "" {
			t.Error(diff)
		}
		v.remove(id)
		if len(v.byID)+len(v.places)+len(v.networks)+len(v.v4.list)+len(v.v6.list) != 0 || v.held != (view{}).held {
			t.Error("something is left")
		}
	})
}

func BenchmarkCredential(b *testing.B) {
	c := newClock()
	s := memory.New(c.Now)
	fill(b, s, c, Most)
	l := newList(b, s, c)
	if err := l.table.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	credential, address, now := alice(c), netip.MustParseAddr("198.51.100.7"), c.Now()
	b.ReportAllocs()
	for b.Loop() {
		l.Credential(&credential, now)
		l.Network(address, now)
	}
}

// TestQuestionsDuringChanges is for the race detector; what is blocked all the while is never let through.
func TestQuestionsDuringChanges(t *testing.T) {
	c := newClock()
	s := memory.New(c.Now)
	l := newList(t, s, c)
	put(t, l, c.block(Block{Kind: Token, Issuer: issuer, Value: "t1"}))
	put(t, l, c.block(Block{Kind: Network, Value: "192.0.2.0/24"}))
	credential, address, now := alice(c), netip.MustParseAddr("192.0.2.1"), c.Now()
	done := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if revoked, _ := l.Credential(&credential, now); revoked == nil || l.Network(address, now) == nil {
					t.Error("let through")
					return
				}
			}
		})
	}
	for i := range 200 {
		b := put(t, l, c.block(Block{Kind: Session, Issuer: issuer, Value: fmt.Sprint(i)}))
		if i%50 == 0 {
			s.Lose() // the table is read whole again
		}
		if i%2 == 0 {
			if _, ok, err := l.Lift(t.Context(), b.ID()); !ok || err != nil {
				t.Error(i, ok, err)
			}
		}
	}
	close(done)
	asking.Wait()
	if got := len(l.All()); got != 102 {
		t.Errorf("%d blocks", got)
	}
}
