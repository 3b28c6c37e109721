package conntrack

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// talk is two ends of a TCP conversation: what each has sent and received, whatever became of it on the way.
type talk struct {
	client, server netip.AddrPort
	next, got      [2]uint32 // next to send, next awaited
}

// traffic makes random packets of a few hosts.
type traffic struct {
	r     *rand.Rand
	talks []*talk
	sent  []*modelPacket // some earlier ones, to be repeated and reordered
}

var (
	modelHosts   = []netip.Addr{hostA, hostA2, netip.MustParseAddr("10.77.0.4")}
	modelServers = []netip.Addr{hostB, netip.MustParseAddr("192.0.2.10")}
)

func (f *traffic) pick(list []netip.Addr) netip.Addr { return list[f.r.IntN(len(list))] }

// packet returns the next packet; outside says how a client is seen by a server, from what NAT did so far.
func (f *traffic) packet(outside func(client, server netip.AddrPort, proto uint8) netip.AddrPort) *modelPacket {
	if len(f.sent) > 0 && f.r.IntN(8) == 0 {
		return f.sent[f.r.IntN(len(f.sent))]
	}
	var p *modelPacket
	switch f.r.IntN(10) {
	case 0:
		p = f.udp(outside)
	case 1:
		p = f.echo(outside)
	case 2:
		p = f.esp(outside)
	default:
		p = f.segment(outside)
	}
	if len(f.sent) < 30 {
		f.sent = append(f.sent, p)
	} else {
		f.sent[f.r.IntN(len(f.sent))] = p
	}
	return p
}

// finish fills in what the model reads, from the arguments of the builders and not from the bytes.
func finish(b []byte, proto uint8, src, dst netip.AddrPort) *modelPacket {
	return &modelPacket{
		bytes: b, proto: proto, source: src.Addr(),
		tuple: fmt.Sprint(proto, " ", src, " ", dst), inv: fmt.Sprint(proto, " ", dst, " ", src),
	}
}

type outsideFunc = func(client, server netip.AddrPort, proto uint8) netip.AddrPort

func (f *traffic) udp(outside outsideFunc) *modelPacket {
	src, dst := addrPort(f.pick(modelHosts), uint16(1+f.r.IntN(3))), addrPort(f.pick(modelServers), 53)
	if f.r.IntN(2) == 0 {
		src, dst = dst, outside(src, dst, packet.ProtoUDP)
	}
	return finish(testpkt.UDP{Src: src, Dst: dst, Payload: make([]byte, f.r.IntN(50))}.Bytes(), packet.ProtoUDP, src, dst)
}

// echo writes its identifier as the port of both ends.
func (f *traffic) echo(outside outsideFunc) *modelPacket {
	src, dst := addrPort(f.pick(modelHosts), uint16(1+f.r.IntN(3))), addrPort(f.pick(modelServers), 0)
	reply := f.r.IntN(2) == 0
	id := src.Port()
	if reply {
		client := outside(src, dst, packet.ProtoICMP)
		src, dst, id = dst, client, client.Port()
	}
	p := finish(testpkt.Echo{Src: src.Addr(), Dst: dst.Addr(), ID: id, Reply: reply}.Bytes(), packet.ProtoICMP, src, dst)
	p.starts = !reply
	p.tuple, p.inv = echoWords(src.Addr(), dst.Addr(), id, reply), echoWords(dst.Addr(), src.Addr(), id, !reply)
	return p
}

func echoWords(src, dst netip.Addr, id uint16, reply bool) string {
	return fmt.Sprint("echo ", src, dst, id, reply)
}

func (f *traffic) esp(outside outsideFunc) *modelPacket {
	src, dst := addrPort(f.pick(modelHosts), 0), addrPort(f.pick(modelServers), 0)
	if f.r.IntN(2) == 0 {
		src, dst = dst, outside(src, dst, packet.ProtoESP)
	}
	b := testpkt.Raw{Src: src.Addr(), Dst: dst.Addr(), Proto: packet.ProtoESP, Payload: make([]byte, 20)}.Bytes()
	return finish(b, packet.ProtoESP, src, dst)
}

