package router

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

var huge = flag.Bool("huge", false, "benchmark 4M flows too")

// flowCounts are the sizes of table that are measured.
func flowCounts() []int {
	counts := []int{10_000, 100_000, 1_000_000}
	if *huge {
		counts = append(counts, 4_000_000)
	}
	return counts
}

// firstPackets are the headers of the first packets of UDP flows: 4096 inside endpoints times destinations. They are
// made before anything is measured.
type firstPackets struct {
	headers []byte
	size    int // of one
}

func newFirstPackets(n int) *firstPackets {
	b := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()
	f := &firstPackets{headers: make([]byte, 0, n*len(b)), size: len(b)}
	for i := range n {
		binary.BigEndian.PutUint32(b[12:], 0x0a4d0002+uint32(i%64))
		binary.BigEndian.PutUint32(b[16:], 0x2d000000+uint32(i>>12))
		binary.BigEndian.PutUint16(b[20:], uint16(5000+i>>6&63))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], ^packet.Checksum(b[:20], 0))
		f.headers = append(f.headers, b...)
	}
	return f
}

// set makes frames the packets from flow i on.
func (f *firstPackets) set(frames []tun.Frame, i int) {
	for j := range frames {
		frames[j].Off, frames[j].Meta = headroom, packet.Meta{CsumValid: true}
		frames[j].Len = copy(frames[j].Buf[headroom:], f.packet(i+j))
	}
}

// packet is the first packet of flow i.
func (f *firstPackets) packet(i int) []byte { return f.headers[i*f.size:][:f.size] }

// firstNetwork is a network with room for n flows that nobody answers.
func firstNetwork(b *testing.B, n int, memory func(int) []byte) *network {
	cfg := testConfig()
	cfg.Conntrack.Max, cfg.Conntrack.MaxUnreplied, cfg.Conntrack.Memory = n, n, memory
	net := newNetwork(b, cfg)
	discard(net)
	return net
}

// BenchmarkFirstPacket is a new UDP flow through masquerade and all of our hooks, with what netstack adds for its
// route, at a table that holds n to 2n flows.
func BenchmarkFirstPacket(b *testing.B) {
	for _, flows := range flowCounts() {
		b.Run(fmt.Sprintf("%d-flows", flows), func(b *testing.B) {
			flows -= flows % firstBatch
			sent := newFirstPackets(2 * flows)
			var l *lane
			var n *network
			b.ReportAllocs()
			next, done := 2*flows, 0
			for b.Loop() {
				if next == 2*flows {
					b.StopTimer()
					n = firstNetwork(b, 2*flows, nil)
					l = n.lane("lan0")
					for next = 0; next < flows; next += firstBatch {
						sent.set(l.frames, next)
						l.handle(l.frames)
					}
					runtime.GC()
					b.StartTimer()
				}
				sent.set(l.frames, next)
				l.handle(l.frames)
				next += firstBatch
				done += firstBatch
			}
			if n.r.table.Len() != next {
				b.Fatalf("%d flows, want %d; drops %v", n.r.table.Len(), next, n.drops())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(done), "ns/flow")
		})
	}
}

// BenchmarkRefill fills the table, lets all expire, and fills it again: what a flow adds to the memory of the process
// each time, NAT and accounting included. It has to be the only benchmark of its run: what others left is used first.
func BenchmarkRefill(b *testing.B) {
	const flows = 1_000_000 / firstBatch * firstBatch
	sent := newFirstPackets(flows)
	n := firstNetwork(b, flows, HugePages)
	l := n.lane("lan0")
	debug.FreeOSMemory()
	before := residentBytes(b)
	for b.Loop() {
		for round := range 3 {
			for i := 0; i < flows; i += firstBatch {
				sent.set(l.frames, i)
				l.handle(l.frames)
			}
			if n.r.table.Len() != flows {
				b.Fatalf("%d flows, want %d; drops %v", n.r.table.Len(), flows, n.drops())
			}
			b.ReportMetric(float64(residentBytes(b)-before)/flows, fmt.Sprintf("B/flow-%d", round+1))
			n.clock.Advance(10 * time.Minute)
			for n.r.table.Len() > 0 {
				n.r.tick()
			}
		}
	}
}

// residentBytes is the memory that the process holds.
func residentBytes(b *testing.B) int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("no /proc/self/statm: ", err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		b.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}
