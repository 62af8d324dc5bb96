package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart"
)

const (
	// readyTime is how long a stack may take to start; stopTime how long its programs may take to end by themselves.
	readyTime, stopTime = 30 * time.Second, 2 * time.Second
)

// Options say what to start. The zero value, with a Binary, is the quickstart as shipped.
type Options struct {
	// Binary is the durward program. "" starts no replica and no Envoy: a test of something else wants only Redis and the API.
	Binary string
	// Dir is the run directory; it must be empty or missing. "" makes one, and Close removes it.
	Dir string
	// Tools is where envoy and redis-server are; "" looks in $DURWARD_TOOLS, in PATH and in the module's .tools/bin.
	Tools string
	// FreePorts takes ports that nobody uses, so that stacks run side by side, instead of those in the files.
	FreePorts bool
	// Replicas is how many replicas to start, at most 12; zero means 2.
	Replicas int
	// WithoutRedis keeps the limits in each replica's memory.
	WithoutRedis bool
	// KeySet is the JWK set of the tokens' issuer; nil keeps the one that nobody can sign for.
	KeySet []byte
	// Bundle holds files, by their path in the bundle, that replace the quickstart's or stand beside them.
	Bundle map[string]string
	// Envoy and Settings, if not nil, change envoy.yaml and every replica's durward.yaml when their ports are in.
	Envoy, Settings func(string) string
	// Environment is added to the environment of the replicas, as "NAME=value".
	Environment []string
	// Clock is the time of the certificates; nil means the system's.
	Clock func() time.Time
}

// Replica is a running durward server.
type Replica struct {
	*Program
	// Address answers gateways and services, Admin health and metrics; both are host:port.
	Address, Admin string
	// Records is the file with its records.
	Records string
}

// Redis is the store of the shared counters.
type Redis struct {
	*Program
	// Address is host:port, URL the same as Durward wants it.
	Address, URL string
}

// Stack is what Start started.
type Stack struct {
	// Dir is the run directory.
	Dir string
	// Authority signed all certificates.
	Authority *Authority
	// API is the sample API, in this process.
	API *quickstart.API
	// Redis is nil without Redis. Envoy is nil and Replicas is empty without a binary.
	Redis    *Redis
	Envoy    *Program
	Replicas []*Replica
	// Edge is where Envoy serves HTTPS, EnvoyAdmin where it serves statistics; both are host:port.
	Edge, EnvoyAdmin string

	ports     ports
	mark      net.Listener
	temporary bool

	mu      sync.Mutex
	servers []*http.Server
	clients []*http.Client
	hosts   map[string]string // where services of this process listen
	serving sync.WaitGroup
	closed  bool
}

// Start starts everything and waits until all of it is ready. On an error nothing is left running; the run directory
// stays if it was named.
func Start(ctx context.Context, o Options) (s *Stack, err error) {
	if o.Replicas == 0 {
		o.Replicas = 2
	}
	if o.Replicas < 0 || o.Replicas > maxReplicas {
		return nil, fmt.Errorf("starting a stack: %d replicas, at most %d", o.Replicas, maxReplicas)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	s = &Stack{API: quickstart.NewAPI(), hosts: map[string]string{}, ports: shipped()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("starting a stack: %w", err), s.Close())
			s = nil
		}
	}()
	if o.FreePorts {
		if s.ports, s.mark, err = freePorts(ctx); err != nil {
			return s, err
		}
	} else if taken := taken(ctx, s.ports.used(o.Replicas)); len(taken) > 0 {
		return s, fmt.Errorf("%w: %s", ErrTaken, strings.Join(taken, ", "))
	}
	if err = s.prepare(&o); err != nil {
		return s, err
	}
	return s, s.run(ctx)
}

// prepare makes the run directory and describes the programs. It finds out first whether they are there.
func (s *Stack) prepare(o *Options) (err error) {
	if s.Dir, s.temporary, err = runDirectory(o.Dir); err != nil {
		return err
	}
	if s.Authority, err = NewAuthority(o.Clock()); err != nil {
		return err
	}
	if err := s.describe(o); err != nil {
		return err
	}
	return s.writeFiles(o)
}

