package nat

import (
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/ruleset"
)

// Interfaces of the test router.
const (
	lan = iota
	wan
	dmz
)

// tester is a test, or a case of a property test.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is a pipeline of conntrack and NAT alone: packets in, packets out, clock turned by hand.
type world struct {
	t     tester
	table *conntrack.Table
	nat   *NAT
	now   conntrack.Time
	conn  conntrack.Conn // of the last packet
	// route returns the egress interface for a destination.
	route func(netip.Addr) int
}

func testConfig(rules ...Rule) Config {
	return Config{
		Rules: rules,
		Defaults: Defaults{
			PortRange:  conntrack.PortRange{First: 1024, Last: 65535},
			Quarantine: 120 * second,
		},
		Interfaces: []Interface{
			{Name: "lan0", Addresses: prefixes("10.77.0.1/24", "fd77::1/64"), Line: 1},
			{Name: "wan0", Outside: true, Addresses: prefixes("203.0.113.1/24", "2001:db8:113::1/64"), Line: 2},
			{Name: "dmz0", Addresses: prefixes("10.88.0.1/24"), Line: 3},
		},
		Max: 1 << 16,
	}
}

func newWorld(t testing.TB, rules ...Rule) *world {
	t.Helper()
	return newWorldConfig(t, testConfig(rules...))
}

func newWorldConfig(t testing.TB, cfg Config) *world {
	t.Helper()
	table := conntrack.New(conntrack.DefaultConfig())
	n, err := New(cfg, table)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, table: table, nat: n, now: 1000 * second, route: func(a netip.Addr) int {
		switch {
		case a.Is4() && a.As4()[0] == 10 && a.As4()[1] == 88:
			return dmz
		case (a.Is4() && a.As4()[0] == 10) || (a.Is6() && a.As16()[0] == 0xfd):
			return lan
		}
		return wan
	}}
}

// send takes a packet through the pipeline and returns what leaves, and by which interface.
func (w *world) send(in int, b []byte) ([]byte, int, packet.DropReason) {
	w.t.Helper()
	return w.sendMeta(in, b, &packet.Meta{})
}

func (w *world) sendMeta(in int, pkt []byte, m *packet.Meta) ([]byte, int, packet.DropReason) {
	w.t.Helper()
	b := append([]byte(nil), pkt...)
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		return nil, 0, reason
	}
	b = b[:h.Len]
	c := &w.conn
	p := conntrack.Packet{Bytes: b, H: &h, Meta: m, Inbound: in == wan}
	if reason = w.table.Track(0, w.now, &p, c); reason != packet.NotDropped {
		return nil, 0, reason
	}
	out, reason := w.translate(in, b, &h, m)
	if reason != packet.NotDropped {
		w.nat.Abandon(w.now, c)
		return nil, 0, reason
	}
	return b, out, reason
}

func (w *world) translate(in int, b []byte, h *packet.Headers, m *packet.Meta) (int, packet.DropReason) {
	c := &w.conn
	if reason := w.nat.Destination(w.now, in, c); reason != packet.NotDropped {
		return 0, reason
	}
	if reason := RewriteDst(b, h, m, c); reason != packet.NotDropped {
		return 0, reason
	}
	out := w.route(packet.Addr(h.Dst(b)))
	if reason := w.nat.Source(w.now, in, out, c); reason != packet.NotDropped {
		return 0, reason
	}
	own := netip.Addr{}
	if out == wan {
		own = addr("203.0.113.1")
		if h.Family == 6 {
			own = addr("2001:db8:113::1")
		}
	}
	if reason := RewriteSrc(b, h, m, c, own); reason != packet.NotDropped {
		return 0, reason
	}
	if c.ID != 0 {
		return out, packet.NotDropped
	}
	if reason := w.table.Confirm(0, w.now, c); reason != packet.NotDropped {
		return 0, reason
	}
	w.nat.Confirmed(w.now, c)
	return out, packet.NotDropped
}

