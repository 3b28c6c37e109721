package router

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// routed asks a lane for the route of a UDP packet to an address.
func routed(l *lane, to netip.Addr, cached bool) (*netInterface, packet.DropReason) {
	src := client4
	if to.Is6() {
		src = client6
	}
	f := frame(testpkt.UDP{Src: port(src, 5000), Dst: port(to, 53)}.Bytes(), packet.Meta{})
	p := &l.packet
	p.reset(f.Buf, f.Off, f.Len, f.Meta)
	p.in, p.lane = l.nif, l
	p.H, _ = packet.Parse(p.Bytes)
	p.Conn.ErrorL3 = 0
	route, nif := l.router.fib.match(to)
	if nif == nil {
		return nil, packet.NoRoute
	}
	var reason packet.DropReason
	if cached {
		reason = l.route(p, route, to)
	} else {
		reason = l.worker.stack.route(p)
	}
	return p.out, reason
}

// TestRouteCache: with what it remembers, a lane answers as netstack does, for every kind of destination.
func TestRouteCache(t *testing.T) {
	cfg := testConfig()
	for _, r := range []string{"198.51.100.128/25", "198.51.100.200/32", "198.0.0.0/8", "2001:db8:8000::/33"} {
		cfg.Routes = append(cfg.Routes, Route{To: netip.MustParsePrefix(r), Interface: "lan0"})
	}
	l := newNetwork(t, cfg).lane("lan0")
	r := rand.New(rand.NewPCG(5, 6))
	special := append([]netip.Addr{wan4, wan6, addr("127.0.0.1"), addr("0.0.0.1"), addr("224.0.0.5"), addr("255.255.255.255"),
		addr("169.254.7.7"), addr("fe80::1"), addr("ff02::1"), addr("::1"), addr("::")}, dummyAddresses...)
	answers := map[*netInterface]int{}
	for i := range 3000 {
		to := netip.AddrFrom4([4]byte{198, byte(50 + r.IntN(3)), 100, byte(r.IntN(256))})
		switch i % 3 {
		case 1:
			to = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(r.IntN(256)), 15: byte(r.IntN(256))})
		case 2:
			to = special[r.IntN(len(special))]
		}
		want, wantReason := routed(l, to, false)
		got, reason := routed(l, to, true)
		if got != want || reason != wantReason {
			t.Fatalf("%s: %v, %v, want %v, %v", to, got, reason, want, wantReason)
		}
		answers[got]++
	}
	if len(answers) != 3 || len(l.routes.routes) < 4 { // none, lan0 and wan0
		t.Errorf("%d kinds of answer, %d routes: the test has lost its point", len(answers), len(l.routes.routes))
	}
}

// TestRouteCacheForgets: another generation asks anew, and no more than maxRoutes are kept.
func TestRouteCacheForgets(t *testing.T) {
	var c routeCache
	out := &netInterface{}
	for i := range 3 * maxRoutes {
		route := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		c.put(1, route, out)
		if c.get(1, route) != out || c.get(2, route) != nil || len(c.routes) > maxRoutes {
			t.Fatalf("route %d: %d are kept", i, len(c.routes))
		}
	}
	c.put(2, netip.MustParsePrefix("0.0.0.0/0"), out)
	if len(c.routes) != 1 {
		t.Errorf("%d routes of an older generation are left", len(c.routes)-1)
	}
}

// TestFirstPacketAsksOnce: of many new flows to one network, netstack sees the first.
func TestFirstPacketAsksOnce(t *testing.T) {
	n := newNetwork(t, testConfig())
	asked := func() uint64 { return n.r.workers[0].stack.stack.Stats().IP.PacketsReceived.Value() }
	for i := range uint16(50) {
		n.one(n.send("lan0", testpkt.UDP{Src: port(client4, 5000+i), Dst: port(server4, 53)}.Bytes()), "wan0")
	}
	if got := asked(); got != 1 {
		t.Errorf("netstack was asked %d times, want once", got)
	}
}
