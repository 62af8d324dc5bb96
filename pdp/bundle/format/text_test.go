package format

import (
	"strings"
	"testing"
)

// TestExcerptsHidePasswords shows lines with connection strings: the caret stays where it was, the password does not.
func TestExcerptsHidePasswords(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`redis: {url: "redis://user:secret@host:1/0", urll: x}`: `redis: {url: "redis:*************@host:1/0", urll: x}`,
		`url: user:secret@host`:                                 `url: user:******@host`,
		`url: redis://u:se@cret:@host a:b@c`:                    `url: redis:************@host a:*@c`,
		`url: redis://:sécret@host`:                             `url: redis:*********@host`,
		`sans: [me@example.com, "*.example.com"]`:               `sans: [me@example.com, "*.example.com"]`,
		`address: @a:b`:                                         `address: @a:b`,
	} {
		got := (&File{Path: "f", Data: []byte(line)}).ProblemAt(1, 8, "wrong").Excerpt
		if want = "    1 | " + want + "\n      |        ^"; got != want {
			t.Errorf("excerpt\n%s\nwant\n%s", got, want)
		}
	}
	if got := short("redis://user:" + strings.Repeat("secret", 20) + "@host"); strings.Contains(got, "secret") {
		t.Errorf("short text %s", got)
	}
}
