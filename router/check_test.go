package router

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// TestCheck: an embedding program hears, by the places of its own Config, what "check" says of a file. All of the texts
// are in testdata of internal/config.
func TestCheck(t *testing.T) {
	at := func(a string) []conntrack.AddrRange {
		x := netip.MustParseAddr(a)
		return []conntrack.AddrRange{{First: x, Last: x}}
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string // the beginning of each line
	}{
		"the tests' own":         {func(*Config) {}, ""},
		"no interface":           {func(c *Config) { *c = Config{} }, "interface: there is no [[interface]]"},
		"all are inside":         {func(c *Config) { c.NAT = nil; c.Interfaces[1].Side = Inside }, "interface[0].side: no interface is outside"},
		"inside, and translated": {func(c *Config) { c.Interfaces[1].Side = Inside }, `interface[1].side: side = "inside" contradicts a rule`},
		"open to strangers":      {func(c *Config) { c.Filter.Rules = []FilterRule{{Action: FilterAccept}} }, `filter.rule[0]: everybody behind "wan0", which is outside, may begin`},
		"a rule never reached": {func(c *Config) {
			c.Filter.Rules = []FilterRule{{Action: FilterDrop, Proto: packet.ProtoTCP}, {Action: FilterReject, Proto: packet.ProtoTCP, In: "lan0"}}
		}, "filter.rule[1]: the rule never applies"},
		"an address twice": {func(c *Config) { c.Interfaces[1].Address = append(c.Interfaces[1].Address, c.Interfaces[0].Address[0]) },
			`interface[1].address[2]: address 10.77.0.1 belongs to interface "lan0" already (interface[0].address[0])`},
		"networks that overlap": {func(c *Config) {
			c.Interfaces[1].Address = append(c.Interfaces[1].Address, netip.MustParsePrefix("10.77.0.9/30"))
		}, `interface[1].address[2]: network 10.77.0.8/30 overlaps 10.77.0.0/`},
		"a small MTU": {func(c *Config) { c.Interfaces[0].MTU = 1279 }, "interface[0].mtu: mtu = 1279 is too small for IPv6"},
		"a target nobody": {func(c *Config) {
			c.NAT = append(c.NAT, nat.Rule{Action: nat.DNAT, In: "wan0", Proto: packet.ProtoTCP, To: at("10.77.0.1")})
		}, "nat[1].to[0]: to: 10.77.0.1 is the router's own address"},
		"a helper rule": {func(c *Config) {
			c.Helpers = []HelperRule{{Name: "ftp", Proto: packet.ProtoTCP}, {Name: "none", Proto: packet.ProtoTCP}}
		}, "helper[1]: the rule never applies"},
		"a pass rule": {func(c *Config) { c.Conntrack.Pass = []conntrack.PassRule{{Proto: packet.ProtoTCP}} }, `pass[0].protocol: protocol "tcp" has ports`},
	} {
		cfg := testConfig()
		tt.change(&cfg)
		l := cfg.Check()
		if tt.want == "" && len(l) > 0 || tt.want != "" && (len(l) != 1 || !strings.HasPrefix(l.Error(), tt.want)) {
			t.Errorf("%s: got\n%s\nwant one that begins\n%s", name, l.Error(), tt.want)
		}
	}
}

// TestAccess: who may begin what, by side, filter and forwards.
func TestAccess(t *testing.T) {
	forward := nat.Rule{Action: nat.DNAT, In: "wan0", Proto: packet.ProtoTCP, To: []conntrack.AddrRange{{First: client4, Last: client4}}}
	masq := []int{0}
	for name, tt := range map[string]struct {
		change  func(*Config)
		out, in Access // lan0 to wan0, wan0 to lan0
	}{
		"by default":     {func(*Config) {}, Access{All: true, Filter: -1, Translated: masq}, Access{Filter: -1}},
		"by a forward":   {func(c *Config) { c.NAT = append(c.NAT, forward) }, Access{All: true, Filter: -1, Translated: masq}, Access{Filter: -1, Forwards: []int{1}}},
		"nothing":        {func(c *Config) { c.Filter.Forward = FilterDrop; c.NAT = append(c.NAT, forward) }, Access{Filter: -1, Translated: masq}, Access{Filter: -1}},
		"by a rule":      {func(c *Config) { c.Filter.Rules = []FilterRule{{Action: FilterAccept, In: "wan0"}} }, Access{All: true, Filter: -1, Translated: masq}, Access{All: true, Filter: 0}},
		"by part of one": {func(c *Config) { c.Filter.Rules = []FilterRule{{Action: FilterAccept, Proto: 6}} }, Access{All: true, Filter: -1, Translated: masq}, Access{Filter: -1, Accepted: []int{0}}},
		"closed": {func(c *Config) {
			c.Filter.Rules = []FilterRule{{Action: FilterAccept, Proto: 6}, {Action: FilterReject, In: "lan0"}, {Action: FilterAccept, Proto: 17}}
		}, Access{Filter: 1, Accepted: []int{0}, Translated: masq}, Access{Filter: -1, Accepted: []int{0, 2}}},
	} {
		cfg := testConfig()
		tt.change(&cfg)
		tt.out.In, tt.out.Out, tt.in.In, tt.in.Out = "lan0", "wan0", "wan0", "lan0"
		got := cfg.Access()
		if len(got) != 2 || !reflect.DeepEqual(got[0], tt.out) || !reflect.DeepEqual(got[1], tt.in) {
			t.Errorf("%s: got %+v, want %+v and %+v", name, got, tt.out, tt.in)
		}
	}
}
