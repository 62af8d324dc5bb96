package subject

import "testing"

func TestAnonymous(t *testing.T) {
	for _, s := range []Subject{{}, Anonymous()} {
		if !s.IsAnonymous() {
			t.Errorf("%+v is somebody", s)
		}
	}
	if s := Anonymous(); s.Key != AnonymousKey || s.ID != "" || s.Roles != nil {
		t.Errorf("Anonymous = %+v", s)
	}
	for _, kind := range []string{KindUser, KindService} {
		if s := (Subject{Kind: kind}); s.IsAnonymous() {
			t.Errorf("a %s is anonymous", kind)
		}
	}
}

// FuzzKey: no two subjects share a key, and nobody's id makes him anonymous. Kinds and authenticators hold no colon.
func FuzzKey(f *testing.F) {
	f.Add("alice", "corp", "corp:alice", "a")
	f.Fuzz(func(t *testing.T, id1, authenticator1, id2, authenticator2 string) {
		for _, a := range []string{authenticator1, authenticator2} {
			for _, c := range a {
				if c == ':' {
					return
				}
			}
		}
		same := id1 == id2 && authenticator1 == authenticator2
		if got := Key(KindUser, authenticator1, id1) == Key(KindUser, authenticator2, id2); got != same {
			t.Errorf("(%q, %q) and (%q, %q): one key %v", authenticator1, id1, authenticator2, id2, got)
		}
		if Key(KindUser, authenticator1, id1) == Key(KindService, authenticator1, id1) || Key(KindUser, authenticator1, id1) == AnonymousKey {
			t.Errorf("%q and %q make a key of another kind", authenticator1, id1)
		}
	})
}
