package assembly

import (
	"net/http"
	"strings"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/identity"
)

// resourceMetadata publishes the protected resource metadata of services (RFC 9728): those of the service that would be asked
// for the resource, so that no bundle speaks for hosts that are another's.
type resourceMetadata struct {
	identity *identity.Stage
	snapshot func() *pipeline.Snapshot
}

// handlers returns the handlers by pattern of [http.ServeMux].
func (m *resourceMetadata) handlers() map[string]http.Handler {
	return map[string]http.Handler{"GET " + identity.MetadataPath: m, "GET " + identity.MetadataPath + "/": m}
}

// ServeHTTP answers with the document for the request's host and the path behind [identity.MetadataPath].
func (m *resourceMetadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	snapshot := m.snapshot()
	if snapshot == nil {
		http.Error(w, "no policy is loaded yet", http.StatusServiceUnavailable)
		return
	}
	resource := strings.TrimPrefix(r.URL.EscapedPath(), identity.MetadataPath)
	match := snapshot.Routes.Match(&request.Request{Method: http.MethodGet, Host: r.Host, Target: "/" + strings.TrimPrefix(resource, "/")})
	path, document := m.identity.Metadata(snapshot.Services[match.Service])
	if document == nil || path != resource {
		http.NotFound(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "public, max-age=300")
	header.Set("Access-Control-Allow-Origin", "*") // clients in browsers read it too
	header.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(document)
}
