package edge

import (
	"strings"
	"testing"
	"time"
)

// TestStepUp: a client whose login is too weak or too old is asked for another one, over a real gateway, and passes with it.
func TestStepUp(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	const challenge = `Bearer realm="edge", error="insufficient_user_authentication", ` +
		`error_description="The operation needs a stronger or more recent authentication", acr_values="urn:example:mfa phr", max_age="600"`
	send := func(door, subject string, login map[string]any) *reply {
		p := soundParts(subject, "reader")
		for name, value := range login {
			p.claims[name] = value
		}
		return e.send(t, door, request("GET", "edge.example.com", "/vault", bearer(e.issuer.sign(t, p))))
	}
	now := time.Now()
	for name, row := range map[string]struct {
		login map[string]any
		lacks string
	}{
		"no login":     {nil, "acr, auth_time"},
		"a weak one":   {map[string]any{"acr": "pwd", "auth_time": now.Unix()}, "acr"},
		"an old one":   {map[string]any{"acr": "phr", "auth_time": now.Add(-time.Hour).Unix()}, "a recent auth_time"},
		"a future one": {map[string]any{"acr": "phr", "auth_time": now.Add(time.Hour).Unix()}, "an auth_time that has passed"},
	} {
		for _, door := range []string{edgeDoor, joinedDoor} {
			got := send(door, "stepup", row.login)
			found := e.denied(t, got, 401, "assurance_insufficient", "insufficient_user_authentication")
			if told := got.header["Www-Authenticate"]; len(told) != 1 || told[0] != challenge {
				t.Errorf("%s: challenges %q, want %q", name, told, challenge)
			}
			if why := found.text("detail"); !strings.HasSuffix(why, "the login lacks "+row.lacks) {
				t.Errorf("%s: the record says %q: %v", name, why, found)
			}
			if found.text("subject.key") != "user:corp:stepup" {
				t.Errorf("%s: the record's subject is %s", name, found.text("subject.key"))
			}
		}
	}
	e.allowed(t, send(edgeDoor, "stepup", map[string]any{"acr": "urn:example:mfa", "auth_time": now.Add(-time.Minute).Unix()}))
	certificate := clientCertificate(t, e.Authority, -time.Hour, time.Hour, batch)
	e.denied(t, e.send(t, edgeDoor, request("GET", "edge.example.com", "/vault"), certificate), 401, "assurance_insufficient", "insufficient_user_authentication")
}
