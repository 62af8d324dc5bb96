package apikey

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/apikeys"
	"github.com/durward-pdp/durward/pdp/subject"
)

// never is what is written for a key that does not expire: nobody gets one by leaving something out.
const never = "never"

// ReadFile reads the keys that a bundle ships for an authenticator. Problems have their places.
func ReadFile(file *format.File, bundle, authenticator string) ([]Record, format.Problems) {
	var decoded apikeys.File
	if problems := format.Decode(file, &decoded); len(problems) > 0 {
		return nil, problems
	}
	out := make([]Record, 0, len(decoded.Keys))
	seen := map[string]bool{}
	var problems format.Problems
	for i := range decoded.Keys {
		at := fmt.Sprintf("$.keys[%d]", i)
		r, member, err := readKey(&decoded.Keys[i])
		r.Bundle, r.Authenticator = bundle, authenticator
		if err == nil {
			if err = r.Check(); err != nil {
				member, _, _ = strings.Cut(err.Error(), ":")
			}
		}
		if err == nil && seen[r.ID] {
			member, err = "id", fmt.Errorf("id: a second key %s", r.ID)
		}
		seen[r.ID] = true
		if err != nil {
			problems = append(problems, file.Problem(at+"."+member, err.Error()))
			continue
		}
		out = append(out, r)
	}
	return out, problems
}

// readKey reads one key as far as its texts can be read; member names the one that cannot.
func readKey(k *apikeys.Key) (r Record, member string, err error) {
	r = Record{ID: k.ID, HashKey: k.HashKey, Owner: k.Owner, Kind: k.Kind, Tenant: k.Tenant, Scopes: k.Scopes, Roles: k.Roles}
	if r.Kind == "" {
		r.Kind = subject.KindService
	}
	if n, err := hex.Decode(r.Hash[:], []byte(k.Hash[:min(len(k.Hash), 2*len(r.Hash))])); err != nil || n != len(r.Hash) || len(k.Hash) != 2*n {
		return r, "hash", fmt.Errorf("hash: 64 hexadecimal digits")
	}
	for i, text := range k.Addresses {
		p, err := ParseAddress(text)
		if err != nil {
			return r, fmt.Sprintf("addresses[%d]", i), fmt.Errorf("addresses: %w", err)
		}
		r.Addresses = append(r.Addresses, p)
	}
	if k.Expires == "" {
		return r, "expires", fmt.Errorf("expires: a time is missing; for a key that does not expire write %s", never)
	}
	for _, t := range []struct {
		name, text string
		into       *time.Time
	}{{"created", k.Created, &r.Created}, {"expires", k.Expires, &r.Expires}, {"ends", k.Ends, &r.Ends}, {"revoked", k.Revoked, &r.Revoked}} {
		if t.text == "" || t.name == "expires" && t.text == never {
			continue
		}
		if *t.into, err = time.Parse(time.RFC3339, t.text); err != nil || t.into.Unix() <= 0 {
			return r, t.name, fmt.Errorf("%s: %.64q is no time; write 2026-01-31T12:00:00Z", t.name, t.text)
		}
	}
	return r, "", nil
}

// WriteYAML returns the item of a file of keys for a record.
func WriteYAML(r *Record) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			lead := "    "
			if b.Len() == 0 {
				lead = "  - "
			}
			b.WriteString(lead + name + ": " + value + "\n")
		}
	}
	quoted := func(text string) string {
		if text == "" {
			return ""
		}
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
	}
	list := func(texts []string) string {
		if len(texts) == 0 {
			return ""
		}
		parts := make([]string, len(texts))
		for i, t := range texts {
			parts[i] = quoted(t)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	addresses := make([]string, len(r.Addresses))
	for i, p := range r.Addresses {
		addresses[i] = p.String()
	}
	line("id", quoted(r.ID))
	line("hash", quoted(hex.EncodeToString(r.Hash[:])))
	line("hash_key", quoted(r.HashKey))
	line("owner", quoted(r.Owner))
	line("kind", r.Kind)
	line("tenant", quoted(r.Tenant))
	line("scopes", list(r.Scopes))
	line("roles", list(r.Roles))
	line("addresses", list(addresses))
	line("created", r.Created.UTC().Format(time.RFC3339))
	if r.Expires.IsZero() {
		line("expires", never)
	} else {
		line("expires", r.Expires.UTC().Format(time.RFC3339))
	}
	return b.String()
}
