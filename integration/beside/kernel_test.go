package beside

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
)

// kernelText is the same as oursText for nftables: forwards, hairpin, helpers, a filter that lets in what was asked
// for, and drops what conntrack calls invalid, as the usual ruleset of a router does.
const kernelText = `
table inet beside {
	ct helper pptp { type "pptp" protocol tcp; l3proto ip; }
	ct helper ftp4 { type "ftp" protocol tcp; l3proto ip; }
	ct helper ftp6 { type "ftp" protocol tcp; l3proto ip6; }
	ct helper tftp4 { type "tftp" protocol udp; l3proto ip; }
	ct helper tftp6 { type "tftp" protocol udp; l3proto ip6; }
	ct helper irc { type "irc" protocol tcp; l3proto ip; }
	chain early {
		type filter hook prerouting priority -300;
		meta nfproto ipv6 fib saddr . iif oif missing drop
	}
	chain assign {
		type filter hook prerouting priority 0;
		meta nfproto ipv4 tcp dport 1723 ct helper set "pptp"
		meta nfproto ipv4 tcp dport 21 ct helper set "ftp4"
		meta nfproto ipv6 tcp dport 21 ct helper set "ftp6"
		meta nfproto ipv4 udp dport 69 ct helper set "tftp4"
		meta nfproto ipv6 udp dport 69 ct helper set "tftp6"
		meta nfproto ipv4 tcp dport 6667 ct helper set "irc"
	}
	chain before {
		type nat hook prerouting priority -100;
		{dnat}
	}
	chain after {
		type nat hook postrouting priority 100;
		oifname "wan0" ip saddr 10.77.0.0/24 masquerade
		{snat}
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
		ct state invalid drop
		ct state established,related accept
		iifname "lan0" oifname { "lan0", "wan0" } accept
		ct status dnat accept
	}
	chain input {
		type filter hook input priority 0; policy drop;
		ct state invalid drop
		ct state established,related accept
		icmp type echo-request accept
		icmpv6 type echo-request accept
		iifname "lan0" meta l4proto udp accept
	}
}
`

// kernelRules are the rules for a group and the scripts that one router serves, in slot order.
func kernelRules(g *group, all []script) string {
	var dnat, snat []string
	for i, s := range all {
		p := newPlace(i, &s)
		ip := "ip"
		if s.v6 {
			ip = "ip6"
		}
		to := p.byName["pub"].String()
		rule := func(out, more string, ports string) {
			snat = append(snat, fmt.Sprintf("oifname %q %s saddr %s %s snat %s to %s%s", out, ip, p.inside, more, ip, to, ports))
		}
		if g.ports != "" {
			rule("wan0", "meta l4proto { tcp, udp }", ":"+g.ports)
		}
		rule("wan0", "", "")
		rule("lan0", "ct status dnat", "")
		for _, f := range s.forwards {
			to, err := newView(&s, i).forwardTo(f)
			if err != nil {
				panic(err) // a script of ours
			}
			dnat = append(dnat, fmt.Sprintf("%s daddr %s %s dport %d dnat %s to %s", ip, p.byName["pub"], f.proto, f.port, ip, to))
		}
	}
	return strings.NewReplacer("{dnat}", strings.Join(dnat, "\n\t\t"), "{snat}", strings.Join(snat, "\n\t\t")).Replace(kernelText)
}

// kernelSysctls make the kernel a router that answers each time, and that trusts no source it would not route to.
var kernelSysctls = []string{
	"net/ipv4/conf/all/rp_filter=1", "net/ipv4/conf/default/rp_filter=1",
	"net/ipv4/conf/all/send_redirects=0", "net/ipv4/conf/default/send_redirects=0",
	"net/ipv4/icmp_ratelimit=0", "net/ipv6/icmp/ratelimit=0",
}

// newKernel makes a router of the kernel for some scripts of a group, between two TUNs whose other ends are ours: so
// it, too, has packets for links, and no neighbours.
func newKernel(t *testing.T, g *group, all []script) *system {
	t.Helper()
	nft := lab.NeedTool(t, "nft")
	n := lab.NewNamespace(t, "kernel")
	lab.Must(t, n.Forward())
	lab.Must(t, n.Sysctl("net/ipv6/conf/default/addr_gen_mode=1")) // without a link-local address it sends no redirects
	for _, setting := range append(kernelSysctls, g.sysctls...) {
		lab.Must(t, n.Sysctl(setting))
	}
	var links [2]*os.File
	for at, name := range linkNames {
		links[at] = openLink(t, n, name)
	}
	p := netip.MustParsePrefix
	lab.Must(t, n.SetMTU("wan0", g.wanMTU()))
	lab.Must(t, n.Address("lan0", p("10.77.0.1/24"), p("fd77::1/64")))
	lab.Must(t, n.Address("wan0", p("203.0.113.1/24"), p("2001:db8:113::1/64")))
	for _, to := range []string{"10.80.0.0/16", "fd77::/16"} {
		lab.Must(t, n.Route("lan0", p(to), netip.Addr{}))
	}
	for _, to := range []string{"0.0.0.0/0", "::/0"} {
		lab.Must(t, n.Route("wan0", p(to), netip.Addr{}))
	}
	lab.Must(t, n.Do(func() error { return ownAddresses(all) }))
	cmd := exec.Command(nft, "-f", "-")
	cmd.Stdin = strings.NewReader(kernelRules(g, all))
	if out, code := lab.RunIn(t, n, cmd); code != 0 {
		t.Fatalf("nft: exit code %d\n%s", code, out)
	}
	s := newSystem("kernel")
	s.send = func(at side, b []byte) error {
		_, err := links[at].Write(b)
		return err
	}
	for at := range links {
		s.readFrom(t, side(at), links[at])
	}
	s.start(t)
	return s
}

// ownAddresses has the kernel keep the outside addresses of scripts to itself: what NAT does not know goes nowhere.
func ownAddresses(all []script) error {
	for i, s := range all {
		a := newPlace(i, &s).byName["pub"]
		to := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
		if err := netlink.RouteAdd(&netlink.Route{Dst: to, Type: unix.RTN_BLACKHOLE}); err != nil {
			return fmt.Errorf("blackhole %s: %w", a, err)
		}
	}
	return nil
}

// openLink makes a TUN in the namespace whose reads end when it is closed.
func openLink(t *testing.T, n *netlab.Namespace, name string) *os.File {
	t.Helper()
	f, err := n.OpenTUN(name, false)
	lab.Must(t, err)
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd()))
	lab.Must(t, err)
	lab.Must(t, unix.SetNonblock(fd, true))
	return os.NewFile(uintptr(fd), name)
}

// readFrom gives the system what its router sends, until the test ends.
func (s *system) readFrom(t *testing.T, at side, f *os.File) {
	var done sync.WaitGroup
	done.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, err := f.Read(b)
			if err != nil {
				if !errors.Is(err, os.ErrClosed) {
					t.Errorf("read from the kernel's %s: %v", f.Name(), err)
				}
				return
			}
			s.receive(at, append([]byte(nil), b[:n]...))
		}
	})
	t.Cleanup(func() {
		f.Close()
		done.Wait()
	})
}
