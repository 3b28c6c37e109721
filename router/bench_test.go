package router

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// BenchmarkEstablished is one packet of an established masqueraded flow through all of our hooks, bytes in, bytes
// out, no I/O and no netstack between.
func BenchmarkEstablished(b *testing.B) {
	for name, e := range map[string]struct {
		client, wan, server netip.Addr
		full                int // payload of a full segment, bytes
	}{"": {client4, wan4, server4, 1460}, "-IPv6": {client6, wan6, server6, 1440}} {
		udp := testpkt.UDP{Src: port(e.client, 5000), Dst: port(e.server, 53)}
		tcp := testpkt.TCP{Src: port(e.client, 5000), Dst: port(e.server, 80), Seq: 2, Ack: 2, Flags: packet.FlagACK}
		n := newNetwork(b, testConfig())
		n.send("lan0", udp.Bytes(), tcp.Bytes())
		n.send("wan0", testpkt.UDP{Src: port(e.server, 53), Dst: port(e.wan, 5000)}.Bytes(),
			testpkt.TCP{Src: port(e.server, 80), Dst: port(e.wan, 5000), Seq: 2, Ack: 2, Flags: packet.FlagACK}.Bytes())
		udp.Payload, tcp.Payload = pattern(36), pattern(e.full)
		for kind, sent := range map[string][]byte{"UDP-64": udp.Bytes(), fmt.Sprint("TCP-", e.full): tcp.Bytes()} {
			b.Run(kind+name, func(b *testing.B) {
				slow := n.lane("lan0").received.packets.Load() - n.lane("lan0").fast.Load()
				benchmarkLane(b, n, sent, packet.Meta{CsumValid: true})
				if n.lane("lan0").received.packets.Load()-n.lane("lan0").fast.Load() != slow {
					b.Error("not all took the fast path")
				}
			})
		}
	}
}

// BenchmarkManyFlows is one packet of each of many established flows, in an order that no cache likes, through all
// of our hooks.
func BenchmarkManyFlows(b *testing.B) {
	for _, flows := range flowCounts() {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			sent := newFirstPackets(flows)
			n := firstNetwork(b, flows, nil)
			sinks := discard(n)
			l, answers := n.lane("lan0"), n.lane("wan0")
			for i := range flows {
				answers.frames[0].Len = n.answer(l, sent.packet(i), &answers.frames[0])
				answers.handle(answers.frames[:1])
			}
			before, next := sinks.packets, 0
			b.ReportAllocs()
			for b.Loop() {
				for j := range l.frames {
					next = (next + 7919) % flows // a prime: visits all
					sent.set(l.frames[j:j+1], next)
				}
				l.handle(l.frames)
			}
			if n.r.table.Len() != flows || sinks.packets == before {
				b.Fatalf("%d flows, %d packets; drops %v", n.r.table.Len(), sinks.packets-before, n.drops())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sinks.packets-before), "ns/packet")
		})
	}
}

// answer sends b and writes the answer to what came out of it into f.
func (n *network) answer(l *lane, b []byte, f *tun.Frame) int {
	var out []byte
	capture := &copying{to: &out}
	q := n.r.interfaces[1].queues[0]
	old := q.queue
	q.queue = capture
	copyFrame(&l.frames[0], &tun.Frame{Buf: append(make([]byte, headroom), b...), Off: headroom, Len: len(b), Meta: packet.Meta{CsumValid: true}})
	l.handle(l.frames[:1])
	q.queue = old
	e := endpoints(n.t, out)
	return copy(f.Buf[headroom:], testpkt.UDP{Src: e.dst, Dst: e.src}.Bytes())
}

// copying is a queue that keeps the last packet.
type copying struct {
	sink
	to *[]byte
}

func (c *copying) Write(frames []tun.Frame) (int, error) {
	*c.to = append([]byte(nil), frames[len(frames)-1].Bytes()...)
	return len(frames), nil
}

// BenchmarkNetstackRoute is what asking netstack for a route costs, which established flows do not.
func BenchmarkNetstackRoute(b *testing.B) {
	for _, dst := range []netip.Addr{server4, server6} {
		b.Run(fmt.Sprintf("IPv%d", 4+2*boolInt(dst.Is6())), func(b *testing.B) {
			n := newNetwork(b, testConfig())
			src := client4
			if dst.Is6() {
				src = client6
			}
			l := n.lane("lan0")
			f := frame(testpkt.UDP{Src: port(src, 5000), Dst: port(dst, 53), Payload: pattern(36)}.Bytes(), packet.Meta{})
			p := &l.packet
			p.reset(f.Buf, f.Off, f.Len, f.Meta)
			p.in, p.lane = l.nif, l
			p.H, _ = packet.Parse(p.Bytes)
			b.ReportAllocs()
			for b.Loop() {
				if reason := l.worker.stack.route(p); reason != packet.NotDropped {
					b.Fatal(reason)
				}
			}
		})
	}
}

// benchmarkLane sends one packet again and again; all must come out.
func benchmarkLane(b *testing.B, n *network, sent []byte, m packet.Meta) {
	sinks := discard(n)
	l := n.lane("lan0")
	from := frame(sent, m)
	for i := range l.frames {
		copyFrame(&l.frames[i], &from)
	}
	b.ReportAllocs()
	rounds := 0
	for b.Loop() {
		for i := range l.frames { // only headers were changed
			f := &l.frames[i]
			f.Len, f.Meta = from.Len, from.Meta
			copy(f.Buf[f.Off:], from.Bytes()[:min(from.Len, 64)])
		}
		l.handle(l.frames)
		rounds++
	}
	if want := rounds * len(l.frames); sinks.packets != want {
		b.Fatalf("%d of %d packets came out; drops %v", sinks.packets, want, n.drops())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rounds*len(l.frames)), "ns/packet")
}
