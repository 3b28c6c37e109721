//go:build linux

package netlab

import (
	"bytes"
	"context"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ftpCommands are endpoints and how RFC 959, section 4.1.2, and RFC 2428, section 2, write them.
var ftpCommands = map[string]string{
	"10.77.0.2:5000":       "PORT 10,77,0,2,19,136",
	"255.255.255.255:255":  "PORT 255,255,255,255,0,255",
	"[1080::8:800:1]:5282": "EPRT |2|1080::8:800:1|5282|",
}

func TestFTPCommand(t *testing.T) {
	for endpoint, want := range ftpCommands {
		to := netip.MustParseAddrPort(endpoint)
		if got := ftpCommand(to); got != want {
			t.Errorf("ftpCommand(%s) = %q, want %q", to, got, want)
		}
		if got, ok := readFTPCommand(want); !ok || got != to {
			t.Errorf("readFTPCommand(%q) = %s, %t", want, got, ok)
		}
		for n := range strings.LastIndexAny(want, ",|") + 1 { // what is left of PORT's last number is a number
			if got, ok := readFTPCommand(want[:n]); ok {
				t.Errorf("readFTPCommand(%q) = %s", want[:n], got)
			}
		}
	}
}

func TestReadFTPCommandRefuses(t *testing.T) {
	for _, line := range []string{
		"", "PORT", "PORT ", "port 10,77,0,2,19,136", "PORT 10,77,0,2,19", "PORT 10,77,0,2,19,256", "PORT 10,77,0,2,19,-1",
		"PORT 10,77,0,2,19,136 ", "PORT 10,77,0,2,019,136", "PORT 10,77,0,2,+19,136", "EPRT |1|10.77.0.2|5000|", "EPRT |2|::1|0x10|",
		"EPRT |2|::1|5000", "EPRT |2|::1%lan0|5000|", "EPRT !2!::1!5000!", "EPRT |2|::1|65536|", "STOR file",
	} {
		if to, ok := readFTPCommand(line); ok {
			t.Errorf("readFTPCommand(%q) = %s", line, to)
		}
	}
}

// plainFTPCommand is the form of what readFTPCommand takes.
var plainFTPCommand = regexp.MustCompile(`^(?:PORT (\d+,\d+,\d+,\d+),(\d+),(\d+)|EPRT \|2\|([0-9A-Fa-f:.]+)\|(\d+)\|)$`)

// slowReadFTPCommand is readFTPCommand by that form.
func slowReadFTPCommand(line string) (netip.AddrPort, bool) {
	m := plainFTPCommand.FindStringSubmatch(line)
	if m == nil {
		return netip.AddrPort{}, false
	}
	is4 := m[1] != ""
	address, ports := m[4], m[5:6]
	if is4 {
		address, ports = strings.ReplaceAll(m[1], ",", "."), m[2:4]
	}
	a, err := netip.ParseAddr(address)
	if err != nil || a.Is4() != is4 {
		return netip.AddrPort{}, false
	}
	port := uint64(0)
	for _, digits := range ports {
		v, err := strconv.ParseUint(digits, 10, 16/len(ports))
		if err != nil || is4 && strconv.FormatUint(v, 10) != digits {
			return netip.AddrPort{}, false
		}
		port = port<<8 | v
	}
	return netip.AddrPortFrom(a, uint16(port)), true
}

// FuzzReadFTPCommand reads as the slow version does.
func FuzzReadFTPCommand(f *testing.F) {
	for _, line := range ftpCommands {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got, ok := readFTPCommand(line)
		if want, wantOK := slowReadFTPCommand(line); ok != wantOK || ok && got != want {
			t.Errorf("readFTPCommand(%q) = %s, %t, want %s, %t", line, got, ok, want, wantOK)
		}
	})
}

// TestFTPSceneThroughKernel runs the scene through the kernel's own NAT, without a helper, where the server must refuse, and
// with the kernel's helper.
func TestFTPSceneThroughKernel(t *testing.T) {
	need(t, "netns", refused)
	if _, err := exec.LookPath("nft"); err != nil {
		need(t, "nft", "not installed")
	}
	paths, router := kernelRouter(t)
	nft := func(rules string) {
		t.Helper()
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := router.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("nft: %v: %s", err, &out)
		}
	}
	silent := func(string, ...any) {}
	nft(`table inet nat { chain tooutside { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }; }`)
	for _, p := range paths {
		want := "you are " + p.OutsideAddr.String() + ", not " + p.ClientAddr.String()
		if figure, err := active(t.Context(), p, silent); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s without a helper: %q, %v, want %q", p.Family(), figure, err, want)
		}
	}
	nft(`table inet help {
	ct helper ftp4 { type "ftp" protocol tcp; l3proto ip; }
	ct helper ftp6 { type "ftp" protocol tcp; l3proto ip6; }
	chain assign { type filter hook prerouting priority 0; meta nfproto ipv4 tcp dport 21 ct helper set "ftp4"
		meta nfproto ipv6 tcp dport 21 ct helper set "ftp6"; }
}`)
	for _, p := range paths {
		figure, err := active(t.Context(), p, silent)
		if err != nil {
			t.Errorf("%s: %v", p.Family(), err)
		}
		t.Log(figure)
	}
}

// TestFTPSceneEndsWithContext runs the scene towards nobody: it may not hang.
func TestFTPSceneEndsWithContext(t *testing.T) {
	need(t, "netns", refused)
	paths, _ := kernelRouter(t)
	for _, p := range paths {
		p.ServerAddr = p.OutsideAddr.Next().Next().Next() // nobody's
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := active(ctx, p, func(string, ...any) {}); err == nil {
			t.Errorf("%s passed without a server", p.Family())
		}
		cancel()
	}
}
