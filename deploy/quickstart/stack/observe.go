package stack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

var errNotReady = errors.New("not ready")

// get asks an admin listener.
func get(ctx context.Context, address, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	// Nothing is shared with other requests, and no proxy stands between.
	client := &http.Client{Timeout: sendTime, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s%s says %s", errNotReady, address, path, response.Status)
	}
	return body, nil
}

// isReady asks the replica whether it is.
func (r *Replica) isReady(ctx context.Context) error {
	_, err := get(ctx, r.Admin, "/readyz")
	return err
}

// ping asks Redis for a sign of life, and whether it is the one that this stack started.
func (r *Redis) ping(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", r.Address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := conn.Write([]byte("INFO server\r\n")); err != nil {
		return err
	}
	reader := bufio.NewReader(io.LimitReader(conn, maxHead))
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%w: Redis does not say who it is: %w", errNotReady, err)
		}
		if id, ok := strings.CutPrefix(line, "process_id:"); ok {
			if id = strings.TrimSpace(id); id != strconv.Itoa(r.PID()) {
				return fmt.Errorf("%w: another Redis, process %s, listens on %s", errNotReady, id, r.Address)
			}
			return nil
		}
	}
}

// envoyReady asks Envoy whether it serves, and finds every replica well.
func (s *Stack) envoyReady(ctx context.Context) error {
	if _, err := get(ctx, s.EnvoyAdmin, "/ready"); err != nil {
		return err
	}
	stats, err := s.Stats(ctx)
	if err != nil {
		return err
	}
	running := int64(0)
	for _, r := range s.Replicas {
		if r.Running() {
			running++
		}
	}
	if healthy := stats["cluster.durward.membership_healthy"]; healthy < running {
		return fmt.Errorf("%w: Envoy finds %d of %d replicas well", errNotReady, healthy, running)
	}
	return nil
}

// Stats returns Envoy's counters and gauges that are in use, by their full name.
func (s *Stack) Stats(ctx context.Context) (map[string]int64, error) {
	data, err := get(ctx, s.EnvoyAdmin, "/stats?usedonly&format=json&type=All")
	if err != nil {
		return nil, fmt.Errorf("reading Envoy's statistics: %w", err)
	}
	var decoded struct {
		Stats []struct {
			Name  string          `json:"name"`
			Value json.RawMessage `json:"value"`
		} `json:"stats"`
	}
	if err := json.Unmarshal(data, &decoded); err != nil {
		return nil, fmt.Errorf("reading Envoy's statistics: %w", err)
	}
	out := make(map[string]int64, len(decoded.Stats))
	for _, stat := range decoded.Stats {
		var value float64
		// Histograms and texts stand in the same list and are left out.
		if json.Unmarshal(stat.Value, &value) == nil && stat.Name != "" && math.Abs(value) < 1<<53 {
			out[stat.Name] = int64(value)
		}
	}
	return out, nil
}

// Record is one line of a replica's records.
type Record struct {
	// Replica is the number of the replica, from zero.
	Replica int
	// Line is the line as it stands in the file, without its end.
	Line []byte
	// Fields is the same line, decoded.
	Fields map[string]any
}

// Records returns what the replicas recorded until now, replica by replica, each in its order. A line that is not
// complete yet is left out.
func (s *Stack) Records() ([]Record, error) {
	var out []Record
	for i, r := range s.Replicas {
		data, err := os.ReadFile(r.Records)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading records: %w", err)
		}
		for {
			line, rest, complete := bytes.Cut(data, []byte("\n"))
			if !complete {
				break
			}
			data = rest
			record := Record{Replica: i, Line: line}
			if err := json.Unmarshal(line, &record.Fields); err != nil {
				return nil, fmt.Errorf("reading records: %s: %w", r.Records, err)
			}
			out = append(out, record)
		}
	}
	return out, nil
}

// Await returns the first record that matches, as soon as there is one, or an error when ctx ends.
func (s *Stack) Await(ctx context.Context, matches func(Record) bool) (Record, error) {
	ticker := time.NewTicker(between)
	defer ticker.Stop()
	for {
		records, err := s.Records()
		if err != nil {
			return Record{}, err
		}
		for _, r := range records {
			if matches(r) {
				return r, nil
			}
		}
		select {
		case <-ctx.Done():
			return Record{}, fmt.Errorf("waiting for a record: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}
