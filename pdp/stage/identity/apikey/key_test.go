package apikey

import (
	"bytes"
	"crypto/rand"
	"errors"
	"hash/crc32"
	"math"
	"regexp"
	"strings"
	"testing"
)

// made returns a key of a label.
func made(t testing.TB, label string) string {
	t.Helper()
	prefix, err := Prefix(label)
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := New(rand.Reader, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestNewKeys(t *testing.T) {
	scanner := regexp.MustCompile(Pattern)
	for _, label := range []string{"", "live", "a", "abcdefg8"} {
		prefix, _ := Prefix(label)
		text, k, err := New(rand.Reader, prefix)
		if err != nil || k.Prefix != prefix || !IsID(k.ID) {
			t.Errorf("%q: %+v, %v", label, k, err)
		}
		if got := scanner.FindString("key=" + text + ", and more"); got != text {
			t.Errorf("a scanner finds %q of %q", got, text)
		}
		if again, _, err := New(rand.Reader, prefix); err != nil || again == text {
			t.Errorf("the same key twice: %v", err)
		}
	}
	if bits := float64(secretLength) * math.Log2(62); bits < 256 {
		t.Errorf("a secret has %v bits", bits)
	}
	for _, label := range []string{"Live", "live_", "1a", "abcdefghi", "ä", "a-b", " "} {
		if _, err := Prefix(label); err == nil {
			t.Errorf("the label %q was taken", label)
		}
	}
	if _, _, err := New(strings.NewReader("too short"), scheme); err == nil {
		t.Error("a key without randomness")
	}
}

// TestCharactersAreEven: none of the base 62 is drawn more often than another, whatever bytes come.
func TestCharactersAreEven(t *testing.T) {
	all := bytes.Repeat([]byte{250}, 64) // which must be left out
	for i := range 256 {
		all = append(all, byte(i))
	}
	out := make([]byte, 248)
	if err := fill(strings.NewReader(string(all)), out); err != nil {
		t.Fatal(err)
	}
	seen := map[byte]int{}
	for _, c := range out {
		seen[c]++
	}
	for _, c := range []byte(alphabet) {
		if seen[c] != 4 {
			t.Errorf("%c was drawn %d times of %d", c, seen[c], len(out))
		}
	}
}

// TestEverySlipIsSeen: whatever one changes of a key, it is no key: flipped bits, other cases, cut and longer texts.
func TestEverySlipIsSeen(t *testing.T) {
	for _, text := range []string{made(t, ""), made(t, "live")} {
		if _, err := Parse(text); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		refused := func(what, changed string) {
			if k, err := Parse(changed); changed != text && !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %q was taken for %+v, %v", what, changed, k, err)
			}
		}
		for i := range len(text) {
			for bit := range 8 {
				changed := []byte(text)
				changed[i] ^= 1 << bit
				refused("a bit", string(changed))
			}
			refused("truncated", text[:i])
			refused("cut off before", text[i+1:])
			refused("without one", text[:i]+text[i+1:])
			refused("doubled", text[:i]+text[i:i+1]+text[i:])
			if i+1 < len(text) {
				refused("swapped", text[:i]+text[i+1:i+2]+text[i:i+1]+text[i+2:])
			}
			refused("a full-width letter", text[:i]+"ａ"+text[i+1:])
			refused("NUL", text[:i]+"\x00"+text[i:])
		}
		refused("upper case", strings.ToUpper(text))
		refused("lower case", strings.ToLower(text))
		refused("more", text+"0")
		refused("newline", text+"\n")
		refused("space", " "+text)
		refused("10 KB", text+strings.Repeat("A", 10<<10))
		refused("10 KB of keys", strings.Repeat(text, 10<<10/len(text)))
	}
	for _, text := range []string{"", "dwk_", "dwk", "DWK_", strings.Repeat("_", 70), "dwk_" + strings.Repeat("é", 33)} {
		if _, err := Parse(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestChecksumIsCRC32(t *testing.T) {
	for _, text := range []string{"", "dwk_", made(t, "live")} {
		want := uint64(crc32.ChecksumIEEE([]byte(text)))
		got := uint64(0)
		for _, c := range checksum(text) {
			got = got*62 + uint64(strings.IndexByte(alphabet, c))
		}
		if got != want {
			t.Errorf("%q: %x, want %x", text, got, want)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	good, long := made(t, "live"), "dwk_"+strings.Repeat("A", 10<<10)
	bad := good[:len(good)-1] + "!"
	if n := testing.AllocsPerRun(100, func() {
		for _, text := range []string{good, bad, long} {
			_, _ = Parse(text)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse: what is taken for a key is one that can be put together again from its parts, and a scanner finds it.
func FuzzParse(f *testing.F) {
	f.Add(made(f, ""))
	f.Add(made(f, "live"))
	f.Add("dwk_live_" + strings.Repeat("A", 16) + "_" + strings.Repeat("0", 49))
	f.Add("dwk_" + strings.Repeat("A", 16) + "_" + strings.Repeat("b", 43))
	f.Add(strings.Repeat("é", 40))
	scanner := regexp.MustCompile("^" + Pattern + "$")
	f.Fuzz(func(t *testing.T, text string) {
		if sum := checksum(text); !Resembles(text) { // give the fuzzer keys whose checksum fits
			text += string(sum[:])
		}
		k, err := Parse(text)
		if err != nil {
			if k != (Key{}) || !errors.Is(err, ErrMalformed) {
				t.Fatalf("%+v, %v", k, err)
			}
			return
		}
		rest, ok := strings.CutPrefix(text, k.Prefix+k.ID+"_")
		if sum := checksum(text[:len(text)-sumLength]); !ok || len(rest) != tailLength || rest[secretLength:] != string(sum[:]) {
			t.Fatalf("%q: %+v", text, k)
		}
		if !scanner.MatchString(text) || !Resembles(text) || !IsID(k.ID) || len(text) > maxLength {
			t.Fatalf("%q", text)
		}
		if again, err := Prefix(strings.TrimSuffix(strings.TrimPrefix(k.Prefix, scheme), "_")); err != nil || again != k.Prefix {
			t.Fatalf("%q: prefix %q, %v", text, again, err)
		}
	})
}
