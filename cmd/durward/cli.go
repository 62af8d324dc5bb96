package main

import (
	"errors"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

// Exit codes, the same for every command.
const (
	exitOK       = 0
	exitInternal = 1
	exitUsage    = 2
	exitInvalid  = 3
	exitFailed   = 4
)

var (
	// errInvalid marks errors about bundles that the user can mend; those about settings are the settings' own.
	errInvalid = errors.New("invalid")
	// errFailed marks a check that was made and did not hold: a decision test, a finding, a golden file.
	errFailed = errors.New("failed")
)

// codeOf returns the exit code of a command's error.
func codeOf(err error) int {
	switch {
	case errors.Is(err, errInvalid) || errors.Is(err, settings.ErrInvalid):
		return exitInvalid
	case errors.Is(err, errFailed):
		return exitFailed
	}
	return exitInternal
}

// cli is the command line.
type cli struct {
	Serve       serveCommand       `cmd:"" help:"Answer decision requests of gateways and services."`
	Validate    validateCommand    `cmd:"" help:"Check a policy bundle and print everything that is wrong with it."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a running server whether it is ready; exit code 0 says yes."`
	Demo        demoCommand        `cmd:"" help:"Run Envoy, Redis, two replicas and a sample API here, and walk through them."`
	Version     versionCommand     `cmd:"" help:"Print what this is."`
}
