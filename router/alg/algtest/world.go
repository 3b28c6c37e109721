package algtest

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// The interfaces of a World, as indexes.
const (
	LAN = iota // "lan0", inside
	WAN        // "wan0", outside
)

// T is what a testing.TB and a rapid.T have in common.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Config is what a World is made from. The zero value has no helper and no NAT.
type Config struct {
	Helpers []alg.Helper
	Rules   []alg.Rule
	NAT     []nat.Rule
	Inside  []string // networks of lan0; empty: 10.0.0.0/8 and fd00::/8
	Outside []string // addresses of wan0 with prefix length; empty: 203.0.113.1/24 and 2001:db8:113::1/64
	Room    int      // MTU of both interfaces, bytes; 0: 1500
	Tracker *conntrack.Config
}

// World is a router with helpers, in memory. It is for one goroutine.
type World struct {
	Table *conntrack.Table
	NAT   *nat.NAT
	Kit   *alg.Kit
	Now   conntrack.Time
	Last  conntrack.Conn // of the last packet, as it was when that left

	t      T
	inside []netip.Prefix
	room   int
	out    []Frame // what left because of the last packet
	buffer []byte
}

// Frame is a packet that left.
type Frame struct {
	Bytes []byte
	Meta  packet.Meta
}

// Ranges returns the addresses of networks, as rules have them.
func Ranges(networks ...string) (list []conntrack.AddrRange) {
	for _, s := range networks {
		p := netip.MustParsePrefix(s)
		last := p.Addr().AsSlice()
		for bit := p.Bits(); bit < len(last)*8; bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		list = append(list, conntrack.AddrRange{First: p.Masked().Addr(), Last: end})
	}
	return list
}

// Port returns one port as rules have it.
func Port(p uint16) []conntrack.PortRange { return []conntrack.PortRange{{First: p, Last: p}} }

// Masquerade translates all that leaves by wan0 to its address.
func Masquerade() nat.Rule {
	return nat.Rule{Action: nat.Masquerade, Out: "wan0", Source: Ranges("10.0.0.0/8", "fd00::/8")}
}

// Forward leads a port of an outside address to an inside server's, for inside hosts too.
func Forward(proto uint8, outside netip.AddrPort, server netip.AddrPort) nat.Rule {
	return nat.Rule{
		Action: nat.DNAT, In: "wan0", Proto: proto, Hairpin: nat.On,
		Destination: []conntrack.AddrRange{{First: outside.Addr(), Last: outside.Addr()}}, Ports: Port(outside.Port()),
		To:      []conntrack.AddrRange{{First: server.Addr(), Last: server.Addr()}},
		ToPorts: Port(server.Port()),
	}
}

