package bench

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attributes let a child die with its parent.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// processorTime reads the processor time of all threads of a process, ended ones too, in nanoseconds; /proc/PID/stat counts
// hundredths of a second. The clock's number is made as clock_getcpuclockid(3) makes it.
func processorTime(pid int) (time.Duration, error) {
	const scheduler = 2
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduler), &used); err != nil {
		return 0, fmt.Errorf("asking for the processor time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}
