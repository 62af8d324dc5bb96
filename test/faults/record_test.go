package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"
)

// record is what the tests read of a record.
type record struct {
	Decision    string    `json:"decision_id"`
	Correlation string    `json:"correlation_id"`
	Time        time.Time `json:"time"`
	Took        int64     `json:"took_us"`
	Bundle      string    `json:"bundle"`
	Revision    string    `json:"revision"`
	Route       string    `json:"route"`
	Effect      string    `json:"effect"`
	Status      int       `json:"status"`
	Reason      string    `json:"reason"`
	Rule        string    `json:"rule"`
	Degraded    bool      `json:"degraded"`
	Request     struct {
		Params []struct{ Name, Value string } `json:"params"`
	} `json:"request"`
	Limits []struct {
		Name      string `json:"name"`
		Remaining int64  `json:"remaining"`
		Degraded  bool   `json:"degraded"`
	} `json:"limits"`
	Steps []struct {
		Point string `json:"point"`
		Took  int64  `json:"took_us"`
	} `json:"steps"`
	replica int
}

// end is when the verdict was there.
func (r *record) end() time.Time { return r.Time.Add(time.Duration(r.Took) * time.Microsecond) }

// key is the order that the request was about, by which the limits count.
func (r *record) key() string {
	for _, p := range r.Request.Params {
		if p.Name == "id" {
			return p.Value
		}
	}
	return ""
}

// limits is the time that a decision spent in the limits stage.
func (r *record) limits() time.Duration {
	var sum int64
	for _, s := range r.Steps {
		if s.Point == "limits.gate" || s.Point == "limits.take" {
			sum += s.Took
		}
	}
	return time.Duration(sum) * time.Microsecond
}

// reader reads the replicas' records, each line once: what they write under load is much.
type reader struct {
	offsets []int64
	all     []record
}

// records returns what the replicas recorded until now, replica by replica as far as they were read together.
func (g *gateway) records(t *testing.T) []record {
	t.Helper()
	r := &g.reader
	if r.offsets == nil {
		r.offsets = make([]int64, len(g.Replicas))
	}
	for i, replica := range g.Replicas {
		data := readFrom(t, replica.Records, r.offsets[i])
		data = data[:bytes.LastIndexByte(data, '\n')+1]
		r.offsets[i] += int64(len(data))
		for line := range bytes.Lines(data) {
			r.all = append(r.all, decode(t, line))
			r.all[len(r.all)-1].replica = i
		}
	}
	return r.all
}

func readFrom(t *testing.T, path string, offset int64) []byte {
	t.Helper()
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.NewSectionReader(file, offset, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(t *testing.T, line []byte) (r record) {
	t.Helper()
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatalf("record %s: %v", line, err)
	}
	return r
}

// recordsOf waits until every answer has its record, and returns them by the answers' ids.
func (g *gateway) recordsOf(t *testing.T, answers []answer) map[string]record {
	t.Helper()
	found := map[string]record{}
	read := 0
	eventually(t, "a record of every answer", func() bool {
		all := g.records(t)
		for _, r := range all[read:] {
			found[r.Decision] = r
			found[r.Correlation] = r
		}
		read = len(all)
		return !slices.ContainsFunc(answers, func(a answer) bool {
			_, ok := found[a.id()]
			return !ok && a.own()
		})
	})
	return found
}

// readRecords reads a file of records.
func readRecords(t *testing.T, path string) (out []record) {
	t.Helper()
	data := readFrom(t, path, 0)
	for line := range bytes.Lines(data[:bytes.LastIndexByte(data, '\n')+1]) {
		out = append(out, decode(t, line))
	}
	return out
}
