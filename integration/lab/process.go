//go:build linux

package lab

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
	// ReadyTimeout is how long natrouter may take to be ready.
	ReadyTimeout = 10 * time.Second
	// StopTimeout is how long it may take to end after SIGTERM.
	StopTimeout = 2 * time.Second
	// Busy is what a busy machine may add to a promise.
	Busy = time.Second
	// ToolTimeout is how long another program may run.
	ToolTimeout = 20 * time.Second
)

// Output collects what a process writes, and wakes those who wait for a line of it. The zero value is ready; any
// goroutine may use it.
type Output struct {
	mu      sync.Mutex
	b       bytes.Buffer  // guarded by mu
	changed chan struct{} // guarded by mu; closed at the next write
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.b.Write(p)
}

// String returns all that was written.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Next returns what was written and a channel that closes when there is more.
func (o *Output) Next() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.b.String(), o.changed
}

// Daemon is a running `natrouter run`.
type Daemon struct {
	T      *testing.T
	Cmd    *exec.Cmd
	Log    Output        // what it wrote to standard output and error
	Exited chan struct{} // closed when it has ended
	Err    error         // of Wait, once Exited is closed
	Socket string        // its control socket
}

// Start starts natrouter run with a configuration in a namespace and waits until it is ready. prepare may
// change the command. When the test ends the router must still run, and stop in time with exit code 0.
func Start(t *testing.T, in *netlab.Namespace, config string, prepare func(*exec.Cmd)) *Daemon {
	t.Helper()
	d := Launch(t, in, config, prepare)
	timeout := time.After(ReadyTimeout)
	for {
		text, more := d.Log.Next()
		if strings.Contains(text, "msg=ready") {
			break
		}
		select {
		case <-more:
		case <-d.Exited:
			t.Fatalf("natrouter ended before it was ready: %v\n%s", d.Err, &d.Log)
		case <-timeout:
			t.Fatalf("natrouter is not ready after %s\n%s", ReadyTimeout, &d.Log)
		}
	}
	t.Cleanup(d.MustStop)
	return d
}

// Launch starts natrouter run; it is killed when the test ends.
func Launch(t *testing.T, in *netlab.Namespace, config string, prepare func(*exec.Cmd)) *Daemon {
	t.Helper()
	dir := PublicDir(t)
	d := &Daemon{T: t, Exited: make(chan struct{}), Socket: filepath.Join(dir, "control.sock")}
	path := filepath.Join(dir, "natrouter.toml")
	config += "\n[control]\nsocket = \"" + d.Socket + "\"\n"
	if *slow {
		config += "[fast_path]\nenabled = false\n"
	}
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	d.Cmd = exec.Command(Program, "run", "--config", path)
	d.Cmd.Stdout, d.Cmd.Stderr = &d.Log, &d.Log
	if prepare != nil {
		prepare(d.Cmd)
	}
	if d.Cmd.Env == nil {
		d.Cmd.Env = os.Environ()
	}
	d.Cmd.Env = append(d.Cmd.Env, "GORACE=atexit_sleep_ms=0") // a second, else, with the race detector
	if err := in.Start(d.Cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.Err = d.Cmd.Wait()
		close(d.Exited)
	}()
	t.Cleanup(func() {
		_ = d.Cmd.Process.Kill() // it may have ended
		<-d.Exited
		if t.Failed() {
			t.Logf("log of natrouter:\n%s", &d.Log)
		}
	})
	return d
}

// PublicDir is a temporary folder that every user may write to.
func PublicDir(t *testing.T) string {
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

// MustStop sends SIGTERM and checks how the router ends.
func (d *Daemon) MustStop() {
	d.T.Helper()
	select {
	case <-d.Exited:
		d.T.Errorf("natrouter ended during the test: %v", d.Err)
		return
	default:
	}
	if d.T.Failed() {
		status, _ := d.Ask("status")
		d.T.Logf("status of natrouter:\n%s", status)
	}
	start := time.Now()
	if err := d.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.T.Error(err)
	}
	select {
	case <-d.Exited:
		if d.Err != nil {
			d.T.Errorf("after SIGTERM: %v, want exit code 0", d.Err)
		}
	case <-time.After(StopTimeout + Busy):
		d.T.Errorf("SIGTERM did not end natrouter within %s", time.Since(start))
	}
	if strings.Contains(d.Log.String(), "panic") || strings.Contains(d.Log.String(), "DATA RACE") {
		d.T.Errorf("natrouter panicked or raced")
	}
}

// Status asks the router as a user would.
func (d *Daemon) Status() router.Status {
	d.T.Helper()
	var s router.Status
	out, code := d.Ask("status", "-o", "json")
	if code != 0 {
		d.T.Fatalf("natrouter status: exit code %d\n%s", code, out)
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		d.T.Fatalf("natrouter status -o json: %v\n%s", err, out)
	}
	return s
}

// Ask runs a command about the router and returns its output and exit code.
func (d *Daemon) Ask(args ...string) (string, int) {
	d.T.Helper()
	return Natrouter(d.T, append(args, "--socket", d.Socket)...)
}

// Natrouter runs it with arguments and returns its output and exit code.
func Natrouter(t *testing.T, args ...string) (string, int) {
	t.Helper()
	home, err := netlab.Home()
	if err != nil {
		t.Fatal(err)
	}
	return RunIn(t, home, exec.Command(Program, args...))
}

// RunIn runs a program in a namespace and returns what it wrote and its exit code. It fails the test if the program
// takes longer than toolTimeout.
func RunIn(t *testing.T, n *netlab.Namespace, cmd *exec.Cmd) (string, int) {
	t.Helper()
	var out Output
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	// Also of use in a cleanup, where the test's own context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), ToolTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	err := cmd.Wait()
	if ctx.Err() != nil {
		t.Errorf("%s took longer than %s\n%s", strings.Join(cmd.Args, " "), ToolTimeout, &out)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// MustRun is RunIn for a program that must end with 0.
func MustRun(t *testing.T, n *netlab.Namespace, name string, args ...string) string {
	t.Helper()
	out, code := RunIn(t, n, exec.Command(name, args...))
	if code != 0 {
		t.Errorf("%s %s: exit code %d\n%s", name, strings.Join(args, " "), code, out)
	}
	return out
}

// Tool is RunIn for a program that must be installed.
func Tool(t *testing.T, n *netlab.Namespace, name string, args ...string) (string, int) {
	t.Helper()
	return RunIn(t, n, exec.Command(NeedTool(t, name), args...))
}
