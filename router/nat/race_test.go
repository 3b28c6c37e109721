package nat

import (
	"sync"
	"testing"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// Workers bind, confirm and release at once, while somebody looks and changes addresses; run with -race.
func TestConcurrentUse(t *testing.T) {
	table := conntrack.New(conntrack.DefaultConfig())
	n, err := New(testConfig(masquerade), table)
	if err != nil {
		t.Fatal(err)
	}
	_, first := bound(t, udp("10.77.1.2:5000", "198.51.100.7:53"), "", "")
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 300 {
				c := first
				c.Tuples[0].SrcID = uint16(1024 + i%50)
				c.Tuples[0].DstID = uint16(worker*1000 + i)
				c.Tuples[1], _ = c.Tuples[0].Inverse()
				if n.Destination(second, lan, &c) != packet.NotDropped || n.Source(second, lan, wan, &c) != packet.NotDropped {
					t.Error("no binding")
					return
				}
				if i%3 == 0 {
					n.Abandon(second, &c)
					continue
				}
				n.Confirmed(second, &c)
				n.Release(second, &conntrack.Dead{Snapshot: conntrack.Snapshot{Tuples: c.Tuples, Mapping: c.Mapping}})
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			n.Stats()
			n.Walk(func(*MappingInfo) bool { return true })
			n.SetAddresses(wan, prefixes("203.0.113.1/24", "203.0.113.2/24"))
			n.OutsideAddress(addr("203.0.113.1"))
		}
	})
	wg.Wait()
	if s := n.Stats(); s.Mappings != 0 {
		t.Errorf("%d mappings are left", s.Mappings)
	}
}
