package dpop

import (
	"strings"
	"testing"
)

// TestSameURL: what RFC 3986 calls the same is the same, and nothing else.
func TestSameURL(t *testing.T) {
	for _, row := range []struct {
		htu, host, target string
		want              bool
	}{
		{"https://a.example/x", "a.example", "/x", true},
		{"HTTPS://A.Example:443/x", "a.EXAMPLE", "/x", true},
		{"https://a.example:/x", "a.example", "/x", true},
		{"https://a.example/x", "a.example:443", "/x", true},
		{"https://a.example:8443/x", "a.example:8443", "/x", true},
		{"https://a.example", "a.example", "/", true},
		{"https://a.example?q", "a.example", "/?p", true},
		{"https://a.example/x?a=b#c", "a.example", "/x?d=e", true},
		{"https://a.example/x#c?d", "a.example", "/x", true},
		{"https://a.example/%7euser/%c3%a4", "a.example", "/~user/%C3%A4", true},
		{"https://a.example/~user", "a.example", "/%7Euser", true},
		{"https://a.example/a/./b/../c", "a.example", "/a/c", true},
		{"https://a.example/a/%2E%2e/c", "a.example", "/c", true},
		{"https://a.example/..", "a.example", "/", true},
		{"https://a.example/a/b/..", "a.example", "/a/", true},
		{"https://a.example/a/.", "a.example", "/a/", true},
		{"https://a.example/.a/..b/c..", "a.example", "/.a/..b/c..", true},
		{"https://[::1]:443/x", "[::1]", "/x", true},
		{"https://a.example/a;b=c/d,e", "a.example", "/a;b=c/d,e", true},

		{"https://a.example/a%2Fb", "a.example", "/a/b", false},
		{"https://a.example/a%3fb", "a.example", "/a?b", false},
		{"https://a.example/a//b", "a.example", "/a/b", false},
		{"https://a.example/x/", "a.example", "/x", false},
		{"https://a.example/X", "a.example", "/x", false},
		{"https://a.example/%4", "a.example", "/%4x", false},
		{"https://a.example/%zz", "a.example", "/x", false},
		{"https://a.example:80/x", "a.example", "/x", false},
		{"https://a.example::443/x", "a.example", "/x", false},
		{"https://a.example./x", "a.example", "/x", false},
		{"https://a%2eexample/x", "a.example", "/x", false},
		{"https://u@a.example/x", "a.example", "/x", false},
		{"https://u@a.example/x", "u@a.example", "/x", false},
		{"https:///x", "", "/x", false},
		{"https:/a.example/x", "a.example", "/x", false},
		{"http://a.example/x", "a.example", "/x", false},
		{"https://a.example\\@b.example/x", "b.example", "/x", false},
		{"https://a.example /x", "a.example", "/x", false},
		{"https://a.example/\u00e4", "a.example", "/\u00e4", false},
		{"//a.example/x", "a.example", "/x", false},
		{"", "", "", false},
		{"https://", "a.example", "/", false},
	} {
		if got := sameURL(row.htu, row.host, row.target); got != row.want {
			t.Errorf("%q for %s %s: %v", row.htu, row.host, row.target, got)
		}
	}
}

// FuzzURL: a normalised path is one that stays as it is, and no change of a host makes two hosts the same.
func FuzzURL(f *testing.F) {
	for _, seed := range []string{"/a/../b", "/%2e%2E/x", "/a//b/.", "/%41%zz", "/..", "", "/a/b/../../../c/./", "/%2F"} {
		f.Add("a.example:443", seed)
	}
	f.Fuzz(func(t *testing.T, host, path string) {
		if path != "" && path[0] != '/' {
			path = "/" + path
		}
		once, ok := normalisedPath(path)
		if ok {
			if again, fine := normalisedPath(once); !fine || again != once {
				t.Errorf("%q becomes %q, then %q", path, once, again)
			}
			if once == "" || once[0] != '/' || strings.Contains(once, "/../") || strings.HasSuffix(once, "/..") {
				t.Errorf("%q becomes %q", path, once)
			}
		}
		htu := "https://" + host + path
		if sameURL(htu, host+"x", path) {
			t.Errorf("%q is another host's too", htu)
		}
		if sameURL(htu, host, path) && !isURL(htu) {
			t.Errorf("%q is no URL", htu)
		}
	})
}

// FuzzVerify: whatever comes in the field, a proof that is taken is one that the client signed, and no text quotes it.
func FuzzVerify(f *testing.F) {
	v := newVerifier(f, Options{})
	c := newClient(f, "ES256")
	good := sound(c).proof(f)
	for _, seed := range []string{good, good + "\n", good[:len(good)-1], rfcProof, "", "...", strings.Repeat(".", 9000), "eyJ9.e30.AA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		a := sound(c)
		a.lines = []string{line}
		got, err := a.try(t, v)
		if err == nil && line != good {
			t.Errorf("%q is taken", line)
		}
		if err != nil && (got != (Verified{}) || len(err.Error()) > 200) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
