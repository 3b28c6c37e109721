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
	for name, sent := range map[string][]byte{
		"UDP-64": testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: pattern(36)}.Bytes(),
		"TCP-1460": testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 2, Ack: 2, Flags: packet.FlagACK,
			Payload: pattern(1460)}.Bytes(),
	} {
		b.Run(name, func(b *testing.B) {
			n := hostileNetwork(b)
			n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 2, Ack: 2, Flags: packet.FlagACK}.Bytes())
			benchmarkLane(b, n, sent, packet.Meta{CsumValid: true})
		})
	}
}

// BenchmarkFirstPacket is a new UDP flow, with what netstack adds for its route.
func BenchmarkFirstPacket(b *testing.B) {
	cfg := testConfig()
	cfg.Conntrack.Max = 1 << 21
	n := newNetwork(b, cfg)
	discard(n)
	l := n.lane("lan0")
	frames := make([]tun.Frame, batchSize)
	b.ReportAllocs()
	flows := 0
	for b.Loop() {
		for i := range frames {
			frames[i] = frame(nil, packet.Meta{})
			flows++
			src := netip.AddrFrom4([4]byte{10, 77, byte(flows >> 16 & 63), byte(2 + flows>>8&127)})
			dst := netip.AddrFrom4([4]byte{198, 51, byte(flows >> 8), byte(flows)})
			frames[i].Len = copy(frames[i].Buf[headroom:], testpkt.UDP{Src: port(src, uint16(1024+flows&4095)), Dst: port(dst, 53)}.Bytes())
		}
		l.handle(frames)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(flows), "ns/flow")
	b.ReportMetric(float64(n.r.table.Len()), "flows")
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
	if sinks.packets != rounds*batchSize {
		b.Fatalf("%d of %d packets came out; drops %v", sinks.packets, rounds*batchSize, n.drops())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rounds*batchSize), "ns/packet")
}
