package assembly

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/identity/apikey"
	"github.com/durward-pdp/durward/pdp/subject"
)

// keyMint makes throw-away API keys, which stand in for those of the bundle's files and of the shared table.
type keyMint struct {
	random io.Reader
	hasher *apikey.Hasher
	book   *apikey.Book
}

func newKeyMint(random io.Reader) (*keyMint, error) {
	secret := make([]byte, 64)
	if _, err := io.ReadFull(random, secret); err != nil {
		return nil, fmt.Errorf("make a test key: %w", err)
	}
	hasher, err := apikey.NewHasher(apikey.HashKey{Name: "test", Secret: secret})
	return &keyMint{random: random, hasher: hasher, book: apikey.NewBook(apikey.BookOptions{})}, err
}

// forStage is what checks the throw-away keys.
func (m *keyMint) forStage() *identity.APIKeys {
	return &identity.APIKeys{Hasher: m.hasher, Table: m.book, StandIn: true}
}

// key makes a key of an authenticator. Its record is the one of the bundle's file that the member id names, or what the members say:
// owner, kind, tenant, scopes, roles and addresses, iat and exp in seconds, and revoked.
func (m *keyMint) key(b *format.Bundle, name string, a *format.Authenticator, members map[string]any) (string, error) {
	prefix, err := apikey.Prefix(a.Prefix)
	if err != nil {
		return "", err
	}
	record, err := recordOf(b, name, a, members)
	if err != nil {
		return "", fmt.Errorf("make an API key: %w", err)
	}
	text, k, err := apikey.New(m.random, prefix)
	if err != nil {
		return "", err
	}
	record.ID = k.ID
	record.Hash, record.HashKey = m.hasher.Hash(record.Bundle, record.Authenticator, text)
	if err := record.Check(); err != nil {
		return "", fmt.Errorf("make an API key: %w", err)
	}
	m.book.Put(record)
	return text, nil
}

func recordOf(b *format.Bundle, name string, a *format.Authenticator, members map[string]any) (apikey.Record, error) {
	r := keyMembers{members: maps.Clone(members)}
	if id := r.text("id"); id != "" {
		delete(r.members, "iat") // when the test thinks that it is made
		delete(r.members, "exp")
		if err := r.end(); err != nil {
			return apikey.Record{}, fmt.Errorf("beside id: %w", err)
		}
		return shippedRecord(b, name, a, id)
	}
	out := apikey.Record{
		Bundle: b.Name, Authenticator: name, Owner: r.text("owner"), Kind: r.text("kind"), Tenant: r.text("tenant"),
		Scopes: r.texts("scopes"), Roles: r.texts("roles"), Created: r.instant("iat"), Expires: r.instant("exp"),
	}
	if out.Kind == "" {
		out.Kind = subject.KindService
	}
	if r.flag("revoked") {
		out.Revoked = out.Created
	}
	for _, text := range r.texts("addresses") {
		p, err := apikey.ParseAddress(text)
		if err != nil {
			return out, fmt.Errorf("addresses: %w", err)
		}
		out.Addresses = append(out.Addresses, p)
	}
	if !out.Expires.IsZero() && !out.Created.Before(out.Expires) {
		out.Created = out.Expires.Add(-time.Second) // one that has expired was made before
	}
	return out, r.end()
}

// shippedRecord returns the record of a key that the bundle ships.
func shippedRecord(b *format.Bundle, name string, a *format.Authenticator, id string) (apikey.Record, error) {
	file, ok := b.Files.Get("", a.Keys.File)
	if !ok || a.Keys.File == "" {
		return apikey.Record{}, fmt.Errorf("id: the authenticator %q ships no keys", name)
	}
	records, problems := apikey.ReadFile(file, b.Name, name)
	if len(problems) > 0 {
		return apikey.Record{}, problems
	}
	i := slices.IndexFunc(records, func(r apikey.Record) bool { return r.ID == id })
	if i < 0 {
		return apikey.Record{}, fmt.Errorf("id: %s has no key %.64q", file.Path, id)
	}
	return records[i], nil
}

// keyMembers reads the members of a key, each once.
type keyMembers struct {
	members map[string]any
	err     error
}

func (m *keyMembers) take(name string) (any, bool) {
	v, ok := m.members[name]
	delete(m.members, name)
	return v, ok
}

func (m *keyMembers) wrong(name, want string) {
	if m.err == nil {
		m.err = fmt.Errorf("%s is %s", name, want)
	}
}

func (m *keyMembers) text(name string) string {
	v, ok := m.take(name)
	text, isText := v.(string)
	if ok && !isText {
		m.wrong(name, "a text")
	}
	return text
}

func (m *keyMembers) texts(name string) []string {
	switch v, ok := m.take(name); v := v.(type) {
	case []string:
		return v
	case []any:
		var out []string
		for _, item := range v {
			text, isText := item.(string)
			if !isText {
				m.wrong(name, "a list of texts")
			}
			out = append(out, text)
		}
		return out
	default:
		if ok {
			m.wrong(name, "a list of texts")
		}
		return nil
	}
}

func (m *keyMembers) flag(name string) bool {
	v, ok := m.take(name)
	flag, isFlag := v.(bool)
	if ok && !isFlag {
		m.wrong(name, "true or false")
	}
	return flag
}

func (m *keyMembers) instant(name string) time.Time {
	switch v, ok := m.take(name); v := v.(type) {
	case int64:
		return time.Unix(v, 0).UTC()
	case float64:
		if math.Abs(v) < 1e11 {
			return time.Unix(int64(v), 0).UTC()
		}
		m.wrong(name, "a time in seconds")
	default:
		if ok {
			m.wrong(name, "a time in seconds")
		}
	}
	return time.Time{}
}

// end says what was wrong, or left over.
func (m *keyMembers) end() error {
	if m.err == nil && len(m.members) > 0 {
		m.err = fmt.Errorf("an API key has no %s; it has owner, kind, tenant, scopes, roles, addresses, iat, exp and revoked, or an id of the bundle's file",
			strings.Join(slices.Sorted(maps.Keys(m.members)), ", "))
	}
	return m.err
}
