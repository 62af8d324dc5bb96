package demo

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// printer writes the tour for people. The first error of the writer is kept and ends the printing.
type printer struct {
	out    io.Writer
	colour bool
	err    error
}

const (
	bold, dim, red, green, reset = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"
)

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, format+"\n", args...)
	}
}

// paint colours a text, if colours are wanted.
func (p *printer) paint(colour, text string) string {
	if !p.colour {
		return text
	}
	return colour + text + reset
}

// stop prints what a visit found.
func (p *printer) stop(number int, s *stop) {
	p.line("")
	p.line("%s", p.paint(bold, fmt.Sprintf("%2d. %s", number, s.visit.title)))
	p.line("    %s", s.visit.why)
	p.request(s)
	p.outcome(s)
	for _, text := range s.answer.Lines {
		p.line("    < %s", clean(text))
	}
	for _, text := range strings.Split(strings.TrimRight(string(s.answer.Body), "\n"), "\n") {
		if text != "" {
			p.line("    < %s", clean(text))
		}
	}
	for _, text := range s.explanation {
		p.line("    ? %s", clean(text))
	}
	if s.line != nil {
		p.line("    %s", p.paint(dim, "record   "+clean(string(s.line))))
	}
}

// request prints what was sent; of tokens, which one.
func (p *printer) request(s *stop) {
	for i, text := range strings.Split(strings.TrimRight(s.message.Text(), "\r\n"), "\r\n") {
		if name, _, ok := strings.Cut(text, ": "); ok && i > 0 && name == "authorization" {
			text = name + ": Bearer (" + tokensDir + "/" + s.visit.token + ")"
		}
		p.line("    > %s", clean(text))
	}
	if s.visit.body != "" {
		p.line("    > %s", clean(s.visit.body))
	}
	if s.visit.certificate != "" {
		p.line("    > (with the certificate tls/%s.crt)", s.visit.certificate)
	}
}

// outcome prints what the response and the record say.
func (p *printer) outcome(s *stop) {
	colour := green
	if s.answer.Status >= 300 {
		colour = red
	}
	status := strconv.Itoa(s.answer.Status)
	switch {
	case s.added != "":
		status = fmt.Sprintf("%d, then %s was added, then %s", s.before, s.added, status)
	case len(s.statuses) > 1:
		status = sequence(s.statuses)
	}
	p.line("    %s", p.paint(colour, "status   "+status))
	if s.line == nil {
		p.line("    record   none: Durward was not asked")
		return
	}
	r := &s.record
	reason := r.Reason
	if s.public != "" {
		reason += " (the client is told " + s.public + ")"
	}
	p.line("    reason   %s", clean(reason))
	p.line("    subject  %s", clean(r.Subject.Key))
	p.line("    rule     %s", clean(ruleOf(r, s.rule)))
	for _, l := range r.Limits {
		p.line("    limit    %s", clean(limitText(l)))
	}
	if len(s.replicas) > 1 || len(s.statuses) > 1 {
		p.line("    decided  %s", decided(s.replicas))
	}
}

func ruleOf(r *record, text string) string {
	if r.Rule == "" {
		return "none"
	}
	out := r.Rule
	if text != "" {
		out += "  " + text
	}
	if r.Policy != "" {
		out += "  (policy " + r.Policy + ")"
	}
	return out
}

func limitText(l limit) string {
	out := fmt.Sprintf("%s: %d left of %d per %v", l.Name, l.Remaining, l.Quota, time.Duration(l.WindowMs)*time.Millisecond)
	if l.Refused {
		out += fmt.Sprintf(", refused; room again in %v", time.Duration(l.RetryAfterMs)*time.Millisecond)
	}
	return out
}

// sequence writes 200 200 200 429 as "3 x 200, then 429".
func sequence(statuses []int) string {
	var parts []string
	for i := 0; i < len(statuses); {
		n := i
		for n < len(statuses) && statuses[n] == statuses[i] {
			n++
		}
		part := strconv.Itoa(statuses[i])
		if n-i > 1 {
			part = fmt.Sprintf("%d x %s", n-i, part)
		}
		parts = append(parts, part)
		i = n
	}
	return strings.Join(parts, ", then ")
}

func decided(replicas map[int]int) string {
	var parts []string
	for i, left := 0, len(replicas); left > 0; i++ {
		if n, ok := replicas[i]; ok {
			parts = append(parts, fmt.Sprintf("%d by replica %d", n, i+1))
			left--
		}
	}
	return strings.Join(parts, ", ")
}

// clean makes a text safe for a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, text)
}

// quoted writes a path for a shell.
func quoted(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }
