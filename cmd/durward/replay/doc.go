// Package replay reads a line of the decision log and makes of it the question that was decided, as far as the log
// knows it, and compares two answers.
//
// The command imports it. It decides nothing, opens no file and reads no clock. A record holds no credential, body or raw
// target, and of headers, queries, parameters and claims only what the bundle lists: what is missing is always named.
package replay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxLine bounds a line of the log; servers write at most an eighth of it.
const maxLine = 1 << 20

// masked stands in a record for a client's text that held a credential.
const masked = "[masked]"

// ErrRecord is wrapped by the errors of a log that holds no such record.
var ErrRecord = errors.New("record")

// errEvent is returned for a line that is no decision.
var errEvent = errors.New("an event of an operator")

// Record is one line of the decision log, durward.v1.Record in proto/durward/v1/record.proto.
type Record struct {
	// Event is set in lines that tell what an operator did, durward.v1.Event, and in no record.
	Event      string    `json:"event,omitempty"`
	DecisionID string    `json:"decision_id"`
	Time       time.Time `json:"time"`
	Adapter    string    `json:"adapter"`
	Caller     string    `json:"caller"`
	DryRun     bool      `json:"dry_run"`
	Bundle     string    `json:"bundle"`
	Revision   string    `json:"revision"`
	Service    string    `json:"service"`
	Route      string    `json:"route"`
	Template   string    `json:"template"`
	Request    Request   `json:"request"`
	Subject    Subject   `json:"subject"`
	Action     string    `json:"action"`
	Resource   struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"resource"`
	Effect    string   `json:"effect"`
	Status    int      `json:"status"`
	Reason    string   `json:"reason"`
	Stage     string   `json:"stage"`
	Degraded  bool     `json:"degraded"`
	Policy    string   `json:"policy"`
	Rule      string   `json:"rule"`
	RuleID    string   `json:"rule_id"`
	Limit     string   `json:"limit"`
	Limits    []Limit  `json:"limits"`
	Detail    string   `json:"detail"`
	Masked    []string `json:"masked"`
	Truncated bool     `json:"truncated"`
	Observed  string   `json:"observed"`
	Report    *Report  `json:"report"`
}

// Report is set where an API reported what became of a call; then there was no decision.
type Report struct {
	DecisionID string `json:"decision_id"`
}

// Request is what a record holds of the request.
type Request struct {
	Method        string       `json:"method"`
	Scheme        string       `json:"scheme"`
	Protocol      string       `json:"protocol"`
	Host          string       `json:"host"`
	Path          string       `json:"path"`
	Params        []Field      `json:"params"`
	Query         []Field      `json:"query"`
	Headers       []Field      `json:"headers"`
	BodySize      int64        `json:"body_size"`
	BodyPartial   bool         `json:"body_partial"`
	ClientAddress string       `json:"client_address"`
	PeerAddress   string       `json:"peer_address"`
	PeerPrincipal string       `json:"peer_principal"`
	ServerName    string       `json:"server_name"`
	Certificate   *Certificate `json:"certificate"`
	// CredentialHash names a credential that was refused or accepted; nothing can be decided with it.
	CredentialHash string `json:"credential_hash"`
}

// Field is a named value.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Certificate is what a record holds of a client's certificate.
type Certificate struct {
	Subject    string    `json:"subject"`
	SANs       []string  `json:"sans"`
	Thumbprint string    `json:"thumbprint"`
	NotAfter   time.Time `json:"not_after"`
	Unseen     bool      `json:"unseen"`
}

// Subject is what a record holds of the subject; claims are JSON texts by dotted path.
type Subject struct {
	Key           string    `json:"key"`
	Kind          string    `json:"kind"`
	Authenticator string    `json:"authenticator"`
	ID            string    `json:"id"`
	Issuer        string    `json:"issuer"`
	Tenant        string    `json:"tenant"`
	Roles         []string  `json:"roles"`
	DroppedRoles  int       `json:"dropped_roles"`
	Scopes        []string  `json:"scopes"`
	ACR           string    `json:"acr"`
	AMR           []string  `json:"amr"`
	AuthTime      time.Time `json:"auth_time"`
	TokenID       string    `json:"token_id"`
	KeyID         string    `json:"key_id"`
	Binding       string    `json:"binding"`
	KeyThumbprint string    `json:"key_thumbprint"`
	Claims        []Field   `json:"claims"`
}

// Limit is what a limit had left.
type Limit struct {
	Name         string `json:"name"`
	Quota        int64  `json:"quota"`
	Remaining    int64  `json:"remaining"`
	WindowMS     int64  `json:"window_ms"`
	RetryAfterMS int64  `json:"retry_after_ms"`
	Refused      bool   `json:"refused"`
	Shadow       bool   `json:"shadow"`
	Degraded     bool   `json:"degraded"`
	Leased       bool   `json:"leased"`
}

// Find returns the record of a decision from a log, one a line. Without an id the log must hold one line alone.
func Find(log io.Reader, id string) (*Record, error) {
	lines := bufio.NewScanner(log)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	var found *Record
	number := 0
	for lines.Scan() {
		number++
		line := lines.Bytes()
		if len(bytes.TrimSpace(line)) == 0 || id != "" && !bytes.Contains(line, []byte(id)) {
			continue
		}
		r, err := read(line)
		switch {
		case errors.Is(err, errEvent):
			continue
		case err != nil:
			return nil, fmt.Errorf("%w in line %d: %w", ErrRecord, number, err)
		case id != "" && r.DecisionID != id:
			continue // it stands there as something else
		case found != nil && id == "":
			return nil, fmt.Errorf("%w: the log holds several; name the decision with --id", ErrRecord)
		case found != nil:
			return nil, fmt.Errorf("%w: two lines, the second one %d, are of this decision", ErrRecord, number)
		}
		found = r
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w in line %d: %w", ErrRecord, number+1, err)
	}
	switch {
	case found == nil:
		return nil, fmt.Errorf("%w: the log holds none of this decision", ErrRecord)
	case found.Report != nil:
		return nil, fmt.Errorf("%w: no decision, but a failure that the API reported about decision %q", ErrRecord, found.Report.DecisionID)
	}
	return found, nil
}

// read decodes one line. Keys that a later version adds are passed over.
func read(line []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, err
	}
	if r.Event != "" {
		return nil, errEvent
	}
	if r.DecisionID == "" || r.Effect != "allow" && r.Effect != "deny" || r.Reason == "" || r.Time.IsZero() {
		return nil, errors.New("this is no record: it lacks decision_id, time, effect or reason")
	}
	return &r, nil
}
