// Package usage remembers how limits are used: for each limit how many decisions it let pass and refused, and the keys that
// lately were near it or over it, in a sketch of fixed size instead of a figure for every key.
//
// Whoever shows limits to operators hands Tracker.Observe to a ratelimiter.Limiter. It does no I/O, starts no goroutine and
// allocates nothing once a limit is known. Its keys hold values of requests: they are not for logs or metrics.
package usage
