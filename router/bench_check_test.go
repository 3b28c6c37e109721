package router

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// manyForwards is a configuration of so many forwards of one address.
func manyForwards(n int) Config {
	cfg := testConfig()
	wan, target := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("10.77.0.2")
	for i := range n {
		cfg.NAT = append(cfg.NAT, nat.Rule{
			Action: nat.DNAT, In: "wan0", Proto: packet.ProtoTCP, Line: i + 1,
			Destination: []conntrack.AddrRange{{First: wan, Last: wan}}, Ports: []conntrack.PortRange{{First: uint16(i + 1), Last: uint16(i + 1)}},
			To: []conntrack.AddrRange{{First: target, Last: target}}, ToPorts: []conntrack.PortRange{{First: 80, Last: 80}},
		})
	}
	return cfg
}

// BenchmarkCheck checks many forwards, and BenchmarkNew makes a router of them.
func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{10000, 40000} {
		b.Run(fmt.Sprintf("%d-forwards", n), func(b *testing.B) {
			cfg := manyForwards(n)
			for b.Loop() {
				if l := cfg.Check(); len(l) > 0 {
					b.Fatal(l[0])
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for _, n := range []int{10000, 40000} {
		b.Run(fmt.Sprintf("%d-forwards", n), func(b *testing.B) {
			cfg := manyForwards(n)
			for b.Loop() {
				lan, _ := tun.NewPair(tun.PairConfig{})
				wan, _ := tun.NewPair(tun.PairConfig{})
				if _, err := New(cfg, Options{Devices: map[string]tun.Device{"lan0": lan, "wan0": wan}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
