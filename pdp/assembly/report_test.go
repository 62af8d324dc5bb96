package assembly

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/pipeline"
)

// TestReportIsLogged: what a load took, and a bounded number of remarks.
func TestReportIsLogged(t *testing.T) {
	r := newRunning(t, emptyBundle)
	status := bundle.Status{
		Directory: bundle.Directory{Path: "/policies"},
		Active:    pipeline.BundleInfo{Name: "acme", Revision: "r7", Load: pipeline.LoadInfo{Compiled: 3, Reused: 997, Took: 1500 * time.Millisecond}},
	}
	for i := range reportLogged + 5 {
		status.Report = append(status.Report, fmt.Sprintf("remark %d", i))
	}
	r.report(status)
	text := r.log.String()
	if !strings.Contains(text, `"revision":"r7","compiled":3,"reused":997,"took":"1.5s"`) {
		t.Errorf("log: %s", text)
	}
	if n := strings.Count(text, `"bundle report"`); n != reportLogged+1 || !strings.Contains(text, `"remark":"remark 19"`) || !strings.Contains(text, `"remark":"and 5 more"`) {
		t.Errorf("%d remarks: %s", n, text)
	}
	r.stop()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

// TestWhatWaitsIsNotLoaded: a bundle that was mended while another one is still missing is not in force.
func TestWhatWaitsIsNotLoaded(t *testing.T) {
	r := newRunning(t, brokenBundle)
	r.report(bundle.Status{Directory: bundle.Directory{Path: "/policies"}})
	if text := r.log.String(); strings.Contains(text, `"bundle loaded"`) || !strings.Contains(text, `"msg":"bundle accepted, not in force before the others are","directory":"/policies"`) {
		t.Errorf("log: %s", text)
	}
	shown := families(t, r.metrics)
	if got := shown["durward_bundle_loads_total"].samples["bundle=unknown,result=loaded"]; got != 0 {
		t.Errorf("%v loads of no bundle", got)
	}
	if got, ok := shown["durward_bundle_refused"].samples["directory=/policies"]; got != 0 || !ok {
		t.Errorf("refused: %v", shown["durward_bundle_refused"])
	}
	r.stop()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

// TestLoadShowsInMetrics: a server says how many services it compiled.
func TestLoadShowsInMetrics(t *testing.T) {
	r := newRunning(t, emptyBundle)
	r.watch(t, "")
	for deadline := time.Now().Add(patience); !r.ready.Load() && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if got := families(t, r.metrics)["durward_bundle_services"].samples; got["bundle=acme,how=compiled"] != 1 || got["bundle=acme,how=reused"] != 0 {
		t.Errorf("%v", got)
	}
	r.stop()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}
