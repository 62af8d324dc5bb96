package demo

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestReadmeShowsTheTour holds the stops that README.md shows, in two columns, against the tour.
func TestReadmeShowsTheTour(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "From the tour:\n\n```\n")
	block, _, _ = strings.Cut(block, "```")
	const left = 48
	var columns [2]strings.Builder
	for line := range strings.SplitSeq(block, "\n") {
		columns[0].WriteString(strings.TrimRight(line[:min(left, len(line))], " ") + "\n")
		columns[1].WriteString(line[min(left, len(line)):] + "\n")
	}
	shown := 0
	stop := regexp.MustCompile(`(?m)^ *(\d+)\. (.+)\n(?: *> (\S+ \S+) HTTP/1\.1\n)?`)
	for i := range columns {
		for _, found := range stop.FindAllStringSubmatch(columns[i].String(), -1) {
			shown++
			number, err := strconv.Atoi(found[1])
			if err != nil || number < 1 || number > len(tour) {
				t.Errorf("the tour has no stop %s", found[1])
				continue
			}
			v := tour[number-1]
			if asked := v.method + " " + v.target; found[2] != v.title || found[3] != "" && found[3] != asked {
				t.Errorf("stop %d is %q, %s; README.md shows %q, %s", number, v.title, asked, found[2], found[3])
			}
		}
	}
	if shown != 4 {
		t.Errorf("%d stops found in README.md; has its form changed?", shown)
	}
}
