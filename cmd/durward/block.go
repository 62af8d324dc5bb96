package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/blocksapi"
	"github.com/durward-pdp/durward/pdp/token"
)

// blockCommand blocks credentials, subjects and networks on a running server and all that share its Redis.
type blockCommand struct {
	Token   blockTokenCommand   `cmd:"" help:"Block one token, by its jti; with - the token itself is read from standard input and goes nowhere."`
	Session blockSessionCommand `cmd:"" help:"Block all tokens of a session, by its sid; with - a token of it is read from standard input."`
	Subject blockSubjectCommand `cmd:"" help:"Block a subject, or what was issued to it before a time."`
	Client  blockClientCommand  `cmd:"" help:"Block all tokens that an issuer made for a client."`
	Key     blockKeyCommand     `cmd:"" help:"Block an API key, or all tokens that a key of an issuer signed."`
	Network blockNetworkCommand `cmd:"" help:"Block clients of a network, on every route."`
	Issuer  blockIssuerCommand  `cmd:"" help:"Block all tokens that an issuer made before a time."`
	List    blockListCommand    `cmd:"" help:"List what is blocked."`
	Lift    blockLiftCommand    `cmd:"" help:"Take a block away."`
}

// blockFlags are those of every block.
type blockFlags struct {
	Reason string     `required:"" placeholder:"TEXT" help:"Why, for records and for whoever reads the list."`
	Bundle string     `placeholder:"NAME" help:"Only credentials that this bundle's authenticators established."`
	DryRun bool       `help:"Say what would be blocked, and block nothing."`
	Anyway bool       `help:"Block also what hits nothing in force, and very wide networks."`
	Admin  adminFlags `embed:""`
	Output string     `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// put sends a wish, completed by the flags.
func (f *blockFlags) put(ctx context.Context, s streams, wish *blocksapi.Put) error {
	wish.Reason, wish.Bundle, wish.DryRun, wish.Anyway = f.Reason, f.Bundle, f.DryRun, f.Anyway
	var result blocksapi.Result
	if err := f.Admin.ask(ctx, http.MethodPost, blocksapi.PutPath, nil, wish, &result); err != nil {
		return err
	}
	return printed(s.out, f.Output, &result, func(p *page) { writeBlocked(p, &result) })
}

type blockTokenCommand struct {
	JTI    string     `arg:"" name:"jti" help:"The token's jti, or - to read the token from standard input."`
	Issuer string     `placeholder:"ISS" help:"The exact iss; with - that of the token."`
	Until  string     `placeholder:"END" help:"never, a time, or a length of time as 24h; without it until the token has expired."`
	Flags  blockFlags `embed:""`
}

// Run blocks a token.
func (c *blockTokenCommand) Run(ctx context.Context, s streams) error {
	wish := blocksapi.Put{Kind: "token", Issuer: c.Issuer, Value: c.JTI, Until: c.Until}
	t, err := fillFrom(s.in, &wish, "jti", "block its session, or its subject with --before")
	if err != nil {
		return err
	}
	if t != nil && wish.Until == "" && !t.UnverifiedExpiry().IsZero() {
		wish.Until = t.UnverifiedExpiry().Add(time.Minute).UTC().Format(time.RFC3339)
	}
	return c.Flags.put(ctx, s, &wish)
}

type blockSessionCommand struct {
	SID    string     `arg:"" name:"sid" help:"The sid of the session's tokens, or - to read one of them from standard input."`
	Issuer string     `placeholder:"ISS" help:"The exact iss; with - that of the token."`
	Until  string     `placeholder:"END" help:"never, a time, or a length of time as 24h; without it as long as tokens live."`
	Flags  blockFlags `embed:""`
}

// Run blocks a session.
func (c *blockSessionCommand) Run(ctx context.Context, s streams) error {
	wish := blocksapi.Put{Kind: "session", Issuer: c.Issuer, Value: c.SID, Until: c.Until}
	if _, err := fillFrom(s.in, &wish, "sid", "block its subject with --before"); err != nil {
		return err
	}
	return c.Flags.put(ctx, s, &wish)
}

type blockSubjectCommand struct {
	Subject string     `arg:"" help:"The subject's key, KIND:AUTHENTICATOR:ID as in records; with --issuer its sub."`
	Issuer  string     `placeholder:"ISS" help:"The exact iss whose sub is meant."`
	Before  string     `placeholder:"TIME" help:"Only what was issued before: now, or a time as 2026-01-31T12:00:00Z. New logins work."`
	Until   string     `placeholder:"END" help:"never, a time, or a length of time as 30d; with --before as long as tokens live."`
	Flags   blockFlags `embed:""`
}

// Run blocks a subject.
func (c *blockSubjectCommand) Run(ctx context.Context, s streams) error {
	return c.Flags.put(ctx, s, &blocksapi.Put{Kind: "subject", Issuer: c.Issuer, Value: c.Subject, Before: c.Before, Until: c.Until})
}

type blockClientCommand struct {
	ID     string     `arg:"" name:"id" help:"The client_id of the tokens (or azp)."`
	Issuer string     `required:"" placeholder:"ISS" help:"The exact iss."`
	Until  string     `required:"" placeholder:"END" help:"never, a time, or a length of time as 30d."`
	Flags  blockFlags `embed:""`
}

// Run blocks a client.
func (c *blockClientCommand) Run(ctx context.Context, s streams) error {
	return c.Flags.put(ctx, s, &blocksapi.Put{Kind: "client", Issuer: c.Issuer, Value: c.ID, Until: c.Until})
}

type blockKeyCommand struct {
	ID            string     `arg:"" name:"id" help:"The id of the API key, or the kid of the key that signs tokens."`
	Authenticator string     `required:"" placeholder:"NAME" help:"The authenticator that takes it."`
	Until         string     `required:"" placeholder:"END" help:"never, a time, or a length of time as 30d."`
	Flags         blockFlags `embed:""`
}

// Run blocks a key.
func (c *blockKeyCommand) Run(ctx context.Context, s streams) error {
	return c.Flags.put(ctx, s, &blocksapi.Put{Kind: "key", Issuer: c.Authenticator, Value: c.ID, Until: c.Until})
}

type blockNetworkCommand struct {
	Network string     `arg:"" help:"An address, or a network as 192.0.2.0/24."`
	Until   string     `required:"" placeholder:"END" help:"never, a time, or a length of time as 24h."`
	Flags   blockFlags `embed:""`
}

// Run blocks a network.
func (c *blockNetworkCommand) Run(ctx context.Context, s streams) error {
	return c.Flags.put(ctx, s, &blocksapi.Put{Kind: "network", Value: c.Network, Until: c.Until})
}

type blockIssuerCommand struct {
	Issuer string     `arg:"" help:"The exact iss."`
	Before string     `required:"" placeholder:"TIME" help:"Tokens issued before are refused: now, or a time as 2026-01-31T12:00:00Z."`
	Until  string     `placeholder:"END" help:"never, a time, or a length of time as 24h; without it as long as tokens live."`
	Flags  blockFlags `embed:""`
}

// Run blocks an issuer's older tokens.
func (c *blockIssuerCommand) Run(ctx context.Context, s streams) error {
	return c.Flags.put(ctx, s, &blocksapi.Put{Kind: "issuer", Issuer: c.Issuer, Before: c.Before, Until: c.Until})
}

type blockListCommand struct {
	Kind   string     `placeholder:"KIND" help:"Only token, session, subject, client, key, network or issuer."`
	Bundle string     `placeholder:"NAME" help:"Only blocks for one bundle's credentials."`
	N      int        `short:"n" default:"100" help:"How many, the latest first."`
	Admin  adminFlags `embed:""`
	Output string     `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// Run lists blocks.
func (c *blockListCommand) Run(ctx context.Context, s streams) error {
	query := url.Values{"n": {strconv.Itoa(c.N)}}
	for name, value := range map[string]string{"kind": c.Kind, "bundle": c.Bundle} {
		if value != "" {
			query.Set(name, value)
		}
	}
	var list blocksapi.List
	if err := c.Admin.ask(ctx, http.MethodGet, blocksapi.ListPath, query, nil, &list); err != nil {
		return err
	}
	return printed(s.out, c.Output, &list, func(p *page) { writeBlocks(p, &list) })
}

type blockLiftCommand struct {
	ID     string     `arg:"" name:"id" help:"The block's id, as the list and records show it."`
	DryRun bool       `help:"Say what would be lifted, and lift nothing."`
	Admin  adminFlags `embed:""`
	Output string     `short:"o" enum:"pretty,json" default:"pretty" help:"Form of the answer: pretty or json."`
}

// Run lifts a block.
func (c *blockLiftCommand) Run(ctx context.Context, s streams) error {
	var result blocksapi.Result
	if err := c.Admin.ask(ctx, http.MethodPost, blocksapi.LiftPath, nil, &blocksapi.Lift{ID: c.ID, DryRun: c.DryRun}, &result); err != nil {
		return err
	}
	return printed(s.out, c.Output, &result, func(p *page) {
		what := "lifted"
		if result.DryRun {
			what = "would be lifted"
		}
		p.addf("%s: %s\n", what, shown(blockName(&result.Block)))
		writeBlockRows(p, &result.Block)
		writeFollow(p, &result)
	})
}

// maxTokenLength is the longest token that any server takes.
const maxTokenLength = 16 << 10

// fillFrom completes a wish whose value is "-" from a claim and the issuer of a token, which it returns; nil for another value. Instead
// says what to do where the token lacks the claim.
func fillFrom(in io.Reader, wish *blocksapi.Put, claim, instead string) (*token.Token, error) {
	if wish.Value != "-" {
		return nil, nil
	}
	t, err := tokenFrom(in)
	if err != nil {
		return nil, err
	}
	if wish.Value = t.Unverified(claim); wish.Value == "" {
		return nil, fmt.Errorf("%w token: it has no %s; %s", errInvalid, claim, instead)
	}
	wish.Issuer = cmp.Or(wish.Issuer, t.Issuer())
	return t, nil
}

// tokenFrom reads a token. Neither it nor a part of it is ever printed.
func tokenFrom(in io.Reader) (*token.Token, error) {
	raw, err := readToken(in)
	if err != nil {
		return nil, err
	}
	parsed, err := token.Parse(raw, maxTokenLength)
	if err != nil {
		return nil, fmt.Errorf("%w token on standard input: %w", errInvalid, err)
	}
	return parsed, nil
}

func writeBlocked(p *page, r *blocksapi.Result) {
	what := "blocked"
	switch {
	case r.DryRun:
		what = "would be blocked"
	case r.Known:
		what = "blocked before, and now"
	}
	p.addf("%s: %s\n", what, shown(blockName(&r.Block)))
	writeBlockRows(p, &r.Block)
	hits := strings.Join(r.Hits, ", ")
	if hits == "" {
		hits = "nothing in force"
	}
	p.row("hits", hits)
	for _, remark := range r.Remarks {
		p.row("note", remark)
	}
	writeFollow(p, r)
}

func writeFollow(p *page, r *blocksapi.Result) {
	if !r.DryRun {
		p.row("", fmt.Sprintf("in force here now, on servers that share its Redis within %s", millis(r.WithinMS)))
	}
}

func writeBlocks(p *page, list *blocksapi.List) {
	if len(list.Blocks) == 0 {
		p.WriteString("nothing is blocked\n")
	}
	for i := range list.Blocks {
		p.addf("%s\n", shown(blockName(&list.Blocks[i])))
		writeBlockRows(p, &list.Blocks[i])
	}
	if n := list.Total - len(list.Blocks); n > 0 {
		p.addf("%d more: ask for them with -n\n", n)
	}
	held := 0
	for _, n := range list.Held {
		held += n
	}
	if held > list.Most*9/10 {
		p.addf("%d of at most %d blocks are held: beyond that nothing more is blocked\n", held, list.Most)
	}
	if list.Synced == nil {
		p.WriteString("this server has never read what is shared: the list may be incomplete\n")
	} else if age := time.Since(*list.Synced); age > 10*time.Second {
		p.addf("this server last read what is shared %s ago: the list may be old\n", age.Round(time.Second))
	}
}

// blockName says what is blocked.
func blockName(b *blocksapi.Block) string {
	text := b.Kind
	if b.Value != "" {
		text += " " + b.Value
	}
	if b.Issuer != "" {
		text += " of " + b.Issuer
	}
	if b.Before != nil {
		text += ", issued before " + b.Before.UTC().Format(time.RFC3339)
	}
	if b.Bundle != "" {
		text += ", in bundle " + b.Bundle
	}
	return text
}

func writeBlockRows(p *page, b *blocksapi.Block) {
	until := "for ever"
	if b.Until != nil {
		until = b.Until.UTC().Format(time.RFC3339)
	}
	p.row("id", b.ID)
	p.row("until", until)
	p.row("reason", b.Reason)
	p.row("by", b.By+" at "+b.Made.UTC().Format(time.RFC3339))
}
