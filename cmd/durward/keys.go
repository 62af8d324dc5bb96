package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly"
	"github.com/durward-pdp/durward/pdp/assembly/keysapi"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// keysCommand makes, shows and ends API keys.
type keysCommand struct {
	Create keysCreateCommand `cmd:"" help:"Make an API key and print it, once."`
	List   keysListCommand   `cmd:"" help:"List the API keys of the shared table, without their secrets."`
	Revoke keysRevokeCommand `cmd:"" help:"End an API key at once, on all replicas."`
	Rotate keysRotateCommand `cmd:"" help:"Make an API key in the place of another one, which goes on for a while."`
}

// lifetime is how long a key lives: a duration, or never.
type lifetime struct{ keysapi.Life }

// UnmarshalText reads a whole number with a unit, or never.
func (l *lifetime) UnmarshalText(text []byte) error {
	if string(text) == "never" {
		l.Life = keysapi.Life{Never: true}
		return nil
	}
	var d format.Duration
	if err := d.UnmarshalText(text); err != nil {
		return fmt.Errorf("%w; or never", err)
	}
	if d <= 0 {
		return fmt.Errorf("a key that lives for no time is none; to end one there is durward keys revoke")
	}
	l.Life = keysapi.Life{LifetimeMS: time.Duration(d).Milliseconds()}
	return nil
}

// length is a duration with the units of the bundle: days too.
type length time.Duration

// UnmarshalText reads a whole number with a unit.
func (l *length) UnmarshalText(text []byte) error {
	return (*format.Duration)(l).UnmarshalText(text)
}

type keysCreateCommand struct {
	Authenticator string   `required:"" placeholder:"NAME" help:"Authenticator of kind api_key that takes the key."`
	Bundle        string   `placeholder:"NAME" help:"Its bundle, where several have an authenticator of that name."`
	Owner         string   `required:"" placeholder:"ID" help:"Id of the subject that the key is for. Keys of one owner are one subject."`
	Kind          string   `enum:"service,user" default:"service" help:"Kind of the subject: service, or user for a key that acts for a person."`
	Tenant        string   `placeholder:"NAME" help:"Tenant of the subject."`
	Scope         []string `placeholder:"SCOPE" help:"Scope that the key has; may be repeated."`
	Role          []string `placeholder:"ROLE" help:"Role that the key has; may be repeated."`
	Address       []string `placeholder:"CIDR" help:"Network that the key may be used from, all without; may be repeated."`
	Expires       lifetime `placeholder:"90d" help:"How long the key lives, 90d where nothing is said; or never."`

	File    string `placeholder:"BUNDLE" type:"path" help:"Make a key for a file of the bundle in this directory, without a server: prints the item to add to stderr."`
	HashKey string `placeholder:"NAME=FILE" help:"With --file, the hash key of the server, as in its settings."`

	Admin  adminFlags `embed:""`
	Output string     `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty, the key alone on stdout, or json."`
}

// Validate refuses what goes together badly.
func (c *keysCreateCommand) Validate() error {
	if (c.File == "") != (c.HashKey == "") {
		return fmt.Errorf("--file and --hash-key go together")
	}
	if c.File != "" && c.Bundle != "" {
		return fmt.Errorf("--file says which bundle is meant; leave --bundle out")
	}
	return nil
}

func (c *keysCreateCommand) want() keysapi.Create {
	return keysapi.Create{
		Bundle: c.Bundle, Authenticator: c.Authenticator, Owner: c.Owner, Kind: c.Kind, Tenant: c.Tenant,
		Scopes: c.Scope, Roles: c.Role, Addresses: c.Address, Life: c.Expires.Life,
	}
}

// Run makes a key. The key alone goes to stdout.
func (c *keysCreateCommand) Run(ctx context.Context, s streams) error {
	if c.File != "" {
		return c.ship(s)
	}
	want := c.want()
	var made keysapi.Created
	if err := c.Admin.ask(ctx, http.MethodPost, keysapi.CreatePath, nil, &want, &made); err != nil {
		return err
	}
	return printedKey(s, c.Output, &made, made.Secret, func(p *page) {
		p.addf("made a key; it is shown this once\n")
		writeAPIKey(p, &made.Key)
	})
}