func runDirectory(dir string) (path string, temporary bool, err error) {
	if dir == "" {
		path, err = os.MkdirTemp("", "durward-stack-")
		return path, true, err
	}
	if path, err = filepath.Abs(dir); err != nil {
		return "", false, err
	}
	entries, err := os.ReadDir(path)
	if err != nil && !os.IsNotExist(err) {
		return "", false, err
	}
	if len(entries) > 0 {
		return "", false, fmt.Errorf("the run directory %s is not empty", path)
	}
	return path, false, os.MkdirAll(path, 0o700)
}

func (s *Stack) program(name, path string, ready func(context.Context) error, args ...string) *Program {
	return &Program{Name: name, Log: filepath.Join(s.Dir, name+".log"), path: path, args: args, dir: s.Dir, env: environment(nil), ready: ready}
}

func (s *Stack) describe(o *Options) error {
	if !o.WithoutRedis {
		path, err := find("redis-server", o.Tools)
		if err != nil {
			return err
		}
		address := local(s.ports.redis)
		s.Redis = &Redis{Address: address, URL: "redis://" + address + "/0"}
		s.Redis.Program = s.program("redis", path, s.Redis.ping,
			"--bind", "127.0.0.1", "--port", strconv.Itoa(s.ports.redis), "--save", "", "--appendonly", "no", "--dir", s.Dir)
	}
	if o.Binary == "" {
		return nil
	}
	envoy, err := find("envoy", o.Tools)
	if err != nil {
		return err
	}
	binary, err := filepath.Abs(o.Binary)
	if err != nil {
		return err
	}
	s.Edge, s.EnvoyAdmin = local(s.ports.edge), local(s.ports.envoyAdmin)
	s.Envoy = s.program("envoy", envoy, s.envoyReady,
		"-c", "envoy.yaml", "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
	for i := range o.Replicas {
		name := numbered("durward", i)
		r := &Replica{Address: local(s.ports.replica[i]), Admin: local(s.ports.admin[i]), Records: filepath.Join(s.Dir, numbered("records", i)+".jsonl")}
		r.Program = s.program(name, binary, r.isReady, "serve", "--config", name+".yaml")
		r.env = environment(o.Environment)
		s.Replicas = append(s.Replicas, r)
	}
	return nil
}

// run starts the programs in the order in which they need each other.
func (s *Stack) run(ctx context.Context) error {
	listener, err := listen(ctx, s.ports.orders)
	if err != nil {
		return fmt.Errorf("starting the sample API: %w", err)
	}
	s.serve(listener, s.API)
	if s.Redis != nil {
		if err := s.Redis.Start(ctx); err != nil {
			return err
		}
	}
	for _, r := range s.Replicas {
		if err := r.launch(); err != nil {
			return fmt.Errorf("starting %s: %w", r.Name, err)
		}
	}
	for _, r := range s.Replicas {
		if err := r.Ready(ctx); err != nil {
			return err
		}
	}
	if s.Envoy != nil {
		return s.Envoy.Start(ctx)
	}
	return nil
}

// Close stops everything that the stack started and waits until it is gone. A second Close does nothing.
func (s *Stack) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	servers, clients := s.servers, s.clients
	s.mu.Unlock()
	if closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	programs := s.programs()
	failed := make([]error, len(programs))
	var stopping sync.WaitGroup
	for i, p := range programs {
		stopping.Go(func() { failed[i] = p.stop(ctx) })
	}
	stopping.Wait()
	for _, c := range clients {
		c.CloseIdleConnections()
	}
	for _, server := range servers {
		_ = server.Close() // cuts what is in flight
	}
	s.serving.Wait()
	if s.mark != nil {
		_ = s.mark.Close() // held nothing but the port
	}
	err := errors.Join(failed...)
	if s.temporary {
		err = errors.Join(err, os.RemoveAll(s.Dir))
	}
	if err != nil {
		return fmt.Errorf("stopping the stack: %w", err)
	}
	return nil
}

func (s *Stack) programs() []*Program {
	var all []*Program
	if s.Envoy != nil {
		all = append(all, s.Envoy)
	}
	for _, r := range s.Replicas {
		all = append(all, r.Program)
	}
	if s.Redis != nil {
		all = append(all, s.Redis.Program)
	}
	return all
}
