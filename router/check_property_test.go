package router

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// TestGoodConfigurationsWarnOfNothing: some inside networks, an outside one, forwards to hosts that are there, and filter
// rules that each do something: whatever of these a configuration has, nothing is said of it.
func TestGoodConfigurationsWarnOfNothing(t *testing.T) {
	span := func(s string) []conntrack.AddrRange { return spans(s) }
	rapid.Check(t, func(t *rapid.T) {
		cfg := DefaultConfig()
		lans := rapid.IntRange(1, 3).Draw(t, "inside networks")
		for i := range lans {
			cfg.Interfaces = append(cfg.Interfaces, Interface{
				Name: fmt.Sprintf("lan%d", i), Side: Inside, MTU: 1500,
				Address: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.77.%d.1/24", i)), netip.MustParsePrefix(fmt.Sprintf("fd77:0:0:%d::1/64", i))},
			})
		}
		cfg.Interfaces = append(cfg.Interfaces, Interface{
			Name: "wan0", Side: Outside, MTU: 1500,
			Address: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/24"), netip.MustParsePrefix("2001:db8:113::1/64")},
		})
		cfg.Routes = []Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Interface: "wan0"}, {To: netip.MustParsePrefix("::/0"), Interface: "wan0"}}
		for i := range rapid.IntRange(0, 3).Draw(t, "forwards") {
			lan := rapid.IntRange(0, lans-1).Draw(t, "network")
			r := nat.Rule{
				Action: nat.DNAT, In: rapid.SampledFrom([]string{"", "wan0"}).Draw(t, "in"), Proto: packet.ProtoTCP,
				Ports: []conntrack.PortRange{{First: uint16(80 + i), Last: uint16(80 + i)}}, Destination: span("203.0.113.1/32"),
				To: span(fmt.Sprintf("10.77.%d.%d/32", lan, 2+i)),
			}
			if rapid.Bool().Draw(t, "from somebody") {
				r.Source = span("192.0.2.0/24")
			}
			cfg.NAT = append(cfg.NAT, r)
		}
		if rapid.Bool().Draw(t, "a host with a pool of its own") {
			cfg.NAT = append(cfg.NAT, nat.Rule{Action: nat.SNAT, Out: "wan0", Source: span("10.77.0.9/32"), To: span("198.51.100.7/32")})
		}
		if rapid.Bool().Draw(t, "by network") {
			for i := range lans {
				cfg.NAT = append(cfg.NAT, nat.Rule{Action: nat.Masquerade, Out: "wan0", Source: append(
					span(fmt.Sprintf("10.77.%d.0/24", i)), span(fmt.Sprintf("fd77:0:0:%d::/64", i))...)})
			}
		} else {
			cfg.NAT = append(cfg.NAT, nat.Rule{Action: nat.Masquerade, Out: "wan0", Source: append(span("10.0.0.0/8"), span("fd77::/16")...)})
		}
		for _, r := range []FilterRule{
			{Action: FilterReject, Proto: packet.ProtoTCP, Ports: []conntrack.PortRange{{First: 25, Last: 25}}},
			{Action: FilterAccept, In: "wan0", Destination: span("10.77.0.2/32")},
			{Action: FilterAccept, In: "lan0", Source: span("10.77.0.64/26")},
			{Action: FilterDrop, In: "lan0", Out: "wan0", Proto: packet.ProtoUDP},
			{Action: FilterAccept, State: []string{"established", "related"}},
		} {
			if rapid.Bool().Draw(t, "a filter rule") {
				cfg.Filter.Rules = append(cfg.Filter.Rules, r)
			}
		}
		if l := cfg.Check(); len(l) > 0 {
			t.Fatalf("%s\nof %+v", l.Error(), cfg)
		}
	})
}
