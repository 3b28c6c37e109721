package alg

import (
	"bytes"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// lines is a helper that reads lines, and where text is not empty writes it over "EDIT" at the beginning of one.
type lines struct {
	text  []byte
	edits []Edit
}

func (*lines) Spec() Spec { return Spec{Name: "lines", Proto: packet.ProtoTCP, Port: 7007} }

func (*lines) Configure(map[string]any) (any, error) { return nil, nil }

func (l *lines) New(Master, any) Stream { return l }

func (l *lines) Stream(m Master, _ conntrack.Direction, b []byte) (r Result) {
	l.edits = l.edits[:0]
	for {
		rest := b[r.Consumed:]
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 {
			r.Edits = l.edits
			return r
		}
		if len(l.text) > 0 && bytes.HasPrefix(rest, []byte("EDIT")) {
			l.edits = append(l.edits, Edit{Off: r.Consumed, Len: 4, New: l.text})
		}
		r.Consumed += n
		m.Count("lines")
	}
}

func (*lines) End(Master, conntrack.Direction, bool) {}
func (*lines) Destroy(Master)                        {}
func (*lines) Tick(Master)                           {}

// pump is a connection whose client sends one segment again and again, each the next of its stream, and whose server
// acknowledges each.
type pump struct {
	*world
	conn      [2]conntrack.Conn
	data, ack []byte
	h         [2]packet.Headers
	meta      packet.Meta
	buffer    []byte
	inH       packet.Headers // of the packet in hand
	inMeta    packet.Meta
	seq, got  uint32 // the client's next; what the server has, in its numbers
	growth    uint32 // of a segment
	sent      int    // packets that the kit made itself
}

// newPump opens the connection. payload is that of a segment, growth what the helper adds to it.
func newPump(t tester, h StreamHelper, payload []byte, m packet.Meta, growth int) *pump {
	w := newWorld(t)
	r, err := NewRegistry(h)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if w.kit, err = New(Config{Registry: r, Table: w.table, Rules: []Rule{{Name: "lines", Proto: packet.ProtoTCP}}}); err != nil {
		t.Fatalf("%v", err)
	}
	w.connect()
	p := &pump{world: w, meta: m, growth: uint32(growth), buffer: make([]byte, 1<<17)}
	a, b := w.ends[0], w.ends[1]
	p.seq, p.got = a.isn+1, a.isn+1
	p.data = testpkt.TCP{Src: a.addr, Dst: b.addr, Ack: b.isn + 1, Flags: packet.FlagACK, Payload: payload, DF: true}.Bytes()
	p.ack = testpkt.TCP{Src: b.addr, Dst: a.addr, Seq: b.isn + 1, Flags: packet.FlagACK, DF: true}.Bytes()
	if m.GSO != packet.GSONone {
		p.meta.CsumStart, p.meta.CsumOff = testpkt.MakePartial(p.data)
	}
	for i, pkt := range [][]byte{p.data, p.ack} {
		p.h[i], _ = packet.Parse(pkt)
		p.conn[i] = w.conn
		p.conn[i].Dir = conntrack.Direction(i)
	}
	return p
}

// Send implements Sink.
func (p *pump) Send([]byte, packet.Meta) { p.sent++ }

// step lets a segment and its acknowledgement through the kit.
func (p *pump) step() {
	p.now += 1e3
	for i, pkt := range [2][]byte{p.data, p.ack} {
		b := p.buffer[:copy(p.buffer, pkt)]
		p.inH, p.inMeta = p.h[i], p.meta
		tcp := packet.TCP(b[p.inH.L4:])
		if size := uint32(p.inH.PayloadLen()); i == 0 {
			tcp.SetSeq(p.seq)
			p.seq += size
			p.got += size + p.growth
		} else {
			tcp.SetAck(p.got)
			p.inMeta = packet.Meta{}
		}
		in := Packet{Bytes: b, H: &p.inH, Meta: &p.inMeta, Room: p.room}
		v, reason := p.kit.Handle(p.now, &p.conn[i], &in, p)
		if v == packet.Drop {
			p.t.Fatalf("packet %d: %v", i, reason)
		}
	}
}

// text returns n bytes of lines, the first of which is edited where the helper edits.
func text(n int) []byte {
	b := append([]byte("EDIT this\n"), bytes.Repeat([]byte("a line that stays as it is, of usual length, all of it\n"), n/40)...)
	b = b[:n]
	b[n-1] = '\n'
	return b
}

// BenchmarkStream is a segment through the stream kit and its acknowledgement, without tracking and NAT: read only, with
// an edit that keeps the length, and with one that does not.
func BenchmarkStream(b *testing.B) {
	super := packet.Meta{GSO: packet.GSOTCPv4, SegSize: 1448}
	for _, bb := range []struct {
		name, text string
		size       int
		m          packet.Meta
	}{
		{"read/1400", "", 1400, packet.Meta{}},
		{"read/60000", "", 60000, super},
		{"edit/1400", "edit", 1400, packet.Meta{}},
		{"edit/60000", "edit", 60000, super},
		{"grow/1400", "edited", 1400, packet.Meta{}},
		{"grow/60000", "edited", 60000, super},
	} {
		b.Run(bb.name, func(b *testing.B) {
			p := newPump(b, &lines{text: []byte(bb.text)}, text(bb.size), bb.m, max(0, len(bb.text)-4))
			b.SetBytes(int64(bb.size))
			b.ReportAllocs()
			for b.Loop() {
				p.step()
			}
			edits := p.kit.Counters()["lines"][CountEdits]
			if desync := p.kit.Counters()["lines"][CountDesync]; desync != 0 || (edits > 0) != (bb.text != "") || p.sent > 0 {
				b.Fatalf("%d edits, given up %d times, %d packets made", edits, desync, p.sent)
			}
		})
	}
}

// TestReadAllocs: a helper that reads and does not edit costs no allocation a packet, also where lines are cut by
// segments; nor does an acknowledgement.
func TestReadAllocs(t *testing.T) {
	for name, payload := range map[string][]byte{
		"whole lines": text(1400),
		"cut lines":   append(text(1000), "the beginning of a line"...),
	} {
		p := newPump(t, &lines{}, payload, packet.Meta{}, 0)
		if n := testing.AllocsPerRun(200, p.step); n != 0 {
			t.Errorf("%s: %v allocations for a segment and its acknowledgement", name, n)
		}
		if p.kit.Counters()["lines"]["lines"] < 200 || p.state().detached {
			t.Errorf("%s: not read", name)
		}
	}
}
