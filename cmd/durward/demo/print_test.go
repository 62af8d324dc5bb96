package demo

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
)

func sample() *stop {
	v := visit{title: "a burst", why: "Why not.", method: "GET", target: "/orders/7", token: "alice", body: "{}"}
	return &stop{
		visit: v,
		message: stack.Message{Method: v.method, Host: ordersHost, Target: v.target, Body: []byte(v.body),
			Header: []stack.Field{{Name: "authorization", Value: "Bearer secret"}}},
		statuses: []int{200, 200, 429}, replicas: map[int]int{0: 1, 2: 2},
		answer: &stack.Answer{Status: 429, Lines: []string{"HTTP/1.1 429 Too Many Requests", "x: \x1b[2J"}, Body: []byte("{\"code\":1}\n")},
		public: "quota_exceeded", line: []byte(`{"reason":"limit_exceeded"}`), rule: "p, reader, orders:read", explanation: []string{"policy main: deny", "  would be allowed if \x1b"},
		record: record{Reason: "limit_exceeded", Rule: "a.csv:3", Policy: "main", Limits: []limit{{Name: "l", Quota: 60, WindowMs: 60000, RetryAfterMs: 900, Refused: true}}},
	}
}

func TestPrintStop(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out}
	p.stop(3, sample())
	want := `
 3. a burst
    Why not.
    > GET /orders/7 HTTP/1.1
    > host: orders.example.com
    > authorization: Bearer (tokens/alice)
    > content-length: 2
    > connection: close
    > {}
    status   2 x 200, then 429
    reason   limit_exceeded (the client is told quota_exceeded)
    subject  
    rule     a.csv:3  p, reader, orders:read  (policy main)
    limit    l: 0 left of 60 per 1m0s, refused; room again in 900ms
    decided  1 by replica 1, 2 by replica 3
    < HTTP/1.1 429 Too Many Requests
    < x: ?[2J
    < {"code":1}
    ? policy main: deny
    ?   would be allowed if ?
    record   {"reason":"limit_exceeded"}
`
	if diff := cmp.Diff(want, out.String()); diff != "" || p.err != nil {
		t.Errorf("%v (-want +got):\n%s", p.err, diff)
	}
}

func TestPrintColours(t *testing.T) {
	var out bytes.Buffer
	(&printer{out: &out, colour: true}).stop(1, sample())
	if !bytes.Contains(out.Bytes(), []byte(red+"status   2 x 200, then 429"+reset)) {
		t.Errorf("no red status in %q", out.String())
	}
}

func TestPrintWithoutRecord(t *testing.T) {
	s := sample()
	s.line = nil
	var out bytes.Buffer
	(&printer{out: &out}).stop(1, s)
	if !bytes.Contains(out.Bytes(), []byte("record   none: Durward was not asked")) || bytes.Contains(out.Bytes(), []byte("limit_exceeded")) {
		t.Errorf("printed %s", out.String())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestPrintKeepsTheFirstError(t *testing.T) {
	p := &printer{out: full{}}
	p.stop(1, sample())
	if p.err == nil {
		t.Error("no error")
	}
}

func TestSequence(t *testing.T) {
	for want, statuses := range map[string][]int{
		"": nil, "200": {200}, "2 x 200": {200, 200}, "200, then 2 x 429, then 200": {200, 429, 429, 200},
	} {
		if got := sequence(statuses); got != want {
			t.Errorf("sequence(%v) = %q, want %q", statuses, got, want)
		}
	}
}

func TestQuoted(t *testing.T) {
	if got := quoted("/tmp/it's"); got != `'/tmp/it'\''s'` {
		t.Errorf("quoted = %s", got)
	}
}
