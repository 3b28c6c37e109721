package conntrack

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
	"unsafe"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

var (
	huge   = flag.Bool("huge", false, "benchmark 4M flows too")
	goHeap = flag.Bool("heap", false, "benchmark with the Go heap's memory, not with huge pages")
)

func sizes() []int {
	if *huge {
		return []int{10_000, 100_000, 1_000_000, 4_000_000}
	}
	return []int{10_000, 100_000, 1_000_000}
}

// flowPacket is a 64-byte packet whose addresses and ports are written for each flow, checksums left alone.
type flowPacket struct {
	b []byte
	h packet.Headers
	p Packet
}

func newFlowPacket(b []byte) *flowPacket {
	f := &flowPacket{b: b}
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		panic(reason)
	}
	f.h = h
	f.p = Packet{Bytes: f.b, H: &f.h}
	return f
}

var (
	benchUDP = testpkt.UDP{
		Src: netip.MustParseAddrPort("10.77.0.1:1"), Dst: netip.MustParseAddrPort("203.0.113.1:53"), Payload: make([]byte, 36),
	}.Bytes()
	benchTCP = testpkt.TCP{
		Src: netip.MustParseAddrPort("10.77.0.1:1"), Dst: netip.MustParseAddrPort("203.0.113.1:80"),
		Flags: packet.FlagACK, Options: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1}, Payload: make([]byte, 1448),
	}.Bytes()
)

// set makes it the packet of flow i: 4096 inside endpoints times destinations.
func (f *flowPacket) set(i int) {
	inside, remote := uint32(i)&4095, uint32(i)>>12
	binary.BigEndian.PutUint32(f.b[12:], 0x0a4d0000|inside)
	binary.BigEndian.PutUint32(f.b[16:], 0xc0000000|remote)
	binary.BigEndian.PutUint16(f.b[20:], 40000)
	binary.BigEndian.PutUint16(f.b[22:], 53)
}

// setReply is the answer, to the outside address that bench NAT gave it.
func (f *flowPacket) setReply(i int) {
	inside, remote := uint32(i)&4095, uint32(i)>>12
	binary.BigEndian.PutUint32(f.b[12:], 0xc0000000|remote)
	binary.BigEndian.PutUint32(f.b[16:], 0xcb007101)
	binary.BigEndian.PutUint16(f.b[20:], 53)
	binary.BigEndian.PutUint16(f.b[22:], uint16(10000+inside))
}

// open tracks and confirms flow i with a source NAT, as router does.
func (f *flowPacket) open(t *Table, now Time, i int, c *Conn) packet.DropReason {
	f.set(i)
	if reason := t.Track(0, now, &f.p, c); reason != packet.NotDropped {
		return reason
	}
	if c.ID != 0 {
		return packet.NotDropped
	}
	c.Tuples[Reply].Dst = mapped(0xcb007101)
	c.Tuples[Reply].DstID = uint16(10000 + i&4095)
	c.Status |= SrcNAT | SrcNATDone | DstNATDone
	return t.Confirm(0, now, c)
}

// benchTable has room for n connections, answered or not.
func benchTable(tb testing.TB, n int) *Table {
	cfg := DefaultConfig()
	cfg.Max, cfg.MaxUnreplied = n, n
	if !*goHeap {
		cfg.Memory = hugeMemory(tb)
	}
	return New(cfg)
}

// fill opens n flows; replied answers each.
func fill(tb testing.TB, t *Table, b []byte, n int, now Time, replied bool) {
	tb.Helper()
	f, c := newFlowPacket(append([]byte(nil), b...)), new(Conn)
	for i := range n {
		if reason := f.open(t, now, i, c); reason != packet.NotDropped {
			tb.Fatalf("flow %d: %v", i, reason)
		}
		if replied {
			f.setReply(i)
			if reason := t.Track(0, now, &f.p, c); reason != packet.NotDropped || c.Info != InfoEstablishedReply {
				tb.Fatalf("flow %d: reply %v %v", i, reason, c.Info)
			}
		}
	}
}

// heldBytes is what the Go heap holds, and what a table has beside it.
func heldBytes(t *Table) (n int) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if t != nil && !*goHeap {
		for _, s := range t.shards {
			n += len(s.chunks)*chunkSize*int(unsafe.Sizeof(entry{})) + len(s.tcp.chunks)*chunkSize*int(unsafe.Sizeof(tcpState{})) +
				len(s.addrs.chunks)*chunkSize*64 + s.index.base*int(unsafe.Sizeof(segment{}))
		}
	}
	return n + int(m.HeapInuse+m.StackInuse)
}

