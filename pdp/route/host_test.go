package route

import (
	"strings"
	"testing"
)

func TestCanonicalHost(t *testing.T) {
	label := strings.Repeat("a", 63)
	tests := []struct{ in, want string }{ // want "" for a refusal
		{"api.example.com", "api.example.com"},
		{"API.Example.COM", "api.example.com"},
		{"api.example.com.", "api.example.com"},
		{"api.example.com:443", "api.example.com"},
		{"api.example.com.:0", "api.example.com"},
		{"api.example.com:65535", "api.example.com"},
		{"localhost:10000", "localhost"},
		{"a_b.example", "a_b.example"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"192.0.2.1:80", "192.0.2.1"},
		{"[2001:DB8::1]", "[2001:db8::1]"},
		{"[2001:db8:0:0::1]:443", "[2001:db8::1]"},
		{"[::ffff:192.0.2.1]", "192.0.2.1"},
		{label + ".example", label + ".example"},
		{"", ""}, {".", ""}, {":", ""}, {":80", ""}, {"a..", ""}, {"a..b", ""}, {".a", ""},
		{"a,b", ""}, {"a.test,b.test", ""}, {"user@a", ""}, {"user:pw@a", ""}, {"a b", ""}, {" a", ""}, {"a\t", ""},
		{"a\x00", ""}, {"a\r\nb", ""}, {"bücher.example", ""}, {"a%41", ""}, {"a/b", ""}, {"a?b", ""}, {"a#b", ""}, {"a\\b", ""}, {"*.a.b", ""},
		{"a:", ""}, {"a:65536", ""}, {"a:99999", ""}, {"a:000080", ""}, {"a:8x", ""}, {"a:-1", ""}, {"a:+1", ""}, {"a:80:80", ""}, {"a:80.", ""},
		{"-a", ""}, {"a-", ""}, {"a.-b", ""}, {label + "a", ""}, {strings.Repeat("a.", 127) + "a", ""},
		{"127.1", ""}, {"192.0.2.256", ""}, {"192.0.2.01", ""}, {"1", ""}, {"2001:db8::1", ""},
		{"[", ""}, {"[]", ""}, {"[::1", ""}, {"[::1]x", ""}, {"[::1]:", ""}, {"[::1]:x", ""}, {"[::1%25eth0]", ""}, {"[::1%eth0]", ""}, {"[192.0.2.1]", ""}, {"[[::1]]", ""},
	}
	for _, tt := range tests {
		got, ok := canonicalHost(tt.in)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%q: got %q %v, want %q", tt.in, got, ok, tt.want)
		}
	}
}

// TestHostCVEs holds the classes of published advisories against whole matches.
func TestHostCVEs(t *testing.T) {
	tab := table(t, compiled(t, "b", service("s", []string{"api.example.com"}, "GET /x")))
	t.Run("host-case", func(t *testing.T) { // CVE-2026-42273
		for _, host := range []string{"API.Example.COM", "api.example.com.", "api.example.com:443", "Api.example.com.:8443"} {
			if got := outcome(tab.Match(get(host, "/x"))); got != "s /x" {
				t.Errorf("%s: %s", host, got)
			}
		}
	})
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"api.example.com", "A.b.:80", "[::1]:8", "a,b", "u@h", "[::ffff:1.2.3.4]", "1.2.3.4", "x_y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		host, ok := canonicalHost(in)
		if !ok {
			if host != "" {
				t.Fatalf("%q: refused with %q", in, host)
			}
			return
		}
		if again, ok := canonicalHost(host); !ok || again != host {
			t.Fatalf("%q: %q becomes %q %v", in, host, again, ok)
		}
		if strings.ToLower(host) != host || strings.ContainsAny(host, ",@ /\\?#%*") || strings.HasSuffix(host, ".") {
			t.Fatalf("%q: %q is not canonical", in, host)
		}
		for i := 0; i < len(host); i++ {
			if host[i] <= ' ' || host[i] >= 0x7f {
				t.Fatalf("%q: %q holds %q", in, host, host[i])
			}
		}
	})
}
