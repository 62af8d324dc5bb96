package token

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func opaqueVerifier(t *testing.T, c Config) *Verifier {
	t.Helper()
	c.Issuer, c.Opaque = "https://idp.example.com", true
	v, err := NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestCheckAnswer: what is wrong with an active token, and what an answer may leave out.
func TestCheckAnswer(t *testing.T) {
	now := time.Unix(1000, 0)
	audiences, err := NewAudiences("orders")
	if err != nil {
		t.Fatal(err)
	}
	none := time.Duration(0)
	strict, lax, exact := opaqueVerifier(t, Config{}), opaqueVerifier(t, Config{WithoutAudience: true}), opaqueVerifier(t, Config{Leeway: &none})
	for _, row := range []struct {
		name string
		v    *Verifier
		text string
		want string
	}{
		{"the least", strict, `{"aud":"orders"}`, ""},
		{"everything", strict, `{"iss":"https://idp.example.com","aud":["x","orders"],"sub":"a","client_id":"c","jti":"j","exp":1001,"nbf":1000,"iat":1000,"token_type":"Bearer","token_use":"access_token","typ":"at+jwt"}`, ""},
		{"another issuer", strict, `{"aud":"orders","iss":"https://idp.example.com/"}`, reasonIssuer},
		{"an issuer that is no text", strict, `{"aud":"orders","iss":null}`, reasonIssuer},
		{"no audience", strict, `{}`, reasonClaim},
		{"no audience where none is needed", lax, `{}`, ""},
		{"another audience", strict, `{"aud":"refunds"}`, reasonAudience},
		{"another audience where none is needed", lax, `{"aud":"refunds"}`, reasonAudience},
		{"an empty list of audiences", lax, `{"aud":[]}`, reasonAudience},
		{"an audience that is no text", lax, `{"aud":null}`, reasonMalformed},
		{"expired", strict, `{"aud":"orders","exp":1000}`, reasonExpired},
		{"exp as text", strict, `{"aud":"orders","exp":"2000"}`, reasonMalformed},
		{"nbf as text", strict, `{"aud":"orders","nbf":"1"}`, reasonMalformed},
		{"iat as text", strict, `{"aud":"orders","iat":"1"}`, reasonMalformed},
		{"not before", strict, `{"aud":"orders","nbf":1031}`, reasonNotYetValid},
		{"within the leeway", strict, `{"aud":"orders","nbf":1030,"iat":1030}`, ""},
		{"beyond no leeway", exact, `{"aud":"orders","nbf":1001}`, reasonNotYetValid},
		{"issued ahead", strict, `{"aud":"orders","iat":1031}`, reasonNotYetValid},
		{"a refresh token", strict, `{"aud":"orders","token_type":"refresh_token"}`, reasonType},
		{"a refresh token by use", strict, `{"aud":"orders","token_type":"Bearer","token_use":"refresh_token"}`, reasonType},
		{"an offline token by type", strict, `{"aud":"orders","typ":"Offline"}`, reasonType},
		{"an ID token", strict, `{"aud":"orders","typ":"ID"}`, reasonType},
		{"a logout token", strict, `{"aud":"orders","typ":"logout+jwt"}`, reasonType},
		{"a type that is no text", strict, `{"aud":"orders","token_type":1}`, reasonMalformed},
		{"for DPoP", strict, `{"aud":"orders","token_type":"DPoP"}`, ""},
		{"an empty subject", strict, `{"aud":"orders","sub":""}`, reasonMalformed},
		{"an id with a control character", strict, `{"aud":"orders","jti":"a\u0000"}`, reasonMalformed},
		{"a client that is no text", strict, `{"aud":"orders","client_id":7}`, reasonMalformed},
		{"a long client", strict, `{"aud":"orders","client_id":"` + strings.Repeat("a", 257) + `"}`, reasonMalformed},
	} {
		claims, err := ParseClaims([]byte(row.text))
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		got := ""
		if err := row.v.CheckAnswer(claims, audiences, now); err != nil {
			refused, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("%s: %v", row.name, err)
			}
			got = refused.Reason()
		}
		if got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// TestOpaqueIsNoJWS: the settings of one form mean nothing for the other, and the verifier of opaque tokens verifies no JWS.
func TestOpaqueIsNoJWS(t *testing.T) {
	for _, c := range []Config{
		{Issuer: "i", Opaque: true, Algorithms: []string{"ES256"}}, {Issuer: "i", Opaque: true, Types: []string{"JWT"}},
		{Issuer: "i", Opaque: true, MaxLifetime: time.Hour}, {Opaque: true}, {Issuer: "i", Algorithms: []string{"ES256"}, WithoutAudience: true},
	} {
		if _, err := NewVerifier(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	tooLong := 121 * time.Second
	if _, err := NewVerifier(Config{Issuer: "i", Opaque: true, Leeway: &tooLong}); err == nil {
		t.Error("a leeway of 121 s is accepted")
	}
	token := &Token{compact: compact{header: Header{Algorithm: "ES256"}}, issuer: "https://idp.example.com"}
	if _, err := opaqueVerifier(t, Config{}).Verify(token, nil); err == nil {
		t.Error("a verifier of opaque tokens verifies a JWS")
	}
}

func FuzzParseClaims(f *testing.F) {
	for _, text := range []string{`{}`, `{"active":true,"aud":["a"]}`, `{"a":1,"a":2}`, `[]`, `{"a":{"a":"\ud800"}}`, "{\"a\":\"\xff\"}", `{} {}`, `{"exp":1e400}`} {
		f.Add([]byte(text))
	}
	v, err := NewVerifier(Config{Issuer: "i", Opaque: true})
	if err != nil {
		f.Fatal(err)
	}
	audiences, err := NewAudiences("a")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		claims, err := ParseClaims(data)
		if err != nil {
			if claims.Members() != nil {
				t.Error("an error and claims")
			}
			return
		}
		if v.CheckAnswer(claims, audiences, time.Unix(1000, 0)) == nil && claims.Members()["aud"] == nil {
			t.Error("no audience, and good")
		}
	})
}
