package integration

import (
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
)

// behind is a lab whose client is a router itself: a second inside host stands behind it. The host has two inside
// addresses: one that shares the outside address, and one that has an outside address of its own.
type behind struct {
	*pair
	host    *netlab.Namespace
	outside *lab.Sniffer
}

// behindEnds are the second host's addresses in one family.
type behindEnds struct {
	lab.Ends
	hop            netip.Prefix // the client's on the link to the host
	shared, mapped netip.Prefix // the host's: masqueraded, and mapped one to one
	own            netip.Addr   // the outside address of mapped
}

var behindFamilies = []behindEnds{
	{lab.Families[0], netip.MustParsePrefix("10.77.5.1/24"), netip.MustParsePrefix("10.77.5.2/24"),
		netip.MustParsePrefix("10.88.5.2/32"), lab.Addr("203.0.113.34")},
	{lab.Families[1], netip.MustParsePrefix("fd77:0:0:5::1/64"), netip.MustParsePrefix("fd77:0:0:5::2/64"),
		netip.MustParsePrefix("fd88::2/128"), lab.Addr("2001:db8:113::22")},
}

// behindRules forward port 8081 to the host, and give its second address an outside address of its own.
const behindRules = `
[[route]]
to = ["10.77.5.0/24", "10.88.5.0/28", "fd77:0:0:5::/64", "fd88::/124"]
interface = "lan0"

[[nat]]
action = "netmap"
out = "wan0"
source = ["10.88.5.0/28", "fd88::/124"]
to = ["203.0.113.32/28", "2001:db8:113::20/124"]

[[nat]]
action = "dnat"
in = "wan0"
protocol = "tcp"
destination = ["203.0.113.1", "2001:db8:113::1"]
port = 8081
to = ["10.77.5.2:80", "[fd77:0:0:5::2]:80"]
`

// hostLink is the link between the client and the host behind it.
const hostLink = "host0"

func newBehind(t *testing.T, rules string) *behind {
	t.Helper()
	client := lab.NewNamed(t, "client")
	lab.Must(t, client.Forward())
	l := &behind{pair: &pair{&lab.Lab{Client: client, Server: lab.NewNamed(t, "server")}}, host: lab.NewNamespace(t, "host")}
	lab.Must(t, netlab.Veth(client, hostLink, l.host, hostLink))
	for _, e := range behindFamilies {
		lab.Must(t, client.Address(hostLink, e.hop))
		lab.Must(t, l.host.Address(hostLink, e.shared, e.mapped))
		lab.Must(t, l.host.Route(hostLink, netip.PrefixFrom(e.Server, 0), e.hop.Addr()))
		lab.Must(t, client.Route(hostLink, e.mapped, e.shared.Addr()))
	}
	l.Daemon = lab.Start(t, lab.NewNamespace(t, "router"), lab.Config{Rules: behindRules + rules}.Text(), nil)
	l.outside = lab.Sniff(t, l.Server, "wan0", lab.Translated(lab.Checksums), func(p netlab.Sniffed) bool { return lab.Quoted(p.Data) != nil })
	return l
}

// nobodyInside and nobodyBeside are inside addresses that no kernel answers for: what a test sends from them, and sees
// arrive for them, is all there is.
var (
	nobodyInside = []netip.Addr{lab.Addr("10.77.0.9"), lab.Addr("fd77::9")}
	nobodyBeside = []netip.Addr{lab.Addr("10.77.0.10"), lab.Addr("fd77::10")}
)

// arrivals is a sniffer for packets that the router sent.
func arrivals(t *testing.T, n *netlab.Namespace, name string) *lab.Sniffer {
	t.Helper()
	return lab.Sniff(t, n, name, lab.Checksums, func(p netlab.Sniffed) bool { return !p.Outgoing })
}

// pass sends a packet into the router on one side and returns it as it arrives on the other, which fits tells.
func pass(t *testing.T, from *netlab.Namespace, link string, at *lab.Sniffer, b []byte, fits func(testpkt.Layout, []byte) bool) []byte {
	t.Helper()
	lab.Must(t, from.Inject(link, b))
	p, ok := at.Find(errorIn, func(p netlab.Sniffed) bool {
		l, err := testpkt.Parse(p.Data)
		return err == nil && fits(l, p.Data)
	})
	if !ok {
		t.Fatalf("% x did not arrive at %s", b, at.Name)
	}
	return p.Data
}

// source and destination are the endpoints of a packet of a protocol with ports.
func source(l testpkt.Layout, b []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(l.Src)
	return netip.AddrPortFrom(a, be16(b[l.L4:]))
}

func destination(l testpkt.Layout, b []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(l.Dst)
	return netip.AddrPortFrom(a, be16(b[l.L4+2:]))
}

// endAfter closes what a test waits on when it takes too long.
func endAfter(t *testing.T, d time.Duration, c interface{ Close() error }) {
	t.Helper()
	timer := time.AfterFunc(d, func() { c.Close() })
	t.Cleanup(func() { timer.Stop(); c.Close() })
}

// destinedFor reports whether a packet with ports goes to an endpoint.
func destinedFor(p netlab.Sniffed, to netip.AddrPort) bool {
	l, err := testpkt.Parse(p.Data)
	return err == nil && l.Proto != 1 && l.Proto != 58 && destination(l, p.Data) == to
}
