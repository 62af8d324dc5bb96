//go:build linux

package stack

import (
	"os"
	"syscall"
)

// attributes put a child into a process group of its own, so that a terminal's interrupt reaches the parent alone,
// and let it die with the parent.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func pause(p *os.Process) error  { return p.Signal(syscall.SIGSTOP) }
func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
