package authz_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDependencies keeps programs that use the SDK from carrying the server: gRPC, protobuf, and what those need.
func TestDependencies(t *testing.T) {
	const module = "github.com/durward-pdp/durward"
	may := []string{"google.golang.org/grpc", "google.golang.org/protobuf", "google.golang.org/genproto/googleapis/rpc", "golang.org/x/net", "golang.org/x/sys", "golang.org/x/text"}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Dir,Standard,Module,GoFiles", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Dir string
			Standard        bool
			GoFiles         []string
			Module          *struct{ Path string }
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch {
		case p.Standard:
		case p.Module == nil:
			t.Errorf("%s belongs to no module", p.ImportPath)
		case p.Module.Path == module:
			rest := strings.TrimPrefix(p.ImportPath, module+"/")
			if !strings.HasPrefix(rest, "clients/") && !strings.HasPrefix(rest, "proto/") {
				t.Errorf("the SDK needs %s", p.ImportPath)
			}
			// Reading the files makes the cached result of this test depend on them.
			for _, f := range p.GoFiles {
				if _, err := os.ReadFile(filepath.Join(p.Dir, f)); err != nil {
					t.Error(err)
				}
			}
		case !slices.Contains(may, p.Module.Path):
			t.Errorf("the SDK needs %s of %s", p.ImportPath, p.Module.Path)
		default:
			seen[p.Module.Path] = true
		}
	}
	if !seen["google.golang.org/grpc"] || !seen["google.golang.org/protobuf"] {
		t.Errorf("go list showed %v: this test looks at the wrong packages", seen)
	}
}
