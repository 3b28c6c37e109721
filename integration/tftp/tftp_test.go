package tftp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
	"golang.org/x/sys/unix"
)

const (
	port     = 69      // RFC 1350, section 4
	fileSize = 300_000 // bytes: some 600 blocks
)

// helperRule assigns the helper.
const helperRule = `
[[helper]]
name = "tftp"
protocol = "udp"
port = 69
`

// strict lets a mapping's answers in only from the port that was asked, so that a transfer needs the helper.
const strict = `
[nat_defaults]
filtering = "address-and-port-dependent"
`

// forward leads port 69 of the outside addresses to a server inside that no masquerade rule translates.
const forward = `
[[route]]
to = ["10.78.0.0/24", "fd78::/64"]
interface = "lan0"
[[nat]]
action = "dnat"
in = "wan0"
protocol = "udp"
destination = ["203.0.113.1", "2001:db8:113::1"]
port = 69
to = ["10.78.0.2:69", "[fd78::2]:69"]
`

// server is a running in.tftpd.
type server struct {
	dir string // what it serves, to everybody
}

// serve starts an in.tftpd and waits until it answers.
func serve(t *testing.T, n *netlab.Namespace, addr netip.Addr) server {
	t.Helper()
	s := server{lab.PublicDir(t)}
	at := netip.AddrPortFrom(addr, port)
	cmd := exec.Command(lab.NeedTool(t, "in.tftpd"), "--foreground", "--secure", "--create", "--permissive", "--address", at.String(), s.dir)
	var out lab.Output
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID} // its children, one a transfer, end with it
	lab.Must(t, n.Start(cmd))
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // killed
		if t.Failed() {
			t.Logf("in.tftpd on %s wrote: %s", at, &out)
		}
	})
	c, err := n.ListenPacket("udp", netip.AddrPortFrom(addr, 0))
	lab.Must(t, err)
	defer c.Close()
	answer := make([]byte, 600)
	for range 100 {
		_, err = c.WriteTo([]byte("\x00\x01absent\x00octet\x00"), net.UDPAddrFromAddrPort(at))
		lab.Must(t, err)
		lab.Must(t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		if n, _, err := c.ReadFrom(answer); err == nil && bytes.HasPrefix(answer[:n], []byte{0, 5}) { // an error: no such file
			return s
		}
	}
	t.Fatalf("in.tftpd on %s does not answer", at)
	return s
}

// private checks every packet outside: none shows an address of the inside.
func private(p netlab.Sniffed) error {
	if err := lab.Checksums(p); err != nil {
		return err
	}
	l, err := testpkt.Parse(p.Data)
	if err != nil {
		return err
	}
	for _, raw := range [][]byte{l.Src, l.Dst} {
		if a, _ := netip.AddrFromSlice(raw); a.IsPrivate() {
			return fmt.Errorf("inside address %s outside", a)
		}
	}
	return nil
}

// file writes a file of bytes that no other has.
func file(t *testing.T, dir, name string, seed uint64) []byte {
	t.Helper()
	b := make([]byte, fileSize)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b) // never fails
	lab.Must(t, os.WriteFile(filepath.Join(dir, name), b, 0o666))
	return b
}

// client runs tftp with commands, and gives up soon. It sends from a port of a range.
func client(t *testing.T, n *netlab.Namespace, to netip.Addr, ports string, commands ...string) string {
	t.Helper()
	cmd := exec.Command(lab.NeedTool(t, "tftp"), "-m", "octet", "-R", ports, to.String())
	commands = append([]string{"rexmt 1", "timeout 3"}, commands...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, _ := lab.RunIn(t, n, cmd) // its exit code says nothing
	return out
}

// Ports that clients send from: any, and that of boot loaders.
const (
	anyPort  = "30000:50000"
	bootPort = "69:69"
)

// transfer has a client fetch a file, and says whether it came over. If so, others fetch it, send one, and fetch a second,
// all from one port, one of them from port 69: these must come over too.
func transfer(t *testing.T, n *netlab.Namespace, to netip.Addr, s server) bool {
	t.Helper()
	dir := t.TempDir()
	first, second, sent := file(t, s.dir, "first", 1), file(t, s.dir, "second", 2), file(t, dir, "sent", 3)
	at := func(name string) string { return filepath.Join(dir, name) }
	try := client(t, n, to, anyPort, "get first "+at("first"))
	if !same(t, at("first"), first) {
		t.Logf("get: %s", try)
		return false
	}
	for _, ports := range []string{anyPort, bootPort} {
		lab.Must(t, os.Remove(at("first")))
		out := client(t, n, to, ports, "get first "+at("first"), "put "+at("sent")+" sent", "get second "+at("second"))
		if !same(t, at("first"), first) || !same(t, filepath.Join(s.dir, "sent"), sent) || !same(t, at("second"), second) {
			t.Errorf("of three transfers from port %s some did not come over: %s", ports, out)
		}
		lab.Must(t, os.Remove(at("second")))
		lab.Must(t, os.Truncate(filepath.Join(s.dir, "sent"), 0))
	}
	odd(t, n, to)
	return true
}

// odd has requests sent that are not written as the standards have it, each from a port of its own. The server answers all,
// most of them by an error, and from another port.
func odd(t *testing.T, n *netlab.Namespace, to netip.Addr) {
	t.Helper()
	here := netip.IPv4Unspecified()
	if to.Is6() {
		here = netip.IPv6Unspecified()
	}
	for _, request := range oddRequests {
		c, err := n.ListenPacket("udp", netip.AddrPortFrom(here, 0))
		lab.Must(t, err)
		_, err = c.WriteTo([]byte(request), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port)))
		lab.Must(t, err)
		lab.Must(t, c.SetReadDeadline(time.Now().Add(lab.ToolTimeout)))
		answer := make([]byte, 600)
		size, from, err := c.ReadFrom(answer)
		lab.Must(t, c.Close())
		if err != nil || size < 4 || from.(*net.UDPAddr).Port == port {
			t.Errorf("%.40q: the answer is %q from %v: %v", request, answer[:size], from, err)
		}
	}
}

