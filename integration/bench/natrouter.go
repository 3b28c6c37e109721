//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// crowdTimeout is how long a flow of the crowd lasts: so long that all are there at once, and so short that they
// expire while latency is measured.
const crowdTimeout = 20 * time.Second

// flowTimeout is how long a flow of one datagram lasts in natrouter and in the kernel, so that a run does not drag
// those of its earlier rounds along.
const flowTimeout = 10 * time.Second

// natrouterConfig says how a natrouter under test differs from others.
type natrouterConfig struct {
	program    string
	dir        string // for its files
	fast       bool
	max        int           // connections
	udpTimeout time.Duration // 0: flowTimeout
}

const natrouterText = `
[log]
level = "warn"
[[interface]]
name = "lan0"
side = "inside"
address = ["10.77.0.1/24", "fd77::1/64"]
netns = "%s"
host_address = ["10.77.0.2/24", "fd77::2/64"]
host_route = ["0.0.0.0/0", "::/0"]
[[interface]]
name = "wan0"
side = "outside"
address = ["203.0.113.1/24", "2001:db8:113::1/64"]
netns = "%s"
host_address = ["203.0.113.2/24", "2001:db8:113::2/64"]
[[route]]
to = ["0.0.0.0/0", "::/0"]
interface = "wan0"
[[nat]]
action = "masquerade"
out = "wan0"
source = ["10.77.0.0/16", "fd77::/16"]
[[helper]]
name = "pptp"
protocol = "tcp"
port = 1723
[conntrack]
max = %d
max_unreplied = %[3]d
[conntrack.timeout]
udp = "%v"
[fast_path]
enabled = %v
`

// startNatrouter starts `natrouter run` as a user would.
func startNatrouter(ctx context.Context, s *system, c natrouterConfig) error {
	router, err := s.namespace("router")
	if err != nil {
		return err
	}
	if c.udpTimeout == 0 {
		c.udpTimeout = flowTimeout
	}
	path := filepath.Join(c.dir, strings.ReplaceAll(s.name, ", ", "-")+".toml")
	text := fmt.Sprintf(natrouterText, s.client.Name, s.server.Name, c.max, c.udpTimeout, c.fast)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	cmd := exec.Command(c.program, "run", "--config", path)
	cmd.Env = withoutEnv(os.Environ(), "NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR")
	log := &tail{}
	cmd.Stderr = log
	if err := router.Start(cmd); err != nil {
		return err
	}
	s.process, s.server6 = cmd, serverAddr6
	s.onStop(func() { end(cmd) })
	return await(ctx, "natrouter", log, func() error { // it gives the host ends their addresses
		l, err := s.server.Listen(netip.AddrPortFrom(serverAddr, bulkPort))
		if err != nil {
			return err
		}
		return l.Close()
	})
}

// startTimeout is how long a system has to be ready.
const startTimeout = 10 * time.Second

// await tries ready until it succeeds, and shows the log if it never does.
func await(ctx context.Context, what string, log *tail, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", what, err, log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// end stops a process, with force if it does not listen.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(os.Interrupt) // it may have ended
	force := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() })
	defer force.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", cmd.Args[0], err)
	}
}

func withoutEnv(env []string, names ...string) []string {
	var kept []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		drop := false
		for _, n := range names {
			drop = drop || n == name
		}
		if !drop {
			kept = append(kept, e)
		}
	}
	return kept
}

// tailSize is how much of a log is kept, bytes.
const tailSize = 4096

// tail keeps the end of what a process writes.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Write(p)
	if extra := t.b.Len() - tailSize; extra > 0 {
		t.b.Next(extra)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
