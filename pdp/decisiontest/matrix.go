package decisiontest

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	// matrixCase is the name under which a suite's matrix appears among its cases.
	matrixCase = "matrix"
	// placeholder is the value of path parameters that nobody chose.
	placeholder = "example"
	// maxCells bounds a table.
	maxCells = 1_000_000
	// maxChanges bounds the cells that a failure names.
	maxChanges = 50
)

// ErrMatrix is wrapped by the errors of a table that cannot be made.
var ErrMatrix = errors.New("matrix")

// Table says who can do what.
type Table struct {
	// Subjects are the columns.
	Subjects []string
	// Rows are the routes and methods, in the order of their files.
	Rows []Row
}

// Row is one method of a route.
type Row struct {
	// Service, Route and Method name what is asked for.
	Service, Route, Method string
	// Cells are, by subject, "allow" or "deny" with the reason.
	Cells []string
}

// MatrixOptions say which table is made.
type MatrixOptions struct {
	// Subjects names tokens, certificates and subjects of the suites, as NAME or SUITE/NAME; without any, and without
	// roles, all of them and anonymous are taken.
	Subjects []string
	// Roles are roles of which each stands for a subject that has it, with these Scopes and Tenant, of the first
	// authenticator that a service accepts.
	Roles, Scopes []string
	Tenant        string
	// Services and Routes are what is looked at; all where they are left out.
	Services, Routes []string
	// Params are example values of path parameters.
	Params map[string]string
}

// Matrix asks for every chosen route and method on behalf of every chosen subject. Nothing is charged.
func Matrix(ctx context.Context, o Options, m MatrixOptions) (*Table, error) {
	if unknown := strangers(o.Bundle, m); len(unknown) > 0 {
		s := unknown[0]
		return nil, fmt.Errorf("%w: "+s.message+"%s", ErrMatrix, s.name, hint(s.name, s.known))
	}
	people, err := choose(o.Suites, m)
	if err != nil {
		return nil, err
	}
	return tabulate(ctx, o, people, m)
}

// stranger is a name that stands for nothing: what it was meant to choose would be missing without a word.
type stranger struct {
	key, message, name string
	known              []string
}

// strangers returns the services, routes and parameters that the bundle does not have.
func strangers(b *format.Bundle, m MatrixOptions) []stranger {
	var services, routes, params []string
	for _, s := range b.Services {
		services = append(services, s.Name)
		for i := range s.Routes {
			routes = append(routes, s.Routes[i].Name)
			for segment := range strings.SplitSeq(s.Routes[i].Path, "/") {
				if name, ok := strings.CutPrefix(segment, "{"); ok {
					params = append(params, strings.TrimSuffix(strings.TrimSuffix(name, "}"), "..."))
				}
			}
		}
	}
	var out []stranger
	for i, name := range m.Services {
		if !slices.Contains(services, name) {
			out = append(out, stranger{fmt.Sprintf("services[%d]", i), "the bundle has no service %q", name, services})
		}
	}
	for i, name := range m.Routes {
		if !slices.Contains(routes, name) {
			out = append(out, stranger{fmt.Sprintf("routes[%d]", i), "the bundle has no route %q", name, routes})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Params)) {
		if !slices.Contains(params, name) {
			out = append(out, stranger{"params." + name, "no route has a parameter %q", name, params})
		}
	}
	return out
}

