package apikey

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// TestFileRoundTrip: what is written for a file is read as the record that it was.
func TestFileRoundTrip(t *testing.T) {
	h := testHasher(t, "2026")
	_, plain := issue(t, h, "dwk_", nil)
	_, full := issue(t, h, "dwk_", func(r *Record) {
		r.Owner, r.Kind, r.Tenant, r.Scopes, r.Roles = `a "quoted" \ owner: # x`, "user", "ten: ant", []string{"a:b", "c"}, []string{"reader"}
		r.Addresses, r.Expires = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}, time.Time{}
	})
	file := &format.File{Path: "keys/a.yaml", Data: []byte("keys:\n" + WriteYAML(&plain) + WriteYAML(&full) + "    ends: 2026-03-01T00:00:00Z\n    revoked: \"2026-02-01T00:00:00Z\"\n")}
	got, problems := ReadFile(file, "acme", "machines")
	if len(problems) > 0 {
		t.Fatalf("%v\n%s", problems, file.Data)
	}
	full.Ends, full.Revoked = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	if diff := cmp.Diff([]Record{plain, full}, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("%s\n%s", diff, file.Data)
	}
}

func TestFileProblems(t *testing.T) {
	const good = `  - {id: AAAAAAAAAAAAAAAA, hash: "HASH", hash_key: k, owner: ci, created: "2026-01-01T00:00:00Z", expires: never}`
	text := strings.Replace(good, "HASH", strings.Repeat("ab", 32), 1)
	for _, tc := range []struct{ old, new, want string }{
		{"expires: never", "scopes: []", "keys/a.yaml:2:5: expires: a time is missing; for a key that does not expire write never"},
		{"expires: never", "expires: soon", `expires: "soon" is no time`},
		{"expires: never", `expires: "2025-01-01T00:00:00Z"`, "expires: not after created"},
		{`created: "2026-01-01T00:00:00Z"`, `created: "1900-01-01T00:00:00Z"`, "created: "},
		{`hash: "ab`, `hash: "xy`, "hash: 64 hexadecimal digits"},
		{`hash: "ab`, `hash: "`, "hash: 64 hexadecimal digits"},
		{"owner: ci", "owner: ''", "owner: "},
		{"owner: ci", "owner: ci, addresses: [10.0.0.0/8, 10.0.0.1/8]", "has bits beyond the prefix; is 10.0.0.0/8 meant?"},
		{"owner: ci", "owner: ci, kind: robot", "kind: service or user"},
		{"owner: ci", "owner: ci, sope: []", "sope"},
		{"AAAAAAAAAAAAAAAA", "AAAA", "id: 16 characters"},
		{"keys:\n", "keys:\n" + text + "\n", "a second key AAAAAAAAAAAAAAAA"},
	} {
		data := strings.Replace("keys:\n"+text+"\n", tc.old, tc.new, 1)
		_, problems := ReadFile(&format.File{Path: "keys/a.yaml", Data: []byte(data)}, "acme", "machines")
		if len(problems) != 1 || !strings.Contains(problems.Error(), tc.want) || !strings.HasPrefix(problems.Error(), "keys/a.yaml:") {
			t.Errorf("%s for %s: %v", tc.new, tc.old, problems)
		}
	}
	if _, problems := ReadFile(&format.File{Path: "keys/a.yaml", Data: []byte("keys:\n" + text + "\n")}, "acme", "machines"); len(problems) > 0 {
		t.Error(problems)
	}
}
