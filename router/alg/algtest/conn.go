package algtest

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// Conn is a TCP connection through a World, with both of its ends.
type Conn struct {
	ID     conntrack.Handle
	Tuples [2]conntrack.Tuple
	Drops  int       // segments that the router refused
	Window [2]uint16 // that an end offers, by the direction it sends in, to be scaled by 7 bits; 0: a large one

	w    *World
	ends [2]*end // by the direction that they send in
}

// end is one end of a connection: as a sender in its own numbers, as a receiver in those that it sees.
type end struct {
	addr, peer netip.AddrPort // itself; the other end as it knows it
	isn        uint32
	stream     []byte // what it says
	acked      int    // of stream
	sent       int    // of stream, at least once
	fin        bool   // the stream ends
	finAcked   bool
	got        []byte // of the other end, by place; valid where has is true
	has        []bool
	next       int    // in order
	peerISN    uint32 // as it sees it
	finAt      int    // of the other end's stream as it sees it, -1: no FIN came
}

// synOptions are MSS 1460, window scale 7 and SACK permitted.
var synOptions = []byte{2, 4, 5, 180, 3, 3, 7, 4, 2, 1, 1, 1}

// Dial opens a connection from client to server, as the client knows it. Where the router refuses, the test ends.
func (w *World) Dial(client, server string) *Conn {
	w.t.Helper()
	c := &Conn{w: w, ends: [2]*end{
		{addr: netip.MustParseAddrPort(client), peer: netip.MustParseAddrPort(server), isn: 0xffffffe0, finAt: -1},
		{isn: 5000, finAt: -1},
	}}
	a, b := c.ends[0], c.ends[1]
	syn := c.deliver(0, testpkt.TCP{Seq: a.isn, Flags: packet.FlagSYN, Options: synOptions}, packet.Meta{})
	if len(syn) != 1 {
		w.t.Fatalf("SYN %s>%s did not pass", client, server)
	}
	b.peer, b.addr = ends(syn[0])
	b.peerISN = segment(syn[0]).Seq()
	answer := testpkt.TCP{Seq: b.isn, Ack: b.peerISN + 1, Flags: packet.FlagSYN | packet.FlagACK, Options: synOptions}
	if got := c.deliver(1, answer, packet.Meta{}); len(got) != 1 {
		w.t.Fatalf("SYN-ACK %s>%s did not pass", server, client)
	} else {
		a.peerISN = segment(got[0]).Seq()
	}
	c.deliver(0, testpkt.TCP{Seq: a.isn + 1, Ack: a.peerISN + 1, Flags: packet.FlagACK}, packet.Meta{})
	c.ID, c.Tuples = w.Last.ID, w.Last.Tuples
	return c
}

// segment returns the TCP header of a packet with its payload.
func segment(b []byte) packet.TCP {
	h, _ := packet.Parse(b)
	return packet.TCP(b[h.L4:h.Len])
}

// deliver sends a segment of an end and returns what arrives at the other, cut. That must be for it.
func (c *Conn) deliver(dir conntrack.Direction, p testpkt.TCP, m packet.Meta) (all [][]byte) {
	c.w.t.Helper()
	e, other := c.ends[dir], c.ends[1-dir]
	p.Src, p.Dst, p.DF, p.Win = e.addr, e.peer, true, c.Window[dir]
	out, reason := c.w.Send(p.Bytes(), m)
	if reason != packet.NotDropped {
		c.Drops++
	}
	for _, f := range out {
		for _, b := range f.Segments() {
			if src, dst := ends(b); other.addr.IsValid() && (src != other.peer || dst != other.addr) {
				c.w.t.Fatalf("a segment of %s>%s left as %s>%s", e.addr, e.peer, src, dst)
			}
			all = append(all, b)
		}
	}
	return all
}

// Write lets an end have more to say. It sends nothing.
func (c *Conn) Write(dir conntrack.Direction, text string) {
	c.ends[dir].stream = append(c.ends[dir].stream, text...)
}

// Sent and Acked return how many bytes an end has sent, and how many of them are acknowledged. Said is how many there
// are to be sent.
func (c *Conn) Sent(dir conntrack.Direction) int  { return c.ends[dir].sent }
func (c *Conn) Acked(dir conntrack.Direction) int { return c.ends[dir].acked }
func (c *Conn) Said(dir conntrack.Direction) int  { return len(c.ends[dir].stream) }

// Say writes text, sends what is unsent in one segment, and lets the other end acknowledge. It returns what the other
// end got of the direction since Say was called.
func (c *Conn) Say(dir conntrack.Direction, text string) string {
	c.w.t.Helper()
	c.Write(dir, text)
	before := c.ends[1-dir].next
	c.Segment(dir, c.Sent(dir), c.Said(dir), packet.Meta{}, nil)
	c.Ack(1-dir, nil)
	return string(c.Heard(dir)[before:])
}

// Segment sends bytes from and up to an offset of an end's stream, with FIN where that ends there and was closed. What
// arrives is looked at, but for packets of which lose says true; nil loses none.
func (c *Conn) Segment(dir conntrack.Direction, from, to int, m packet.Meta, lose func() bool) {
	c.w.t.Helper()
	e := c.ends[dir]
	p := testpkt.TCP{
		Seq: e.isn + 1 + uint32(from), Ack: e.ack(), Flags: packet.FlagACK | packet.FlagPSH, Payload: e.stream[from:to],
	}
	if e.fin && to == len(e.stream) {
		p.Flags |= packet.FlagFIN
	}
	e.sent = max(e.sent, to)
	c.arrive(1-dir, c.deliver(dir, p, m), lose)
}

// ack is what an end acknowledges, in the numbers that it sees.
func (e *end) ack() uint32 {
	n := e.peerISN + 1 + uint32(e.next)
	if e.finAt == e.next {
		n++
	}
	return n
}