// hint asks for the name that was probably meant.
func hint(name string, known []string) string {
	if near := format.Nearest(name, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// guest is a person and the suite that introduces it, nil for none.
type guest struct {
	*person
	suite  *Suite
	tenant string
}

func choose(suites []*Suite, m MatrixOptions) ([]guest, error) {
	byName, all := introduce(suites)
	var out []guest
	for _, name := range m.Subjects {
		found := byName[name]
		switch {
		case len(found) == 0:
			return nil, fmt.Errorf("%w: no suite has a token, certificate or subject named %q%s", ErrMatrix, name, hint(name, slices.Collect(maps.Keys(byName))))
		case len(found) > 1:
			return nil, fmt.Errorf("%w: several suites know a %q; write SUITE/%s", ErrMatrix, name, name)
		}
		out = append(out, found[0])
	}
	for _, role := range m.Roles {
		out = append(out, guest{person: &person{name: role, roles: []string{role}, scopes: m.Scopes}, tenant: m.Tenant})
	}
	if len(out) == 0 {
		return all, nil
	}
	return out, nil
}

// introduce returns the people of all suites by the names under which they can be asked for, and all of them in order.
func introduce(suites []*Suite) (map[string][]guest, []guest) {
	nobody := guest{person: &person{name: anonymous}}
	byName := map[string][]guest{anonymous: {nobody}}
	var all []guest
	for _, s := range suites {
		for _, name := range slices.Sorted(maps.Keys(s.people)) {
			if name == anonymous {
				continue
			}
			g := guest{person: s.people[name], suite: s}
			byName[name] = append(byName[name], g)
			byName[s.written.Suite+"/"+name] = []guest{g}
			all = append(all, g)
		}
	}
	for i, g := range all {
		if len(byName[g.name]) > 1 {
			renamed := *g.person
			renamed.name = g.suite.written.Suite + "/" + g.name
			all[i].person = &renamed
			byName[renamed.name] = all[i : i+1]
		}
	}
	return byName, append(all, nobody)
}

func tabulate(ctx context.Context, o Options, people []guest, m MatrixOptions) (*Table, error) {
	t := &Table{}
	for _, g := range people {
		if slices.Contains(t.Subjects, g.name) { // cells are told apart by it
			return nil, fmt.Errorf("%w: two columns would be named %q", ErrMatrix, g.name)
		}
		t.Subjects = append(t.Subjects, g.name)
	}
	// One session is enough: nothing is charged.
	session, err := o.Lab.Open(defaultNow())
	if err != nil {
		return nil, fmt.Errorf("make the matrix: %w", err)
	}
	a := &asker{options: o, session: session, people: people, params: m.Params}
	return t, errors.Join(a.rows(ctx, t, m), session.Close())
}

// asker fills a table.
type asker struct {
	options Options
	session Session
	people  []guest
	params  map[string]string
}

func (a *asker) rows(ctx context.Context, t *Table, m MatrixOptions) error {
	for _, s := range a.options.Bundle.Services {
		if len(m.Services) > 0 && !slices.Contains(m.Services, s.Name) {
			continue
		}
		for i := range s.Routes {
			if route := &s.Routes[i]; len(m.Routes) == 0 || slices.Contains(m.Routes, route.Name) {
				rows, err := a.rowsOf(ctx, place{s, route})
				if err != nil {
					return err
				}
				t.Rows = append(t.Rows, rows...)
			}
			if len(t.Rows)*len(a.people) > maxCells {
				return fmt.Errorf("%w: more than %d cells; choose services, routes or subjects", ErrMatrix, maxCells)
			}
		}
	}
	if len(t.Rows) == 0 {
		return fmt.Errorf("%w: no route was chosen", ErrMatrix)
	}
	return nil
}

// place is a route of a service.
type place struct {
	service *format.Service
	route   *format.Route
}

func (a *asker) rowsOf(ctx context.Context, p place) ([]Row, error) {
	var rows []Row
	for _, method := range p.route.Methods {
		row := Row{Service: p.service.Name, Route: p.route.Name, Method: method}
		for _, g := range a.people {
			cell, err := a.ask(ctx, p, method, g)
			if err != nil {
				return nil, err
			}
			if err := ctx.Err(); err != nil { // then the cell may be a denial that no policy gave
				return nil, fmt.Errorf("make the matrix: %w", err)
			}
			row.Cells = append(row.Cells, cell)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (a *asker) ask(ctx context.Context, p place, method string, g guest) (string, error) {
	var made proofs
	v, err := a.decide(ctx, p, method, g, &made)
	if err == nil && v.Reason == verdict.ProofNonce { // as a client does, with the nonce that it was told
		v, err = a.decide(ctx, p, method, g, &made)
	}
	switch {
	case err != nil:
		return "", err
	case v.Allowed():
		return "allow", nil
	}
	return "deny " + string(v.Reason), nil
}

func (a *asker) decide(ctx context.Context, p place, method string, g guest, made *proofs) (v verdict.Verdict, err error) {
	path := fill(p.route.Path, a.params)
	in := &suite.Request{
		Method: method, Host: hostFor(p.service, path), Path: path,
		// The service is named, so that a host that several services share leads to this one.
		Extensions: map[string]string{"durward.service": a.options.Bundle.Name + "/" + p.service.Name},
	}
	s := g.suite
	if s == nil {
		s = &Suite{now: defaultNow()}
	}
	parts := Parts{Time: s.now, Certificate: g.certificate}
	as := g.subject
	if g.token != nil || g.raw != "" {
		raw, err := g.mint(a.options.Lab, s.file)
		if err != nil {
			return v, err
		}
		parts.Token = raw
		if err := g.prove(&parts, in, made); err != nil {
			return v, err
		}
	}
	if g.roles != nil {
		as = g.asserted(a.options.Bundle, p.service)
	}
	question, err := NewRequest(in, parts)
	if err != nil {
		return v, err
	}
	question.Mode = request.Dry
	a.session.Set(s.now, false)
	v = a.session.Decide(ctx, question, as).Verdict
	made.see(&v)
	return v, nil
}

// asserted returns a subject that has the person's roles, of an authenticator that the service accepts.
func (g *guest) asserted(b *format.Bundle, s *format.Service) *subject.Subject {
	chosen := ""
	for _, name := range s.Identity.Accept {
		if kind := b.Authenticators[name].Kind; kind == "jwt" || kind == "introspection" {
			chosen = name
			break
		}
		if chosen == "" {
			chosen = name
		}
	}
	if chosen == "" {
		return nil
	}
	kind := subject.KindUser
	if k := b.Authenticators[chosen].Kind; k != "jwt" && k != "introspection" {
		kind = subject.KindService
	}
	id := "holder-of-" + g.name
	return &subject.Subject{
		Key: subject.Key(kind, chosen, id), Kind: kind, Authenticator: chosen, ID: id, Issuer: b.Authenticators[chosen].Issuer,
		Roles: g.roles, Scopes: g.scopes, Tenant: g.tenant,
	}
}

// fill puts example values in the place of a template's parameters.
func fill(template string, params map[string]string) string {
	segments := strings.Split(template, "/")
	for i, segment := range segments {
		name, ok := strings.CutPrefix(segment, "{")
		if !ok {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		rest, many := strings.CutSuffix(name, "...")
		value := orDefault(params[rest], placeholder)
		parts := []string{value}
		if many {
			parts = strings.Split(value, "/")
		}
		for j := range parts {
			parts[j] = url.PathEscape(parts[j])
		}
		segments[i] = strings.Join(parts, "/")
	}
	return strings.Join(segments, "/")
}

// hostFor returns a host of the service whose prefix fits the path.
func hostFor(s *format.Service, path string) string {
	for _, m := range s.Match {
		prefix := strings.TrimSuffix(m.Prefix, "/")
		if prefix != "" && path != prefix && !strings.HasPrefix(path, prefix+"/") {
			continue
		}
		if suffix, wild := strings.CutPrefix(m.Host, "*."); wild {
			return placeholder + "." + suffix
		}
		return m.Host
	}
	return ""
}

// runMatrix makes a suite's table and holds it against the golden file.
func (r *runner) runMatrix(ctx context.Context, s *Suite) error {
	written := s.written.Matrix
	var people []guest
	for _, name := range written.Subjects {
		people = append(people, guest{person: s.people[name], suite: s})
	}
	table, err := tabulate(ctx, r.options, people, MatrixOptions{Services: written.Services, Routes: written.Routes, Params: written.Params})
	if err != nil {
		return err
	}
	result := Result{Suite: s.written.Suite, Case: matrixCase, Position: s.file.At("$.matrix")}
	var golden []byte
	if file, ok := r.options.Bundle.Files.Get("", goldenPath(s)); ok {
		golden = file.Data
	}
	if changes := table.Compare(golden); len(changes) > 0 {
		result.Failure = &Failure{Request: "the table of who can do what", Verdict: "differs from " + goldenPath(s), Differences: changes}
		place := s.file.At("$.matrix.golden")
		for i := range changes {
			changes[i].Line, changes[i].Column = place.Line, place.Column
		}
		r.report.Goldens[goldenPath(s)] = table.CSV()
	}
	r.report.Results = append(r.report.Results, result)
	return nil
}

// CSV returns the table as a file: a row for each method of a route, a column for each subject.
func (t *Table) CSV() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(append([]string{"service", "route", "method"}, t.Subjects...)) // a buffer takes everything
	for i := range t.Rows {
		r := &t.Rows[i]
		_ = w.Write(append([]string{r.Service, r.Route, r.Method}, r.Cells...))
	}
	w.Flush()
	return b.Bytes()
}

// Compare returns the cells in which the table differs from one in CSV, of which there may be none yet.
func (t *Table) Compare(golden []byte) []Difference {
	if golden == nil {
		return []Difference{{Key: "golden", Want: "a golden file", Got: "none; write it with --update"}}
	}
	records, err := csv.NewReader(bytes.NewReader(golden)).ReadAll()
	if err != nil || len(records) == 0 || len(records[0]) < 3 {
		return []Difference{{Key: "golden", Want: "a table in CSV", Got: "a file that is none; write it with --update"}}
	}
	want, keys := cellsOf(records)
	current, err := csv.NewReader(bytes.NewReader(t.CSV())).ReadAll()
	if err != nil {
		return []Difference{{Key: "golden", Want: "a table in CSV", Got: "a table that cannot be read again"}}
	}
	got, more := cellsOf(current)
	for _, key := range more {
		if _, ok := want[key]; !ok {
			keys = append(keys, key)
		}
	}
	var out []Difference
	for _, key := range keys {
		if want[key] != got[key] {
			out = append(out, Difference{Key: key, Want: orDefault(want[key], "no such cell"), Got: orDefault(got[key], "no such cell")})
		}
	}
	if more := len(out) - maxChanges; more > 0 {
		out = append(out[:maxChanges], Difference{Key: "golden", Want: "the table of the golden file", Got: fmt.Sprintf("%d more changes", more)})
	}
	if len(out) == 0 && !bytes.Equal(golden, t.CSV()) {
		return []Difference{{Key: "golden", Want: "the rows in the bundle's order", Got: "the same cells in another form; write it with --update"}}
	}
	return out
}

// cellsOf returns the cells of a table by "SERVICE/ROUTE METHOD SUBJECT", and these keys in order.
func cellsOf(records [][]string) (cells map[string]string, keys []string) {
	cells = map[string]string{}
	head := records[0]
	for _, record := range records[1:] {
		for i := 3; i < len(record); i++ {
			key := fmt.Sprintf("%s/%s %s %s", record[0], record[1], record[2], head[i])
			cells[key] = record[i]
			keys = append(keys, key)
		}
	}
	return cells, keys
}

// Text returns the table with aligned columns, for terminals.
func (t *Table) Text() string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(cells []string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) }
	line(append([]string{"service", "route", "method"}, t.Subjects...))
	for i := range t.Rows {
		r := &t.Rows[i]
		line(append([]string{r.Service, r.Route, r.Method}, r.Cells...))
	}
	_ = w.Flush() // a buffer takes everything
	return b.String()
}
