package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/tun"
)

// twoInterfaces is a configuration that needs nothing of the machine, given devices in memory.
const twoInterfaces = `[[interface]]
name = "lan0"
side = "inside"
address = ["10.77.0.1/24", "fd77::1/64"]
[[interface]]
name = "wan0"
side = "outside"
address = ["203.0.113.1/24", "2001:db8:113::1/64"]
[[route]]
to = ["0.0.0.0/0", "::/0"]
interface = "wan0"
[[nat]]
action = "masquerade"
out = "wan0"
source = ["10.77.0.0/16", "fd77::/16"]
`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "natrouter.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// trial is a daemon on devices in memory.
type trial struct {
	path    string // of its configuration
	signals chan os.Signal
	log     *bufio.Scanner
	result  chan error

	mu   sync.Mutex
	open []string // guarded by mu; devices not closed yet
}

// watched tells its trial when it is closed.
type watched struct {
	tun.Device
	once sync.Once
	gone func()
}

func (w *watched) Close() error {
	w.once.Do(w.gone)
	return w.Device.Close()
}

// start runs a configuration. A device whose name is refused can't be opened.
func start(t *testing.T, text, refused string) *trial {
	t.Helper()
	logReader, logWriter := io.Pipe()
	tr := &trial{signals: make(chan os.Signal, 4), log: bufio.NewScanner(logReader), result: make(chan error, 1)}
	d := daemon{errOut: logWriter, signals: tr.signals, open: func(in *router.Interface, _ *slog.Logger) (tun.Device, error) {
		if in.Name == refused {
			return nil, errors.New("tun " + in.Name + ": no permission: ask for it")
		}
		inner, outer := tun.NewPair(tun.PairConfig{MTU: in.MTU, A: tun.EndConfig{Name: in.Name}})
		t.Cleanup(func() { outer.Close() })
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.open = append(tr.open, in.Name)
		return &watched{Device: inner, gone: func() { tr.closed(in.Name) }}, nil
	}}
	tr.path = writeConfig(t, text)
	go func() {
		err := d.run(context.Background(), tr.path)
		logWriter.Close()
		tr.result <- err
	}()
	return tr
}

func (tr *trial) closed(name string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for i, open := range tr.open {
		if open == name {
			tr.open = append(tr.open[:i], tr.open[i+1:]...)
			return
		}
	}
}

func (tr *trial) stillOpen() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return strings.Join(tr.open, " ")
}

// expect reads the log up to a line that holds text.
func (tr *trial) expect(t *testing.T, text string) {
	t.Helper()
	for tr.log.Scan() {
		if strings.Contains(tr.log.Text(), text) {
			return
		}
	}
	t.Fatalf("the log ended before %q: %v", text, <-tr.result)
}

// end reads the log to its end and returns what run returned.
func (tr *trial) end() error {
	for tr.log.Scan() {
	}
	return <-tr.result
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RUNTIME_DIRECTORY", dir)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	told := func() string {
		b := make([]byte, 100)
		n, err := manager.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}

	tr := start(t, twoInterfaces, "")
	tr.expect(t, "msg=ready")
	if got := told(); got != "READY=1" {
		t.Errorf("the service manager was told %q, want READY=1", got)
	}
	socket := filepath.Join(dir, "control.sock")
	var out, errOut bytes.Buffer
	if code := execute(context.Background(), []string{"status", "--socket", socket}, &out, &errOut); code != exitOK || !strings.Contains(out.String(), "flows 0 of") {
		t.Errorf("status while it runs: %d\n%s%s", code, &out, &errOut)
	}

	tr.signals <- syscall.SIGHUP
	tr.expect(t, "msg=reloaded applied=nothing need_restart=0")
	tr.signals <- syscall.SIGTERM
	tr.expect(t, "msg=stopping")
	if err := tr.end(); err != nil {
		t.Errorf("run = %v after SIGTERM, want nil", err)
	}
	if got := told(); got != "STOPPING=1" {
		t.Errorf("the service manager was told %q, want STOPPING=1", got)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control socket is left behind: %v", err)
	}
	if open := tr.stillOpen(); open != "" {
		t.Errorf("devices left open: %s", open)
	}
}

func TestRunLogsJSON(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	tr := start(t, "[log]\nformat = \"json\"\n"+twoInterfaces, "")
	tr.expect(t, `"msg":"ready"`)
	tr.signals <- syscall.SIGINT
	if err := tr.end(); err != nil {
		t.Error(err)
	}
}

func TestRunWithoutSocket(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	tr := start(t, twoInterfaces, "")
	tr.expect(t, "no control socket")
	tr.expect(t, "msg=ready")
	tr.signals <- syscall.SIGTERM
	if err := tr.end(); err != nil {
		t.Error(err)
	}
}

