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

// TestRunReloads sends itself a SIGHUP after each change of the file.
func TestRunReloads(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RUNTIME_DIRECTORY", dir)
	tr := start(t, twoInterfaces, "")
	tr.expect(t, "msg=ready")
	signal.Notify(tr.signals, syscall.SIGHUP)
	defer signal.Stop(tr.signals)
	for _, step := range []struct {
		from, to string
		log      []string
		address  string // that status shows then
	}{
		{"203.0.113.1/24", "203.0.113.9/24", []string{
			"msg=\"addresses changed\" interface=wan0",
			"msg=reloaded applied=\"interface wan0 address [203.0.113.9/24 2001:db8:113::1/64]\" need_restart=0",
		}, "203.0.113.9/24"},
		{"203.0.113.1/24", "203.0.113.300/24", []string{
			tr.path + ":6: ", "reload refused: nothing is changed",
		}, "203.0.113.9/24"},
		{`name = "wan0"`, "name = \"wan0\"\nmtu = 1400", []string{
			tr.path + ":6: interface[1].mtu changed: restart", "msg=reloaded applied=\"interface wan0 address [203.0.113.1/24 ",
		}, "203.0.113.1/24"},
		{`"wan0"`, `"wan1"`, []string{
			tr.path + ":5: interface[1].name changed: restart", "msg=reloaded applied=nothing",
		}, "203.0.113.1/24"},
	} {
		text := strings.ReplaceAll(twoInterfaces, step.from, step.to)
		if err := os.WriteFile(tr.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for _, line := range step.log {
			tr.expect(t, line)
		}
		var out, errOut bytes.Buffer
		args := []string{"status", "-o", "json", "--socket", filepath.Join(dir, "control.sock")}
		if code := execute(context.Background(), args, &out, &errOut); code != exitOK || !strings.Contains(out.String(), step.address) {
			t.Errorf("status: %d, without %s\n%s%s", code, step.address, &out, &errOut)
		}
	}
	tr.signals <- syscall.SIGTERM
	if err := tr.end(); err != nil {
		t.Error(err)
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
	var log bytes.Buffer
	r.log, r.path = slog.New(slog.NewTextHandler(&log, nil)), "f"
	r.set = func(string, []netip.Prefix) error { return errors.New("no room") }
	if got := r.readdress([]router.Interface{{Name: "a", Address: a, Line: 7}, {Name: "b", Address: a}}); got != nil {
		t.Errorf("applied %v", got)
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
