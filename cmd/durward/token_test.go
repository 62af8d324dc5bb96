package main

import (
	"strings"
	"testing"
)

// TestReadToken: what surrounds a token is no part of it, and nothing is read in part.
func TestReadToken(t *testing.T) {
	longest := strings.Repeat("x", maxTokenInput)
	for in, want := range map[string]string{
		"a.b.c": "a.b.c", " a.b.c\r\n": "a.b.c", "bearer a.b.c\n": "a.b.c", "DPoP  a.b.c": "a.b.c", "Basic a": "Basic a", longest: longest,
		"": "", "\n": "", longest + "y": "", longest + "\n": "",
	} {
		got, err := readToken(strings.NewReader(in))
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%.20q, %d bytes: %.20q, %v", in, len(in), got, err)
		}
		if err != nil && strings.Contains(err.Error(), "xx") {
			t.Error(err)
		}
	}
}
