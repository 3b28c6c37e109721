package router

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// ownFlows is how many flows BenchmarkOwnEndpoint makes: 32 hosts with 32 768 ports each.
const ownFlows = 1 << 20

// BenchmarkOwnEndpoint is what a flow takes of the heap when each has its own inside endpoint, and so its own mapping:
// 1 M UDP flows behind a pool of 32 addresses. What the router takes without flows is counted with them.
func BenchmarkOwnEndpoint(b *testing.B) {
	cfg := testConfig()
	cfg.Conntrack.Max, cfg.Conntrack.MaxUnreplied = ownFlows, ownFlows
	pool := conntrack.AddrRange{First: netip.MustParseAddr("203.0.113.32"), Last: netip.MustParseAddr("203.0.113.63")}
	cfg.NAT = []nat.Rule{{Action: nat.SNAT, Out: "wan0", To: []conntrack.AddrRange{pool}}}
	sent := testpkt.UDP{Src: port(client4, 1024), Dst: port(server4, 53)}.Bytes()
	for b.Loop() {
		before := heap()
		n := newNetwork(b, cfg)
		discard(n)
		l := n.lane("lan0")
		for i := 0; i < ownFlows; i += len(l.frames) {
			for j := range l.frames {
				f := &l.frames[j]
				f.Len, f.Meta = copy(f.Buf[headroom:], sent), packet.Meta{CsumValid: true}
				ip := packet.IPv4(f.Bytes())
				ip.Src()[3] = byte(2 + (i+j)%32)
				binary.BigEndian.PutUint16(ip.Payload(), uint16(1024+(i+j)/32))
				ip.UpdateChecksum()
			}
			l.handle(l.frames)
		}
		grown := heap() - before
		if flows := n.r.table.Len(); flows != ownFlows {
			b.Fatalf("%d flows of %d; drops %v", flows, ownFlows, n.drops())
		}
		b.ReportMetric(float64(grown)/ownFlows, "B/flow")
	}
}

// heap returns what the heap holds after a collection, bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
