//go:build linux

package netlab

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		refused = "not while fuzzing, which talks to processes of its own by descriptors"
		return m.Run()
	}
	if !Inside() {
		code, err := Enter()
		if err == nil {
			return code
		}
		refused = Refusal(err)
		return m.Run()
	}
	if err := Prepare(false); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		return 1
	}
	return m.Run()
}

// refused says why there are no namespaces here.
var refused string

// need skips a test by name, or fails it where nothing may be skipped.
func need(t *testing.T, name, why string) {
	t.Helper()
	if why == "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("SKIPPED %s: %s", name, why)
	}
	t.Skipf("SKIPPED %s: %s", name, why)
}

// TestScenesThroughKernel runs every scene through the kernel's own NAT: a scene that fails there is wrong itself.
func TestScenesThroughKernel(t *testing.T) {
	need(t, "netns", refused)
	if _, err := exec.LookPath("nft"); err != nil {
		need(t, "nft", "not installed")
	}
	for _, p := range kernelLab(t) {
		for _, s := range Scenes() {
			t.Run(p.Family()+"/"+s.Name, func(t *testing.T) {
				figure, err := s.Run(t.Context(), p, func(string, ...any) {})
				if err != nil {
					t.Fatal(err)
				}
				t.Log(figure)
			})
		}
	}
}

// TestScenesSeeUntranslated runs every scene through the kernel without NAT: those that must see the outside address
// have to notice.
func TestScenesSeeUntranslated(t *testing.T) {
	need(t, "netns", refused)
	want := map[string]string{
		"HTTP download":   "not the outside address",
		"HTTP upload":     "not the outside address",
		"200 connections": "not the outside address",
		"UDP both ways":   "not the outside address",
		"port forward":    "connection refused",
	}
	paths, _ := kernelRouter(t)
	for _, p := range paths {
		p.Bulk = 1 << 20
		for _, s := range Scenes() {
			if want[s.Name] == "" {
				continue
			}
			if _, err := s.Run(t.Context(), p, func(string, ...any) {}); err == nil || !strings.Contains(err.Error(), want[s.Name]) {
				t.Errorf("%s/%s without NAT: %v, want %q in it", p.Family(), s.Name, err, want[s.Name])
			}
		}
	}
}

// TestScenesEndWithContext runs every scene towards nobody: none may hang.
func TestScenesEndWithContext(t *testing.T) {
	need(t, "netns", refused)
	paths, _ := kernelRouter(t)
	for _, p := range paths {
		p.Bulk = 1 << 20
		p.ServerAddr = p.OutsideAddr.Next().Next().Next() // nobody's
		for _, s := range Scenes() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if _, err := s.Run(ctx, p, func(string, ...any) {}); err == nil {
				t.Errorf("%s/%s passed without a server", p.Family(), s.Name)
			}
			cancel()
		}
	}
}

// kernelRouter makes a client and a server with the kernel between them as a router, which it returns too.
func kernelRouter(t *testing.T) ([]*Path, *Namespace) {
	t.Helper()
	var n [3]*Namespace
	for i, name := range []string{"client", "router", "server"} {
		var err error
		if n[i], err = New(name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n[i].Close)
	}
	client, router, server := n[0], n[1], n[2]
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(router.Forward())
	must(Veth(router, "lan0", client, "eth0"))
	must(Veth(router, "wan0", server, "eth0"))
	p := netip.MustParsePrefix
	must(router.Address("lan0", p("10.77.0.1/24"), p("fd77::1/64")))
	must(router.Address("wan0", p("203.0.113.1/24"), p("2001:db8:113::1/64")))
	must(client.Address("eth0", p("10.77.0.2/24"), p("fd77::2/64")))
	must(server.Address("eth0", p("203.0.113.2/24"), p("2001:db8:113::2/64")))
	a := netip.MustParseAddr
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		via := map[bool][2]string{true: {"10.77.0.1", "203.0.113.1"}, false: {"fd77::1", "2001:db8:113::1"}}[p(all).Addr().Is4()]
		must(client.Route("eth0", p(all), a(via[0])))
		must(server.Route("eth0", p(all), a(via[1])))
	}
	paths := []*Path{
		{ClientAddr: a("10.77.0.2"), RouterAddr: a("10.77.0.1"), OutsideAddr: a("203.0.113.1"), ServerAddr: a("203.0.113.2")},
		{ClientAddr: a("fd77::2"), RouterAddr: a("fd77::1"), OutsideAddr: a("2001:db8:113::1"), ServerAddr: a("2001:db8:113::2")},
	}
	for _, q := range paths {
		q.Client, q.Server, q.ForwardPort, q.ForwardTarget, q.Bulk = client, server, 8080, 80, 20<<20
	}
	return paths, router
}

// kernelLab is kernelRouter with masquerade and a port forward.
func kernelLab(t *testing.T) []*Path {
	t.Helper()
	paths, router := kernelRouter(t)
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(`
table inet nat {
	chain toinside { type nat hook prerouting priority dstnat; iifname wan0 meta nfproto ipv4 tcp dport 8080 dnat ip to 10.77.0.2:80
		iifname wan0 meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd77::2]:80; }
	chain tooutside { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }
}`)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := router.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("nft: %v: %s", err, &out)
	}
	return paths
}

func TestRefusal(t *testing.T) {
	for name, tt := range map[string]struct {
		err   error
		sysct map[string]string
		want  string
	}{
		"Debian's switch": {unix.EPERM, map[string]string{"kernel/unprivileged_userns_clone": "0"}, "sysctl -w kernel.unprivileged_userns_clone=1"},
		"none allowed":    {unix.ENOSPC, map[string]string{"user/max_user_namespaces": "0"}, "sysctl -w user.max_user_namespaces=15000"},
		"AppArmor": {unix.EPERM, map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1",
			"user/max_user_namespaces": "9000"}, "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		"too many":  {unix.ENOSPC, map[string]string{"user/max_user_namespaces": "9"}, "too many"},
		"container": {fmt.Errorf("fork: %w", unix.EPERM), nil, "--privileged"},
		"other":     {errors.New("out of luck"), nil, "out of luck"},
	} {
		if got := refusal(tt.err, func(p string) string { return tt.sysct[p] }); !strings.Contains(got, tt.want) {
			t.Errorf("%s: refusal = %q, want %q in it", name, got, tt.want)
		}
	}
}