func TestRunDeviceRefused(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	tr := start(t, twoInterfaces, "wan0")
	if err := tr.end(); err == nil || err.Error() != "tun wan0: no permission: ask for it" {
		t.Errorf("run = %v", err)
	}
	if open := tr.stillOpen(); open != "" {
		t.Errorf("devices left open: %s", open)
	}
}

func TestRunSocketInUse(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RUNTIME_DIRECTORY", dir)
	first := start(t, twoInterfaces, "")
	first.expect(t, "msg=ready")
	second := start(t, twoInterfaces, "")
	if err := second.end(); err == nil || !strings.Contains(err.Error(), "another router answers there") {
		t.Errorf("the second run = %v", err)
	}
	if open := second.stillOpen(); open != "" {
		t.Errorf("devices left open: %s", open)
	}
	first.signals <- syscall.SIGTERM
	if err := first.end(); err != nil {
		t.Errorf("the first run = %v", err)
	}
}

func TestRunUnknownUser(t *testing.T) {
	tr := start(t, twoInterfaces+"[process]\nuser = \"nobody-of-this-name\"\n", "")
	if err := tr.end(); err == nil || !strings.Contains(err.Error(), "no such user: create it, or name another") {
		t.Errorf("run = %v", err)
	}
}

// A router that never stops is left behind by a second signal, at once and as a failure.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGHUP // changes nothing
	signals <- syscall.SIGTERM
	d := daemon{signals: signals}
	err := d.stop(make(chan error), make(chan error), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "second signal") {
		t.Errorf("stop = %v", err)
	}
}

// A router that ends by itself is a failure, whatever it says.
func TestRouterEndsByItself(t *testing.T) {
	for _, cause := range []error{nil, errors.New("broken")} {
		routed := make(chan error, 1)
		routed <- cause
		d := daemon{signals: make(chan os.Signal)}
		if err := d.wait(context.Background(), routed, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "router: ") {
			t.Errorf("wait = %v", err)
		}
	}
}

func TestRunBadConfig(t *testing.T) {
	path := writeConfig(t, "[[interface]]\nnmae = \"lan0\"\n")
	for _, args := range [][]string{{"run", "--config", path}, {"check", path}} {
		got := command(t, args...)
		if got.code != exitUsage || got.out != "" || !strings.Contains(got.err, path+":2: unknown key \"nmae\"") || strings.Contains(got.err, "natrouter: ") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	got := command(t, "check", path+".absent")
	if got.code != exitUsage || !strings.HasPrefix(got.err, path+".absent: no such file") {
		t.Errorf("absent file: %+v", got)
	}
}

// TestStrangersGetIn: without sides and with a slip in out, wan0 would be inside; check and run both say so, with the line.
func TestStrangersGetIn(t *testing.T) {
	text := `[[interface]]
name = "lan0"
address = "10.77.0.1/24"
[[interface]]
name = "wan0"
address = "203.0.113.1/24"
[[route]]
to = "0.0.0.0/0"
interface = "wan0"
[[nat]]
action = "masquerade"
out = "lan0"
`
	const warning = `:4: warning: interface "wan0" has no side, and is taken as inside`
	got := command(t, "check", writeConfig(t, text))
	if got.code != exitOK || !strings.Contains(got.err, warning) || !strings.Contains(got.out, "hosts behind wan0 may begin towards lan0: all connections") {
		t.Errorf("exit %d\n%s\n%s", got.code, got.err, got.out)
	}
	tr := start(t, text, "")
	tr.expect(t, `interface \"wan0\" has no side, and is taken as inside`)
	tr.expect(t, "ready")
	tr.signals <- os.Interrupt
	if err := tr.end(); err != nil {
		t.Error(err)
	}
}

func TestCheckSaysWhatItWouldDo(t *testing.T) {
	path := writeConfig(t, twoInterfaces+`[[nat]]
action = "dnat"
in = "wan0"
protocol = "tcp"
destination = ["203.0.113.1"]
port = "8080"
to = "10.77.0.2:80"
`)
	got := command(t, "check", path)
	want := path + `: ok
  interface lan0: inside, auto, mtu 1500, 1 queue, 10.77.0.1/24, fd77::1/64
  interface wan0: outside, auto, mtu 1500, 1 queue, 203.0.113.1/24, 2001:db8:113::1/64
  route 0.0.0.0/0 to wan0
  route ::/0 to wan0
  nat masquerade out wan0 source 10.77.0.0/16, fd77::/16
  nat dnat in wan0 protocol tcp destination 203.0.113.1 port 8080 to 10.77.0.2 to port 80
  hosts behind lan0 may begin towards wan0: all connections, translated (line 12)
  hosts behind wan0 may begin towards lan0: only by forwards (line 16)
  at most 262144 connections, filter forward accept
  control socket none
`
	if got.code != exitOK || got.out != want {
		t.Errorf("exit %d\n%s\n%swant\n%s", got.code, got.err, got.out, want)
	}
}
