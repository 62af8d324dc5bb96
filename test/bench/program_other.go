//go:build !linux

package bench

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func attributes() *syscall.SysProcAttr { return nil }

// processorTime asks ps(1), which counts hundredths of a second: [hours:]minutes:seconds.
func processorTime(pid int) (time.Duration, error) {
	text, err := exec.Command("ps", "-o", "time=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0, fmt.Errorf("asking for the processor time of process %d: %w", pid, err)
	}
	var seconds float64
	for part := range strings.SplitSeq(strings.TrimSpace(string(text)), ":") {
		value, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the processor time of process %d: %w", pid, err)
		}
		seconds = seconds*60 + value
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
