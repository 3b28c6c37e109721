package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/natrouter/natrouter/internal/config"
	"github.com/natrouter/natrouter/router"
)

// hangUp writes another configuration and sends this process a SIGHUP, then reads the log up to each of the lines.
func (tr *trial) hangUp(t *testing.T, text string, log ...string) {
	t.Helper()
	if err := os.WriteFile(tr.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for _, line := range log {
		tr.expect(t, line)
	}
}

// TestRunReloads changes the file step by step: each step is compared with what is in force, which is the first file but for
// the addresses that were applied since.
func TestRunReloads(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RUNTIME_DIRECTORY", dir)
	base := twoInterfaces + `[[nat]]
action = "dnat"
protocol = "tcp"
destination = "203.0.113.1"
port = 80
to = "10.77.0.2:80"
`
	tr := start(t, base, "")
	tr.expect(t, "msg=ready")
	signal.Notify(tr.signals, syscall.SIGHUP)
	defer signal.Stop(tr.signals)
	const dmz = "[[interface]]\nname = \"dmz0\"\naddress = \"10.99.0.1/24\"\n"
	for _, step := range []struct {
		edits   []string // from, to
		log     []string
		address string // that status shows then
	}{
		{[]string{"203.0.113.1/24", "203.0.113.9/24"}, []string{
			"msg=\"addresses changed\" interface=wan0",
			tr.path + ":19: warning: nat[1].destination names 203.0.113.1, which interface \\\"wan0\\\" no longer has",
			"msg=reloaded applied=\"interface wan0 address [203.0.113.9/24 2001:db8:113::1/64]\" need_restart=0",
		}, "203.0.113.9/24"},
		{[]string{"203.0.113.1/24", "203.0.113.300/24"}, []string{
			tr.path + ":8: ", "reload refused: nothing is changed",
		}, "203.0.113.9/24"},
		{[]string{"203.0.113.1", "203.0.113.9"}, []string{ // the rule in the file is right again, the one in force is not
			tr.path + ":19: nat[1].destination changed: restart the router to apply it; until then it names 203.0.113.1, which",
			"msg=reloaded applied=nothing need_restart=1",
		}, "203.0.113.9/24"},
		{[]string{`name = "wan0"`, "name = \"wan0\"\nmtu = 1400"}, []string{
			tr.path + ":7: interface[1].mtu added: restart", "msg=reloaded applied=\"interface wan0 address [203.0.113.1/24 ",
		}, "203.0.113.1/24"},
		{[]string{"[[interface]]\nname = \"lan0\"", dmz + "[[interface]]\nname = \"lan0\"", "203.0.113.1/24", "203.0.113.7/24"}, []string{
			tr.path + ":1: interface[0] added: restart",
			"msg=reloaded applied=\"interface wan0 address [203.0.113.7/24 2001:db8:113::1/64]\" need_restart=1",
		}, "203.0.113.7/24"},
		{[]string{"[[interface]]\nname = \"lan0\"", dmz + "[[interface]]\nname = \"lan0\"", "203.0.113.1/24", "203.0.113.8/24"}, []string{
			"msg=reloaded applied=\"interface wan0 address [203.0.113.8/24 2001:db8:113::1/64]\" need_restart=1",
		}, "203.0.113.8/24"},
		{[]string{"lan0", "lan1"}, []string{ // and wan0 goes back
			tr.path + ":1: interface \\\"lan0\\\" removed: restart", tr.path + ":1: interface[0] added: restart",
			"msg=reloaded applied=\"interface wan0 address [203.0.113.1/24 2001:db8:113::1/64]\" need_restart=2",
		}, "203.0.113.1/24"},
		{nil, []string{"msg=reloaded applied=nothing need_restart=0"}, "203.0.113.1/24"},
	} {
		tr.hangUp(t, strings.NewReplacer(step.edits...).Replace(base), step.log...)
		var out, errOut bytes.Buffer
		args := []string{"status", "-o", "json", "--socket", filepath.Join(dir, "control.sock")}
		if code := execute(context.Background(), args, &out, &errOut); code != exitOK || !strings.Contains(out.String(), step.address) {
			t.Errorf("status: %d, without %s\n%s%s", code, step.address, &out, &errOut)
		}
	}
	if err := os.Remove(tr.path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	tr.expect(t, tr.path+": no such file")
	tr.expect(t, "reload refused: nothing is changed")
	tr.signals <- syscall.SIGTERM
	if err := tr.end(); err != nil {
		t.Error(err)
	}
}

// TestReloadKeepsInForce: what the file no longer has is in force until the restart, so its address and network are not
// another's before.
func TestReloadKeepsInForce(t *testing.T) {
	for name, address := range map[string]string{"its address": "10.77.0.1/24", "its network": "10.77.0.9/16"} {
		var log bytes.Buffer
		r := newReloader(&config.File{Name: "f", Config: router.Config{Interfaces: []router.Interface{
			{Name: "lan0", Address: []netip.Prefix{netip.MustParsePrefix("10.77.0.1/24")}},
			{Name: "wan0", Address: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/24")}},
		}}}, nil, func(string, []netip.Prefix) error { t.Error("applied"); return nil }, slog.New(slog.NewTextHandler(&log, nil)))
		applied, waiting := r.readdress([]router.Interface{{Name: "wan0", Line: 7, Address: []netip.Prefix{netip.MustParsePrefix(address)}}})
		if len(applied) != 0 || waiting != 1 || !strings.Contains(log.String(), "f:7: interface wan0: address "+address+
			" is in 10.77.0.0/24 of interface lan0, which the router still has: restart the router to apply it") {
			t.Errorf("%s: applied %q, %d wait, the log says %q", name, applied, waiting, &log)
		}
	}
}

// TestReloadMovesAddresses: interfaces may exchange their addresses, and what can't be applied is told with its line.
func TestReloadMovesAddresses(t *testing.T) {
	now := map[string][]netip.Prefix{}
	r := reloader{log: slog.New(slog.DiscardHandler)}
	// set has the one rule of the router that matters here.
	r.set = func(iface string, addrs []netip.Prefix) error {
		for other, list := range now {
			for _, p := range addrs {
				if other != iface && slices.Contains(list, p) {
					return errors.New("taken")
				}
			}
		}
		now[iface] = addrs
		return nil
	}
	of := func(text string) (list []netip.Prefix) {
		for _, s := range strings.Fields(text) {
			list = append(list, netip.MustParsePrefix(s))
		}
		return list
	}
	a, b := of("10.0.0.1/24 10.0.1.1/24"), of("10.0.2.1/24")
	now["a"], now["b"] = a, b
	r.interfaces = []router.Interface{{Name: "a", Address: a}, {Name: "b", Address: b}}
	r.readdress([]router.Interface{{Name: "a", Address: b}, {Name: "b", Address: a}})
	if fmt.Sprint(now["a"], now["b"]) != fmt.Sprint(b, a) {
		t.Errorf("exchanged: %v", now)
	}
	c, d := of("10.0.2.9/24"), of("10.0.0.9/24 10.0.1.9/24") // other addresses of the same networks
	if _, waiting := r.readdress([]router.Interface{{Name: "a", Address: d}, {Name: "b", Address: c}}); waiting != 0 {
		t.Errorf("networks exchanged: %v", now)
	}
	r.interfaces = []router.Interface{{Name: "a", Address: b}, {Name: "b", Address: a}}
	var log bytes.Buffer
	r.log, r.path = slog.New(slog.NewTextHandler(&log, nil)), "f"
	r.set = func(string, []netip.Prefix) error { return errors.New("no room") }
	if got, waiting := r.readdress([]router.Interface{{Name: "a", Address: of("10.0.9.1/24"), Line: 7}}); got != nil || waiting != 1 {
		t.Errorf("applied %v, %d wait", got, waiting)
	}
	if !strings.Contains(log.String(), "f:7: no room") {
		t.Errorf("the log says %q", &log)
	}
}

// TestReloadAbsentFile: what can't be read changes nothing.
func TestReloadAbsentFile(t *testing.T) {
	var log bytes.Buffer
	r := reloader{path: filepath.Join(t.TempDir(), "absent.toml"), log: slog.New(slog.NewTextHandler(&log, nil))}
	r.set = func(string, []netip.Prefix) error { t.Error("addresses set"); return nil }
	r.reload()
	if got := log.String(); !strings.Contains(got, r.path+": no such file") || !strings.Contains(got, "nothing is changed") {
		t.Errorf("the log says %q", got)
	}
	if _, _, err := readConfig(r.path); !errors.As(err, new(config.Errors)) {
		t.Errorf("readConfig = %v", err)
	}
}
