package conntrack

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/packet"
)

// BenchmarkLatency is the time of one packet of one of 64 talking flows while all the others expire and are reaped, in
// batches of 32 as a worker does it, beside the same with no others.
func BenchmarkLatency(b *testing.B) {
	const hot, batch = 64, 32
	for _, n := range append([]int{0}, sizes()...) {
		b.Run(fmt.Sprintf("%d-expiring", n), func(b *testing.B) {
			t := benchTable(b, n+hot)
			fill(b, t, benchUDP, n, 0, false)
			f, c := newFlowPacket(append([]byte(nil), benchUDP...)), new(Conn)
			for i := range hot {
				if reason := f.open(t, 200*sec, n+i, c); reason != packet.NotDropped {
					b.Fatal(reason)
				}
			}
			var times []time.Duration
			dead := make([]Dead, batch)
			now := 290 * sec // the others' time is over at 300 s
			for i := 0; b.Loop(); i++ {
				now += sec / 20000
				if i%batch == 0 {
					t.Step(0, now, batch)
					t.Reap(0, dead)
				}
				start := time.Now()
				f.set(n + i%hot)
				if reason := t.Track(0, now, &f.p, c); reason != packet.NotDropped || c.ID == 0 {
					b.Fatal(reason, c.ID)
				}
				times = append(times, time.Since(start))
			}
			slices.Sort(times)
			for name, q := range map[string]float64{"p50-ns": 0.5, "p99-ns": 0.99, "p999-ns": 0.999} {
				b.ReportMetric(float64(times[int(q*float64(len(times)-1))].Nanoseconds()), name)
			}
		})
	}
}
