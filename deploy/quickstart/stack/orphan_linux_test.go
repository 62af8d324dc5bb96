package stack

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestChildrenDieWithTheParent kills a process that holds a stack: nothing of the stack may stay.
func TestChildrenDieWithTheParent(t *testing.T) {
	t.Parallel()
	holder := exec.Command(self(t), "hold")
	holder.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	holder.Stderr = os.Stderr
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	killed := errors.Join(holder.Process.Kill(), err)
	holder.Wait() // it was killed
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || killed != nil || pid <= 1 {
		t.Fatalf("the holder says %q: %v, %v", line, err, killed)
	}
	deadline := time.Now().Add(20 * time.Second)
	for !gone(pid) {
		if time.Now().After(deadline) {
			syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("process %d outlives its parent", pid)
		}
		time.Sleep(between)
	}
}

// gone reports whether a process has ended; its new parent may not have collected it yet.
func gone(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, state, ok := strings.Cut(string(data), ") ")
	return err != nil || !ok || strings.HasPrefix(state, "Z")
}
