package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	readyTime = 30 * time.Second // for a program to come up
	stopTime  = 15 * time.Second // for a program to end when it is asked to
	pollEvery = 10 * time.Millisecond
	maxTail   = 2000 // bytes of a log in an error
)

var (
	errNoProgram = errors.New("a program is missing")
	errEnded     = errors.New("it ended")
)

// program is a process that answers a contest's questions.
type program struct {
	name string
	log  string // file with its standard output and error
	pid  int
	stop func() // asks it to end, then makes it, and waits
	done chan struct{}
}

// start runs a program until stop is called or ctx ends.
func start(ctx context.Context, name, dir string, line ...string) (*program, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	ctx, cancel := context.WithCancel(ctx)
	command := exec.CommandContext(ctx, line[0], line[1:]...)
	command.Dir, command.Env, command.Stdout, command.Stderr = dir, environment(), log, log
	command.SysProcAttr = attributes()
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopTime
	p := &program{name: name, log: log.Name(), done: make(chan struct{})}
	p.stop = func() {
		cancel()
		<-p.done
	}
	started := make(chan error)
	go func() {
		// Where a child dies with its parent, the parent is the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // how it ended is of interest to nobody: what it owes is checked by what it wrote
		}
	}()
	if err := <-started; err != nil {
		cancel()
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p.pid = command.Process.Pid
	return p, nil
}

// processorTime is what the process has used so far.
func (p *program) processorTime() (time.Duration, error) { return processorTime(p.pid) }

// await asks until the program is ready.
func (p *program) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
			continue
		case <-p.done:
			err = errEnded
		case <-ctx.Done():
		}
		return fmt.Errorf("waiting for %s: %w\nend of its log:\n%s", p.name, err, p.tail())
	}
}

func (p *program) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-maxTail):])
}

// addresses are those of the line in its log with which Durward, and the null server too, say where they listen.
func (p *program) addresses(ctx context.Context) ([]string, error) {
	var line struct {
		Addresses []string `json:"addresses"`
	}
	err := p.await(ctx, func(context.Context) error {
		text, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		for one := range strings.Lines(string(text)) {
			if json.Unmarshal([]byte(one), &line) == nil && len(line.Addresses) > 0 {
				return nil
			}
		}
		return errors.New("it does not listen yet")
	})
	return line.Addresses, err
}

// environment is what children get: nothing that would change a setting of Durward.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "DURWARD_") })
}

// find looks for a program in $DURWARD_TOOLS, in the PATH and in the checkout's own tools.
func find(name, root string) (string, error) {
	candidates := []string{name, filepath.Join(root, ".tools", "bin", name)}
	if dir := os.Getenv("DURWARD_TOOLS"); dir != "" {
		candidates = append([]string{filepath.Join(dir, name)}, candidates...)
	}
	for _, candidate := range candidates {
		if path, err := exec.LookPath(candidate); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%w: %s; run: make tools", errNoProgram, name)
}
