package audit

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/durward-pdp/durward/pdp/request"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func fullEvent() *Event {
	return &Event{
		Event: "limits.unblock", ID: "e1", Time: instant, Outcome: "done", Caller: "ops", Peer: netip.MustParseAddrPort("[::1]:4711"),
		Certificate: &request.Certificate{Subject: "CN=ops", DNSNames: []string{"ops.lab"}, NotAfter: instant.Add(time.Hour), Thumbprint: [32]byte{1}},
		Bundle:      "acme", Service: "orders", Domain: "edge", Limit: "per-subject",
		Key: []EventValue{
			{Name: "subject.key", Value: "user:corp:alice\n\u202e"}, {Name: "subject.tenant", Missing: true},
			{Name: "request.header.x", Value: "Bearer planted-credential"},
		},
		Counter: "00ff", Detail: "a detail",
	}
}

// A line holds all of an event and nothing but it; what could act on a terminal is escaped, and no credential passes.
func TestEventLine(t *testing.T) {
	var e encoder
	line := string(e.encodeEvent(fullEvent()))
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") || strings.Contains(line, "planted") || strings.Contains(line, "\u202e") {
		t.Errorf("the line is %q", line)
	}
	got := &durwardv1.Event{}
	if err := protojson.Unmarshal([]byte(line), got); err != nil {
		t.Fatal(err)
	}
	want := &durwardv1.Event{
		Event: "limits.unblock", Id: "e1", Time: timestamppb.New(instant.Truncate(time.Microsecond)), Outcome: "done", Caller: "ops", PeerAddress: "[::1]:4711",
		Certificate: &durwardv1.RecordedCertificate{Subject: "CN=ops", Sans: []string{"ops.lab"}, Thumbprint: "01" + strings.Repeat("00", 31), NotAfter: timestamppb.New(instant.Add(time.Hour).Truncate(time.Microsecond))},
		Bundle:      "acme", Service: "orders", Domain: "edge", Limit: "per-subject",
		Key: []*durwardv1.RecordedField{
			{Name: "subject.key", Value: "user:corp:alice\n\u202e"}, {Name: "subject.tenant"}, {Name: "request.header.x", Value: "[masked]"},
		},
		Counter: "00ff", Detail: "a detail",
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// RecordEvent returns when its line is written, and not before.
func TestEventIsWrittenBeforeItCounts(t *testing.T) {
	l, g, _ := start(t, DropAllows)
	var order []string
	var mu sync.Mutex
	note := func(what string) { mu.Lock(); order = append(order, what); mu.Unlock() }
	done := make(chan error, 1)
	go func() {
		err := l.RecordEvent(t.Context(), fullEvent())
		note("recorded")
		done <- err
	}()
	for l.Queued() < 2 { // the record that hangs and the event
		time.Sleep(time.Millisecond)
	}
	note("opened")
	close(g.hold)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"opened", "recorded"}, order); diff != "" {
		t.Error(diff)
	}
	if lines := g.lines(); len(lines) != 2 || !strings.Contains(lines[1], `"event":"limits.unblock"`) {
		t.Errorf("written: %q", lines)
	}
}

// An event that cannot be written is an error, whatever OnFull says: the sink hangs, or the queue is full.
func TestEventThatIsNotWritten(t *testing.T) {
	for _, mode := range []OnFull{DropAllows, Wait, DenyDecision} {
		l, g, seen := start(t, mode)
		defer close(g.hold)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := l.RecordEvent(ctx, fullEvent()); !errors.Is(err, ErrNotRecorded) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d: a sink that hangs: %v", mode, err)
		}
		for err := error(nil); err == nil; {
			short, stop := context.WithTimeout(t.Context(), time.Millisecond)
			if err = l.Record(short, deny()); err == nil && seen.get(DroppedDenial) > 0 {
				err = ErrNotRecorded
			}
			stop()
		}
		short, stop := context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		before := l.Queued()
		if err := l.RecordEvent(short, fullEvent()); !errors.Is(err, ErrNotRecorded) || l.Queued() != before {
			t.Errorf("%d: a full queue: %v, %d lines wait, %d did before", mode, err, l.Queued(), before)
		}
	}
}

func TestEventAfterClose(t *testing.T) {
	l, err := NewLog(Options{Sink: &gate{}, Queue: minQueue})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.RecordEvent(t.Context(), fullEvent()); !errors.Is(err, ErrNotRecorded) {
		t.Errorf("after the end: %v", err)
	}
}

// TestUnseenCertificate: what nobody saw has no end, and the record says why.
func TestUnseenCertificate(t *testing.T) {
	event := fullEvent()
	event.Certificate = &request.Certificate{URIs: []string{"spiffe://example.org/web"}, Thumbprint: [32]byte{1}, Unseen: true}
	var e encoder
	got := &durwardv1.Event{}
	if err := protojson.Unmarshal(e.encodeEvent(event), got); err != nil {
		t.Fatal(err)
	}
	want := &durwardv1.RecordedCertificate{Sans: []string{"spiffe://example.org/web"}, Thumbprint: "01" + strings.Repeat("00", 31), Unseen: true}
	if diff := cmp.Diff(want, got.GetCertificate(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}
