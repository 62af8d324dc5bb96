package apikey

import (
	"bytes"
	"crypto/rand"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var testNow = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func testHasher(t testing.TB, names ...string) *Hasher {
	t.Helper()
	var keys []HashKey
	for _, name := range names {
		keys = append(keys, HashKey{Name: name, Secret: []byte(strings.Repeat(name+"!", 43))})
	}
	h, err := NewHasher(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// issue makes a key with its record, changed.
func issue(t testing.TB, h *Hasher, prefix string, change func(*Record)) (string, Record) {
	t.Helper()
	text, k, err := New(rand.Reader, prefix)
	if err != nil {
		t.Fatal(err)
	}
	r := Record{ID: k.ID, Bundle: "acme", Authenticator: "machines", Owner: "ci", Kind: "service", Created: testNow, Expires: testNow.Add(time.Hour)}
	if change != nil {
		change(&r)
	}
	r.Hash, r.HashKey = h.Hash(r.Bundle, r.Authenticator, text)
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	return text, r
}

var anywhere = netip.MustParseAddr("198.51.100.7")

func TestVerify(t *testing.T) {
	h, old := testHasher(t, "new", "old"), testHasher(t, "old")
	lost := testHasher(t, "lost")
	good, goodRecord := issue(t, h, "dwk_live_", nil)
	byOld, oldRecord := issue(t, old, "dwk_live_", nil)
	byLost, lostRecord := issue(t, lost, "dwk_live_", nil)
	home, homeRecord := issue(t, h, "dwk_live_", func(r *Record) {
		r.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	})
	forever, foreverRecord := issue(t, h, "dwk_live_", func(r *Record) { r.Expires = time.Time{} })
	revoked, revokedRecord := issue(t, h, "dwk_live_", func(r *Record) { r.Revoked = testNow })
	replaced, replacedRecord := issue(t, h, "dwk_live_", func(r *Record) { r.Ends = testNow.Add(time.Minute) })
	foreign, foreignRecord := issue(t, h, "dwk_live_", func(r *Record) { r.Bundle = "other" })
	sibling, siblingRecord := issue(t, h, "dwk_live_", func(r *Record) { r.Authenticator = "robots" })
	labelled, labelledRecord := issue(t, h, "dwk_test_", nil)
	unknown, _ := issue(t, h, "dwk_live_", nil)
	// A record that was copied to another bundle, with all that it says.
	moved, movedRecord := issue(t, h, "dwk_live_", func(r *Record) { r.Bundle = "other" })
	movedRecord.Bundle = "acme"
	// The right id with the secret, and the right checksum, of another key.
	mixed := mix(good, unknown)

	v := &Verifier{Prefix: "dwk_live_", Bundle: "acme", Authenticator: "machines", Hasher: h, Book: NewBook(BookOptions{},
		goodRecord, oldRecord, lostRecord, homeRecord, foreverRecord, revokedRecord, replacedRecord, foreignRecord, siblingRecord, labelledRecord, movedRecord)}
	for _, tc := range []struct {
		name, raw string
		address   netip.Addr
		after     time.Duration
		want      Failure
		id        string // told to operators
	}{
		{"good", good, anywhere, 0, OK, goodRecord.ID},
		{"good, address unknown", good, netip.Addr{}, 0, OK, goodRecord.ID},
		{"made with the hash key before", byOld, anywhere, 0, OK, oldRecord.ID},
		{"made with a hash key that is gone", byLost, anywhere, 0, Unknown, lostRecord.ID},
		{"to the last moment", good, anywhere, time.Hour - 1, OK, goodRecord.ID},
		{"expired", good, anywhere, time.Hour, Expired, goodRecord.ID},
		{"never expires", forever, anywhere, 50 * 365 * 24 * time.Hour, OK, foreverRecord.ID},
		{"revoked", revoked, anywhere, 0, Revoked, revokedRecord.ID},
		{"revoked and expired", revoked, anywhere, time.Hour, Revoked, revokedRecord.ID},
		{"replaced, within the overlap", replaced, anywhere, time.Minute - 1, OK, replacedRecord.ID},
		{"replaced, after it", replaced, anywhere, time.Minute, Expired, replacedRecord.ID},
		{"allowed network", home, netip.MustParseAddr("10.1.2.3"), 0, OK, homeRecord.ID},
		{"allowed network, IPv4-mapped", home, netip.MustParseAddr("::ffff:10.1.2.3"), 0, OK, homeRecord.ID},
		{"allowed network of IPv6", home, netip.MustParseAddr("2001:db8::1"), 0, OK, homeRecord.ID},
		{"allowed network with a zone", home, netip.MustParseAddr("2001:db8::1%eth0"), 0, OK, homeRecord.ID},
		{"another network", home, anywhere, 0, Address, homeRecord.ID},
		{"a network, address unknown", home, netip.Addr{}, 0, Address, homeRecord.ID},
		{"unknown", unknown, anywhere, 0, Unknown, ""},
		{"wrong secret", mixed, anywhere, 0, Unknown, goodRecord.ID},
		{"another bundle's", foreign, anywhere, 0, Unknown, ""},
		{"another authenticator's", sibling, anywhere, 0, Unknown, ""},
		{"another prefix", labelled, anywhere, 0, Unknown, ""},
		{"a record from another bundle", moved, anywhere, 0, Unknown, movedRecord.ID},
		{"bad checksum", good[:len(good)-1] + "!", anywhere, 0, Unknown, ""},
		{"10 KB", good + strings.Repeat("A", 10<<10), anywhere, 0, Unknown, ""},
		{"unicode", "dwk_live_" + strings.Repeat("é", 33), anywhere, 0, Unknown, ""},
	} {
		got := v.Verify(tc.raw, tc.address, testNow.Add(tc.after))
		proven := tc.want != Unknown
		if got.Failure != tc.want || got.ID != tc.id || (got.Record != nil) != proven || (got.Detail == "") != (tc.want == OK) {
			t.Errorf("%s: %+v, want %d of %q", tc.name, got, tc.want, tc.id)
		}
		if proven && got.Record.Owner != "ci" {
			t.Errorf("%s: %+v", tc.name, got.Record)
		}
		if tail := tc.raw[len(tc.raw)-20:]; strings.Contains(got.Detail, tail) {
			t.Errorf("%s: %q holds what came", tc.name, got.Detail)
		}
	}
}

// mix returns the id of one key with the secret of another, and the checksum of both.
func mix(id, secret string) string {
	end := len(id) - tailLength
	body := id[:end] + secret[end:len(secret)-sumLength]
	sum := checksum(body)
	return body + string(sum[:])
}

// TestTimeTellsNothing: every text of the form of a key costs one look-up, one HMAC over as many bytes and one comparison, whether or not
// there is such a key; one that is none costs nothing of that.
func TestTimeTellsNothing(t *testing.T) { t.Run("username-timing", testTimeTellsNothing) }

func testTimeTellsNothing(t *testing.T) {
	h := testHasher(t, "k")
	good, goodRecord := issue(t, h, "dwk_", nil)
	revoked, revokedRecord := issue(t, h, "dwk_", func(r *Record) { r.Revoked = testNow })
	foreign, foreignRecord := issue(t, h, "dwk_", func(r *Record) { r.Bundle = "other" })
	gone, goneRecord := issue(t, testHasher(t, "gone"), "dwk_", nil)
	unknown, _ := issue(t, h, "dwk_", nil)
	v := &Verifier{Prefix: "dwk_", Bundle: "acme", Authenticator: "machines", Hasher: h, Book: NewBook(BookOptions{}, goodRecord, revokedRecord, foreignRecord, goneRecord)}
	for name, raw := range map[string]string{"good": good, "wrong secret": mix(good, unknown), "unknown": unknown, "revoked": revoked, "another bundle's": foreign, "of a lost hash key": gone} {
		v.counted = &counts{}
		v.Verify(raw, anywhere, testNow)
		if *v.counted != (counts{hashes: 1, compares: 1, lookups: 1}) {
			t.Errorf("%s: %+v", name, *v.counted)
		}
		if len(raw) != len(good) {
			t.Errorf("%s: %d bytes to hash", name, len(raw))
		}
	}
	v.counted = &counts{}
	v.Verify(good[:len(good)-1]+"_", anywhere, testNow)
	if *v.counted != (counts{}) {
		t.Errorf("no key: %+v", *v.counted)
	}
}

func TestUnavailable(t *testing.T) {
	h := testHasher(t, "k")
	raw, r := issue(t, h, "dwk_", nil)
	for name, v := range map[string]*Verifier{
		"no hash keys": {Prefix: "dwk_", Book: NewBook(BookOptions{}, r)},
		"no book":      {Prefix: "dwk_", Hasher: h},
		"old":          {Prefix: "dwk_", Bundle: "acme", Authenticator: "machines", Hasher: h, Book: NewBook(BookOptions{Fresh: func(time.Time) bool { return false }}, r)},
	} {
		for _, text := range []string{raw, "dwk_junk"} {
			if got := v.Verify(text, anywhere, testNow); got.Failure != Unavailable || got.Detail == "" || got.Record != nil {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
}

func TestHasher(t *testing.T) {
	secret := bytes.Repeat([]byte("x"), MinHashKey)
	for name, keys := range map[string][]HashKey{
		"none": nil, "short": {{"a", secret[1:]}}, "twice": {{"a", secret}, {"a", secret}}, "no name": {{"", secret}}, "a name": {{"A", secret}}, "a colon": {{"a:b", secret}},
	} {
		if _, err := NewHasher(keys...); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	h := testHasher(t, "k", "l")
	sum, name := h.Hash("a", "b", "c")
	if name != "k" || sum == h.sum("l", "a", "b", "c") || sum != h.sum("k", "a", "b", "c") {
		t.Errorf("%x by %s", sum, name)
	}
	for _, other := range [][3]string{{"a", "bc", ""}, {"ab", "", "c"}, {"", "ab", "c"}, {"a", "b", "C"}} {
		if h.sum("k", other[0], other[1], other[2]) == sum {
			t.Errorf("%q hashes to the same", other)
		}
	}
	if (*Hasher)(nil).Knows("k") || !h.Knows("l") || h.Knows("m") {
		t.Error("Knows")
	}
}

func TestRecordChecks(t *testing.T) {
	_, good := issue(t, testHasher(t, "k"), "dwk_", nil)
	for name, change := range map[string]func(*Record){
		"id": func(r *Record) { r.ID = "x" }, "hash": func(r *Record) { r.Hash = [32]byte{} }, "hash_key": func(r *Record) { r.HashKey = "" },
		"owner": func(r *Record) { r.Owner = "a\nb" }, "kind": func(r *Record) { r.Kind = "anonymous" }, "tenant": func(r *Record) { r.Tenant = strings.Repeat("a", 257) },
		"scopes": func(r *Record) { r.Scopes = []string{"a b"} }, "roles": func(r *Record) { r.Roles = []string{"user:corp:root"} },
		"created": func(r *Record) { r.Created = time.Time{} }, "expires": func(r *Record) { r.Expires = r.Created }, "replaces": func(r *Record) { r.Replaces = "?" },
		"addresses": func(r *Record) { r.Addresses = make([]netip.Prefix, 65) },
	} {
		r := good
		change(&r)
		if err := r.Check(); err == nil || !strings.HasPrefix(err.Error(), name+":") {
			t.Errorf("%s: %v", name, err)
		}
	}
	odd := good
	if odd.Owner = "a\xffb"; odd.Check() == nil {
		t.Error("an owner that is not UTF-8")
	}
	many := good
	if many.Scopes = make([]string, 65); many.Check() == nil {
		t.Error("65 scopes")
	}
	if many.Scopes, many.Roles = nil, make([]string, 65); many.Check() == nil {
		t.Error("65 roles")
	}
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "192.0.2.1": "192.0.2.1/32", "2001:db8::/32": "2001:db8::/32", "::1": "::1/128", "::ffff:192.0.2.1": "192.0.2.1/32",
		"10.0.0.1/8": "", "": "", "host": "", "10.0.0.0/33": "", "::ffff:10.0.0.0/104": "", "fe80::1%eth0": "",
	} {
		p, err := ParseAddress(text)
		if (err == nil) != (want != "") || err == nil && p.String() != want {
			t.Errorf("%q: %v, %v; want %q", text, p, err, want)
		}
	}
}

// FuzzParseAddress: a network that is read contains its own address, and is written as it is read.
func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8", "::ffff:1.2.3.4", "fe80::1%1", "1.2.3.4/32", "::/0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseAddress(text)
		if err != nil {
			return
		}
		again, err := ParseAddress(p.String())
		if err != nil || again != p || !p.Contains(p.Addr()) || p.Addr().Is4In6() {
			t.Fatalf("%q: %v, %v, %v", text, p, again, err)
		}
	})
}

func TestNotes(t *testing.T) {
	h := testHasher(t, "k")
	raw, r := issue(t, h, "dwk_", nil)
	var noted []time.Time
	v := &Verifier{Prefix: "dwk_", Bundle: "acme", Authenticator: "machines", Hasher: h, Book: NewBook(BookOptions{Used: func(_ *Record, now time.Time) { noted = append(noted, now) }}, r)}
	for _, after := range []time.Duration{0, time.Second, time.Minute - 1, time.Minute, time.Minute + time.Second, 3 * time.Minute} {
		now := testNow.Add(after)
		v.Note(v.Verify(raw, anywhere, now), now)
	}
	want := []time.Time{testNow, testNow.Add(time.Minute), testNow.Add(3 * time.Minute)}
	if diff := cmp.Diff(want, noted); diff != "" {
		t.Error(diff)
	}
	v.Note(v.Verify("dwk_junk", anywhere, testNow.Add(time.Hour)), testNow.Add(time.Hour))
	if len(noted) != len(want) {
		t.Error("junk was noted")
	}
}

func TestBookFollowsTheTable(t *testing.T) {
	h := testHasher(t, "k")
	raw, r := issue(t, h, "dwk_", func(r *Record) {
		r.Tenant, r.Scopes, r.Roles, r.Addresses, r.Replaces = "acme", []string{"s"}, []string{"x"}, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, strings.Repeat("A", 16)
	})
	entry, err := NewEntry(&r)
	if err != nil || !entry.Expires.Equal(r.Expires.Add(keepEnded)) {
		t.Fatal(entry, err)
	}
	ends, err1 := EndsEntry(&r, testNow.Add(time.Minute))
	revoke, err2 := RevokedEntry(&r, testNow.Add(time.Second), "left behind")
	if err1 != nil || err2 != nil || !ends.Expires.Equal(entry.Expires) || !revoke.Expires.Equal(entry.Expires) {
		t.Fatal(ends, revoke, err1, err2)
	}
	b := NewBook(BookOptions{})
	v := &Verifier{Prefix: "dwk_", Bundle: "acme", Authenticator: "machines", Hasher: h, Book: b}
	expect := func(what string, want Failure, after time.Duration) {
		t.Helper()
		if got := v.Verify(raw, anywhere, testNow.Add(after)); got.Failure != want {
			t.Errorf("%s: %+v, want %d", what, got, want)
		}
	}
	expect("nothing", Unknown, 0)
	if bad := b.Apply([]Entry{entry}, false); bad != 0 {
		t.Fatal("unreadable")
	}
	expect("there", OK, 2*time.Minute)
	if got, ok := b.Get(r.ID); !ok {
		t.Error("not there")
	} else if diff := cmp.Diff(r, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	b.Apply([]Entry{ends}, false)
	expect("in the overlap", OK, time.Minute-1)
	expect("after it", Expired, time.Minute)
	b.Apply([]Entry{revoke}, false)
	expect("revoked", Revoked, 0)
	if got := b.All(); len(got) != 1 || got[0].Revoked.IsZero() || got[0].Ends.IsZero() {
		t.Errorf("%+v", got)
	}
	// The order of entries means nothing: a revocation that comes before its key holds.
	b.Apply([]Entry{revoke, entry}, true)
	expect("revoked before it was there", Revoked, 0)
	b.Apply([]Entry{entry}, false)
	expect("written back", Revoked, 0)
	b.Apply(nil, true)
	expect("lost", Unknown, 0)
	// What cannot be read is not taken, and takes away.
	if bad := b.Apply([]Entry{entry, {ID: "revoked:" + r.ID, Value: []byte("?")}, {ID: "other:x"}, {ID: "key:" + strings.Repeat("A", 16), Value: []byte(`{"id":"x"}`)}}, true); bad != 3 {
		t.Errorf("%d unreadable", bad)
	}
	expect("an unreadable revocation", Revoked, 0)
	more := entry
	more.Value = bytes.Replace(entry.Value, []byte(`{"id"`), []byte(`{"only_on_mondays":true,"id"`), 1)
	if bad := b.Apply([]Entry{more}, true); bad != 1 {
		t.Error("a record with an unknown restriction was taken")
	}
	// A record under another's id, a deleted one, one that has ended.
	if bad := b.Apply([]Entry{{ID: "key:" + strings.Repeat("A", 16), Value: entry.Value}}, true); bad != 1 {
		t.Error("a record under another id was taken")
	}
	b.Apply([]Entry{entry, revoke}, true)
	b.Apply([]Entry{{ID: entry.ID, Deleted: true}, {ID: revoke.ID, Deleted: true}}, false)
	expect("deleted", Unknown, 0)
	b.Apply([]Entry{entry, revoke}, true)
	b.Forget(entry.Expires.Add(-1))
	if b.Len() != 1 {
		t.Error("forgotten too early")
	}
	b.Forget(entry.Expires)
	if b.Len() != 0 || len(b.changes) != 0 {
		t.Error("not forgotten")
	}
	if _, err := RevokedEntry(&r, testNow, "a\nb"); err == nil {
		t.Error("a reason with a newline")
	}
	if _, err := NewEntry(&Record{}); err == nil {
		t.Error("an empty record")
	}
}

// FuzzDecodeRecord: what is read of the table can be written again and stays the same.
func FuzzDecodeRecord(f *testing.F) {
	_, r := issue(f, testHasher(f, "k"), "dwk_", func(r *Record) { r.Addresses = []netip.Prefix{netip.MustParsePrefix("::/0")} })
	seed, err := r.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"id":"A"} {}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeRecord(again)
		if err != nil || back.ID != r.ID || back.Hash != r.Hash || !back.Expires.Equal(r.Expires) || back.Owner != r.Owner {
			t.Fatalf("%s: %+v, %v", again, back, err)
		}
	})
}
