package ftp

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
)

// world is a router with two hosts inside that share its outside address, and one host outside.
//
//	host ── veth ── client (a host that forwards) ── lan0 ── the router ── wan0 ── server
type world struct {
	client, host, server *netlab.Namespace
	router               *netlab.Namespace
	daemon               *lab.Daemon // nil: the kernel is the router
	helped               bool
}

// hostAddrs are the addresses of the second host inside, to which the outside addresses' FTP ports lead.
var hostAddrs = []netip.Addr{lab.Addr("10.77.0.3"), lab.Addr("fd77::3")}

// Ports of the servers: all three run at once.
const (
	vsftpdPort   = 21
	proftpdPort  = 2121
	pureftpdPort = 2122
)

// rules are natrouter's: the port forward, and the helper if there is one.
func rules(helped bool) string {
	const forward = `
[[nat]]
action = "dnat"
in = "wan0"
protocol = "tcp"
destination = ["203.0.113.1", "2001:db8:113::1"]
port = [21, 2121, 2122]
to = ["10.77.0.3", "fd77::3"]
`
	const help = `
[[helper]]
name = "ftp"
protocol = "tcp"
port = [21, 2121, 2122]
`
	if helped {
		return forward + help
	}
	return forward
}

// kernelRules are nftables' for the same.
func kernelRules(helped bool) string {
	const common = `
table inet lab {
	ct helper ftp4 { type "ftp" protocol tcp; l3proto ip; }
	ct helper ftp6 { type "ftp" protocol tcp; l3proto ip6; }
	chain arrive {
		type nat hook prerouting priority -100;
		ip daddr 203.0.113.1 tcp dport { 21, 2121, 2122 } dnat ip to 10.77.0.3
		ip6 daddr 2001:db8:113::1 tcp dport { 21, 2121, 2122 } dnat ip6 to fd77::3
	}
	chain leave {
		type nat hook postrouting priority 100;
		oifname "wan0" masquerade
		iifname "lan0" oifname "lan0" masquerade
	}
	chain forward {
		type filter hook forward priority 0;
		iifname "wan0" ct state new ct status ! dnat drop
		ct state invalid drop
	}
}
`
	const help = `
table inet lab {
	chain assign {
		type filter hook prerouting priority 0;
		tcp dport { 21, 2121, 2122 } meta nfproto ipv4 ct helper set "ftp4"
		tcp dport { 21, 2121, 2122 } meta nfproto ipv6 ct helper set "ftp6"
	}
}
`
	if helped {
		return common + help
	}
	return common
}

// newWorld makes a world of natrouter with more configuration.
func newWorld(t *testing.T, helped bool, more string) *world {
	t.Helper()
	w := newHosts(t, helped)
	w.daemon = lab.Start(t, w.router, lab.Config{Rules: rules(helped) + more}.Text(), nil)
	lab.Sniff(t, w.client, "lan0", lab.Checksums, nil)
	return w
}

// newHosts makes all of a world but its router.
func newHosts(t *testing.T, helped bool) *world {
	t.Helper()
	lab.NeedRoot(t) // the servers serve as other users
	w := &world{client: lab.NewNamed(t, "client"), server: lab.NewNamed(t, "server"), helped: helped}
	var err error
	w.host, err = w.client.Behind("host", lab.Families[0].Client, hostAddrs...)
	lab.Must(t, err)
	t.Cleanup(w.host.Close)
	w.router = lab.NewNamespace(t, "router")
	return w
}

