package pptp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// Interfaces of the test router.
const (
	lan = iota
	wan
)

// tester is a test, or a case of a property test.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// world is conntrack and NAT with the helper between them: packets in, packets out, clock turned by hand.
type world struct {
	t        tester
	table    *conntrack.Table
	nat      *nat.NAT
	helper   alg.StreamHelper
	now      conntrack.Time
	conn     conntrack.Conn // of the last packet
	controls []*control
	calls    map[[2]string]map[uint16][2]uint16 // see control.up
	strict   bool                               // only a connection's own children may be killed
}

func masquerade() nat.Rule {
	return nat.Rule{Action: nat.Masquerade, Out: "wan0", Source: addrs("10.77.0.0/16", "fd77::/16")}
}

// forward leads a port of the outside address to an inside server.
func forward(port uint16, server string) nat.Rule {
	return nat.Rule{
		Action: nat.DNAT, In: "wan0", Proto: packet.ProtoTCP, Destination: addrs("203.0.113.1/32"), Hairpin: nat.On,
		Ports:   []conntrack.PortRange{{First: port, Last: port}},
		To:      addrs(server + "/32"),
		ToPorts: []conntrack.PortRange{{First: 1723, Last: 1723}},
	}
}

func addrs(prefixes ...string) (list []conntrack.AddrRange) {
	for _, s := range prefixes {
		p := netip.MustParsePrefix(s)
		last := p.Addr().AsSlice()
		for bit := p.Bits(); bit < len(last)*8; bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		list = append(list, conntrack.AddrRange{First: p.Addr(), Last: end})
	}
	return list
}

func newWorld(t tester, rules ...nat.Rule) *world {
	t.Helper()
	table := conntrack.New(conntrack.DefaultConfig())
	n, err := nat.New(nat.Config{
		Rules:    rules,
		Defaults: nat.Defaults{Hairpin: true, PortRange: conntrack.PortRange{First: 1024, Last: 65535}},
		Interfaces: []nat.Interface{
			{Name: "lan0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.1/16"), netip.MustParsePrefix("fd77::1/64")}},
			{Name: "wan0", Outside: true, Addresses: []netip.Prefix{
				netip.MustParsePrefix("203.0.113.1/24"), netip.MustParsePrefix("2001:db8:113::1/64"),
			}},
		},
		Max: 1 << 16,
	}, table)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &world{t: t, table: table, nat: n, helper: New(), now: 1000 * second, calls: map[[2]string]map[uint16][2]uint16{}}
}

// route returns the egress interface for a destination.
func route(a netip.Addr) int {
	if (a.Is4() && a.As4()[0] == 10) || (a.Is6() && a.As16()[0] == 0xfd) {
		return lan
	}
	return wan
}

// send takes a packet through the pipeline and returns what leaves.
func (w *world) send(in int, pkt []byte) ([]byte, packet.DropReason) {
	w.t.Helper()
	b := bytes.Clone(pkt)
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		return nil, reason
	}
	b = b[:h.Len]
	c, m := &w.conn, &packet.Meta{}
	p := conntrack.Packet{Bytes: b, H: &h, Meta: m, Inbound: in == wan}
	if reason = w.table.Track(0, w.now, &p, c); reason != packet.NotDropped {
		return nil, reason
	}
	steps := []func() packet.DropReason{
		func() packet.DropReason { return w.nat.Destination(w.now, in, c) },
		func() packet.DropReason { return nat.RewriteDst(b, &h, m, c) },
		func() packet.DropReason { return w.nat.Source(w.now, in, route(packet.Addr(h.Dst(b))), c) },
		func() packet.DropReason { return nat.RewriteSrc(b, &h, m, c, netip.Addr{}) },
		func() packet.DropReason { return w.table.Confirm(0, w.now, c) },
	}
	fresh := c.ID == 0
	for _, step := range steps {
		if reason = step(); reason != packet.NotDropped {
			w.nat.Abandon(w.now, c)
			return nil, reason
		}
	}
	if fresh {
		w.nat.Confirmed(w.now, c)
	}
	if err := testpkt.Verify(b); err != nil {
		w.t.Fatalf("% x left as % x: %v", pkt, b, err)
	}
	return b, packet.NotDropped
}

