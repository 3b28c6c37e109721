package ftp

import (
	"fmt"
	"net/netip"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// The directions of a control connection, by who sends.
const (
	fromClient = conntrack.Original
	fromServer = conntrack.Reply
)

// place is where the two ends of a control connection are.
type place struct {
	name           string
	rules          []nat.Rule
	client, server string // as they are
	asClient       string // the client as the server knows it
	asServer       string // the server as the client knows it
	third          string // a host outside
	open           bool   // the rules let hosts outside in anyway
}

var (
	forward4  = algtest.Forward(packet.ProtoTCP, netip.MustParseAddrPort("203.0.113.1:21"), netip.MustParseAddrPort("10.77.1.50:21"))
	forward6  = algtest.Forward(packet.ProtoTCP, netip.MustParseAddrPort("[2001:db8:113::1]:21"), netip.MustParseAddrPort("[fd77::50]:21"))
	elsewhere = nat.Rule{ // inside hosts know an outside server by another address
		Action: nat.DNAT, In: "lan0", Proto: packet.ProtoTCP, Destination: algtest.Ranges("192.0.2.9/32"),
		To: algtest.Ranges("198.51.100.7/32"),
	}
	prefixes = nat.Rule{
		Action: nat.NPTv6, Out: "wan0", Source: algtest.Ranges("fd77::/48"), To: algtest.Ranges("2001:db8:9::/48"),
	}
)

var clientInside = place{
	"client inside", []nat.Rule{algtest.Masquerade()}, "10.77.1.2", "198.51.100.7", "203.0.113.1", "198.51.100.7", "192.0.2.66", false,
}

var serverInside = place{
	"server inside", []nat.Rule{forward4}, "198.51.100.7", "10.77.1.50", "198.51.100.7", "203.0.113.1", "192.0.2.66", false,
}

// places are all kinds of NAT that a control connection can meet.
var places = []place{
	clientInside, serverInside,
	{"hairpin", []nat.Rule{algtest.Masquerade(), forward4}, "10.77.1.2", "10.77.1.50", "203.0.113.1", "203.0.113.1", "192.0.2.66", false},
	{"both translated", []nat.Rule{algtest.Masquerade(), elsewhere}, "10.77.1.2", "198.51.100.7", "203.0.113.1", "192.0.2.9", "192.0.2.66", false},
	{"routed", nil, "10.77.1.2", "198.51.100.7", "10.77.1.2", "198.51.100.7", "192.0.2.66", false},
	{"client inside, IPv6", []nat.Rule{algtest.Masquerade()}, "fd77::2", "2001:db8:7::7", "2001:db8:113::1", "2001:db8:7::7", "2001:db8:66::66", false},
	{"server inside, IPv6", []nat.Rule{forward6}, "2001:db8:7::7", "fd77::50", "2001:db8:7::7", "2001:db8:113::1", "2001:db8:66::66", false},
	{"routed, IPv6", nil, "fd77::2", "2001:db8:7::7", "fd77::2", "2001:db8:7::7", "2001:db8:66::66", false},
	{"prefix translation", []nat.Rule{prefixes}, "fd77::2", "2001:db8:7::7", "2001:db8:9:cfb5::2", "2001:db8:7::7", "2001:db8:66::66", true},
}

// world is a router with the helper, for servers on port 21 and 990.
type world struct {
	*algtest.World
	place
}

func newWorld(t algtest.T, p place, options map[string]any) *world {
	t.Helper()
	ports := append(algtest.Port(port), algtest.Port(implicitPort)...)
	return &world{algtest.New(t, algtest.Config{
		Helpers: []alg.Helper{New()}, NAT: p.rules,
		Rules: []alg.Rule{{Name: "ftp", Proto: packet.ProtoTCP, Ports: ports, Options: options}},
	}), p}
}

// host returns an endpoint's text.
func host(addr string, port int) string {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port)).String()
}

// dial opens a control connection from a port of the client.
func (w *world) dial(port int) *algtest.Conn {
	return w.Dial(host(w.client, port), host(w.asServer, 21))
}

// dialogue is what is said up to the login.
var dialogue = []struct {
	dir  conntrack.Direction
	text string
}{
	{fromServer, "220 ready\r\n"}, {fromClient, "USER u\r\n"}, {fromServer, "331 go on\r\n"},
	{fromClient, "PASS p\r\n"}, {fromServer, "230 welcome\r\n"},
}

// session opens a control connection and logs in.
func (w *world) session(port int) *algtest.Conn {
	c := w.dial(port)
	for _, l := range dialogue {
		c.Say(l.dir, l.text)
	}
	return c
}

// numbers6 returns h1,h2,h3,h4,p1,p2.
func numbers6(addr string, port int) string {
	a := netip.MustParseAddr(addr).As4()
	return fmt.Sprintf("%d,%d,%d,%d,%d,%d", a[0], a[1], a[2], a[3], port>>8, port&255)
}

// piped returns |1|addr|port|.
func piped(addr string, port int) string {
	af := 1
	if netip.MustParseAddr(addr).Is6() {
		af = 2
	}
	return fmt.Sprintf("|%d|%s|%d|", af, addr, port)
}

// want compares texts.
func want(t algtest.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// goes wants a connection to go somewhere, or to be refused: where is the reason then.
func (w *world) goes(t algtest.T, from, to, where string) {
	t.Helper()
	if got := w.Connect(from, to); got != where {
		t.Errorf("%s to %s went %s, want %s", from, to, got, where)
	}
}

// awaits wants so many data connections to be awaited.
func (w *world) awaits(t algtest.T, n int) {
	t.Helper()
	if list := w.Expectations(); len(list) != n {
		t.Errorf("awaited: %v, want %d", list, n)
	}
}

func addrPort(addr string, port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port))
}
