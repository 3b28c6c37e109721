package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/router"
)

const (
	readyTimeout = 10 * time.Second
	stopTimeout  = 2 * time.Second // SIGTERM ends natrouter within this
	busy         = time.Second     // what a busy machine may add to a promise
	toolTimeout  = 20 * time.Second
)

// output collects what a process writes, and wakes those who wait for a line of it.
type output struct {
	mu      sync.Mutex
	b       bytes.Buffer  // guarded by mu
	changed chan struct{} // guarded by mu; closed at the next write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// next returns what was written and a channel that closes when there is more.
func (o *output) next() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.b.String(), o.changed
}

// daemon is a running `natrouter run`.
type daemon struct {
	t      *testing.T
	cmd    *exec.Cmd
	log    output
	exited chan struct{}
	err    error // of Wait, once exited is closed
	socket string
}

// startDaemon starts natrouter run with a configuration in a namespace and waits until it is ready. prepare may
// change the command. When the test ends the router must still run, and stop in time with exit code 0.
func startDaemon(t *testing.T, in *netlab.Namespace, config string, prepare func(*exec.Cmd)) *daemon {
	t.Helper()
	d := launch(t, in, config, prepare)
	timeout := time.After(readyTimeout)
	for {
		text, more := d.log.next()
		if strings.Contains(text, "msg=ready") {
			break
		}
		select {
		case <-more:
		case <-d.exited:
			t.Fatalf("natrouter ended before it was ready: %v\n%s", d.err, &d.log)
		case <-timeout:
			t.Fatalf("natrouter is not ready after %s\n%s", readyTimeout, &d.log)
		}
	}
	t.Cleanup(d.mustStop)
	return d
}

// launch starts natrouter run; it is killed when the test ends.
func launch(t *testing.T, in *netlab.Namespace, config string, prepare func(*exec.Cmd)) *daemon {
	t.Helper()
	dir := publicDir(t)
	d := &daemon{t: t, exited: make(chan struct{}), socket: filepath.Join(dir, "control.sock")}
	path := filepath.Join(dir, "natrouter.toml")
	if err := os.WriteFile(path, []byte(config+"\n[control]\nsocket = \""+d.socket+"\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.cmd = exec.Command(program, "run", "--config", path)
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if prepare != nil {
		prepare(d.cmd)
	}
	if d.cmd.Env == nil {
		d.cmd.Env = os.Environ()
	}
	d.cmd.Env = append(d.cmd.Env, "GORACE=atexit_sleep_ms=0") // a second, else, with the race detector
	if err := in.Start(d.cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.exited)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // it may have ended
		<-d.exited
		if t.Failed() {
			t.Logf("log of natrouter:\n%s", &d.log)
		}
	})
	return d
}

// publicDir is a temporary folder that every user may write to.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "natrouter-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// mustStop sends SIGTERM and checks how the router ends.
func (d *daemon) mustStop() {
	d.t.Helper()
	select {
	case <-d.exited:
		d.t.Errorf("natrouter ended during the test: %v", d.err)
		return
	default:
	}
	if d.t.Failed() {
		status, _ := d.ask("status")
		d.t.Logf("status of natrouter:\n%s", status)
	}
	start := time.Now()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Error(err)
	}
	select {
	case <-d.exited:
		if d.err != nil {
			d.t.Errorf("after SIGTERM: %v, want exit code 0", d.err)
		}
	case <-time.After(stopTimeout + busy):
		d.t.Errorf("SIGTERM did not end natrouter within %s", time.Since(start))
	}
	if strings.Contains(d.log.String(), "panic") || strings.Contains(d.log.String(), "DATA RACE") {
		d.t.Errorf("natrouter panicked or raced")
	}
}

// status asks the router as a user would.
func (d *daemon) status() router.Status {
	d.t.Helper()
	var s router.Status
	out, code := d.ask("status", "-o", "json")
	if code != 0 {
		d.t.Fatalf("natrouter status: exit code %d\n%s", code, out)
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		d.t.Fatalf("natrouter status -o json: %v\n%s", err, out)
	}
	return s
}

// ask runs a command about the router and returns its output and exit code.
func (d *daemon) ask(args ...string) (string, int) {
	d.t.Helper()
	return natrouter(d.t, append(args, "--socket", d.socket)...)
}

// natrouter runs it with arguments and returns its output and exit code.
func natrouter(t *testing.T, args ...string) (string, int) {
	t.Helper()
	home, err := netlab.Home()
	if err != nil {
		t.Fatal(err)
	}
	return runIn(t, home, exec.Command(program, args...))
}

// runIn runs a program in a namespace and returns what it wrote and its exit code. It fails the test if the program
// takes longer than toolTimeout.
func runIn(t *testing.T, n *netlab.Namespace, cmd *exec.Cmd) (string, int) {
	t.Helper()
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), toolTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	err := cmd.Wait()
	if ctx.Err() != nil {
		t.Errorf("%s took longer than %s\n%s", strings.Join(cmd.Args, " "), toolTimeout, &out)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// mustRun is runIn for a program that must end with 0.
func mustRun(t *testing.T, n *netlab.Namespace, name string, args ...string) string {
	t.Helper()
	out, code := runIn(t, n, exec.Command(name, args...))
	if code != 0 {
		t.Errorf("%s %s: exit code %d\n%s", name, strings.Join(args, " "), code, out)
	}
	return out
}
