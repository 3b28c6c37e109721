//go:build linux

package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/netlab"
)

// refused is why there are no namespaces or TUNs here.
var refused string

// TestMain runs the tests in namespaces of their own, and is the child that a test starts.
func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		os.Exit(runChild(child))
	}
	flag.Parse()
	if netlab.Inside() {
		if err := netlab.Prepare(true); err != nil {
			fmt.Fprintln(os.Stderr, "prepare:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if refused = netlab.TUNRefusal(); refused == "" {
		code, err := netlab.Enter()
		if err == nil {
			os.Exit(code)
		}
		refused = netlab.Refusal(err)
	}
	os.Exit(m.Run())
}

// TestRun measures every system in every kind of workload for a moment: each must move something.
func TestRun(t *testing.T) {
	if refused != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("SKIPPED netns: %s", refused)
		}
		t.Skipf("SKIPPED netns: %s", refused)
	}
	o := &options{
		rounds: 1, window: 150 * time.Millisecond, crowd: 1000,
		run:     regexp.MustCompile(`^(TCP up.*, 1 flow|TCP down, 1 flow|TCP up, 1 flow, IPv6|UDP 64 B, 64|UDP, a new|TCP connect|round trip, idle|PPTP)`),
		systems: regexp.MustCompile(`^(natrouter|natrouter, slow path|copy|copy, no offload|netstack|kernel)$`),
	}
	var out bytes.Buffer
	if err := run(t.Context(), o, &out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{rowUp1, rowNoTSO1, rowSmall64, "TCP connect and close", rowPPTP, natrouterName, netstackName} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the tables", want)
		}
	}
	// nft is a program that may be missing; all else is ours.
	for line := range strings.Lines(text) {
		if strings.Contains(line, "failed") || strings.Contains(line, "not measured") && !strings.HasPrefix(line, kernelName) {
			t.Error(line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestOptions(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		ok   bool
	}{
		"none":                 {nil, true},
		"quick":                {[]string{"-quick", "-run", "TCP"}, true},
		"no expression":        {[]string{"-run", "("}, false},
		"no expression either": {[]string{"-systems", "["}, false},
		"no round":             {[]string{"-rounds", "0"}, false},
		"no time":              {[]string{"-window", "1ms"}, false},
		"a word":               {[]string{"fast"}, false},
	} {
		var out bytes.Buffer
		if _, err := parseOptions(tt.args, &out); (err == nil) != tt.ok {
			t.Errorf("%s: parseOptions(%q) = %v", name, tt.args, err)
		}
	}
}

// TestBarsHaveRows: a bar is about rows and systems that there are.
func TestBarsHaveRows(t *testing.T) {
	rows := map[string]bool{}
	for _, w := range workloads(&options{}) {
		for _, r := range w.rows {
			if rows[r.Name] {
				t.Errorf("row %q twice", r.Name)
			}
			rows[r.Name] = true
		}
	}
	systems := map[string]bool{"": true}
	for _, name := range order {
		systems[name] = true
	}
	for _, b := range bars {
		if !rows[b.row] || b.baseRow != "" && !rows[b.baseRow] || !systems[b.system] || !systems[b.base] {
			t.Errorf("%+v is about nothing", b)
		}
	}
}
