package rewrite

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// maxTable bounds the lines that are compared with each other; beyond it a stretch counts as replaced.
const maxTable = 1 << 20

// Diff writes the lines in which two versions of a file differ.
func Diff(w io.Writer, path string, before, after []byte) error {
	if _, err := fmt.Fprintf(w, "--- %s\n+++ %s (formatted)\n", path, path); err != nil {
		return err
	}
	old, now := linesAsTheyAre(before), linesAsTheyAre(after)
	if len(old) == len(now) {
		for i := range old {
			if old[i] != now[i] {
				if err := hunk(w, i, old[i:i+1], now[i:i+1]); err != nil {
					return err
				}
			}
		}
		return nil
	}
	first := 0
	for first < min(len(old), len(now)) && old[first] == now[first] {
		first++
	}
	last := 0
	for last < min(len(old), len(now))-first && old[len(old)-1-last] == now[len(now)-1-last] {
		last++
	}
	return stretch(w, first, old[first:len(old)-last], now[first:len(now)-last])
}

// linesAsTheyAre splits a text so that a missing or superfluous line end shows.
func linesAsTheyAre(data []byte) []string {
	var out []string
	for rest := data; len(rest) > 0; {
		end := slices.Index(rest, '\n') + 1
		if end == 0 {
			out = append(out, string(rest)+" (no newline)")
			break
		}
		out = append(out, string(rest[:end-1]))
		rest = rest[end:]
	}
	return out
}

// stretch writes what differs between two lists of lines, of which the first begins at a line of the old file.
func stretch(w io.Writer, line int, old, now []string) error {
	if len(old)*len(now) > maxTable {
		return hunk(w, line, old, now)
	}
	// common[i][j] is how many lines old[i:] and now[j:] have in common, in order.
	common := make([][]int, len(old)+1)
	for i := range common {
		common[i] = make([]int, len(now)+1)
	}
	for i := len(old) - 1; i >= 0; i-- {
		for j := len(now) - 1; j >= 0; j-- {
			if old[i] == now[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(old) || j < len(now); {
		fromOld, fromNow := i, j
		for i < len(old) && (j == len(now) || old[i] != now[j] && common[i+1][j] >= common[i][j+1]) {
			i++
		}
		for j < len(now) && (i == len(old) || old[i] != now[j] && common[i][j+1] >= common[i+1][j]) {
			j++
		}
		if i > fromOld || j > fromNow {
			if err := hunk(w, line+fromOld, old[fromOld:i], now[fromNow:j]); err != nil {
				return err
			}
			continue
		}
		i, j = i+1, j+1
	}
	return nil
}

// hunk writes lines that are replaced.
func hunk(w io.Writer, line int, old, now []string) error {
	if _, err := fmt.Fprintf(w, "@@ line %d @@\n", line+1); err != nil {
		return err
	}
	for _, text := range old {
		if _, err := fmt.Fprintf(w, "-%s\n", printable(text)); err != nil {
			return err
		}
	}
	for _, text := range now {
		if _, err := fmt.Fprintf(w, "+%s\n", printable(text)); err != nil {
			return err
		}
	}
	return nil
}

// printable shows what a terminal would obey, and blanks at the end of a line.
func printable(text string) string {
	var b strings.Builder
	kept := len(strings.TrimRight(text, " \t\r"))
	for i, r := range text {
		switch {
		case i >= kept && r == ' ':
			b.WriteRune('·')
		case r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
