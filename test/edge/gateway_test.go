package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The listeners of the test gateway. They differ from the shipped one, edge, as listed in variants.
const (
	edgeDoor      = "edge"      // as shipped: paths normalised, raw headers
	joinedDoor    = "joined"    // headers as a map of joined values
	rawDoor       = "raw"       // no path is normalised, underscores in header names pass
	rawJoinedDoor = "rawjoined" // both
	clearDoor     = "clear"     // plain text
	strangerDoor  = "stranger"  // shows Durward a certificate that is no caller's
	namelessDoor  = "nameless"  // shows Durward no certificate
	foreignDoor   = "foreign"   // shows Durward a certificate of another authority
)

// swap replaces each old text by the next; a text that the configuration does not hold exactly once panics, which
// only a change of the quickstart's envoy.yaml can cause.
func swap(text string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if n := strings.Count(text, pairs[i]); n != 1 {
			panic(fmt.Sprintf("envoy.yaml holds %q %d times", pairs[i], n))
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

// section cuts text into what stands before begin, from begin to end, and from end on.
func section(text, begin, end string) (before, inside, after string) {
	before, rest, found := strings.Cut(text, begin)
	if !found {
		panic("envoy.yaml does not hold " + begin)
	}
	inside, after, found = strings.Cut(rest, end)
	if !found {
		panic("envoy.yaml does not hold " + end)
	}
	return before, begin + inside, end + after
}

// cleartext takes TLS off a listener.
func cleartext(listener string) string {
	before, _, after := section(listener, "        - transport_socket:\n", "          filters:\n")
	return before + "        - filters:\n" + strings.TrimPrefix(after, "          filters:\n")
}

// asks makes a listener ask another cluster for decisions.
func asks(cluster string) func(string) string {
	return func(listener string) string {
		return swap(listener, "cluster_name: durward,", "cluster_name: "+cluster+",")
	}
}

func rawPaths(listener string) string {
	return swap(listener, "normalize_path: true", "normalize_path: false", "merge_slashes: true", "merge_slashes: false",
		"path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: KEEP_UNCHANGED",
		"headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW")
}

func joinedHeaders(listener string) string {
	return swap(listener, "encode_raw_headers: true", "encode_raw_headers: false")
}

// variants are the further listeners, by what makes them of the shipped one.
func variants() map[string]func(string) string {
	return map[string]func(string) string{
		joinedDoor:    joinedHeaders,
		rawDoor:       rawPaths,
		rawJoinedDoor: func(listener string) string { return rawPaths(joinedHeaders(listener)) },
		clearDoor:     cleartext,
		strangerDoor:  asks(strangerDoor),
		namelessDoor:  asks(namelessDoor),
		foreignDoor:   asks(foreignDoor),
	}
}

// hosts are the further virtual hosts: one that chooses its service by extension, one that chooses one that does not
// answer for its host, a gRPC API, an API that upgrades, and everything else.
const hosts = `                    - name: edge
                      domains: [edge.example.com, "edge.example.com:*"]
                      routes:
                        - match: {path: /socket}
                          route: {cluster: sockets, timeout: 0s}
                        - match: {prefix: /}
                          route: {cluster: orders, timeout: 15s}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings: {context_extensions: {durward.service: edge, tier: gold}}
                    - name: wrong
                      domains: [wrong.example.com]
                      routes:
                        - match: {prefix: /}
                          route: {cluster: orders, timeout: 15s}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings: {context_extensions: {durward.service: edge}}
                    - name: grpc
                      domains: [grpc.example.com]
                      routes:
                        - match: {prefix: /}
                          route: {cluster: greeter, timeout: 15s}
`

// otherHosts is the virtual host of everything else.
const otherHosts = `                    - name: other
                      domains: ["*"]
                      routes:
                        - match: {prefix: /}
                          route: {cluster: orders, timeout: 15s}
`

const clusterText = `    - name: %s
      type: STATIC
      connect_timeout: 0.25s
%s      load_assignment:
        cluster_name: %s
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: %s, port_value: %d}}}
`

const overHTTP2 = `      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
`

var listenAddress = regexp.MustCompile(`address: \{socket_address: \{address: 127\.0\.0\.1, port_value: \d+\}\}`)

// anyHost makes the gateway take every host.
func anyHost(text string) string {
	return swap(text, "                  virtual_hosts:\n", "                  virtual_hosts:\n"+otherHosts)
}

// gateway returns what makes the test gateway of the shipped one. foreign is the directory with another authority's
// certificate.
func gateway(b *backends, foreign string) func(string) string {
	return func(text string) string {
		text = anyHost(swap(patientGateway(text), "                  virtual_hosts:\n", "                  virtual_hosts:\n"+hosts))
		head, listener, rest := section(text, "    - name: edge\n      address:", "\n  clusters:\n")
		middle, cluster, tail := section(rest, "    - name: durward\n", "    - name: orders\n")
		listeners := listener
		for name, change := range variants() {
			another := swap(change(listener), "    - name: edge\n      address:", "    - name: "+name+"\n      address:",
				"stat_prefix: edge", "stat_prefix: "+name, "&http", "")
			// The first address is the listener's own; Envoy chooses the port.
			at := listenAddress.FindStringIndex(another)
			listeners += "\n" + another[:at[0]] + "address: {socket_address: {address: 127.0.0.1, port_value: 0}}" + another[at[1]:]
		}
		clusters := cluster
		for name, identity := range map[string][2]string{
			strangerDoor: {"tls/batch.crt", "tls/batch.key"},
			foreignDoor:  {foreign + "/foreign.crt", foreign + "/foreign.key"},
		} {
			clusters += renamed(swap(cluster, "tls/gateway.crt", identity[0], "tls/gateway.key", identity[1]), name)
		}
		before, _, after := section(cluster, "            tls_certificates:\n", "            validation_context:\n")
		clusters += renamed(before+after, namelessDoor)
		clusters += fmt.Sprintf(clusterText, "greeter", overHTTP2, "greeter", b.host, b.greeter)
		clusters += fmt.Sprintf(clusterText, "sockets", "", "sockets", b.host, b.sockets)
		return head + listeners + middle + clusters + tail
	}
}

func renamed(cluster, name string) string {
	return swap(cluster, "    - name: durward\n", "    - name: "+name+"\n", "cluster_name: durward", "cluster_name: "+name)
}

// doors asks Envoy where its listeners are.
func doors(ctx context.Context, admin string) (map[string]string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/listeners?format=json", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var decoded struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&decoded); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, s := range decoded.Statuses {
		out[s.Name] = fmt.Sprintf("%s:%d", s.Address.Socket.Address, s.Address.Socket.Port)
	}
	return out, nil
}

// checkStats fails the test when the gateway could not carry out an answer, or had none of Durward's own.
func (e *edge) checkStats(t *testing.T) {
	t.Helper()
	before := e.decided.Load()
	stats, err := e.Stats(soon(t))
	if err != nil {
		t.Error(err)
		return
	}
	answered := int64(0)
	for name, value := range stats {
		prefix, metric, found := strings.Cut(name, ".ext_authz.")
		if !found {
			continue
		}
		door := strings.TrimPrefix(prefix, "http.")
		switch {
		case metric == "ok" || metric == "denied":
			answered += value
		case metric == "invalid" || metric == "failure_mode_allowed", metric == "error" && !e.unheard(door, prefix):
			if value != 0 {
				t.Errorf("Envoy counts %s = %d", name, value)
			}
		}
	}
	if answered < before {
		t.Errorf("Envoy counts %d answers, at least %d came: are its statistics read?", answered, before)
	}
}

// unheard says whether a listener is one that Durward does not let in. Clusters of APIs count for all listeners.
func (e *edge) unheard(door, prefix string) bool {
	return e.strangers && (door == namelessDoor || door == foreignDoor || strings.HasPrefix(prefix, "cluster."))
}
