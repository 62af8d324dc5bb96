package httpauthz

import (
	"net/http"

	"github.com/durward-pdp/durward/clients/authz"
)

// WithReports reports allowed requests that the handler then answers with a status for which failed returns true, such as the
// 401 of a log-in: limits with `count: denied` count them. The report is made before the answer leaves, so that whoever waits for
// the answer before the next try finds the limit charged; a client that leaves does not escape it. observe, if not nil, is told of
// each report, with an error if the server did not accept it. The server must permit this program to report.
func WithReports(failed func(r *http.Request, status int) bool, observe func(r *http.Request, err error)) Option {
	return func(o *options) {
		o.failed, o.reported = failed, observe
		if observe == nil {
			o.reported = func(*http.Request, error) {}
		}
	}
}

// reporting returns the writer of an allowed request's answer.
func (o *options) reporting(w http.ResponseWriter, r *http.Request, d authz.Decision) http.ResponseWriter {
	if o.failed == nil {
		return w
	}
	return &reporter{ResponseWriter: w, report: func(status int) {
		if o.failed(r, status) {
			o.reported(r, d.Report(r.Context(), authz.Failed))
		}
	}}
}

// reporter sees the status of an answer before it is written.
type reporter struct {
	http.ResponseWriter
	report func(status int)
	final  bool // the status that counts was seen
}

// WriteHeader implements http.ResponseWriter.
func (w *reporter) WriteHeader(status int) {
	w.see(status)
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *reporter) Write(b []byte) (int, error) {
	w.see(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher, for handlers that ask for it.
func (w *reporter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap returns the writer behind, for http.ResponseController.
func (w *reporter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// see takes the first status that is no interim one.
func (w *reporter) see(status int) {
	if w.final || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	w.final = true
	w.report(status)
}