// ship makes a key for a file of a bundle.
func (c *keysCreateCommand) ship(s streams) error {
	name, path, ok := strings.Cut(c.HashKey, "=")
	if !ok {
		return fmt.Errorf("%w --hash-key: write NAME=FILE", errInvalid)
	}
	secret, item, err := assembly.NewShippedKey(assembly.ShippedKeyOptions{
		Bundle: c.File, HashKey: settings.HashKey{Name: name, File: path}, Want: c.want(), Random: rand.Reader, Now: time.Now(),
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	document := map[string]string{"secret": secret, "item": item}
	return printedKey(s, c.Output, document, secret, func(p *page) { p.WriteString(item) })
}

// printedKey writes a key alone to stdout, for a pipe into where it belongs, and the rest to stderr; or all of it as JSON.
func printedKey(s streams, form string, document any, secret string, pretty func(*page)) error {
	if form == "json" {
		return writeJSON(s.out, document)
	}
	if _, err := fmt.Fprintln(s.out, secret); err != nil {
		return err
	}
	return printed(s.err, form, document, pretty)
}

type keysListCommand struct {
	Bundle        string     `placeholder:"NAME" help:"Keys of this bundle alone."`
	Authenticator string     `placeholder:"NAME" help:"Keys of this authenticator alone."`
	Owner         string     `placeholder:"ID" help:"Keys of this owner alone."`
	Admin         adminFlags `embed:""`
	JSON          bool       `name:"json" help:"The same as -o json."`
	Output        string     `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// Run lists keys.
func (c *keysListCommand) Run(ctx context.Context, s streams) error {
	query := url.Values{}
	for name, value := range map[string]string{"bundle": c.Bundle, "authenticator": c.Authenticator, "owner": c.Owner} {
		if value != "" {
			query.Set(name, value)
		}
	}
	var list keysapi.List
	if err := c.Admin.ask(ctx, http.MethodGet, keysapi.ListPath, query, nil, &list); err != nil {
		return err
	}
	form := c.Output
	if c.JSON {
		form = "json"
	}
	return printed(s.out, form, &list, func(p *page) {
		if len(list.Keys) == 0 {
			p.WriteString("there are no such keys in the table\n")
		}
		for i := range list.Keys {
			writeAPIKey(p, &list.Keys[i])
		}
		if age := time.Since(list.Synced); age > 10*time.Second {
			p.addf("this server last read the table %s ago: the list may be old\n", age.Round(time.Second))
		}
	})
}

// keyID returns the id in what an operator has in hand: the id itself, a whole key, which may be a leaked one, or all of it but the secret.
// Nothing else of it leaves the command.
func keyID(text string) string {
	const length = 16
	parts := strings.Split(strings.TrimSpace(text), "_")
	if parts[0] != "dwk" || len(parts) > 4 {
		return text
	}
	for _, part := range slices.Backward(parts) {
		if len(part) == length {
			return part
		}
	}
	return "?" // not an id, and perhaps a secret
}

type keysRevokeCommand struct {
	ID     string     `arg:"" help:"Id of the key: the 16 characters before its last underscore. Of a key as a whole no more than that is sent."`
	Reason string     `placeholder:"TEXT" help:"Why, for those who look at the list."`
	Admin  adminFlags `embed:""`
	Output string     `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// Run revokes a key.
func (c *keysRevokeCommand) Run(ctx context.Context, s streams) error {
	want := keysapi.Revoke{ID: keyID(c.ID), Reason: c.Reason}
	var done keysapi.Revoked
	if err := c.Admin.ask(ctx, http.MethodPost, keysapi.RevokePath, nil, &want, &done); err != nil {
		return err
	}
	return printed(s.out, c.Output, &done, func(p *page) {
		if done.Before {
			p.WriteString("the key was revoked before\n")
		} else {
			p.WriteString("revoked; every replica that reaches the shared table refuses the key within a second\n")
		}
		writeAPIKey(p, &done.Key)
	})
}

type keysRotateCommand struct {
	ID      string     `arg:"" help:"Id of the key: the 16 characters before its last underscore. Of a key as a whole no more than that is sent."`
	Overlap length     `default:"24h" help:"How long the old key goes on, at most 7d."`
	Expires lifetime   `placeholder:"90d" help:"How long the new key lives, as long as the old one where nothing is said; or never."`
	Admin   adminFlags `embed:""`
	Output  string     `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty, the key alone on stdout, or json."`
}

// Run rotates a key. The new key alone goes to stdout.
func (c *keysRotateCommand) Run(ctx context.Context, s streams) error {
	overlap := time.Duration(c.Overlap).Milliseconds()
	want := keysapi.Rotate{ID: keyID(c.ID), OverlapMS: &overlap, Life: c.Expires.Life}
	var made keysapi.Rotated
	if err := c.Admin.ask(ctx, http.MethodPost, keysapi.RotatePath, nil, &want, &made); err != nil {
		return err
	}
	return printedKey(s, c.Output, &made, made.Secret, func(p *page) {
		p.addf("made a key; it is shown this once\n")
		writeAPIKey(p, &made.Key)
		p.addf("the one that it replaces\n")
		writeAPIKey(p, &made.Old)
	})
}

// writeAPIKey writes a key for people.
func writeAPIKey(p *page, k *keysapi.Key) {
	p.addf("%s %s, %s of %s\n", shown(k.ID), shown(k.State), shown(k.Bundle+"/"+k.Authenticator), shown(k.Owner))
	p.row("kind", k.Kind)
	p.row("tenant", k.Tenant)
	p.row("scopes", strings.Join(k.Scopes, " "))
	p.row("roles", strings.Join(k.Roles, ", "))
	p.row("from", strings.Join(k.Addresses, ", "))
	p.row("created", timeText(k.Created))
	p.row("expires", cmp.Or(timeText(k.Expires), "never"))
	p.row("ends", timeText(k.Ends))
	p.row("revoked", strings.TrimSpace(timeText(k.Revoked)+" "+k.Reason))
	p.row("replaces", k.Replaces)
	p.row("used", timeText(k.Used))
	if k.Lost {
		p.row("lost", "the server has no hash key "+k.HashKey+", so that the key is good for nothing")
	}
}

// timeText writes a time; "" for none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