// segment is the next of some conversation, most often one that makes sense.
func (f *traffic) segment(outside outsideFunc) *modelPacket {
	r := f.r
	if len(f.talks) < 6 {
		f.talks = append(f.talks, &talk{
			client: addrPort(f.pick(modelHosts), uint16(1000+r.IntN(4))), server: addrPort(f.pick(modelServers), 80),
		})
	}
	k := f.talks[r.IntN(len(f.talks))]
	if r.IntN(300) == 0 { // the hosts forget it; the ports will be used again
		*k = talk{client: addrPort(f.pick(modelHosts), uint16(1000+r.IntN(4))), server: addrPort(f.pick(modelServers), 80)}
	}
	side := r.IntN(2)
	flags, n := f.flags(k, side), 0
	if flags == flagsOf("A") && r.IntN(2) == 0 {
		n = r.IntN(1400)
	}
	g := modelSeg{seq: k.next[side], an: k.got[side], win: uint32(r.IntN(60000) + 1), wscale: -1}
	switch r.IntN(25) { // numbers that are wrong
	case 0:
		g.seq += uint32(r.IntN(200000)) - 100000
	case 1:
		g.an += uint32(r.IntN(200000)) - 100000
	case 2:
		g.seq, g.an = r.Uint32(), r.Uint32()
	case 3:
		g.seq = 0
	case 4:
		g.win = 0
	}
	f.numbers(k, side, flags, n, &g)
	src, dst := k.client, k.server
	if side == 1 {
		src, dst = k.server, outside(k.client, k.server, packet.ProtoTCP)
	}
	seg := testpkt.TCP{
		Src: src, Dst: dst, Seq: g.seq, Ack: g.an, Flags: flags, Win: uint16(g.win), Payload: make([]byte, n),
		Options: f.options(flags, &g),
	}
	b := seg.Bytes()
	binary.BigEndian.PutUint16(b[20+14:], uint16(g.win)) // 0 is the builder's default
	p := finish(b, packet.ProtoTCP, src, dst)
	p.tcp = g
	return p
}

// flags chooses what an end does: mostly what comes next in a life.
func (f *traffic) flags(k *talk, side int) uint8 {
	switch f.r.IntN(20) {
	case 0:
		return flagsOf("R")
	case 1:
		return flagsOf("RA")
	case 2, 3:
		return flagsOf("FA")
	case 4:
		return flagsOf("S")
	case 5:
		return flagsOf("SA")
	}
	switch {
	case k.next[side] == 0 && k.got[side] == 0:
		return flagsOf("S")
	case k.next[side] == 0:
		return flagsOf("SA")
	}
	return flagsOf("A")
}

// numbers moves the ends by a segment, which is lost on the way one time in ten.
func (f *traffic) numbers(k *talk, side int, flags uint8, n int, g *modelSeg) {
	syn, fin := flags&packet.FlagSYN != 0, flags&packet.FlagFIN != 0
	if syn && f.r.IntN(3) > 0 || k.next[side] == 0 {
		k.next[side] = f.r.Uint32() | 1
		g.seq = k.next[side]
	}
	g.ack = flags&packet.FlagACK != 0
	g.event = map[bool]string{true: "SYNACK", false: "SYN"}[g.ack]
	switch {
	case flags&packet.FlagRST != 0:
		g.event = "RST"
	case syn:
	case fin:
		g.event = "FIN"
	default:
		g.event = "ACK"
	}
	g.end = g.seq + uint32(n)
	if syn {
		g.end++
	}
	if fin {
		g.end++
	}
	if g.seq == k.next[side] {
		k.next[side] = g.end
		if f.r.IntN(10) > 0 {
			k.got[1-side] = g.end
		}
	}
	if flags&packet.FlagRST != 0 && f.r.IntN(2) == 0 {
		k.next, k.got = [2]uint32{}, [2]uint32{}
	}
}

func (f *traffic) options(flags uint8, g *modelSeg) (opts []byte) {
	g.sack = g.an
	if flags&packet.FlagSYN != 0 {
		if f.r.IntN(3) > 0 {
			g.wscale = f.r.IntN(16)
			opts = append(opts, 1, 3, 3, byte(g.wscale))
			g.wscale = min(g.wscale, 14)
		}
		if f.r.IntN(3) > 0 {
			g.sackPermitted = true
			opts = append(opts, 1, 1, 4, 2)
		}
		return opts
	}
	switch f.r.IntN(4) {
	case 0:
		opts = append(opts, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1)
	case 1:
		right := g.an + uint32(f.r.IntN(3000))
		opts = append(opts, 1, 1, 5, 10)
		opts = binary.BigEndian.AppendUint32(opts, g.an+1)
		opts = binary.BigEndian.AppendUint32(opts, right)
		if g.ack {
			g.sack = right
		}
	}
	return opts
}

// TestModel runs random traffic through the table and the model and compares everything that either says.
func TestModel(t *testing.T) {
	for _, tight := range []bool{false, true} {
		name := map[bool]string{false: "room for all", true: "tight limits"}[tight]
		t.Run(name, func(t *testing.T) { runModel(t, tight) })
	}
}

