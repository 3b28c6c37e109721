package pptp

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

// Addresses of every world.
var (
	outside    = lab.Addr("203.0.113.1") // the router's, which all inside hosts share
	serverAddr = lab.Addr("203.0.113.2") // of the host on the other side
)

// insideHosts is how many hosts stand inside.
const insideHosts = 3

// hostAddr is the address of inside host i.
func hostAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, byte(11 + i), 2}) }

// world is a router that shares one outside address among three inside hosts, and a host on the other side.
//
//	host 0..2 ── veth ── client (a plain router) ── lan0 ── the router ── wan0 ── server
type world struct {
	client, server *netlab.Namespace
	hosts          [insideHosts]*netlab.Namespace
	daemon         *lab.Daemon // nil: the kernel is the router
}

// helperRule is what makes natrouter help PPTP.
const helperRule = `
[[helper]]
name = "pptp"
protocol = "tcp"
port = 1723
`

const hostRoutes = `
[[route]]
to = ["10.77.8.0/21"]
interface = "lan0"
`

// newWorld makes a world of natrouter with more configuration. All that leaves it must be translated and right.
func newWorld(t *testing.T, rules string) *world {
	t.Helper()
	w := newHosts(t)
	w.daemon = lab.Start(t, lab.NewNamespace(t, "router"), lab.Config{Rules: hostRoutes + rules}.Text(), nil)
	lab.Sniff(t, w.client, "lan0", lab.Checksums, nil)
	return w
}

// newHosts makes all of a world but its router.
func newHosts(t *testing.T) *world {
	t.Helper()
	w := &world{client: lab.NewNamed(t, "client"), server: lab.NewNamed(t, "server")}
	lab.Must(t, w.client.Forward())
	for i := range w.hosts {
		name := fmt.Sprintf("host%d", i)
		w.hosts[i] = lab.NewNamespace(t, name)
		lab.Must(t, netlab.Veth(w.client, name, w.hosts[i], "eth0"))
		lab.Must(t, w.client.Address(name, netip.PrefixFrom(hostAddr(i).Prev(), 24)))
		w.plug(t, i)
	}
	return w
}

// plug gives an inside host its address and its way out.
func (w *world) plug(t *testing.T, i int) {
	t.Helper()
	at := hostAddr(i)
	lab.Must(t, w.hosts[i].Address("eth0", netip.PrefixFrom(at, 24)))
	lab.Must(t, w.hosts[i].Route("eth0", netip.MustParsePrefix("0.0.0.0/0"), at.Prev()))
}

// kernelRules are nftables' for the same as natrouter's rules. The helper is assigned by a rule of its own.
const kernelRules = `
table ip lab {
	ct helper pptp { type "pptp" protocol tcp; l3proto ip; }
	chain assign { type filter hook prerouting priority 0; tcp dport 1723 ct helper set "pptp"; }
	chain forward { type filter hook forward priority 0; iifname "wan0" ct state new drop; ct state invalid drop; }
	chain leave { type nat hook postrouting priority 100; oifname "wan0" masquerade; }
}
`

// newKernelWorld makes a world whose router is the kernel, with its own conntrack, NAT and PPTP helper.
func newKernelWorld(t *testing.T) *world {
	t.Helper()
	nft := lab.NeedTool(t, "nft")
	w := newHosts(t)
	router := lab.NewNamespace(t, "router")
	lab.Must(t, router.Forward())
	lab.Must(t, netlab.Veth(router, "lan0", w.client, "lan0"))
	lab.Must(t, netlab.Veth(router, "wan0", w.server, "wan0"))
	p := netip.MustParsePrefix
	lab.Must(t, router.Address("lan0", p("10.77.0.1/24")))
	lab.Must(t, w.client.Address("lan0", p("10.77.0.2/24")))
	lab.Must(t, router.Address("wan0", netip.PrefixFrom(outside, 24)))
	lab.Must(t, w.server.Address("wan0", netip.PrefixFrom(serverAddr, 24)))
	lab.Must(t, w.client.Route("lan0", p("0.0.0.0/0"), lab.Addr("10.77.0.1")))
	for i := range w.hosts {
		lab.Must(t, router.Route("lan0", netip.PrefixFrom(hostAddr(i), 24), lab.Addr("10.77.0.2")))
	}
	cmd := exec.Command(nft, "-f", "-")
	cmd.Stdin = strings.NewReader(kernelRules)
	if out, code := lab.RunIn(t, router, cmd); code != 0 {
		t.Fatalf("nft: exit code %d\n%s", code, out)
	}
	return w
}

// wire keeps the GRE and the control connections on an interface, all of which must be right.
func wire(t *testing.T, n *netlab.Namespace, name string, check func(netlab.Sniffed) error) *lab.Sniffer {
	t.Helper()
	return lab.Sniff(t, n, name, check, func(p netlab.Sniffed) bool {
		l, err := testpkt.Parse(p.Data)
		return err == nil && (l.Proto == 47 || l.Proto == 6)
	})
}

// isGRE reports whether a packet is GRE from one address to another.
func isGRE(p netlab.Sniffed, src, dst netip.Addr) bool {
	l, err := testpkt.Parse(p.Data)
	return err == nil && l.Proto == 47 && bytes.Equal(l.Src, src.AsSlice()) && bytes.Equal(l.Dst, dst.AsSlice())
}
