package authz

import (
	"errors"
	"net/http"
)

var (
	// ErrOptions is wrapped by errors about options that cannot be right.
	ErrOptions = errors.New("authz client options")
	// ErrDenied is matched by the error of every denial, whatever its cause.
	ErrDenied = errors.New("denied")
	// ErrUnauthenticated is matched too when credentials are missing or bad (401).
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrLimited is matched too when a limit has no room (429).
	ErrLimited = errors.New("limited")
	// ErrUnavailable is matched too when no server answered, or one that could not decide (503).
	ErrUnavailable = errors.New("unavailable")
	// ErrReport is wrapped by the error of every report that was not accepted.
	ErrReport = errors.New("report not accepted")
)

// denial is the error of a decision that is not an allow. Its text holds the public reason only, because error texts
// travel.
type denial struct {
	status int
	public string
	id     string
	cause  error
}

func (e *denial) Error() string {
	text := "denied: " + e.public
	if e.id != "" {
		text += " (decision " + e.id + ")"
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

func (e *denial) Unwrap() error { return e.cause }

func (e *denial) Is(target error) bool {
	switch target {
	case ErrDenied:
		return true
	case ErrUnauthenticated:
		return e.status == http.StatusUnauthorized
	case ErrLimited:
		return e.status == http.StatusTooManyRequests
	case ErrUnavailable:
		return e.status == http.StatusServiceUnavailable
	}
	return false
}

func denied(d *Decision, cause error) error {
	return &denial{status: d.Status, public: d.PublicReason, id: d.ID, cause: cause}
}
