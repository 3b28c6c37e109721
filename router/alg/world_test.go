package alg

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// tester is what a testing.TB and a rapid.T have in common.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// world is a connection table with a kit, and one TCP connection through it: an end sends, the other reassembles.
type world struct {
	t     tester
	table *conntrack.Table
	kit   *Kit
	toy   *toy
	now   conntrack.Time
	room  int
	drops int // segments that the kit refused
	ends  [2]*end

	unscaled bool    // neither end scales its windows
	out      []frame // what left at the last send
	conn     conntrack.Conn
	reuse    []byte
}

// frame is a packet that left.
type frame struct {
	b []byte
	m packet.Meta
}

// end is one end of the connection, as a sender (in its own numbers) and as a receiver (in those that it sees).
type end struct {
	addr     netip.AddrPort
	isn      uint32
	stream   []byte // what it says
	acked    int    // of stream
	sent     int    // of stream, at least once
	finAt    int    // -1: not yet; offset of the FIN
	finAcked bool
	got      []byte // of the other end, by place; valid below next, and where has is true
	has      []bool
	next     int // in order
	gotFIN   bool
	finOff   int
}

func newWorld(t tester, toys ...*toy) *world {
	w := &world{t: t, now: 1e9, room: 1500, toy: newToy()}
	if len(toys) > 0 {
		w.toy = toys[0]
	}
	w.table = conntrack.New(conntrack.DefaultConfig())
	registry, err := NewRegistry(w.toy)
	if err != nil {
		t.Fatalf("%v", err)
	}
	w.kit, err = New(Config{
		Registry: registry, Table: w.table,
		Rules: []Rule{{Name: "toy", Proto: packet.ProtoTCP, Ports: []conntrack.PortRange{{First: 7007, Last: 7007}}}},
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	w.ends[0] = &end{addr: netip.MustParseAddrPort("10.77.0.2:40000"), isn: 0xfffffff0, finAt: -1}
	w.ends[1] = &end{addr: netip.MustParseAddrPort("198.51.100.7:7007"), isn: 5000, finAt: -1}
	w.reuse = make([]byte, 70000)
	return w
}

// useIPv6 gives the ends other addresses.
func (w *world) useIPv6() {
	w.ends[0].addr = netip.MustParseAddrPort("[fd77::2]:40000")
	w.ends[1].addr = netip.MustParseAddrPort("[2001:db8::7]:7007")
}

// gso returns the kind of super-segment that the ends make.
func (w *world) gso() packet.GSOType {
	if w.ends[0].addr.Addr().Is4() {
		return packet.GSOTCPv4
	}
	return packet.GSOTCPv6
}

// connect opens the connection.
func (w *world) connect() {
	w.t.Helper()
	a, b := w.ends[0], w.ends[1]
	opts := []byte{2, 4, 5, 180, 3, 3, 7, 4, 2, 1, 1, 1}
	if w.unscaled {
		opts = opts[:4]
	}
	w.raw(0, testpkt.TCP{Seq: a.isn, Flags: packet.FlagSYN, Options: opts}, packet.Meta{})
	w.raw(1, testpkt.TCP{Seq: b.isn, Ack: a.isn + 1, Flags: packet.FlagSYN | packet.FlagACK, Options: opts}, packet.Meta{})
	w.raw(0, testpkt.TCP{Seq: a.isn + 1, Ack: b.isn + 1, Flags: packet.FlagACK}, packet.Meta{})
	if len(w.out) != 1 {
		w.t.Fatalf("no connection: %d packets left", len(w.out))
	}
}

// Send implements Sink.
func (w *world) Send(b []byte, m packet.Meta) { w.out = append(w.out, frame{bytes.Clone(b), m}) }

// raw sends a segment from an end, addresses filled in. What left is in w.out.
func (w *world) raw(from int, p testpkt.TCP, m packet.Meta) packet.DropReason {
	w.t.Helper()
	p.Src, p.Dst = w.ends[from].addr, w.ends[1-from].addr
	p.DF = true
	return w.packet(p.Bytes(), m)
}

// packet lets a packet through.
func (w *world) packet(pkt []byte, m packet.Meta) packet.DropReason {
	w.t.Helper()
	w.out = w.out[:0]
	w.now += 1e6
	b := w.reuse[:copy(w.reuse, pkt)]
	if m.GSO != packet.GSONone || m.CsumOff != 0 {
		m.CsumStart, m.CsumOff = testpkt.MakePartial(b)
	}
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		w.t.Fatalf("%v", reason)
	}
	tracked := conntrack.Packet{Bytes: b, H: &h, Meta: &m}
	if reason := w.table.Track(0, w.now, &tracked, &w.conn); reason != packet.NotDropped {
		return reason
	}
	c := &w.conn
	if c.ID == 0 {
		w.kit.Assign(c)
	}
	if Wants(c) {
		if w.kit.Early(c) {
			w.table.Confirm(0, w.now, c)
		}
		var v packet.Verdict
		in := Packet{b, &h, &m, w.room}
		v, reason = w.kit.Handle(w.now, c, &in, w)
		b = in.Bytes
		switch {
		case v == packet.Drop && reason == packet.NotDropped, v != packet.Drop && reason != packet.NotDropped:
			w.t.Fatalf("verdict %v, reason %v", v, reason)
		case v == packet.Drop:
			w.drops++
			w.check()
			return reason
		case v == packet.Stolen:
			w.check()
			return packet.NotDropped
		}
		if int(h.Len) != len(b) {
			w.t.Fatalf("h.Len %d, packet of %d bytes", h.Len, len(b))
		}
	}
	w.Send(b, m)
	w.check()
	return w.table.Confirm(0, w.now, c)
}

// check looks at what left: right sums and lengths, nothing beyond the room.
func (w *world) check() {
	w.t.Helper()
	for _, f := range w.out {
		h, reason := packet.Parse(f.b)
		if reason != packet.NotDropped || int(h.Len) != len(f.b) {
			w.t.Fatalf("a packet of %d bytes, %d in its header, left: %v", len(f.b), h.Len, reason)
		}
		largest := len(f.b)
		if f.m.GSO != packet.GSONone {
			largest = int(h.Payload) + int(f.m.SegSize)
			if largest >= len(f.b) {
				w.t.Fatalf("a super-segment of one segment left")
			}
		}
		if largest > w.room {
			w.t.Fatalf("a packet of %d bytes left, room for %d", largest, w.room)
		}
	}
}

// segments returns what left, cut as a kernel would.
func (w *world) segments() (all [][]byte) {
	w.t.Helper()
	for _, f := range w.out {
		h, _ := packet.Parse(f.b)
		packet.Segment(f.b, &h, &f.m, make([]byte, 70000), func(s []byte) bool {
			if err := testpkt.Verify(s); err != nil {
				w.t.Fatalf("%v: % x", err, s)
			}
			all = append(all, bytes.Clone(s))
			return true
		})
	}
	return all
}

// data sends stream[from:to] of an end, with FIN if the stream ends there and was closed, and lets what leaves arrive
// where lose does not say otherwise.
func (w *world) data(side, from, to int, m packet.Meta, lose func() bool) {
	w.t.Helper()
	e, peer := w.ends[side], w.ends[1-side]
	p := testpkt.TCP{
		Seq: e.isn + 1 + uint32(from), Ack: w.ackOf(e, peer), Flags: packet.FlagACK | packet.FlagPSH, Payload: e.stream[from:to],
	}
	if e.finAt == to {
		p.Flags |= packet.FlagFIN
	}
	e.sent = max(e.sent, to)
	w.raw(side, p, m)
	w.arrive(1-side, lose)
}

// ackOf returns what an end acknowledges, in the numbers that it sees.
func (w *world) ackOf(e, peer *end) uint32 {
	ack := peer.isn + 1 + uint32(e.next)
	if e.gotFIN && e.next == e.finOff {
		ack++
	}
	return ack
}

// arrive gives what left to its receiver.
func (w *world) arrive(side int, lose func() bool) {
	w.t.Helper()
	for _, b := range w.segments() {
		if lose == nil || !lose() {
			w.receive(side, b)
		}
	}
}

// receive is a simple receiver. A byte that comes twice must be the same.
func (w *world) receive(side int, b []byte) {
	w.t.Helper()
	e, peer := w.ends[side], w.ends[1-side]
	h, _ := packet.Parse(b)
	hdr := packet.TCP(b[h.L4:])
	at := int(int32(hdr.Seq() - (peer.isn + 1)))
	for i, v := range hdr.Payload() {
		pos := at + i
		if pos < 0 {
			w.t.Fatalf("byte at %d", pos)
		}
		for len(e.got) <= pos {
			e.got, e.has = append(e.got, 0), append(e.has, false)
		}
		if e.has[pos] && e.got[pos] != v {
			w.t.Fatalf("byte %d was %q and is %q", pos, e.got[pos], v)
		}
		e.got[pos], e.has[pos] = v, true
	}
	for e.next < len(e.got) && e.has[e.next] {
		e.next++
	}
	if hdr.Flags()&packet.FlagFIN != 0 {
		off := at + len(hdr.Payload())
		if e.gotFIN && e.finOff != off {
			w.t.Fatalf("FIN at %d, then at %d", e.finOff, off)
		}
		e.gotFIN, e.finOff = true, off
	}
	w.ackArrives(side, hdr)
}

// ackArrives lets a sender see what is acknowledged.
func (w *world) ackArrives(side int, hdr packet.TCP) {
	w.t.Helper()
	e := w.ends[side]
	if hdr.Flags()&packet.FlagACK == 0 {
		return
	}
	n := int(int32(hdr.Ack() - (e.isn + 1)))
	sent := e.sent
	if e.finAt >= 0 && e.sent == e.finAt {
		sent++
	}
	if n > sent {
		w.t.Fatalf("end %d: %d bytes acknowledged, %d sent", side, n, sent)
	}
	if e.finAt >= 0 && n == e.finAt+1 {
		e.finAcked, n = true, e.finAt
	}
	e.acked = max(e.acked, n)
}

// ack sends a plain acknowledgement, with a SACK block for what came early.
func (w *world) ack(side int, lose func() bool) {
	w.t.Helper()
	e, peer := w.ends[side], w.ends[1-side]
	seq := e.isn + 1 + uint32(e.sent)
	if e.finAt >= 0 && e.sent == e.finAt {
		seq++
	}
	p := testpkt.TCP{Seq: seq, Ack: w.ackOf(e, peer), Flags: packet.FlagACK}
	if e.next < len(e.got) {
		left := e.next
		for left < len(e.got) && !e.has[left] {
			left++
		}
		right := left
		for right < len(e.got) && e.has[right] {
			right++
		}
		p.Options = []byte{1, 1, 5, 10}
		p.Options = binary.BigEndian.AppendUint32(p.Options, peer.isn+1+uint32(left))
		p.Options = binary.BigEndian.AppendUint32(p.Options, peer.isn+1+uint32(right))
	}
	w.raw(side, p, packet.Meta{})
	for _, b := range w.segments() {
		h, _ := packet.Parse(b)
		hdr := packet.TCP(b[h.L4:])
		if lose == nil || !lose() {
			w.ackArrives(1-side, hdr)
			w.sackArrives(1-side, hdr)
		}
	}
}

// sackArrives checks that a SACK block names only what was sent.
func (w *world) sackArrives(side int, hdr packet.TCP) {
	w.t.Helper()
	e := w.ends[side]
	o, ok := hdr.ParseOptions()
	if !ok {
		w.t.Fatalf("malformed options")
	}
	for _, s := range o.SACK[:o.Blocks] {
		left, right := int(int32(s.Left-e.isn-1)), int(int32(s.Right-e.isn-1))
		if left < e.acked && right > left || right > e.sent {
			w.t.Fatalf("SACK of %d to %d, acknowledged %d, sent %d", left, right, e.acked, e.sent)
		}
	}
}

// settle sends the rest, again where it must, until all has arrived.
func (w *world) settle(side int, cut func(left int) int) {
	w.t.Helper()
	e, peer := w.ends[side], w.ends[1-side]
	for range 4*len(e.stream) + 100 {
		if e.acked == len(e.stream) && (e.finAt < 0 || e.finAcked) {
			return
		}
		for from := e.acked; ; {
			to := from + max(1, min(cut(len(e.stream)-from), len(e.stream)-from))
			to = min(to, len(e.stream))
			w.data(side, from, to, packet.Meta{}, nil)
			if from = to; from == len(e.stream) {
				break
			}
		}
		w.ack(1-side, nil)
		w.now += 3e8
		w.kit.Tick(w.now)
	}
	w.t.Fatalf("end %d: %d of %d bytes acknowledged, other end has %d in order; drops %d; fin %v",
		side, e.acked, len(e.stream), peer.next, w.drops, e.finAcked)
}

// want compares what an end has got with what the other end's stream becomes.
func (w *world) want(side int) {
	w.t.Helper()
	want := toyStreamOf(w.ends[1-side].stream, w.toy.name, w.toy.streams[0].late[1-side])
	if got := w.ends[side].got; !bytes.Equal(got, want) || w.ends[side].next != len(want) {
		w.t.Fatalf("end %d got %q (%d in order), want %q", side, got, w.ends[side].next, want)
	}
}

// state returns the kit's state of the connection.
func (w *world) state() *state {
	x := w.table.Ext(w.conn.ID)
	if x == nil {
		return nil
	}
	st, _ := x.Helper.(*state)
	return st
}

// count returns a counter of the toy.
func (w *world) count(name string) uint64 { return w.kit.Counters()["toy"][name] }
