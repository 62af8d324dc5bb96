package stack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoProgram is returned when a program that the stack starts is not there.
var ErrNoProgram = errors.New("a program is missing")

// find returns the path of a program: in dir if that is given, else in $DURWARD_TOOLS, else in PATH, else in .tools/bin
// of the module around the working directory.
func find(name, dir string) (string, error) {
	if dir == "" {
		dir = os.Getenv("DURWARD_TOOLS")
	}
	if dir != "" {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return filepath.Abs(path)
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	if root := moduleRoot(); root != "" {
		if path, err := exec.LookPath(filepath.Join(root, ".tools", "bin", name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: %s is neither in the tools directory nor in PATH; run: make tools", ErrNoProgram, name)
}

// moduleRoot is the directory with go.mod at or above the working directory, "" when there is none.
func moduleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// environment is what children get of this process' environment: nothing that would change a setting.
func environment(more []string) []string {
	var out []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "DURWARD_") {
			out = append(out, entry)
		}
	}
	return append(out, more...)
}
