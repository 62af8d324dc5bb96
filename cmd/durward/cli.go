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
	Lint        lintCommand        `cmd:"" help:"Find what is legal in a policy bundle and probably not meant."`
	Test        testCommand        `cmd:"" help:"Run the decision tests of a policy bundle."`
	Check       checkCommand       `cmd:"" help:"Ask one request of a policy bundle or of a running server, and say why."`
	Explain     explainCommand     `cmd:"" help:"Decide a request of the decision log again, and say why it is answered so."`
	Fmt         fmtCommand         `cmd:"" help:"Bring rules, models and YAML of policy bundles into their canonical form."`
	Import      importCommand      `cmd:"" help:"Explain the configuration of another program, and make a bundle of it."`
	Limits      limitsCommand      `cmd:"" help:"Look at the limits of a running server, let somebody in again, or try other limits on a decision log."`
	Block       blockCommand       `cmd:"" help:"Block a token, session, subject, client, key or network on running servers, list what is blocked, and lift it."`
	Keys        keysCommand        `cmd:"" help:"Make, list, revoke and rotate API keys."`
	Matrix      matrixCommand      `cmd:"" help:"Print who can do what, by a policy bundle."`
	Token       tokenCommand       `cmd:"" help:"Look into a token."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a running server whether it is ready; exit code 0 says yes."`
	Demo        demoCommand        `cmd:"" help:"Run Envoy, Redis, two replicas and a sample API here, and walk through them."`
	Version     versionCommand     `cmd:"" help:"Print what this is."`
}