// pass is send for packets that must get through with right checksums.
func (w *world) pass(in int, b []byte) []byte {
	w.t.Helper()
	got, _, reason := w.send(in, b)
	if reason != packet.NotDropped {
		w.t.Fatalf("packet % x dropped: %v", b, reason)
	}
	if err := testpkt.Verify(got); err != nil {
		w.t.Fatalf("packet % x left as % x: %v", b, got, err)
	}
	return got
}

// refuse is send for packets that must be dropped.
func (w *world) refuse(in int, b []byte, want packet.DropReason) {
	w.t.Helper()
	if got, _, reason := w.send(in, b); reason != want {
		w.t.Fatalf("packet % x: reason %v, left as % x, want %v", b, reason, got, want)
	}
}

// advance turns the clock and ends what is over.
func (w *world) advance(d conntrack.Time) {
	w.now += d
	for range 100 {
		if w.table.Step(0, w.now, 1<<16) == 0 {
			break
		}
	}
	w.reap()
}

func (w *world) reap() {
	var dead [64]conntrack.Dead
	for {
		n := w.table.Reap(0, dead[:])
		if n == 0 {
			return
		}
		for i := range dead[:n] {
			w.nat.Release(w.now, &dead[i])
		}
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// addrs makes ranges of prefixes and addresses.
func addrs(list ...string) (r []conntrack.AddrRange) {
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a := addr(s)
			p = netip.PrefixFrom(a, a.BitLen())
		}
		r = append(r, conntrack.AddrRange{First: p.Addr(), Last: ruleset.SpanOf(p).Last})
	}
	return r
}

func portList(list ...uint16) (r []conntrack.PortRange) {
	for i := 0; i < len(list); i += 2 {
		r = append(r, conntrack.PortRange{First: list[i], Last: list[i+1]})
	}
	return r
}

var masquerade = Rule{Action: Masquerade, Out: "wan0", Source: addrs("10.77.0.0/16", "10.88.0.0/16", "fd77::/16"), Line: 10}

// ends returns source and destination of a packet with ports, or of an ICMP query with its identifier as source
// port.
func ends(b []byte) (src, dst netip.AddrPort) {
	h, _ := packet.Parse(b)
	l4 := b[h.L4:]
	var sp, dp uint16
	if isICMP(h.Proto) {
		sp = packet.ICMP(l4).ID()
	} else {
		sp, dp = packet.UDP(l4).SrcPort(), packet.UDP(l4).DstPort()
	}
	return netip.AddrPortFrom(packet.Addr(h.Src(b)), sp), netip.AddrPortFrom(packet.Addr(h.Dst(b)), dp)
}

func udp(src, dst string) []byte {
	return testpkt.UDP{Src: ap(src), Dst: ap(dst), Payload: []byte("payload")}.Bytes()
}

func syn(src, dst string) []byte {
	return testpkt.TCP{Src: ap(src), Dst: ap(dst), Seq: 1000, Flags: packet.FlagSYN}.Bytes()
}

func wantEnds(t testing.TB, b []byte, src, dst string) {
	t.Helper()
	s, d := ends(b)
	if s != ap(src) || d != ap(dst) {
		t.Errorf("packet goes %v > %v, want %s > %s", s, d, src, dst)
	}
}

func TestMasquerade(t *testing.T) {
	for name, tt := range map[string]struct{ inside, remote, outside string }{
		"IPv4": {"10.77.1.2:40000", "198.51.100.7:53", "203.0.113.1:40000"},
		"IPv6": {"[fd77::2]:40000", "[2001:db8:ffff::7]:53", "[2001:db8:113::1]:40000"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, masquerade)
			wantEnds(t, w.pass(lan, udp(tt.inside, tt.remote)), tt.outside, tt.remote)
			wantEnds(t, w.pass(wan, udp(tt.remote, tt.outside)), tt.remote, tt.inside)
			wantEnds(t, w.pass(lan, syn(tt.inside, tt.remote)), tt.outside, tt.remote)
		})
	}
}