// gre sends a data packet and returns where it went.
func (w *world) gre(src, dst string, id uint16) string {
	w.t.Helper()
	p := testpkt.GREv1{
		Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), CallID: id, HasSeq: true, Seq: 7, Payload: []byte("hi"),
	}
	b, reason := w.send(route(p.Src), p.Bytes())
	if reason != packet.NotDropped {
		return reason.String()
	}
	h, _ := packet.Parse(b)
	g, err := packet.ParseGREv1(b[h.L4:])
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	return fmt.Sprintf("%s>%s:%d", packet.Addr(h.Src(b)), packet.Addr(h.Dst(b)), g.CallID())
}

// wantGRE is gre with what is expected of it.
func (w *world) wantGRE(src, dst string, id uint16, want string) {
	w.t.Helper()
	if got := w.gre(src, dst, id); got != want {
		w.t.Errorf("GRE %s>%s:%d went %s, want %s", src, dst, id, got, want)
	}
}

// advance turns the clock second by second, as the kit does: ended connections are told, ticks that are due given.
func (w *world) advance(d time.Duration) {
	for end := w.now + conntrack.Time(d); w.now < end; {
		w.now = min(w.now+second, end)
		for w.table.Step(0, w.now, 1<<16) > 0 {
		}
		w.reap()
		for _, c := range w.controls {
			if c.wake != 0 && c.wake <= w.now && !c.dead && !c.detached {
				c.wake = 0
				c.stream.Tick(c)
			}
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
			for _, c := range w.controls {
				if c.id == dead[i].ID && !c.dead {
					c.dead = true
					c.stream.Destroy(c)
				}
			}
		}
	}
}

// control is a control connection with the kit's part of it: it is the Master, and hands the helper the bytes.
type control struct {
	*world
	id       conntrack.Handle
	tuples   [2]conntrack.Tuple
	stream   alg.Stream
	wake     conntrack.Time
	counts   map[string]int
	way      [2]way
	detached bool
	dead     bool
}

// way is one direction of the byte stream.
type way struct {
	pending []byte // not consumed
	left    int    // bytes of pending that have left already
	out     []byte
}

// dial opens a control connection from client to server.
func (w *world) dial(client, server string, config any) *control {
	w.t.Helper()
	src, dst := netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)
	in := route(src.Addr())
	if _, reason := w.send(in, testpkt.TCP{Src: src, Dst: dst, Seq: 1, Flags: packet.FlagSYN}.Bytes()); reason != packet.NotDropped {
		w.t.Fatalf("SYN %s>%s: %v", client, server, reason)
	}
	c := &control{world: w, id: w.conn.ID, tuples: w.conn.Tuples, counts: map[string]int{}}
	back := c.tuples[conntrack.Reply]
	synAck := testpkt.TCP{
		Src: netip.AddrPortFrom(back.SrcAddr(), back.SrcID), Dst: netip.AddrPortFrom(back.DstAddr(), back.DstID),
		Seq: 1, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK,
	}
	if _, reason := w.send(route(back.SrcAddr()), synAck.Bytes()); reason != packet.NotDropped {
		w.t.Fatalf("SYN-ACK %s>%s: %v", client, server, reason)
	}
	w.send(in, testpkt.TCP{Src: src, Dst: dst, Seq: 2, Ack: 2, Flags: packet.FlagACK}.Bytes())
	c.stream = w.helper.New(c, config)
	w.controls = append(w.controls, c)
	return c
}

// feed gives the helper bytes as the kit would and returns what leaves because of them.
func (c *control) feed(dir conntrack.Direction, b []byte) []byte { return c.feedTo(c, dir, b) }

func (c *control) feedTo(m alg.Master, dir conntrack.Direction, b []byte) []byte {
	c.t.Helper()
	y := &c.way[dir]
	before := len(y.out)
	y.pending = append(y.pending, b...)
	r := alg.Result{Consumed: len(y.pending)}
	if !c.detached {
		r = c.stream.Stream(m, dir, slices.Clip(y.pending))
	}
	last := 0
	for _, e := range r.Edits {
		if e.Off < max(y.left, last) || e.Off+e.Len > r.Consumed || e.Len != len(e.New) {
			c.t.Fatalf("edit of %d bytes at %d, of %d consumed and %d that have left", e.Len, e.Off, r.Consumed, y.left)
		}
		copy(y.pending[e.Off:], e.New)
		last = e.Off + e.Len
	}
	c.detached = c.detached || r.Detach
	free := len(y.pending)
	if r.Hold && !r.Detach {
		free = max(r.Consumed, y.left)
	}
	y.out = append(y.out, y.pending[y.left:free]...)
	y.left = free - r.Consumed
	y.pending = y.pending[r.Consumed:]
	return y.out[before:]
}

