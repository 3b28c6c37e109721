package router

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/faketime"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// Addresses of the network in memory: a client inside, a server outside, the router between them.
var (
	client4, client6 = addr("10.77.0.2"), addr("fd77::2")
	other4           = addr("10.77.0.3")
	lan4, lan6       = addr("10.77.0.1"), addr("fd77::1")
	wan4, wan6       = addr("203.0.113.1"), addr("2001:db8:113::1")
	pool4            = addr("203.0.113.50")
	server4, server6 = addr("198.51.100.7"), addr("2001:db8:ffff::7")
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func port(a netip.Addr, p uint16) netip.AddrPort { return netip.AddrPortFrom(a, p) }

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func span(s string) conntrack.AddrRange {
	p := netip.MustParsePrefix(s)
	last := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return conntrack.AddrRange{First: p.Masked().Addr(), Last: end}
}

func masquerade() nat.Rule {
	return nat.Rule{Action: nat.Masquerade, Out: "wan0", Source: []conntrack.AddrRange{span("10.77.0.0/16"), span("fd77::/16")}}
}

// testConfig is the usual set-up: a LAN, a WAN, masquerade between them.
func testConfig() Config {
	cfg := DefaultConfig()
	cfg.NoFastPath = slowPath
	cfg.Interfaces = []Interface{
		{Name: "lan0", Side: Inside, MTU: 1500, Address: prefixes("10.77.0.1/24", "fd77::1/64")},
		{Name: "wan0", Side: Outside, MTU: 1500, Address: prefixes("203.0.113.1/24", "2001:db8:113::1/64")},
	}
	cfg.Routes = []Route{
		{To: netip.MustParsePrefix("0.0.0.0/0"), Interface: "wan0"},
		{To: netip.MustParsePrefix("::/0"), Interface: "wan0"},
	}
	cfg.NAT = []nat.Rule{masquerade()}
	return cfg
}

// network is a router with its devices in memory and a clock that is turned by hand. Nothing runs in it on its own.
type network struct {
	t     testing.TB
	r     *Router
	clock *faketime.ManualClock
	ends  map[string]tun.Device // the far ends
	near  map[string]tun.Device
	read  []tun.Frame
}

// sentinel marks the end of what a device has to give.
var sentinel = testpkt.UDP{Src: port(addr("192.0.2.1"), 1), Dst: port(addr("192.0.2.2"), 2), Payload: []byte("sentinel")}.Bytes()

func newNetwork(t testing.TB, cfg Config, change ...func(*tun.PairConfig)) *network {
	t.Helper()
	n := &network{t: t, clock: faketime.NewManualClock(), ends: map[string]tun.Device{}, near: map[string]tun.Device{}}
	n.read = make([]tun.Frame, 4)
	for i := range n.read {
		n.read[i] = tun.Frame{Buf: make([]byte, bufferSize), Off: headroom}
	}
	for _, c := range cfg.Interfaces {
		pair := tun.PairConfig{MTU: c.MTU, Depth: 4096}
		for _, f := range change {
			f(&pair)
		}
		n.near[c.Name], n.ends[c.Name] = tun.NewPair(pair)
	}
	r, err := New(cfg, Options{Devices: n.near, Clock: n.clock, Seed: [32]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	n.r = r
	t.Cleanup(func() {
		for _, w := range r.workers {
			w.stack.close()
		}
	})
	return n
}

// lane returns the lane of an interface's first queue.
func (n *network) lane(name string) *lane {
	for _, l := range n.r.workers[0].lanes {
		if l.nif.name == name {
			return l
		}
	}
	n.t.Fatalf("no interface %s", name)
	return nil
}

// send lets packets come in by an interface and returns what came out of each.
func (n *network) send(from string, packets ...[]byte) map[string][]tun.Frame {
	n.t.Helper()
	frames := make([]tun.Frame, len(packets))
	for i, b := range packets {
		frames[i] = frame(b, packet.Meta{})
	}
	return n.sendFrames(from, frames...)
}

func frame(b []byte, m packet.Meta) tun.Frame {
	f := tun.Frame{Buf: make([]byte, max(headroom+len(b), 2048)), Off: headroom, Len: len(b), Meta: m}
	copy(f.Buf[headroom:], b)
	return f
}

func (n *network) sendFrames(from string, frames ...tun.Frame) map[string][]tun.Frame {
	n.t.Helper()
	n.lane(from).serve(frames)
	return n.collect()
}

// collect returns what has come out since the last call.
func (n *network) collect() map[string][]tun.Frame {
	n.t.Helper()
	out := map[string][]tun.Frame{}
	for name := range n.ends {
		end := frame(sentinel, packet.Meta{})
		if _, err := n.near[name].Queues()[0].Write([]tun.Frame{end}); err != nil {
			n.t.Fatal(err)
		}
		for more := true; more; {
			got, err := n.ends[name].Queues()[0].Read(n.read)
			if err != nil {
				n.t.Fatal(err)
			}
			for i := range n.read[:got] {
				if bytes.Equal(n.read[i].Bytes(), sentinel) {
					more = false
					continue
				}
				b := bytes.Clone(n.read[i].Bytes())
				out[name] = append(out[name], tun.Frame{Buf: b, Len: len(b), Meta: n.read[i].Meta})
			}
		}
	}
	return out
}

// one expects exactly one packet, out of an interface and right in all checksums, and returns it.
func (n *network) one(out map[string][]tun.Frame, name string) []byte {
	n.t.Helper()
	total := 0
	for _, frames := range out {
		total += len(frames)
	}
	if total != 1 || len(out[name]) != 1 {
		n.t.Fatalf("%d packets came out, %d of them by %s; want 1; drops %v", total, len(out[name]), name, n.drops())
	}
	b := out[name][0].Bytes()
	if err := testpkt.Verify(b); err != nil {
		n.t.Fatalf("packet from %s: %v", name, err)
	}
	return b
}

// waitOne is send for a packet that one of netstack's goroutines answers: it waits for the answer, out of the
// interface that the packet came in by.
func (n *network) waitOne(side string, b []byte) []byte {
	n.t.Helper()
	n.lane(side).serve([]tun.Frame{frame(b, packet.Meta{})})
	frames := []tun.Frame{{Buf: make([]byte, bufferSize), Off: headroom}}
	if _, err := n.ends[side].Queues()[0].Read(frames); err != nil {
		n.t.Fatal(err)
	}
	if err := testpkt.Verify(frames[0].Bytes()); err != nil {
		n.t.Fatal(err)
	}
	return frames[0].Bytes()
}

// dropped expects that nothing came out and that the packet was counted once, under a reason.
func (n *network) dropped(out map[string][]tun.Frame, want packet.DropReason) {
	n.t.Helper()
	for name, frames := range out {
		for i := range frames {
			n.t.Errorf("% x came out of %s, want nothing", frames[i].Bytes(), name)
		}
	}
	n.reason(want)
}

// reason expects that the last packet was counted under a reason, and clears the counters.
func (n *network) reason(want packet.DropReason) {
	n.t.Helper()
	if got := n.drops(); len(got) != 1 || got[want.String()] != 1 {
		n.t.Errorf("drops %v, want one %s", got, want)
	}
	n.resetDrops()
}

// resetDrops clears the counters.
func (n *network) resetDrops() {
	for l := range n.r.lanes() {
		for i := range l.drops {
			l.drops[i].Store(0)
		}
	}
}

// drops returns the counters that are not zero.
func (n *network) drops() map[string]uint64 {
	all := n.r.Status().Drops
	for name, count := range all {
		if count == 0 {
			delete(all, name)
		}
	}
	return all
}

// tick turns the clock and does the work that no packet drives.
func (n *network) tick(d time.Duration) {
	n.clock.Advance(d)
	n.r.tick()
}

// flow is one packet's endpoints.
type flowOf struct{ src, dst netip.AddrPort }

// endpoints returns source and destination of a TCP or UDP packet.
func endpoints(t testing.TB, b []byte) flowOf {
	t.Helper()
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		t.Fatalf("% x: %s", b, reason)
	}
	src, dst := addresses(b, &h)
	l4 := b[h.L4:]
	return flowOf{port(addrOf(src), uint16(l4[0])<<8|uint16(l4[1])), port(addrOf(dst), uint16(l4[2])<<8|uint16(l4[3]))}
}