// New makes a World; a mistake in cfg ends the test. Its time begins at 1000 s.
func New(t T, cfg Config) *World {
	t.Helper()
	tracker := conntrack.DefaultConfig()
	if cfg.Tracker != nil {
		tracker = *cfg.Tracker
	}
	w := &World{t: t, Table: conntrack.New(tracker), Now: 1000e9, room: cfg.Room, buffer: make([]byte, 70000)}
	if w.room == 0 {
		w.room = 1500
	}
	if cfg.Inside == nil {
		cfg.Inside = []string{"10.0.0.0/8", "fd00::/8"}
	}
	if cfg.Outside == nil {
		cfg.Outside = []string{"203.0.113.1/24", "2001:db8:113::1/64"}
	}
	wan := nat.Interface{Name: "wan0", Outside: true}
	for _, s := range cfg.Outside {
		wan.Addresses = append(wan.Addresses, netip.MustParsePrefix(s))
	}
	for _, s := range cfg.Inside {
		w.inside = append(w.inside, netip.MustParsePrefix(s))
	}
	var err error
	w.NAT, err = nat.New(nat.Config{
		Rules:      cfg.NAT,
		Defaults:   nat.Defaults{NoPortParity: true, Quarantine: -1},
		Interfaces: []nat.Interface{{Name: "lan0"}, wan},
		Max:        1 << 16,
	}, w.Table)
	if err != nil {
		t.Fatalf("%v", err)
	}
	registry, err := alg.NewRegistry(cfg.Helpers...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	w.Kit, err = alg.New(alg.Config{Registry: registry, Rules: cfg.Rules, Table: w.Table, NAT: w.NAT})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return w
}

// Route returns the interface on whose side an address is.
func (w *World) Route(a netip.Addr) int {
	for _, p := range w.inside {
		if p.Contains(a) {
			return LAN
		}
	}
	return WAN
}

// Send lets a packet through, from the interface on whose side its source is. What left because of it is returned, in
// order, and is the caller's; nothing: it was kept or, with a reason, dropped. It takes a millisecond.
func (w *World) Send(pkt []byte, m packet.Meta) ([]Frame, packet.DropReason) {
	w.t.Helper()
	w.Now += 1e6
	w.out = nil
	b := w.buffer[:copy(w.buffer, pkt)]
	if m.GSO != packet.GSONone {
		m.CsumStart, m.CsumOff = testpkt.MakePartial(b)
	}
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		return nil, reason
	}
	if reason = w.pass(b[:h.Len], &h, &m); reason != packet.NotDropped {
		w.NAT.Abandon(w.Now, &w.Last)
	}
	w.check()
	w.reap()
	return w.out, reason
}

// pass is the pipeline of the router without its devices.
func (w *World) pass(b []byte, h *packet.Headers, m *packet.Meta) packet.DropReason {
	c, now, in := &w.Last, w.Now, w.Route(packet.Addr(h.Src(b)))
	p := conntrack.Packet{Bytes: b, H: h, Meta: m, Inbound: in == WAN}
	if reason := w.Table.Track(0, now, &p, c); reason != packet.NotDropped {
		return reason
	}
	fresh := c.ID == 0
	if fresh {
		w.Kit.Assign(c)
	}
	for _, step := range []func() packet.DropReason{
		func() packet.DropReason { return w.NAT.Destination(now, in, c) },
		func() packet.DropReason { return nat.RewriteDst(b, h, m, c) },
		func() packet.DropReason { return w.forward(in, c) },
		func() packet.DropReason { return w.NAT.Source(now, in, w.Route(packet.Addr(h.Dst(b))), c) },
		func() packet.DropReason { return nat.RewriteSrc(b, h, m, c, netip.Addr{}) },
	} {
		if reason := step(); reason != packet.NotDropped {
			return reason
		}
	}
	if alg.Wants(c) {
		if w.Kit.Early(c) {
			if reason := w.confirm(c, &fresh); reason != packet.NotDropped {
				return reason
			}
		}
		in := alg.Packet{Bytes: b, H: h, Meta: m, Room: w.room}
		v, reason := w.Kit.Handle(now, c, &in, (*sink)(w))
		switch b = in.Bytes; {
		case (v == packet.Drop) != (reason != packet.NotDropped):
			w.t.Fatalf("verdict %v with reason %v", v, reason)
		case v != packet.Accept:
			return reason
		}
	}
	if reason := w.confirm(c, &fresh); reason != packet.NotDropped {
		return reason
	}
	(*sink)(w).Send(b, *m)
	return packet.NotDropped
}

// forward refuses new connections from outside that neither NAT nor an expectation lets in.
func (w *World) forward(in int, c *conntrack.Conn) packet.DropReason {
	if in == WAN && c.ID == 0 && c.Status&(conntrack.DstNAT|conntrack.Expected) == 0 {
		return packet.Filtered
	}
	return packet.NotDropped
}

func (w *World) confirm(c *conntrack.Conn, fresh *bool) packet.DropReason {
	reason := w.Table.Confirm(0, w.Now, c)
	if *fresh && reason == packet.NotDropped {
		w.NAT.Confirmed(w.Now, c)
	}
	*fresh = false
	return reason
}

// sink is a World as the kit sees it.
type sink World