func (c *Conn) arrive(side conntrack.Direction, segments [][]byte, lose func() bool) {
	c.w.t.Helper()
	for _, b := range segments {
		if lose == nil || !lose() {
			c.receive(side, segment(b))
		}
	}
}

// receive is a simple receiver.
func (c *Conn) receive(side conntrack.Direction, hdr packet.TCP) {
	t, e := c.w.t, c.ends[side]
	t.Helper()
	at, payload := int(int32(hdr.Seq()-e.peerISN-1)), hdr.Payload()
	for i, v := range payload {
		pos := at + i
		if pos < 0 {
			if pos < -1 {
				t.Fatalf("byte at %d", pos)
			}
			continue // a keep-alive
		}
		if n := pos + 1 - len(e.got); n > 0 {
			e.got, e.has = append(e.got, make([]byte, n)...), append(e.has, make([]bool, n)...)
		}
		if e.has[pos] && e.got[pos] != v {
			t.Fatalf("byte %d was %q and is %q", pos, e.got[pos], v)
		}
		e.got[pos], e.has[pos] = v, true
	}
	for e.next < len(e.got) && e.has[e.next] {
		e.next++
	}
	if hdr.Flags()&packet.FlagFIN != 0 {
		if off := at + len(payload); e.finAt >= 0 && e.finAt != off {
			t.Fatalf("FIN at %d, then at %d", e.finAt, off)
		} else {
			e.finAt = off
		}
	}
	c.acknowledged(side, hdr)
}

// acknowledged lets a sender see what is acknowledged and checks that it was sent.
func (c *Conn) acknowledged(side conntrack.Direction, hdr packet.TCP) {
	t, e := c.w.t, c.ends[side]
	t.Helper()
	if hdr.Flags()&packet.FlagACK == 0 {
		return
	}
	n, sent := int(int32(hdr.Ack()-e.isn-1)), e.sent
	if e.fin && e.sent == len(e.stream) {
		sent++
	}
	if n > sent {
		t.Fatalf("%d bytes acknowledged, %d sent", n, sent)
	}
	if e.fin && n == len(e.stream)+1 {
		e.finAcked, n = true, n-1
	}
	e.acked = max(e.acked, n)
	o, ok := hdr.ParseOptions()
	if !ok {
		t.Fatalf("malformed options")
	}
	for _, s := range o.SACK[:o.Blocks] {
		left, right := int(int32(s.Left-e.isn-1)), int(int32(s.Right-e.isn-1))
		if left < e.acked && right > left || right > e.sent {
			t.Fatalf("SACK of %d to %d, acknowledged %d, sent %d", left, right, e.acked, e.sent)
		}
	}
}

// Ack lets an end, by the direction that it sends in, acknowledge what it has, with a SACK block for what came early.
func (c *Conn) Ack(dir conntrack.Direction, lose func() bool) {
	c.w.t.Helper()
	e := c.ends[dir]
	seq := e.isn + 1 + uint32(e.sent)
	if e.fin && e.sent == len(e.stream) {
		seq++
	}
	p := testpkt.TCP{Seq: seq, Ack: e.ack(), Flags: packet.FlagACK}
	if i := slices.Index(e.has[e.next:], true); i >= 0 {
		left := e.next + i
		right := left
		for right < len(e.has) && e.has[right] {
			right++
		}
		p.Options = binary.BigEndian.AppendUint32([]byte{1, 1, 5, 10}, e.peerISN+1+uint32(left))
		p.Options = binary.BigEndian.AppendUint32(p.Options, e.peerISN+1+uint32(right))
	}
	c.arrive(1-dir, c.deliver(dir, p, packet.Meta{}), lose)
}

// Close ends an end's stream: its FIN goes with the last bytes, or by itself where they have gone.
func (c *Conn) Close(dir conntrack.Direction) {
	c.w.t.Helper()
	c.ends[dir].fin = true
	c.Segment(dir, c.Sent(dir), c.Said(dir), packet.Meta{}, nil)
}

// Reset sends an RST.
func (c *Conn) Reset(dir conntrack.Direction) {
	c.w.t.Helper()
	e := c.ends[dir]
	c.deliver(dir, testpkt.TCP{Seq: e.isn + 1 + uint32(e.sent), Ack: e.ack(), Flags: packet.FlagRST | packet.FlagACK}, packet.Meta{})
}

// Settle sends the rest of a direction in segments of the sizes that cut gives, again where it must, until all has
// arrived.
func (c *Conn) Settle(dir conntrack.Direction, cut func(left int) int) {
	c.w.t.Helper()
	e := c.ends[dir]
	for range 4*len(e.stream) + 100 {
		if e.acked == len(e.stream) && (!e.fin || e.finAcked) {
			return
		}
		for from := e.acked; ; {
			to := from + min(max(1, cut(len(e.stream)-from)), len(e.stream)-from)
			c.Segment(dir, from, to, packet.Meta{}, nil)
			if from = to; from == len(e.stream) {
				break
			}
		}
		c.Ack(1-dir, nil)
		c.w.Now += 3e8
		c.w.Kit.Tick(c.w.Now)
	}
	c.w.t.Fatalf("%s: %d of %d bytes acknowledged, %d arrived in order, %d drops", dir, e.acked, len(e.stream), c.ends[1-dir].next, c.Drops)
}

// Heard returns what has arrived in order of a direction.
func (c *Conn) Heard(dir conntrack.Direction) []byte { e := c.ends[1-dir]; return e.got[:e.next] }

// Helped reports whether the connection's helper still reads it.
func (c *Conn) Helped() bool {
	s, ok := c.w.Table.Lookup(c.w.Now, c.ID)
	return ok && s.Helper != 0
}
