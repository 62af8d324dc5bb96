package stack

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFilesAsShipped(t *testing.T) {
	p := shipped()
	config, err := envoyConfig(&p, 2)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := settingsOf(&p, 0, 2, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"envoy.yaml": config, "durward.yaml": strings.Replace(settings, "records-1.jsonl", "records.jsonl", 1)} {
		want, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s with the ports that it has (-shipped +written):\n%s", name, diff)
		}
	}
}

func TestFilesWithOtherPorts(t *testing.T) {
	// Each new port is another's old one: replacing one after the other would go wrong.
	p := shipped()
	p.edge, p.orders, p.envoyAdmin, p.replica[0], p.replica[1] = p.orders, p.replica[0], p.edge, p.envoyAdmin, p.replica[2]
	config, err := envoyConfig(&p, 3)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(config, "\n") {
		if _, port, ok := strings.Cut(line, "port_value: "); ok {
			got = append(got, strings.TrimRight(port, "}"))
		}
	}
	if diff := cmp.Diff([]string{"8443", "8081", "9901", "9391", "9391", "9191"}, got); diff != "" {
		t.Errorf("ports of envoy.yaml (-want +got):\n%s", diff)
	}
	settings, err := settingsOf(&p, 1, 3, false)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(settings, "redis") || !strings.Contains(settings, "address: 127.0.0.1:9391\n") || !strings.Contains(settings, "path: records-2.jsonl") {
		t.Errorf("settings of the second replica without Redis:\n%s", settings)
	}
}

func TestExchangeWantsEachTextOnce(t *testing.T) {
	for text, ok := range map[string]bool{"a b": true, "b": false, "a a b": false} {
		if _, err := exchange("x", text, "a", "1", "b", "2"); errors.Is(err, errNoToken) == ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestEditReplacesAtOnce(t *testing.T) {
	s := &Stack{Dir: t.TempDir()}
	read := func(path string) string {
		data, _ := os.ReadFile(filepath.Join(s.Dir, "bundle", path))
		return string(data)
	}
	if err := s.Edit("shared/a.csv", "one"); err != nil || read("shared/a.csv") != "one" {
		t.Fatal(err, read("shared/a.csv"))
	}
	if err := s.Edit("shared/a.csv", ""); err != nil || read("shared/a.csv") != "" {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir, "bundle", "*", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestPortBlocksKeepApart(t *testing.T) {
	p, mark, err := freePorts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Nobody listens on the block's other ports, but it is marked.
	if _, _, err := block(t.Context(), p.edge-1); err == nil {
		t.Error("a block was given away twice")
	}
	mark.Close()
	inside, err := listen(t.Context(), p.admin[maxReplicas-1])
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	if _, _, err := block(t.Context(), p.edge-1); !errors.Is(err, ErrTaken) {
		t.Errorf("a block with a taken port: %v", err)
	}
}

func TestStartRefusesTakenAddresses(t *testing.T) {
	if l, err := listen(t.Context(), shipped().redis); err == nil { // else somebody else has it, which is as good
		defer l.Close()
	}
	s, err := Start(t.Context(), Options{})
	if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "127.0.0.1:6390") {
		t.Errorf("error %v", err)
	}
	if err == nil {
		s.Close()
	}
}

func TestEnvironmentOfChildren(t *testing.T) {
	t.Setenv("DURWARD_REDIS", "redis://elsewhere")
	t.Setenv("KEPT", "1")
	got := environment([]string{"DURWARD_BUDGET=1s"})
	if slices.Contains(got, "DURWARD_REDIS=redis://elsewhere") || !slices.Contains(got, "KEPT=1") || !slices.Contains(got, "DURWARD_BUDGET=1s") {
		t.Errorf("environment %q", got)
	}
}

func TestAuthorityIssuesWhatIsWanted(t *testing.T) {
	now := time.Now()
	a, err := NewAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Issue(Wanted{Names: []string{"::not a uri://"}, NotAfter: now}); err == nil {
		t.Error("a name that is no URI was taken")
	}
	dir := t.TempDir()
	if err := a.writeAll(filepath.Join(dir, tlsDir), now); err != nil {
		t.Fatal(err)
	}
	pair, err := (&Stack{Dir: dir}).Certificate("batch")
	if err != nil || len(pair.Leaf.URIs) != 1 || pair.Leaf.URIs[0].String() != "spiffe://example.com/ns/shop/batch" {
		t.Errorf("batch: %v, %v", pair.Leaf, err)
	}
}
