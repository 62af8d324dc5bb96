package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// between is the pause between two questions whether a program is ready; probeTime bounds one question.
	between, probeTime = 20 * time.Millisecond, 2 * time.Second
	// killTime bounds how long the end of a killed program is waited for.
	killTime = 5 * time.Second
	// maxTail bounds how much of a program's log stands in an error, in bytes.
	maxTail = 2000
)

// ErrNotRunning is returned when a program that does not run is told to do something.
var ErrNotRunning = errors.New("it is not running")

var errEnded = errors.New("exit status 0")

// Program is one of the stack's processes. Its methods may be called by several goroutines.
type Program struct {
	// Name is what errors call it; Log is the file with its standard output and error.
	Name, Log string

	path  string
	args  []string
	dir   string
	env   []string
	ready func(context.Context) error

	mu      sync.Mutex
	process *os.Process
	done    chan struct{} // closed when the process is gone
	exit    error         // why it went; read after done
}

// Start runs the program and waits until it is ready, or gone, or ctx ends.
func (p *Program) Start(ctx context.Context) error {
	if err := p.launch(); err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	return p.Ready(ctx)
}

// Restart kills the program, if it runs, and starts it again, on the same addresses.
func (p *Program) Restart(ctx context.Context) error {
	if err := p.Kill(); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	return p.Start(ctx)
}

// launch starts the process.
func (p *Program) launch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("it runs already, as process %d", p.process.Pid)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()         // the child has its own
	command := exec.Command(p.path, p.args...) //nolint:gosec,noctx // the stack's own programs; they live longer than the call that starts them
	command.Dir, command.Env = p.dir, p.env
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = attributes()
	started, done := make(chan error, 1), make(chan struct{})
	go p.tend(command, started, done)
	p.exit = nil
	if err := <-started; err != nil {
		return err
	}
	p.process, p.done = command.Process, done
	return nil
}

// tend starts the process and collects it when it ends. It keeps its thread meanwhile: where children die with the
// parent, the parent is the thread that started them.
func (p *Program) tend(command *exec.Cmd, started chan<- error, done chan<- struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := command.Start()
	started <- err
	if err != nil {
		return
	}
	err = command.Wait()
	p.mu.Lock()
	p.exit = err
	p.mu.Unlock()
	close(done)
}

// running is called with the lock held.
func (p *Program) running() bool {
	if p.process == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Running reports whether the process is there.
func (p *Program) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running()
}

// PID returns the process id of the latest start, 0 before the first.
func (p *Program) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return 0
	}
	return p.process.Pid
}

// Ready waits until the program says that it is ready. It fails when the program is gone or ctx ends, with the end
// of the program's log.
func (p *Program) Ready(ctx context.Context) error {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done == nil {
		return fmt.Errorf("waiting for %s: %w", p.Name, ErrNotRunning)
	}
	ticker := time.NewTicker(between)
	defer ticker.Stop()
	last := errNotReady
	for {
		probe, cancel := context.WithTimeout(ctx, probeTime)
		err := p.ready(probe)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil { // else it says only that the time is over
			last = err
		}
		select {
		case <-done:
			return fmt.Errorf("waiting for %s: it ended: %w%s", p.Name, p.ended(), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w, last answer: %w%s", p.Name, ctx.Err(), last, p.tail())
		case <-ticker.C:
		}
	}
}

// ended is how the process ended; it is called when it has.
func (p *Program) ended() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exit == nil {
		return errEnded
	}
	return p.exit
}

// tail is the end of the program's log, for errors.
func (p *Program) tail() string {
	data, err := os.ReadFile(p.Log)
	if err != nil {
		return ""
	}
	text := strings.TrimSpace(string(data[max(0, len(data)-maxTail):]))
	if text == "" {
		return fmt.Sprintf(" (its log %s is empty)", filepath.Base(p.Log))
	}
	return fmt.Sprintf("\nend of %s:\n%s", filepath.Base(p.Log), text)
}

// signal sends what send sends, and returns what tells the end of the process.
func (p *Program) signal(send func(*os.Process) error) (done <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return nil, fmt.Errorf("signalling %s: %w", p.Name, ErrNotRunning)
	}
	if err := send(p.process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, fmt.Errorf("signalling %s: %w", p.Name, err)
	}
	return p.done, nil
}

// Kill ends the program at once (SIGKILL) and waits until it is gone.
func (p *Program) Kill() error {
	done, err := p.signal((*os.Process).Kill)
	if err != nil {
		return err
	}
	timer := time.NewTimer(killTime)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("killing %s: process %d is still there", p.Name, p.PID())
	}
}

// Terminate asks the program to end (SIGTERM) and waits until it is gone, or ctx ends. The error says so when it did
// not end well.
func (p *Program) Terminate(ctx context.Context) error {
	done, err := p.signal(func(process *os.Process) error { return process.Signal(syscall.SIGTERM) })
	if err != nil {
		return err
	}
	select {
	case <-done:
		if err := p.ended(); !errors.Is(err, errEnded) {
			return fmt.Errorf("terminating %s: %w%s", p.Name, err, p.tail())
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("terminating %s: %w", p.Name, ctx.Err())
	}
}

// Pause stops the program where it stands (SIGSTOP): its sockets stay open and nobody answers.
func (p *Program) Pause() error {
	_, err := p.signal(pause)
	return err
}

// Resume lets a paused program go on.
func (p *Program) Resume() error {
	_, err := p.signal(resume)
	return err
}

// stop ends the program, paused or not: politely for as long as ctx lasts, then at once.
func (p *Program) stop(ctx context.Context) error {
	if !p.Running() {
		return nil
	}
	_ = p.Resume() // fails where it was not paused and cannot be
	err := p.Terminate(ctx)
	if !p.Running() {
		return nil // how it ended is of no interest any more
	}
	if kill := p.Kill(); kill != nil && !errors.Is(kill, ErrNotRunning) {
		return errors.Join(err, kill)
	}
	return nil
}
