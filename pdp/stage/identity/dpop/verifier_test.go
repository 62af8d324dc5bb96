package dpop

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

func base64Decode(part string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(part) }

// What RFC 9449 prints: the key of section 4.1 with its thumbprint in section 6.1, the proofs of figures 2 and 12, the token of
// section 7.1 and its hash.
const (
	rfcThumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	rfcToken      = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	rfcHash       = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
	rfcHeader     = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdC" +
		"RnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
	rfcProof = rfcHeader + ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNv" +
		"dXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9" +
		".2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	rfcTokenRequest = rfcHeader + ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0Ijox" +
		"NTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)

func rfcUse() *Use {
	return &Use{Token: rfcToken, Thumbprint: rfcThumbprint, Now: time.Unix(1562262618, 0), Request: &request.Request{
		Method: "GET", Host: "resource.example.org", Target: "/protectedresource", Header: request.Header{{Name: "dpop", Value: rfcProof}},
	}}
}

// TestExamples: the proof that RFC 9449 prints is good for the token, the key, the request and the time that it prints.
func TestExamples(t *testing.T) {
	v := newVerifier(t, Options{})
	if hashOf(rfcToken) != rfcHash {
		t.Errorf("the hash of the token is %s", hashOf(rfcToken))
	}
	got, err := v.Verify(rfcUse())
	if err != nil {
		t.Fatal(err)
	}
	if got.Mark == "" || got.Lasts != 70*time.Second || got.Nonce != "" {
		t.Errorf("%+v", got)
	}
	// The proof of the token request has no ath: it opens no resource, even at its own URL.
	other := rfcUse()
	other.Now, other.Request = time.Unix(1562262616, 0), &request.Request{
		Method: "POST", Host: "server.example.com", Target: "/token", Header: request.Header{{Name: "dpop", Value: rfcTokenRequest}},
	}
	_, err = v.Verify(other)
	if refused, is := errors.AsType[*Refusal](err); !is || !strings.Contains(refused.Detail, "ath") {
		t.Errorf("the proof of a token request: %v", err)
	}
	other.Request.Header[0].Value = rfcTokenRequest[:len(rfcTokenRequest)-2] + "AA"
	if _, err = v.Verify(other); !strings.Contains(err.Error(), "token_signature") {
		t.Errorf("the same with another signature: %v", err) // so that the ath above was looked at after a sound signature
	}
}

// TestSound: proofs with each algorithm, at the ends of the window, with claims that nobody asks for.
func TestSound(t *testing.T) {
	v := newVerifier(t, Options{})
	marks := map[string]bool{}
	for _, algorithm := range DefaultAlgorithms() {
		c := newClient(t, algorithm)
		for _, change := range []func(*attempt){
			func(*attempt) {},
			func(a *attempt) { a.claims["iat"] = testNow.Unix() - 60 },
			func(a *attempt) { a.claims["iat"] = testNow.Unix() + 5 },
			func(a *attempt) { a.claims["iat"] = float64(testNow.Unix()) - 0.5 },
			func(a *attempt) { a.claims["exp"], a.claims["nbf"] = testNow.Unix()+1, testNow.Unix()-1 },
			func(a *attempt) { a.claims["nonce"] = "another server's" },
			func(a *attempt) { a.claims["extra"] = object{"a": 1} },
			func(a *attempt) { a.header["typ"] = "application/DPoP+JWT" },
			func(a *attempt) { a.claims["jti"] = strings.Repeat("\u00fc", 128) },
			func(a *attempt) { a.use.Request.Scheme = "http" }, // the gateway stands behind the one that ends TLS
		} {
			a := sound(c)
			change(a)
			got, err := a.try(t, v)
			if err != nil || !strings.HasPrefix(got.Mark, "dpop:") || len(got.Mark) != len("dpop:")+43 || got.Nonce != "" {
				t.Errorf("%s: %+v, %v", algorithm, got, err)
			}
			marks[got.Mark] = true
		}
	}
	// One mark for each key and jti, whatever else differs. RS256 and PS256 are the same key here.
	if want := 4 * 2; len(marks) != want {
		t.Errorf("%d marks, want %d", len(marks), want)
	}
}

// TestOptions: what the options may be, and that they count.
func TestOptions(t *testing.T) {
	long, short, none, second, negative := 20*time.Minute, 500*time.Millisecond, time.Duration(0), 2*time.Second, -time.Second
	for name, o := range map[string]Options{
		"a secret":              {Algorithms: []string{"HS256"}},
		"none":                  {Algorithms: []string{"none"}},
		"a long window":         {Window: &long},
		"a short window":        {Window: &short},
		"no window":             {Window: &none},
		"a long time ahead":     {Ahead: &long},
		"a negative time ahead": {Ahead: &negative},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	v := newVerifier(t, Options{Algorithms: []string{"ES256"}, Window: &second, Ahead: &none})
	c := newClient(t, "ES256")
	for age, good := range map[int64]bool{0: true, 2: true, 3: false, -1: false} {
		a := sound(c)
		a.claims["iat"] = testNow.Unix() - age
		if _, err := a.try(t, v); (err == nil) != good {
			t.Errorf("a proof %d s old: %v", age, err)
		}
	}
	if _, err := sound(newClient(t, "Ed25519")).try(t, v); err == nil {
		t.Error("an algorithm off the list is taken")
	}
	if got, err := sound(c).try(t, newVerifier(t, Options{Window: &second})); err == nil || got.Mark != "" {
		t.Errorf("%+v, %v", got, err) // three seconds old
	}
	if got := v.Algorithms(); len(got) != 1 || got[0] != "ES256" || v.Nonce(testNow) != "" {
		t.Errorf("algorithms %v, nonce %q", got, v.Nonce(testNow))
	}
}

// TestNonces: servers with the same key take each other's nonces, for five minutes, and tell a client in time of the next.
func TestNonces(t *testing.T) {
	v := newVerifier(t, Options{Nonces: newNonces(t, 1)})
	c, other := newClient(t, "ES256"), newNonces(t, 1)
	for _, row := range []struct {
		age  time.Duration
		good bool
		next bool
	}{
		{-time.Minute, true, false}, {0, true, false}, {time.Minute, true, false}, {2 * time.Minute, true, true}, {4 * time.Minute, true, true}, {5 * time.Minute, false, false},
	} {
		a := sound(c)
		a.claims["nonce"] = other.at(testNow.Add(-row.age))
		got, err := a.try(t, v)
		if (err == nil) != row.good || (got.Nonce != "") != row.next {
			t.Errorf("%v old: %+v, %v", row.age, got, err)
		}
		if row.next && got.Nonce != v.Nonce(testNow) {
			t.Errorf("the next nonce is %q, want %q", got.Nonce, v.Nonce(testNow))
		}
	}
	if a, b := other.at(testNow), other.at(testNow.Add(time.Minute)); a == b || len(a) != 27 {
		t.Errorf("nonces %q and %q", a, b)
	}
	// A key is changed by writing the new one before the old one, then taking the old one away.
	key := func(first byte) []byte { return append([]byte{first}, make([]byte, 31)...) }
	both, err := NewNonces(key(2), key(1))
	if err != nil {
		t.Fatal(err)
	}
	changed := newVerifier(t, Options{Nonces: both.For("acme/orders")})
	for _, nonce := range []string{newNonces(t, 1).at(testNow), newNonces(t, 2).at(testNow)} {
		a := sound(c)
		a.claims["nonce"] = nonce
		if _, err := a.try(t, changed); err != nil {
			t.Error(err)
		}
	}
	if changed.Nonce(testNow) != newNonces(t, 2).at(testNow) {
		t.Error("the first key does not make the nonces")
	}
	for _, keys := range [][][]byte{nil, {make([]byte, 31)}, {make([]byte, 32), nil}} {
		if _, err := NewNonces(keys...); !errors.Is(err, ErrKey) {
			t.Errorf("%d keys: %v", len(keys), err)
		}
	}
}

// TestOrder: who holds another key, or none, is told so before anything else is looked at, and what is missing in a sound
// proof before its nonce is.
func TestOrder(t *testing.T) {
	v := newVerifier(t, Options{Nonces: newNonces(t, 1)})
	a := sound(newClient(t, "ES256"))
	a.use.Thumbprint = rfcThumbprint
	a.claims = object{}
	_, err := a.try(t, v)
	if refused, is := errors.AsType[*Refusal](err); !is || refused.Reason != verdict.TokenBinding {
		t.Errorf("%v", err)
	}
	b := sound(newClient(t, "ES256"))
	b.claims["htm"] = "PUT"
	_, err = b.try(t, v)
	if refused, is := errors.AsType[*Refusal](err); !is || refused.Reason != verdict.ProofInvalid {
		t.Errorf("%v", err)
	}
}

// TestAllocations pins what a proof costs, good and bad.
func TestAllocations(t *testing.T) {
	v := newVerifier(t, Options{})
	c := newClient(t, "Ed25519")
	good := sound(c)
	raw := good.proof(t)
	bad := raw[:len(raw)-4] + "AAAA"
	for _, row := range []struct {
		name, line string
		want       float64
		good       bool
	}{
		{"good", raw, 92, true}, {"a bad signature", bad, 91, false}, {"no JWS", "x", 4, false}, {"dots", strings.Repeat(".", 8000), 4, false}, {"too long", strings.Repeat("x", 9000), 4, false},
	} {
		good.use.Request.Header = request.Header{{Name: "dpop", Value: row.line}}
		got := testing.AllocsPerRun(100, func() {
			if _, err := v.Verify(&good.use); (err == nil) != row.good {
				t.Fatal(row.name, err)
			}
		})
		if got > row.want {
			t.Errorf("%s: %v allocations, want at most %v", row.name, got, row.want)
		}
	}
}
