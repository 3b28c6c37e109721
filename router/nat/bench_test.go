package nat

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// BenchmarkRewrite is both manipulations of a packet of an established connection.
func BenchmarkRewrite(b *testing.B) {
	for name, e := range map[string][2]string{"IPv4": {"10.77.1.2:5000", "198.51.100.7:53"}, "IPv6": {"[fd77::2]:5000", "[2001:db8::7]:53"}} {
		pkt := udp(e[0], e[1])
		h, c := bound(b, pkt, "", "")
		bindAs(&c, ap(map[bool]string{true: "203.0.113.1:6000", false: "[2001:db8:113::1]:6000"}[h.Family == 4]), ap(e[1]))
		m := packet.Meta{}
		b.Run(name+"/hooks", func(b *testing.B) {
			for b.Loop() {
				RewriteDst(pkt, &h, &m, &c)
				RewriteSrc(pkt, &h, &m, &c, netip.Addr{})
			}
		})
		b.Run(name+"/twice", func(b *testing.B) {
			c := c
			c.Tuples[1].Src[15]++
			c.Status |= conntrack.DstNAT
			for b.Loop() {
				RewriteDst(pkt, &h, &m, &c)
				RewriteSrc(pkt, &h, &m, &c, netip.Addr{})
			}
		})
		r := NewRewrite(&c, conntrack.Original)
		b.Run(name+"/stored", func(b *testing.B) {
			for b.Loop() {
				r.Apply(pkt, &h, &m)
			}
		})
	}
}

// BenchmarkAllocate takes a port and gives it back, at an address whose ports are full to a degree.
func BenchmarkAllocate(b *testing.B) {
	for _, full := range []int{0, 50, 99} {
		b.Run(fmt.Sprintf("%d%%", full), func(b *testing.B) {
			n, _ := New(testConfig(), nil)
			p := new(ports)
			for range (65536 - 1024) * full / 100 {
				n.choose(p, &request{proto: packet.ProtoUDP, want: 1024})
			}
			q := request{proto: packet.ProtoUDP, want: 1024}
			if !p.taken(q.want) {
				p.take(q.want) // it can't be kept
			}
			for b.Loop() {
				port, _ := n.choose(p, &q)
				p.free(port)
			}
		})
	}
}

// fill makes mappings, each with an inside endpoint of its own, over a pool of a /27.
func fill(tb testing.TB, count int) (*NAT, func(i int, c *conntrack.Conn)) {
	tb.Helper()
	cfg := testConfig(Rule{Action: SNAT, Out: "wan0", To: addrs("198.51.100.32/27")})
	cfg.Max = count + 1<<16
	n, err := New(cfg, nil)
	if err != nil {
		tb.Fatal(err)
	}
	var first conntrack.Conn
	_, first = bound(tb, udp("10.77.1.2:5000", "192.0.2.1:53"), "", "")
	conn := func(i int, c *conntrack.Conn) {
		*c = first
		binary.BigEndian.PutUint16(c.Tuples[0].Src[14:], uint16(i>>15))
		c.Tuples[0].SrcID = uint16(1024 + i&0x7fff)
		c.Tuples[1], _ = c.Tuples[0].Inverse()
	}
	var c conntrack.Conn
	for i := range count {
		conn(i, &c)
		if reason := n.Source(second, lan, wan, &c); reason != packet.NotDropped {
			tb.Fatalf("mapping %d: %v", i, reason)
		}
		n.Confirmed(second, &c)
	}
	return n, conn
}

// BenchmarkMapping finds the mapping of a new connection, among so many.
func BenchmarkMapping(b *testing.B) {
	for _, count := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("found/%d", count), func(b *testing.B) {
			n, conn := fill(b, count)
			var c conntrack.Conn
			i := 0
			for b.Loop() {
				i = (i*1103515245 + 12345) & 0x7fffffff
				conn(i%count, &c)
				n.Source(second, lan, wan, &c)
				n.Abandon(second, &c)
			}
		})
		b.Run(fmt.Sprintf("made/%d", count), func(b *testing.B) {
			n, conn := fill(b, count)
			var c conntrack.Conn
			for b.Loop() {
				conn(count, &c)
				n.Source(second, lan, wan, &c)
				n.Abandon(second, &c)
			}
		})
	}
}

// A mapping and its indexes take about 100 bytes.
func TestMappingMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED short: makes 200000 mappings")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const count = 200_000
	n, _ := fill(t, count)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / count
	t.Logf("%.0f bytes a mapping, remote addresses and ports included", each)
	if each > 160 {
		t.Errorf("%.0f bytes a mapping", each)
	}
	runtime.KeepAlive(n)
}

// Decisions allocate nothing once their tables have grown.
func TestSourceAllocs(t *testing.T) {
	n, conn := fill(t, 1000)
	var c conntrack.Conn
	i := 0
	if got := testing.AllocsPerRun(500, func() {
		conn(i, &c)
		i++
		n.Destination(second, lan, &c)
		n.Source(second, lan, wan, &c)
		n.Abandon(second, &c)
	}); got != 0 {
		t.Errorf("%v allocations a new connection of a known mapping", got)
	}
}

// BenchmarkICMPError translates a frag needed with its quote.
func BenchmarkICMPError(b *testing.B) {
	w := newWorld(b, masquerade)
	left := w.pass(lan, udp("10.77.1.2:5000", "198.51.100.7:53"))
	e := testpkt.ICMP{Src: addr("192.0.2.99"), Dst: addr("203.0.113.1"), Type: 3, Code: 4, Payload: left}.Bytes()
	h, _ := packet.Parse(e)
	c := w.conn
	c.Dir, c.ErrorL3 = conntrack.Reply, 28
	m := packet.Meta{CsumValid: true}
	for b.Loop() {
		RewriteDst(e, &h, &m, &c)
		RewriteSrc(e, &h, &m, &c, netip.Addr{})
	}
}

// BenchmarkNew is a start: the check of the rules, and the engine.
func BenchmarkNew(b *testing.B) {
	for _, n := range []int{1000, 10000, 40000} {
		b.Run(fmt.Sprintf("%d-forwards", n), func(b *testing.B) {
			cfg := forwardRules(n)
			for b.Loop() {
				if _, err := New(cfg, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
