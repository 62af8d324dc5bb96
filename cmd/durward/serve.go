package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

type serveCommand struct {
	Config        string   `help:"Settings file." type:"path" env:"DURWARD_CONFIG" placeholder:"durward.yaml"`
	Bundle        []string `help:"Directory of a policy bundle; may be repeated." env:"DURWARD_BUNDLE" placeholder:"DIR"`
	Listen        string   `help:"Address of the first listener: host:port or unix:PATH." env:"DURWARD_LISTEN" placeholder:"ADDR"`
	Admin         string   `help:"Address of health, metrics and configuration; off closes it." env:"DURWARD_ADMIN" placeholder:"ADDR"`
	HTTP          string   `help:"Address of public documents (keys, metadata) and logout; none without it." name:"http" env:"DURWARD_HTTP" placeholder:"ADDR"`
	Redis         string   `help:"redis:// or rediss:// URL of the shared counters; without it limits are kept in memory." env:"DURWARD_REDIS" placeholder:"URL"`
	ClientAddress string   `help:"How the client's address is found: peer, xff:N (N trusted hops) or header:NAME." env:"DURWARD_CLIENT_ADDRESS" placeholder:"RULE"`
	Insecure      bool     `help:"Let listeners beyond this machine do without TLS and named callers." env:"DURWARD_INSECURE"`
}

// Run serves until it is told to stop.
func (c *serveCommand) Run(ctx context.Context, s streams) error {
	configured, warnings, err := settings.Load(c.Config, os.Environ(), settings.Overrides{
		Bundles: c.Bundle, Listen: c.Listen, Admin: c.Admin, HTTP: c.HTTP, Redis: c.Redis, ClientAddress: c.ClientAddress, Insecure: c.Insecure,
	})
	logger, flush := newLogger(s.err, configured.Log.Level)
	defer flush()
	for _, name := range warnings { // of settings that do not work too: they may be why
		logger.Warn("environment variable is no setting", "name", name)
	}
	if err != nil {
		return err
	}
	// Who reads records or the log from a pipe may go away. What follows is for on_full to say; the signal would end us.
	signal.Ignore(syscall.SIGPIPE)
	reopen := make(chan struct{}, 1)
	stopReopen := onHangup(reopen)
	defer stopReopen()
	hurry, stopHurry := onSecondSignal()
	defer stopHurry()
	server, err := assembly.New(assembly.Options{
		Settings: configured, Logger: logger, Records: s.out, Clock: time.Now, Random: rand.Reader, Reopen: reopen, Hurry: hurry,
	})
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	logger.Info("listening", "addresses", server.Addresses(), "version", assembly.ReadVersion().Version)
	if err := server.Run(ctx); err != nil {
		return err
	}
	logger.Info("stopped")
	return nil
}

// onSecondSignal closes the channel when the process is told to stop for the second time: whoever does so wants no
// drain. What is in flight and what waits to be written is finished all the same.
func onSecondSignal() (hurry <-chan struct{}, stop func()) {
	signals, second, done := make(chan os.Signal, 2), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for range 2 {
			select {
			case <-done:
				return
			case <-signals:
			}
		}
		close(second)
	}()
	return second, func() {
		signal.Stop(signals)
		close(done)
	}
}

// onHangup passes SIGHUP on as a wish to open the record file anew.
func onHangup(reopen chan<- struct{}) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-signals:
				select {
				case reopen <- struct{}{}:
				default: // one wish is waiting already
				}
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}
