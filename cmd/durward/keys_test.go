package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/durward-pdp/durward/clients/authz"
)

// keyCommands are what scripts about API keys need.
var keyCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"asks": asks, "becomes": becomes, "idof": idOf, "nosecrets": noSecrets,
}

// asks ADDRESS FILE: asks a server with the API key in a file, and prints the verdict's status, reason and subject.
func asks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: asks ADDRESS FILE")
	}
	_, err := fmt.Fprintln(ts.Stdout(), askWith(ts, args[0], args[1]))
	ts.Check(err)
}

// becomes ADDRESS FILE STATUS: asks until the verdict has the status.
func becomes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: becomes ADDRESS FILE STATUS")
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		answer := askWith(ts, args[0], args[1])
		if strings.HasPrefix(answer, args[2]+" ") {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s, want %s", answer, args[2])
		}
	}
}

func askWith(ts *testscript.TestScript, address, file string) string {
	client, err := authz.New(address, authz.WithInsecure(), authz.WithTimeout(5*time.Second))
	ts.Check(err)
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d, _ := client.Check(ctx, authz.Request{HTTP: &authz.HTTP{
		Method: "GET", Scheme: "https", Host: "orders.example.com", Target: "/orders", Protocol: "HTTP/1.1", PeerAddress: "198.51.100.7:4242",
		Header: []authz.Field{{Name: "authorization", Value: "Bearer " + strings.TrimSpace(ts.ReadFile(file))}},
	}})
	who := "nobody"
	for _, f := range d.SetUpstream {
		if f.Name == "x-durward-subject" {
			who = f.Value
		}
	}
	return fmt.Sprintf("%d %s %s", d.Status, d.Reason, who)
}

// idof FILE: sets ID to the id of the API key in a file.
func idOf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: idof FILE")
	}
	parts := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "_")
	ts.Setenv("ID", parts[len(parts)-2])
}

// nosecrets LOG FILE…: fails where the log holds the secret of an API key in one of the files.
func noSecrets(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: nosecrets LOG FILE…")
	}
	log := ts.ReadFile(args[0])
	for _, file := range args[1:] {
		text := strings.TrimSpace(ts.ReadFile(file))
		if secret := text[strings.LastIndexByte(text, '_')+1:]; len(secret) != 49 || strings.Contains(log, secret) {
			ts.Fatalf("%s holds the secret of the key in %s, of %d characters", args[0], file, len(secret))
		}
	}
}
