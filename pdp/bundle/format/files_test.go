package format

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnly(t *testing.T) {
	files := NewFiles(map[string][]byte{"c": []byte("3"), "a": []byte("1"), "d/b": []byte("2")})
	if diff := cmp.Diff([]string{"a", "c", "d/b"}, files.Paths()); diff != "" {
		t.Error(diff)
	}
	some := files.Only([]string{"d/b", "a", "none"})
	if diff := cmp.Diff([]string{"a", "d/b"}, some.Paths()); diff != "" {
		t.Error(diff)
	}
	inside, _ := some.Get("d", "b")
	same, _ := files.Get("", "/d/b")
	if _, outside := some.Get("", "c"); outside || inside == nil || inside != same {
		t.Errorf("the view shows %v of the others, and %p for %p", outside, inside, same)
	}
	if inside.Sum() != sha256.Sum256([]byte("2")) || inside.Sum() != same.Sum() {
		t.Error("not the hash of the content")
	}
}

// TestCheckTextBehindPlainText: what is wrong is found at its place after long runs of plain text, on any line.
func TestCheckTextBehindPlainText(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n":                         "",
		"a~ b\tc\n" + "é plain\r\n":       "",
		strings.Repeat("x", 50) + "\x00y": "1:51",
		"one\ntwo \u200bthree\n":          "2:5",
		"é plain \x7f":                    "1:9",
		"plain \x1b[2J":                   "1:7",
		"a\rb":                            "1:2",
		"plain\n\nplain\xff":              "3:6",
	} {
		got := ""
		if problems := (&File{Path: "f", Data: []byte(text)}).CheckText(); len(problems) > 0 {
			got = strings.TrimPrefix(problems[0].Position.String(), "f:")
		}
		if got != want {
			t.Errorf("%q: a problem at %q, want %q", text, got, want)
		}
	}
}