// swap is feed, checked against what must leave.
func (c *control) swap(dir conntrack.Direction, in, want []byte) {
	c.t.Helper()
	if got := c.feed(dir, in); !bytes.Equal(got, want) {
		c.t.Errorf("%s: % x\nleft as % x\n   want % x", dir, in, got, want)
	}
}

// finish ends the connection as a RST does.
func (c *control) finish() { c.stream.End(c, conntrack.Original, true) }

// The Master.

func (c *control) Now() conntrack.Time                              { return c.now }
func (c *control) ID() conntrack.Handle                             { return c.id }
func (c *control) Arriving(dir conntrack.Direction) conntrack.Tuple { return c.tuples[dir] }
func (c *control) Expectations() []conntrack.Expectation            { return c.table.Expectations(c.now, c.id) }
func (c *control) Timeouts(t conntrack.Timeouts) uint16             { return c.table.AddTimeouts(t) }
func (c *control) Wake(at conntrack.Time)                           { c.wake = at }
func (c *control) Count(name string)                                { c.counts[name]++ }
func (c *control) Logf(string, ...any)                              {}
func (c *control) Unreserve(proto uint8, outside netip.Addr, id uint16) {
	c.nat.Unreserve(c.now, proto, outside, id)
}

func (c *control) Leaving(dir conntrack.Direction) conntrack.Tuple {
	t, _ := c.tuples[1-dir].Inverse()
	return t
}

func (c *control) Expect(e conntrack.Expectation) (conntrack.ExpectID, error) {
	for dir := range 2 { // towards nobody but the two ends
		if t := &c.tuples[dir]; t.Src == e.Tuple.Src && t.Dst == e.Tuple.Dst && e.Mask.Src == conntrack.MaskExact.Src {
			e.Master, e.Lifetime = c.id, conntrack.Time(lifetime)
			return c.table.Expect(c.now, e)
		}
	}
	c.t.Fatalf("expectation %s of %s", e.Tuple, c.tuples[0])
	return 0, nil
}

func (c *control) Unexpect(id conntrack.ExpectID) bool {
	own := slices.ContainsFunc(c.Expectations(), func(e conntrack.Expectation) bool { return e.ID == id })
	return own && c.table.Unexpect(id)
}

func (c *control) Reserve(proto uint8, outside netip.Addr, want uint16) (uint16, bool) {
	return c.nat.Reserve(c.now, proto, outside, want)
}

func (c *control) Find(t *conntrack.Tuple) (conntrack.Snapshot, bool) {
	snap, _, ok := c.table.Find(c.now, t)
	return snap, ok
}

func (c *control) Kill(id conntrack.Handle) bool {
	snap, ok := c.table.Lookup(c.now, id)
	if !ok || snap.Tuples[0].Proto != packet.ProtoGRE {
		c.t.Fatalf("kills %s", snap.Tuples[0])
	}
	return (!c.strict || snap.Master == c.id) && c.table.Delete(c.now, id)
}

// Messages.

// msg makes a message with its call IDs at 12 and 14 and, where it has one, its result at 16 or 14.
func msg(k kind, first, second uint16, result byte) []byte {
	b := make([]byte, messages[k].size)
	binary.BigEndian.PutUint16(b, uint16(len(b)))
	b[3] = 1
	binary.BigEndian.PutUint32(b[4:], 0x1a2b3c4d)
	b[9] = byte(k)
	binary.BigEndian.PutUint16(b[12:], first)
	binary.BigEndian.PutUint16(b[14:], second)
	switch k {
	case outgoingReply, incomingReply:
		b[16] = result
	case startReply:
		b[14] = result
	}
	return b
}

// start takes a control connection through its Start messages.
func (c *control) start() *control {
	c.t.Helper()
	for dir, b := range [][]byte{msg(startRequest, 0x100, 0, 0), msg(startReply, 0x100, 0, 1)} {
		c.swap(conntrack.Direction(dir), b, b)
	}
	return c
}

// ask sends an Outgoing-Call-Request and returns the call ID that leaves; answer is the same for its reply, whose own
// and peer's call IDs leave.
func (c *control) ask(id, serial uint16) uint16 {
	c.t.Helper()
	return binary.BigEndian.Uint16(c.feed(conntrack.Original, msg(outgoingRequest, id, serial, 0))[12:])
}

func (c *control) answer(id, peer uint16) (own, other uint16) {
	c.t.Helper()
	b := c.feed(conntrack.Reply, msg(outgoingReply, id, peer, 1))
	return binary.BigEndian.Uint16(b[12:]), binary.BigEndian.Uint16(b[14:])
}
