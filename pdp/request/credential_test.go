package request

import "testing"

func TestMayHoldCredential(t *testing.T) {
	for name, want := range map[string][2]bool{ // as a header or path parameter, in a query
		"Authorization": {true, true}, "x_api_key": {true, true}, "X-Api-Key": {true, true}, "Set-Cookie": {true, true},
		"code": {false, true}, "SIG": {false, true}, "user-agent": {false, false}, "id": {false, false}, "": {false, false},
	} {
		if got := [2]bool{MayHoldCredential(name), MayHoldCredentialInQuery(name)}; got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