// Send implements [alg.Sink].
func (s *sink) Send(b []byte, m packet.Meta) { s.out = append(s.out, Frame{bytes.Clone(b), m}) }

// check looks at what left: right lengths and sums, nothing beyond the room.
func (w *World) check() {
	w.t.Helper()
	for _, f := range w.out {
		h, reason := packet.Parse(f.Bytes)
		if reason != packet.NotDropped || int(h.Len) != len(f.Bytes) {
			w.t.Fatalf("a packet of %d bytes, %d in its header, left: %v", len(f.Bytes), h.Len, reason)
		}
		for _, b := range f.Segments() {
			if err := testpkt.Verify(b); err != nil {
				w.t.Fatalf("% x left: %v", b, err)
			}
			if len(b) > w.room {
				w.t.Fatalf("a packet of %d bytes left, room for %d", len(b), w.room)
			}
		}
	}
}

// Segments returns the packets of a frame, cut as a kernel would.
func (f *Frame) Segments() (all [][]byte) {
	h, reason := packet.Parse(f.Bytes)
	if reason != packet.NotDropped {
		return nil
	}
	b, m := bytes.Clone(f.Bytes), f.Meta
	if m.GSO == packet.GSONone && !m.Partial() {
		return [][]byte{b}
	}
	packet.Segment(b, &h, &m, make([]byte, len(b)+60), func(s []byte) bool {
		all = append(all, bytes.Clone(s))
		return true
	})
	return all
}

// Advance turns the clock in steps of a second, or a thousand for a longer time: connections end, helpers get their
// ticks.
func (w *World) Advance(d time.Duration) {
	step := max(conntrack.Time(time.Second), conntrack.Time(d/1000))
	for end := w.Now + conntrack.Time(d); w.Now < end; {
		w.Now = min(w.Now+step, end)
		for w.Table.Step(0, w.Now, 1<<16) > 0 {
		}
		w.reap()
		w.Kit.Tick(w.Now)
	}
}

func (w *World) reap() {
	var dead [16]conntrack.Dead
	for {
		n := w.Table.Reap(0, dead[:])
		for i := range dead[:n] {
			w.Kit.Destroy(w.Now, &dead[i])
			w.NAT.Release(w.Now, &dead[i])
		}
		if n < len(dead) {
			return
		}
	}
}

// Connect sends a SYN and says where it went, as "198.51.100.7:20>10.77.1.2:5000", or the reason why it went nowhere.
func (w *World) Connect(src, dst string) string {
	w.t.Helper()
	return w.Where(testpkt.TCP{
		Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Seq: uint32(w.Now), Flags: packet.FlagSYN,
	}.Bytes())
}

// Where sends a packet and says where it went, or why nowhere; see [World.Connect].
func (w *World) Where(pkt []byte) string {
	w.t.Helper()
	out, reason := w.Send(pkt, packet.Meta{})
	if reason != packet.NotDropped {
		return reason.String()
	}
	if len(out) == 0 {
		return "held"
	}
	src, dst := ends(out[len(out)-1].Bytes)
	return fmt.Sprintf("%s>%s", src, dst)
}

// ends returns the endpoints of a packet with ports.
func ends(b []byte) (src, dst netip.AddrPort) {
	h, _ := packet.Parse(b)
	l4 := b[h.L4:]
	return netip.AddrPortFrom(packet.Addr(h.Src(b)), uint16(l4[0])<<8|uint16(l4[1])),
		netip.AddrPortFrom(packet.Addr(h.Dst(b)), uint16(l4[2])<<8|uint16(l4[3]))
}

// Expectations returns the awaited tuples in order, each as "tcp 198.51.100.7:0->203.0.113.1:5000".
func (w *World) Expectations() (list []string) {
	for _, e := range w.Table.Expectations(w.Now, 0) {
		list = append(list, e.Tuple.String())
	}
	return list
}

// Count returns a counter of a helper.
func (w *World) Count(helper, name string) uint64 { return w.Kit.Counters()[helper][name] }
