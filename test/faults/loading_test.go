package faults

import (
	"net/http"
	"path/filepath"
	"testing"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// tiny is a bundle that lets everybody read some paths of a host.
func tiny(name, host string, paths ...string) map[string][]byte {
	service := "service: " + name + "\nmatch:\n  - {host: " + host + "}\nidentity: {mode: none}\nroutes:\n"
	for _, path := range paths {
		service += "  - {name: " + path[1:] + ", path: " + path + ", methods: [GET], access: public}\n"
	}
	return map[string][]byte{
		"bundle.yaml":                        []byte("format: 1\nrequires: \"1.0\"\nname: " + name + "\n"),
		"services/" + name + "/service.yaml": []byte(service),
	}
}

// TestBundlesAreIndependent holds two bundles: a broken one does not keep the other from changing, and neither takes the
// other's host.
func TestBundlesAreIndependent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shop, blog := filepath.Join(dir, "shop"), filepath.Join(dir, "blog")
	replace := func(link string, contents map[string][]byte) (id string) {
		path, id := write(t, contents)
		point(t, link, path)
		return id
	}
	replace(shop, tiny("shop", "shop.example.com", "/one"))
	firstBlog := replace(blog, tiny("blog", "blog.example.com", "/one"))
	s := run(t, "bundles:\n  - {dir: "+shop+"}\n  - {dir: "+blog+"}\naudit: {sink: file, path: "+filepath.Join(dir, "records.jsonl")+"}\n", nil)
	s.ready(t)
	expect := func(host, path string, want int) {
		t.Helper()
		if got, _ := s.ask(t, checkRequestAt(host, path)); got != want {
			t.Errorf("%s%s: status %d, want %d", host, path, got, want)
		}
	}
	inForce := func(name, id string) {
		t.Helper()
		eventually(t, name+" "+id, func() bool {
			return metrics(t, s.admin)[`durward_bundle_info{bundle="`+name+`",revision="`+id+`"}`] == 1
		})
	}
	refused := func(name, why string) {
		t.Helper()
		eventually(t, "a refusal of "+name+" that says "+why, func() bool {
			return metrics(t, s.admin)[`durward_bundle_loads_total{bundle="`+name+`",result="refused"}`] > 0 &&
				s.logged("bundle refused", why)
		})
	}
	expect("shop.example.com", "/one", 200)
	expect("blog.example.com", "/one", 200)
	expect("shop.example.com", "/two", 403)

	broken := tiny("blog", "blog.example.com", "/one", "/two")
	broken["services/blog/service.yaml"] = append(broken["services/blog/service.yaml"], "rutes: []\n"...)
	replace(blog, broken)
	refused("blog", "services/blog/service.yaml:8:1")
	inForce("shop", replace(shop, tiny("shop", "shop.example.com", "/one", "/two")))
	expect("shop.example.com", "/two", 200)
	expect("blog.example.com", "/one", 200) // the last good one
	expect("blog.example.com", "/two", 403)

	// A bundle that claims the other's host is fine by itself, and refused beside the other.
	replace(blog, tiny("blog", "shop.example.com", "/one", "/three"))
	refused("blog", "shop.example.com")
	inForce("blog", firstBlog)
	expect("shop.example.com", "/three", 403)
	expect("blog.example.com", "/one", 200)

	inForce("blog", replace(blog, tiny("blog", "blog.example.com", "/one", "/three")))
	expect("blog.example.com", "/three", 200)
}

// TestNotReadyWithoutGoodBundle starts with a broken bundle: everything is denied until it is mended.
func TestNotReadyWithoutGoodBundle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link, records := filepath.Join(dir, "current"), filepath.Join(dir, "records.jsonl")
	contents := tiny("shop", "orders.example.com", "/health")
	contents["bundle.yaml"] = append(contents["bundle.yaml"], "nam: x\n"...)
	path, _ := write(t, contents)
	point(t, link, path)
	s := run(t, "bundles:\n  - {dir: "+link+"}\naudit: {sink: file, path: "+records+"}\n", nil)

	health := func() healthv1.HealthCheckResponse_ServingStatus {
		answer, err := healthv1.NewHealthClient(s.conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: "envoy.service.auth.v3.Authorization"})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetStatus()
	}
	eventually(t, "a line of the log that says why", func() bool {
		return s.logged("bundle refused", "bundle.yaml:4:1")
	})
	if status := s.readiness(t); status != http.StatusServiceUnavailable || health() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("without a bundle: /readyz says %d, health %s", status, health())
	}
	for _, path := range []string{"/health", "/orders", "/"} {
		if status, code := s.ask(t, checkRequest(path)); status != http.StatusServiceUnavailable || code != "temporarily_unavailable" {
			t.Errorf("%s without a bundle: status %d, %s", path, status, code)
		}
	}
	eventually(t, "three records", func() bool { return len(readRecords(t, records)) == 3 })
	for _, r := range readRecords(t, records) {
		if r.Effect != "deny" || r.Reason != "no_snapshot" || r.Status != http.StatusServiceUnavailable || !r.Degraded {
			t.Errorf("recorded %s, %s, %d", r.Effect, r.Reason, r.Status)
		}
	}

	mended, _ := write(t, tiny("shop", "orders.example.com", "/health"))
	point(t, link, mended)
	s.ready(t)
	if status, _ := s.ask(t, checkRequest("/health")); status != http.StatusOK || health() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("mended: status %d, health %s", status, health())
	}
}