// newKernelWorld makes a world whose router is the kernel, with its own conntrack, NAT and helper.
func newKernelWorld(t *testing.T, helped bool, sysctls ...string) *world {
	t.Helper()
	nft := lab.NeedTool(t, "nft")
	w := newHosts(t, helped)
	lab.Must(t, w.router.Forward())
	lab.Must(t, w.router.Sysctl("net/ipv4/conf/all/send_redirects=0")) // a host inside that reaches the other is no mistake
	lab.Must(t, w.router.Sysctl("net/ipv4/conf/default/send_redirects=0"))
	lab.Must(t, netlab.Veth(w.router, "lan0", w.client, "lan0"))
	lab.Must(t, netlab.Veth(w.router, "wan0", w.server, "wan0"))
	for i, e := range lab.Families {
		bits := []int{24, 64}[i]
		lab.Must(t, w.router.Address("lan0", netip.PrefixFrom(e.LAN, bits)))
		lab.Must(t, w.client.Address("lan0", netip.PrefixFrom(e.Client, bits)))
		lab.Must(t, w.router.Address("wan0", netip.PrefixFrom(e.WAN, bits)))
		lab.Must(t, w.server.Address("wan0", netip.PrefixFrom(e.Server, bits)))
		lab.Must(t, w.client.Route("lan0", netip.PrefixFrom(e.LAN, 0), e.LAN))
		lab.Must(t, w.router.Route("lan0", netip.PrefixFrom(hostAddrs[i], hostAddrs[i].BitLen()), e.Client))
	}
	cmd := exec.Command(nft, "-f", "-")
	cmd.Stdin = strings.NewReader(kernelRules(helped))
	if out, code := lab.RunIn(t, w.router, cmd); code != 0 {
		t.Fatalf("nft: exit code %d\n%s", code, out)
	}
	for _, s := range sysctls {
		lab.Must(t, w.router.Sysctl(s))
	}
	return w
}

// both runs a test through natrouter and through the kernel, with a helper or without. With natrouter's helper no address
// of the inside shows outside, in no header and no command.
func both(t *testing.T, helped bool, run func(t *testing.T, w *world)) {
	t.Run("natrouter", func(t *testing.T) {
		w := newWorld(t, helped, "")
		check := lab.Translated(lab.Checksums)
		if helped {
			check = discreet
		}
		lab.Sniff(t, w.server, "wan0", check, nil)
		run(t, w)
		w.noFaults(t)
	})
	t.Run("kernel", func(t *testing.T) { run(t, newKernelWorld(t, helped)) })
}

// discreet is lab.Translated that also looks for inside addresses in FTP's commands and replies.
func discreet(p netlab.Sniffed) error {
	if err := lab.Translated(lab.Checksums)(p); err != nil {
		return err
	}
	l, err := testpkt.Parse(p.Data)
	if err != nil || l.Proto != 6 {
		return err
	}
	payload := p.Data[l.L4+int(p.Data[l.L4+12]>>4)*4:]
	if len(payload) > 512 { // no line of FTP's: a part of a file may hold anything
		return nil
	}
	for _, a := range []string{"10,77,0,", "10.77.0.", "fd77::"} {
		if bytes.Contains(payload, []byte(a)) {
			return fmt.Errorf("inside address outside: %q", payload)
		}
	}
	return nil
}

// noFaults fails the test if the router dropped a packet of what were right connections.
func (w *world) noFaults(t *testing.T) {
	t.Helper()
	status := w.daemon.Status()
	for _, reason := range []string{"malformed", "bad-checksum", "bad-ip-checksum", "netstack-panic", "unspecified", "tcp-window"} {
		n, ok := status.Drops[reason]
		if !ok {
			t.Errorf("status knows no drop reason %q", reason)
		}
		if n > 0 {
			t.Errorf("%d packets dropped as %s", n, reason)
		}
	}
	for _, fault := range []string{"panics", "no-port", "unsolicited", "malformed", "unknown-reply", "not-ftp"} {
		if n := status.Helpers["ftp"][fault]; n > 0 {
			t.Errorf("the helper counts %d %s", n, fault)
		}
	}
}

// helper returns one of natrouter's counters of the helper, 0 for the kernel.
func (w *world) helper(name string) uint64 {
	if w.daemon == nil {
		return 0
	}
	return w.daemon.Status().Helpers["ftp"][name]
}
