package keys

import (
	"net/http"
	"testing"
	"time"
)

func TestParseFreshness(t *testing.T) {
	for _, row := range []struct {
		control []string
		age     string
		want    time.Duration
	}{
		{nil, "", defaultFresh},
		{[]string{"public"}, "", defaultFresh},
		{[]string{"max-age=600"}, "", 10 * time.Minute},
		{[]string{"public, MAX-AGE=600 , must-revalidate"}, "", 10 * time.Minute},
		{[]string{`max-age="600"`}, "", 10 * time.Minute},
		{[]string{"max-age=600"}, "100", 500 * time.Second},
		{[]string{"max-age=600"}, "10000", minFresh},
		{[]string{"max-age=600"}, "-1", 10 * time.Minute},
		{[]string{"max-age=0"}, "", minFresh},
		{[]string{"max-age=59"}, "", minFresh},
		{[]string{"max-age=86401"}, "", maxFresh},
		{[]string{"max-age=99999999999999999999999999"}, "", maxFresh},
		{[]string{"max-age=-5"}, "", minFresh},
		{[]string{"max-age=1e9"}, "", minFresh},
		{[]string{"max-age"}, "", minFresh},
		{[]string{"no-store"}, "", minFresh},
		{[]string{"max-age=600", "no-cache"}, "", minFresh},
		{[]string{"max-age=600, max-age=300"}, "", 5 * time.Minute},
		{[]string{"s-maxage=600"}, "", defaultFresh},
	} {
		h := http.Header{"Cache-Control": row.control}
		if row.age != "" {
			h.Set("Age", row.age)
		}
		if got := ParseFreshness(h); got != row.want {
			t.Errorf("%q, age %q: %v, want %v", row.control, row.age, got, row.want)
		}
	}
}

func FuzzParseFreshness(f *testing.F) {
	f.Add("max-age=600, public", "10")
	f.Add(`max-age="", no-cache`, "x")
	f.Fuzz(func(t *testing.T, control, age string) {
		got := ParseFreshness(http.Header{"Cache-Control": {control}, "Age": {age}})
		if got < minFresh || got > maxFresh {
			t.Errorf("%q, %q: %v", control, age, got)
		}
	})
}