// BenchmarkTrack is a packet of an established connection, alternating between directions over all flows in an order
// that no cache foresees.
func BenchmarkTrack(b *testing.B) {
	for name, pkt := range map[string][]byte{"udp": benchUDP, "tcp": benchTCP} {
		for _, n := range sizes() {
			b.Run(fmt.Sprintf("%s/%d-conns", name, n), func(b *testing.B) {
				before := heldBytes(nil)
				t := benchTable(b, n)
				fill(b, t, pkt, n, 0, true)
				perFlow := float64(heldBytes(t)-before) / float64(n)
				start := time.Now()
				runtime.GC()
				collect := time.Since(start)
				f, c := newFlowPacket(append([]byte(nil), pkt...)), new(Conn)
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					i = (i + 7919*4099) % n
					if i&1 == 0 {
						f.set(i)
					} else {
						f.setReply(i)
					}
					if reason := t.Track(0, 1, &f.p, c); reason != packet.NotDropped {
						b.Fatal(reason)
					}
				}
				b.ReportMetric(perFlow, "B/flow")
				b.ReportMetric(float64(collect.Microseconds())/1000, "gc-ms")
			})
		}
	}
}

// BenchmarkEvict is BenchmarkNew in a full table: an unanswered flow is pushed out for each.
func BenchmarkEvict(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("%d-conns", n), func(b *testing.B) {
			cfg := DefaultConfig()
			cfg.Max, cfg.MaxUnreplied = n, n
			t := New(cfg)
			fill(b, t, benchUDP, n, 0, false)
			f, c := newFlowPacket(append([]byte(nil), benchUDP...)), new(Conn)
			dead := make([]Dead, 64)
			b.ReportAllocs()
			for i := n; b.Loop(); i++ {
				if reason := f.open(t, Time(i), i, c); reason != packet.NotDropped {
					b.Fatal(reason)
				}
				if i%32 == 0 {
					t.Reap(0, dead)
				}
			}
		})
	}
}

// BenchmarkNew is Track and Confirm of a new UDP flow, at a table that holds n to 2n.
func BenchmarkNew(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("%d-conns", n), func(b *testing.B) {
			f, c := newFlowPacket(append([]byte(nil), benchUDP...)), new(Conn)
			var t *Table
			b.ReportAllocs()
			for i := 2 * n; b.Loop(); i++ {
				if i == 2*n {
					b.StopTimer()
					t, i = benchTable(b, 2*n), n
					fill(b, t, benchUDP, n, 0, false)
					b.StartTimer()
				}
				if reason := f.open(t, Time(i), i, c); reason != packet.NotDropped {
					b.Fatal(reason)
				}
			}
		})
	}
}

// BenchmarkChurn keeps n flows of which as many end as begin: the cost of a flow's whole life.
func BenchmarkChurn(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("%d-conns", n), func(b *testing.B) {
			t := benchTable(b, n+n/4)
			f, c := newFlowPacket(append([]byte(nil), benchUDP...)), new(Conn)
			life := Time(DefaultTimeouts(ProfileRFC).UDP)
			gap := life / Time(n)
			now, i := Time(0), 0
			dead := make([]Dead, 64)
			one := func() {
				if reason := f.open(t, now, i, c); reason != packet.NotDropped {
					b.Fatal(reason, t.Len())
				}
				i++
				now += gap
				if i%16 == 0 {
					t.Step(0, now, 64)
					for t.Reap(0, dead) == len(dead) {
					}
				}
			}
			for range n + n/8 {
				one()
			}
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
			b.ReportMetric(float64(t.Len()), "conns")
		})
	}
}

// BenchmarkStep is what one call of Step costs while every flow of the table expires.
func BenchmarkStep(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("%d-conns", n), func(b *testing.B) {
			defer debug.SetGCPercent(debug.SetGCPercent(400))
			var t *Table
			now := Time(0)
			dead := make([]Dead, 128)
			longest, left := time.Duration(0), 0
			for b.Loop() {
				if left == 0 {
					b.StopTimer()
					t, now, left = benchTable(b, n), 0, n
					fill(b, t, benchUDP, n, 0, false)
					now = Time(400 * time.Second)
					b.StartTimer()
				}
				start := time.Now()
				left -= t.Step(0, now, 64)
				longest = max(longest, time.Since(start))
				for t.Reap(0, dead) == len(dead) {
				}
			}
			b.ReportMetric(float64(longest.Microseconds()), "max-µs")
		})
	}
}

// BenchmarkTrackBatch is BenchmarkTrack for batches of 64 packets, as a worker reads them, with Warm before.
func BenchmarkTrackBatch(b *testing.B) {
	for name, pkt := range map[string][]byte{"udp": benchUDP, "tcp": benchTCP} {
		for _, n := range sizes() {
			b.Run(fmt.Sprintf("%s/%d-conns", name, n), func(b *testing.B) {
				t := benchTable(b, n)
				fill(b, t, pkt, n, 0, true)
				var flows [64]*flowPacket
				var batch [64]*Packet
				for i := range flows {
					flows[i] = newFlowPacket(append([]byte(nil), pkt...))
					batch[i] = &flows[i].p
				}
				c := new(Conn)
				at := 0
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if i%64 == 0 {
						for _, f := range flows {
							if at = (at + 7919*4099) % n; at&1 == 0 {
								f.set(at)
							} else {
								f.setReply(at)
							}
						}
						t.Warm(0, batch[:])
					}
					if reason := t.Track(0, 1, batch[i%64], c); reason != packet.NotDropped {
						b.Fatal(reason)
					}
				}
			})
		}
	}
}
