package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// TestLogNeverBlocks logs more than fits to a pipe that nobody reads, and then reads it.
func TestLogNeverBlocks(t *testing.T) {
	read, write := io.Pipe()
	logger, flush := newLogger(write, "info")
	const lines = maxLines + 100
	for range lines {
		logger.Info("line")
	}
	text := make(chan string, 1)
	go func() {
		data, _ := io.ReadAll(read)
		text <- string(data)
	}()
	logger.Debug("not at this level")
	flush()
	flush()
	logger.Info("after the end")
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	got := <-text
	written := strings.Count(got, `"msg":"line"`)
	// One line more than the queue holds may be in the writer's hand.
	if written != maxLines && written != maxLines+1 || strings.Count(got, "log lines are lost") != 1 || strings.Contains(got, "level\":\"DEBUG") || strings.Contains(got, "after the end") {
		t.Errorf("%d lines of %d, and: %s", written, lines, got[max(0, len(got)-300):])
	}
}

// TestLogLevel: what is no level is info.
func TestLogLevel(t *testing.T) {
	for level, want := range map[string]int{"debug": 3, "info": 2, "error": 1, "": 2} {
		var out bytes.Buffer
		logger, flush := newLogger(&out, level)
		logger.Debug("d")
		logger.Info("i")
		logger.Error("e")
		flush()
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("level %q: %d lines, want %d", level, got, want)
		}
	}
}