func runModel(t *testing.T, tight bool) {
	w := newWorld(t, func(c *Config) {
		c.Shards, c.MaxPerSource = 2, 1000
		if tight {
			c.Max, c.MaxUnreplied, c.MaxPerSource = 12, 5, 7
		}
	})
	m := &model{cfg: w.t.cfg}
	f := &traffic{r: rand.New(rand.NewPCG(7, 8))}
	ports := map[string]uint16{} // what NAT gives each client towards each server: the same every time
	outside := func(client, server netip.AddrPort, proto uint8) netip.AddrPort {
		if proto == packet.ProtoESP {
			return addrPort(natT, 0)
		}
		key := fmt.Sprint(client, proto)
		if ports[key] == 0 {
			ports[key] = uint16(20000 + len(ports))
		}
		return addrPort(natT, ports[key])
	}
	for step := range *modelSteps {
		w.now++ // no two connections begin at once: which is older would depend on their shards
		switch f.r.IntN(30) {
		case 0:
			w.now += Time(f.r.Int64N(int64(200 * sec)))
		case 1:
			w.now += Time(f.r.Int64N(int64(3 * sec)))
		}
		if step%9973 == 0 {
			w.now += 6 * 24 * 3600 * sec
		}
		p := f.packet(outside)
		w.shard = f.r.IntN(2)
		got, want := bothTrack(w, m, p, outside)
		if got != want {
			t.Fatalf("step %d: %s %+v\ngot  %+v\nwant %+v", step, p.tuple, p.tcp, got, want)
		}
		if step%500 == 0 {
			compareAll(w, m)
			w.recount()
		}
	}
}

// bothTrack gives one packet to the table and to the model.
func bothTrack(w *world, m *model, p *modelPacket, outside outsideFunc) (got, want modelResult) {
	w.Helper()
	w.endExpired()
	inside := p.source.Is4() && p.source.As4()[0] == 10
	w.nat = func(c *Conn) {
		tp := c.Tuples[Original]
		if !inside {
			return
		}
		port := tp.SrcID
		if tp.Proto == packet.ProtoESP {
			port = 0
		}
		out := outside(addrPort(tp.SrcAddr(), port), addrPort(tp.DstAddr(), tp.DstID), tp.Proto)
		snat(natT, out.Port())(c)
	}
	reason := w.send(p.bytes)
	got = modelResult{reason: reason.String()}
	if reason == packet.NotDropped {
		c := &w.c
		got = modelResult{
			info: c.Info.String(), dir: int(c.Dir), target: words(c.Target()),
			seen: c.Status&SeenReply != 0, assured: c.Status&Assured != 0, conns: w.t.Len(),
		}
		if s, alive := w.t.Lookup(w.now, c.ID); alive {
			got.state, got.deadline, got.packets0 = s.State, s.Deadline, int(s.Packets[0])
		}
	}
	want = m.packet(w.now, p, func() (string, string) {
		var tp Tuple
		h, _ := packet.Parse(p.bytes)
		var k key
		k.keyOf(p.bytes, p.bytes[h.L4:], h.Family, h.Proto)
		tp = k.tuple()
		c := Conn{Tuples: [2]Tuple{tp, tp.inverse()}}
		w.nat(&c)
		return words(c.Tuples[Reply]), words(c.Target())
	})
	if want.deadline == 0 {
		want.state, want.packets0 = "", 0
	}
	return got, want
}

// words is a tuple as the generator writes it.
func words(t Tuple) string {
	if t.Proto == packet.ProtoICMP {
		return echoWords(t.SrcAddr(), t.DstAddr(), t.SrcID, t.DstID>>8 == 0)
	}
	return fmt.Sprint(t.Proto, " ", addrPort(t.SrcAddr(), t.SrcID), " ", addrPort(t.DstAddr(), t.DstID))
}

// endExpired ends all whose time is over, as if every one of them had been looked up.
func (w *world) endExpired() {
	for _, s := range w.t.shards {
		for slot := uint32(1); slot <= s.used; slot++ {
			if e := s.entry(slot); e.status&Confirmed != 0 && e.flags&flagDying == 0 && e.deadline <= w.now {
				s.end(e.deadline, slot, e, 0)
			}
		}
	}
}

func compareAll(w *world, m *model) {
	w.Helper()
	m.sweep(w.now)
	n := 0
	w.t.Walk(w.now, func(s *Snapshot) bool {
		n++
		c, _ := m.find(words(s.Tuples[Original]))
		if c == nil || c.packets != s.Packets || c.bytes != s.Bytes || c.start != s.Start || c.deadline != s.Deadline {
			w.Errorf("%v: %+v, the model has %+v", s.Tuples[Original], s, c)
		}
		return true
	})
	if n != len(m.conns) {
		w.Fatalf("%d connections, the model has %d", n, len(m.conns))
	}
	m.ended -= len(w.reap())
	if m.ended != 0 {
		w.Fatalf("%d ended connections were not handed back", m.ended)
	}
}
