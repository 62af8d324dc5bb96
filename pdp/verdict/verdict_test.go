package verdict

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// constants returns the string constants of a type in reason.go.
func constants(t *testing.T, typeName string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != typeName || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s is no literal", spec.Names[0].Name)
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := out[value]; twice {
			t.Errorf("%q stands twice", value)
		}
		out[value] = spec.Names[0].Name
		return true
	})
	return out
}

func TestReasonListIsComplete(t *testing.T) {
	declared := constants(t, "Reason")
	if len(declared) == 0 || len(declared) != len(Reasons()) {
		t.Errorf("%d constants, %d entries in the list", len(declared), len(Reasons()))
	}
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for value, name := range declared {
		if !Reason(value).Known() {
			t.Errorf("%s (%q) is not on the list", name, value)
		}
		if !form.MatchString(value) {
			t.Errorf("%s (%q) is not in snake case", name, value)
		}
	}
}

func TestReasonEntries(t *testing.T) {
	public := constants(t, "Public")
	for _, r := range Reasons() {
		info := r.Info()
		if info.Text == "" || strings.HasSuffix(info.Text, ".") {
			t.Errorf("%s: text %q", r, info.Text)
		}
		if r == Allowed {
			if info.Status != 200 || info.Public != "" {
				t.Errorf("allowed: %+v", info)
			}
			continue
		}
		if info.Status < 400 || info.Status > 599 || info.Status != r.Status() {
			t.Errorf("%s: status %d", r, info.Status)
		}
		if _, ok := public[string(info.Public)]; !ok || info.Public != r.Public() {
			t.Errorf("%s: public reason %q is not on the list", r, info.Public)
		}
	}
}

// TestPublicReasonsTellNothing: the exact reason is for operators. Only what the client can see for itself is told.
func TestPublicReasonsTellNothing(t *testing.T) {
	plain := map[Reason]bool{RouteMethod: true, PlainText: true, ScopeMissing: true}
	for _, r := range Reasons() {
		if string(r) == string(r.Public()) && !plain[r] {
			t.Errorf("%s is told to clients", r)
		}
		for prefix, want := range map[string]Public{"token_": InvalidToken, "rule_": AccessDenied, "guard_": AccessDenied, "no_matching": AccessDenied} {
			if r != TokenMissing && strings.HasPrefix(string(r), prefix) && r.Public() != want {
				t.Errorf("%s: public reason %q, want %q", r, r.Public(), want)
			}
		}
		// Clients of an outage must come back, and must not learn what is down.
		if (r.Status() == 503) != (r.Public() == Unavailable) {
			t.Errorf("%s: status %d with public reason %q", r, r.Status(), r.Public())
		}
		if (r.Status() == 429) != (r.Public() == QuotaExceeded) {
			t.Errorf("%s: status %d with public reason %q", r, r.Status(), r.Public())
		}
	}
}

func TestUnknownReasonIsAPlainDenial(t *testing.T) {
	for _, r := range []Reason{"", "made_up"} {
		if r.Known() || r.Status() != 403 || r.Public() != AccessDenied {
			t.Errorf("%q: known %v, status %d, public %q", r, r.Known(), r.Status(), r.Public())
		}
	}
}

func TestEffect(t *testing.T) {
	var zero Verdict
	if zero.Allowed() || zero.Effect != Deny {
		t.Error("the zero verdict allows")
	}
	if Allow.String() != "allow" || Deny.String() != "deny" || Effect(7).String() != "deny" {
		t.Errorf("strings %q, %q, %q", Allow, Deny, Effect(7))
	}
	for _, e := range []Effect{Deny, 2, 255} {
		if v := (Verdict{Effect: e}); v.Allowed() {
			t.Errorf("effect %d allows", e)
		}
	}
}

func TestHTTPStatus(t *testing.T) {
	for _, tc := range []struct {
		verdict Verdict
		want    int
	}{
		{Verdict{Effect: Allow, Status: 500}, 200},
		{Verdict{}, 403},
		{Verdict{Reason: TokenExpired}, 401},
		{Verdict{Reason: LimitExceeded}, 429},
		{Verdict{Reason: NoRoute, Status: 404}, 404},
		{Verdict{Reason: TokenMissing, Status: 302}, 302},
		{Verdict{Reason: Allowed}, 403},
		{Verdict{Reason: "made_up"}, 403},
		{Verdict{Effect: 7, Status: 200}, 403},
		{Verdict{Status: 299}, 403},
		{Verdict{Status: 300}, 300},
		{Verdict{Status: 599}, 599},
		{Verdict{Status: 600}, 403},
		{Verdict{Status: -1}, 403},
	} {
		if got := tc.verdict.HTTPStatus(); got != tc.want {
			t.Errorf("%+v: status %d, want %d", tc.verdict, got, tc.want)
		}
	}
}