// oddRequests are what in.tftpd answers.
var oddRequests = []string{
	"\x00\x01absent\x00octet", "\x00\x01absent\x00octet\x00\xff\xff", "\x00\x01absent\x00", "\x00\x01absent\x00image\x00", "\x00\x01absent\x00oCtEt\x00",
	"\x00\x01absent\x00octet\x00tsize\x00", "\x00\x01absent\x00octet\x00tsize\x000\x00tsize\x000\x00", "\x00\x01" + strings.Repeat("n", 600) + "\x00octet\x00",
}

// same reports whether a file is there and has these bytes.
func same(t *testing.T, path string, want []byte) bool {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return bytes.Equal(got, want)
}

// transfers is how many transfer makes, and requests that get an answer.
var transfers = 1 + 2*3 + len(oddRequests)

// both runs a test with the helper's rule and without.
func both(t *testing.T, rules string, run func(t *testing.T, l *lab.Lab, helped bool)) {
	t.Helper()
	lab.NeedRoot(t) // in.tftpd serves as another user
	for _, helped := range []bool{true, false} {
		t.Run(fmt.Sprintf("helper %v", helped), func(t *testing.T) {
			c := lab.Config{Rules: rules}
			if helped {
				c.Rules += helperRule
			}
			l := lab.New(t, c)
			lab.Sniff(t, l.Server, "wan0", private, nil)
			run(t, l, helped)
		})
	}
}

// TestClientInside transfers through masquerade: with the helper all comes over, without it nothing does.
func TestClientInside(t *testing.T) {
	both(t, strict, func(t *testing.T, l *lab.Lab, helped bool) {
		for _, e := range lab.Families {
			s := serve(t, l.Server, e.Server)
			if came := transfer(t, l.Client, e.Server, s); came != helped {
				t.Errorf("%s: the files came over: %v", e.Name, came)
			}
		}
		judge(t, l, helped, "no-mapping")
	})
}

// TestServerInside transfers with a server behind a port forward: its answers leave with the outside address.
func TestServerInside(t *testing.T) {
	both(t, forward, func(t *testing.T, l *lab.Lab, helped bool) {
		for i, e := range lab.Families {
			inside := []netip.Addr{lab.Addr("10.78.0.2"), lab.Addr("fd78::2")}[i]
			lab.Must(t, l.Client.Address("lan0", netip.PrefixFrom(inside, inside.BitLen())))
			s := serve(t, l.Client, inside)
			if came := transfer(t, l.Server, e.WAN, s); came != helped {
				t.Errorf("%s: the files came over: %v", e.Name, came)
			}
		}
		judge(t, l, helped, "untranslated-source")
	})
}

// closed forwards nothing but requests, and what their helper announces.
const closed = `
[filter]
forward = "drop"
[[filter.rule]]
state = "established"
action = "accept"
[[filter.rule]]
state = "related"
helper = "tftp"
action = "accept"
[[filter.rule]]
in = "lan0"
protocol = "udp"
port = 69
action = "accept"
`

// TestFilter transfers where a filter rule names the helper.
func TestFilter(t *testing.T) {
	both(t, closed, func(t *testing.T, l *lab.Lab, helped bool) {
		for _, e := range lab.Families {
			s := serve(t, l.Server, e.Server)
			if came := transfer(t, l.Client, e.Server, s); came != helped {
				t.Errorf("%s: the files came over: %v", e.Name, came)
			}
		}
		judge(t, l, helped, "filtered")
	})
}

// judge asks the router what it did: each answer came by what its helper announced, or was refused.
func judge(t *testing.T, l *lab.Lab, helped bool, refused string) {
	t.Helper()
	status := l.Status()
	want := uint64(transfers * len(lab.Families))
	if n := status.Helpers["tftp"]["expect-matched"]; helped && n < want || !helped && n != 0 {
		t.Errorf("%d answers came as announced, want %d with the helper", n, want)
	}
	if n := status.Drops[refused]; !helped && n == 0 {
		t.Errorf("no packet was refused as %s: %v", refused, status.Drops)
	}
}
