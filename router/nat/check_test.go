package nat

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/ruleset"
)

// What Check says, to the letter; New refuses the mistakes among it.
func TestCheck(t *testing.T) {
	snat := func(to ...string) Rule { return Rule{Action: SNAT, Out: "wan0", To: addrs(to...)} }
	forward := func(port uint16, to string) Rule {
		return Rule{Action: DNAT, In: "wan0", Proto: packet.ProtoTCP, Destination: addrs("203.0.113.1"), Ports: portList(port, port), To: addrs(to)}
	}
	netmap := func(from, to string) Rule {
		return Rule{Action: Netmap, Out: "wan0", Source: addrs(from), To: addrs(to)}
	}
	for name, tt := range map[string]struct {
		rules []Rule
		want  string // all problems
	}{
		"nothing":                   {nil, ""},
		"exempt too late":           {[]Rule{masquerade, {Action: Accept, Out: "wan0", Source: addrs("10.77.1.0/24"), Destination: addrs("192.0.2.0/24")}}, `warning: nat[1]: the rule never applies, because an earlier one takes all that it is for (nat[0]): remove it, or put it before that one`},
		"exempt in time":            {[]Rule{{Action: Accept, Out: "wan0", Destination: addrs("192.0.2.0/24")}, masquerade}, ""},
		"exempt that still exempts": {[]Rule{masquerade, {Action: Accept, In: "wan0", Proto: packet.ProtoTCP}}, ""},
		"two masquerades":           {[]Rule{masquerade, {Action: Masquerade, Out: "wan0", Source: addrs("10.77.1.0/24")}}, `warning: nat[1]: the rule never applies, because an earlier one takes all that it is for (nat[0]): remove it, or put it before that one`},
		"exempt twice":              {[]Rule{{Action: Accept, In: "wan0", Proto: packet.ProtoTCP}, {Action: Accept, Proto: packet.ProtoTCP, In: "wan0", Ports: portList(1, 9)}}, `warning: nat[1]: the rule never applies, because an earlier one takes all that it is for (nat[0]): remove it, or put it before that one`},
		"exempt before a forward":   {[]Rule{{Action: Accept, In: "wan0"}, forward(80, "10.77.1.2")}, `warning: nat[1]: the rule never applies, because an earlier one takes all that it is for (nat[0]): remove it, or put it before that one`},
		"netmap then masquerade":    {[]Rule{netmap("10.77.1.0/24", "198.51.100.0/24"), {Action: Masquerade, Out: "wan0", Source: addrs("10.77.1.0/25")}}, `warning: nat[1]: the rule never applies, because an earlier one takes all that it is for (nat[0]): remove it, or put it before that one`},
		"hairpins go elsewhere":     {[]Rule{{Action: DNAT, In: "wan0", Destination: addrs("203.0.113.1"), To: addrs("10.77.1.2"), Hairpin: Off}, {Action: DNAT, In: "wan0", Destination: addrs("203.0.113.1"), To: addrs("10.77.1.3")}}, ""},
		"nptv6 leaves our address":  {[]Rule{nptv6("fd01::/48", "2001:db8:113::/48"), {Action: DNAT, In: "wan0", Destination: addrs("2001:db8:113::1"), To: addrs("fd77::3")}}, ""},
		"two halves cover":          {[]Rule{{Action: DNAT, In: "wan0", Destination: addrs("203.0.113.0/29", "203.0.113.8/29"), To: addrs("10.77.1.2")}, {Action: DNAT, In: "wan0", Destination: addrs("203.0.113.0/28"), To: addrs("10.77.1.3")}}, `mistake: nat[1]: the rule never applies, because an earlier one takes all that it is for (nat[0]): remove it, or put it before that one`},
		"no address to give":        {[]Rule{{Action: Masquerade, Out: "bare0"}}, `warning: nat[0].out: interface "bare0" has no address to masquerade with: add address = ["203.0.113.1/24"] to it`},
		"no address of a family":    {[]Rule{{Action: Masquerade, Out: "four0", Source: addrs("fd77::/64")}}, `warning: nat[0].source: source is IPv6, but interface "four0" has only an IPv4 address: add one to it`},
		"no address of both":        {[]Rule{{Action: Masquerade, Out: "four0", Source: addrs("fd77::/64", "10.0.0.0/8")}}, `warning: nat[0].source: source is IPv4 and IPv6, but interface "four0" has only an IPv4 address, so the others leave untranslated or not at all: add an address to it`},
		"catches every connection":  {[]Rule{{Action: DNAT, To: addrs("10.77.1.2")}}, `mistake: nat[0]: this dnat rule catches every connection: add destination = "203.0.113.1", or in = "wan0"`},
		"maps apart": {[]Rule{netmap("10.77.1.0/24", "198.51.100.0/24"), snat("192.0.2.1"), snat("198.51.100.7")}, "warning: nat[2]: the rule never applies, because an earlier one takes all that it is for (nat[1]): remove it, or put it before that one\n" +
			"mistake: nat[2].to[0]: 198.51.100.7 and 198.51.100.0/24 overlap, and one of them is mapped one to one (nat[0]): write addresses that no other rule has"},
		"class E":                  {[]Rule{{Action: DNAT, In: "wan0", To: addrs("240.1.2.3")}}, `warning: nat[0].to[0]: to: nothing is forwarded to 240.1.2.3: write addresses of hosts`},
		"nobody's address":         {[]Rule{{Action: SNAT, Out: "wan0", To: addrs("127.0.0.1")}}, `warning: nat[0].to[0]: to: nothing is forwarded to 127.0.0.1: write addresses of hosts`},
		"netmap onto itself":       {[]Rule{netmap("10.77.1.0/24", "10.77.1.0/24")}, `mistake: nat[0].to[0]: netmap would map 10.77.1.0/24 onto itself: write another network in to`},
		"nptv6 of a protocol":      {[]Rule{{Action: NPTv6, Out: "wan0", Source: addrs("fd01::/48"), To: addrs("2001:db8:1::/48"), Proto: packet.ProtoTCP}}, `mistake: nat[0].protocol: protocol has no meaning in an nptv6 rule: nptv6 translates prefixes whatever the protocol (RFC 6296): remove it`},
		"hairpin of a redirect":    {[]Rule{{Action: Redirect, In: "lan0", Hairpin: On}}, `mistake: nat[0].hairpin: hairpin has no meaning in a redirect rule: nothing is translated to an outside address here: remove it`},
		"ports of gre":             {[]Rule{{Action: SNAT, Out: "wan0", To: addrs("198.51.100.1"), Proto: packet.ProtoGRE, ToPorts: portList(1, 2)}}, `mistake: nat[0].to_port: protocol "gre" has no ports: remove the port, or write a protocol such as "tcp"`},
		"ordinary rules":           {[]Rule{forward(80, "10.77.1.2"), forward(81, "10.77.1.2"), masquerade}, ""},
		"no action":                {[]Rule{{}}, `mistake: nat[0].action: a rule needs an action: write masquerade, snat, dnat, redirect, netmap, nptv6 or accept`},
		"unknown in":               {[]Rule{{Action: Accept, In: "eth7"}}, `mistake: nat[0].in: no [[interface]] has the name "eth7": write "lan0", "wan0", "dmz0", "bare0" or "four0"`},
		"unknown out":              {[]Rule{{Action: Masquerade, Out: "eth7"}}, `mistake: nat[0].out: no [[interface]] has the name "eth7": write "lan0", "wan0", "dmz0", "bare0" or "four0"`},
		"masquerade without out":   {[]Rule{{Action: Masquerade}}, `mistake: nat[0].out: a masquerade rule needs out: name the outside interface, as in out = "wan0"`},
		"masquerade with to":       {[]Rule{{Action: Masquerade, Out: "wan0", To: addrs("192.0.2.1")}}, `mistake: nat[0].to: to has no meaning in a masquerade rule: masquerade takes the address of the out interface: remove to, or write action = "snat"`},
		"snat without to":          {[]Rule{snat()}, `mistake: nat[0].to: a snat rule needs to: write the outside address or pool, as in to = ["198.51.100.0/27"]`},
		"dnat without to":          {[]Rule{{Action: DNAT, In: "wan0"}}, `mistake: nat[0].to: a dnat rule needs to: write the inside target, as in to = "10.77.1.2:80"`},
		"dnat with out":            {[]Rule{{Action: DNAT, Out: "wan0", To: addrs("10.77.1.2")}}, `mistake: nat[0].out: out has no meaning in a dnat rule: the way out isn't known before routing: use in`},
		"redirect to an address":   {[]Rule{{Action: Redirect, To: addrs("10.77.1.2")}}, `mistake: nat[0].to[0]: to: 10.77.1.2 is an address, and redirect goes to the router's own: write the port alone, as in ":3128", or action = "dnat"`},
		"accept with to":           {[]Rule{{Action: Accept, To: addrs("10.77.1.2")}}, `mistake: nat[0].to: to has no meaning in an accept rule: accept leaves packets as they are: remove it`},
		"keep without masquerade":  {[]Rule{{Action: Accept, KeepOnChange: true}}, `mistake: nat[0].on_address_change: on_address_change has no meaning in an accept rule: only masquerade follows an address that changes: remove it`},
		"ports of ICMP":            {[]Rule{{Action: Accept, Proto: packet.ProtoICMP, Ports: portList(1, 2)}}, `mistake: nat[0].port: protocol "icmp" has no ports: remove port, or write a protocol that has some`},
		"reversed ports":           {[]Rule{{Action: Accept, Ports: portList(9, 2)}}, `mistake: nat[0].port[0]: port: 9-2 is no range of ports: write ports from 1 to 65535, the smaller one first`},
		"port 0":                   {[]Rule{{Action: Accept, Ports: portList(0, 2)}}, `mistake: nat[0].port[0]: port: 0-2 is no range of ports: write ports from 1 to 65535, the smaller one first`},
		"mixed range":              {[]Rule{{Action: Accept, Source: []conntrack.AddrRange{{First: addr("10.0.0.1"), Last: addr("fd00::1")}}}}, `mistake: nat[0].source[0]: source: range 10.0.0.1-fd00::1 mixes families: write a range for each family`},
		"reversed range":           {[]Rule{{Action: Accept, Source: []conntrack.AddrRange{{First: addr("10.0.0.9"), Last: addr("10.0.0.1")}}}}, `mistake: nat[0].source[0]: source: range 10.0.0.9-10.0.0.1 ends before it begins: write the smaller one first`},
		"empty range":              {[]Rule{{Action: Accept, Source: make([]conntrack.AddrRange, 1)}}, `mistake: nat[0].source[0]: source: a range without addresses: remove it, or write an address`},
		"families that never meet": {[]Rule{{Action: SNAT, Source: addrs("fd77::/64"), To: addrs("192.0.2.1")}}, `mistake: nat[0].to: to is IPv4 and source is IPv6, so the rule does nothing: write both in one family`},
		"families that meet":       {[]Rule{{Action: SNAT, Source: addrs("fd77::/64", "10.0.0.0/8"), To: addrs("192.0.2.1")}}, ""},
		"unequal port ranges":      {[]Rule{{Action: DNAT, In: "wan0", Ports: portList(80, 89), To: addrs("10.77.1.2"), ToPorts: portList(80, 84)}}, `mistake: nat[0].to: 10 ports can't be shifted to 5: write ranges of one size, or a single port in to`},
		"redirect, unequal ranges": {[]Rule{{Action: Redirect, In: "wan0", Ports: portList(80, 89), ToPorts: portList(80, 84)}}, `mistake: nat[0].to: 10 ports can't be shifted to 5: write ranges of one size, or a single port in to`},
		"netmap of unequal sizes":  {[]Rule{netmap("10.77.1.0/24", "198.51.100.0/25")}, `mistake: nat[0].to[0]: netmap maps one to one, and 10.77.1.0/24 and 198.51.100.0/25 differ in size: write two of the same length`},
		"netmap of two families":   {[]Rule{netmap("10.77.1.0/24", "2001:db8::/120")}, `mistake: nat[0].to[0]: 10.77.1.0/24 and 2001:db8::/120 are of two families: write pairs of one family`},
		"netmap without a pair":    {[]Rule{{Action: Netmap, Out: "wan0", To: addrs("192.0.2.0/24")}}, `mistake: nat[0].source: a netmap rule needs source: write the inside network, as in source = "10.77.1.0/24"`},
		"netmap from both sides":   {[]Rule{{Action: Netmap, Source: addrs("10.0.0.0/24"), Destination: addrs("192.0.2.0/24"), To: addrs("192.0.2.0/24")}}, `mistake: nat[0].destination: a netmap rule has source or destination, not both: remove destination: the other side is to`},
		"netmap with ports":        {[]Rule{{Action: Netmap, Source: addrs("10.0.0.0/24"), To: addrs("192.0.2.0/24"), ToPorts: portList(1, 1)}}, `mistake: nat[0].to_port: to_port has no meaning in a netmap rule: netmap keeps ports: remove it`},
		"nptv6 of IPv4":            {[]Rule{nptv6("10.0.0.0/24", "192.0.2.0/24")}, `mistake: nat[0].to[0]: nptv6 translates IPv6 only: write action = "netmap" for IPv4`},
		"nptv6 of unequal length":  {[]Rule{nptv6("fd01::/48", "2001:db8:1::/56")}, `mistake: nat[0].to[0]: nptv6 maps one to one, and fd01::/48 and 2001:db8:1::/56 differ in size: write two of the same length`},
		"nptv6 longer than /64":    {[]Rule{nptv6("fd01::/72", "2001:db8:1::/72")}, `mistake: nat[0].to[0]: nptv6 takes prefixes of at most /64 (RFC 6296, section 3.5), not /72: write shorter ones`},
		"nptv6 without out":        {[]Rule{{Action: NPTv6, Source: addrs("fd01::/48"), To: addrs("2001:db8:1::/48")}}, `mistake: nat[0].out: an nptv6 rule needs out: name the outside interface, as in out = "wan0"`},
		"nptv6 of a range": {[]Rule{{Action: NPTv6, Out: "wan0", Source: []conntrack.AddrRange{{First: addr("fd01::"), Last: addr("fd01::5")}},
			To: addrs("2001:db8:1::/64")}}, `mistake: nat[0].to[0]: nptv6 maps prefixes, and fd01::-fd01::5 or 2001:db8:1::/64 is none: write prefixes`},
		"pool with the router's address":      {[]Rule{snat("203.0.113.0/28")}, `mistake: nat[0].to[0]: 203.0.113.0/28 has the router's own address 203.0.113.1 of wan0 (interface[1].address): leave it out of the range`},
		"pool with an inside address":         {[]Rule{snat("10.77.0.1")}, `mistake: nat[0].to[0]: 10.77.0.1 has the router's own address 10.77.0.1 of lan0 (interface[0].address): leave it out of the range`},
		"netmap over the router's address":    {[]Rule{netmap("10.77.1.0/24", "203.0.113.0/24")}, `mistake: nat[0].to[0]: 203.0.113.0/24 has the router's own address 203.0.113.1 of wan0 (interface[1].address): leave it out of the range`},
		"snat to the router's own address":    {[]Rule{snat("203.0.113.1")}, ""},
		"one outside endpoint, two targets":   {[]Rule{forward(80, "10.77.1.2"), forward(80, "10.77.1.3")}, `mistake: nat[1]: the rule never applies, because an earlier one takes all that it is for (nat[0]): remove it, or put it before that one`},
		"general before special":              {[]Rule{{Action: DNAT, Proto: packet.ProtoTCP, To: addrs("10.77.1.3")}, forward(80, "10.77.1.2")}, `mistake: nat[1]: the rule never applies, because an earlier one takes all that it is for (nat[0]): remove it, or put it before that one`},
		"special before general":              {[]Rule{forward(80, "10.77.1.2"), {Action: DNAT, In: "wan0", To: addrs("10.77.1.3")}}, ""},
		"other family before":                 {[]Rule{{Action: DNAT, Proto: packet.ProtoTCP, To: addrs("fd77::3")}, forward(80, "10.77.1.2")}, ""},
		"redirect shadows a dnat":             {[]Rule{{Action: Redirect, In: "wan0"}, forward(80, "10.77.1.2")}, `mistake: nat[1]: the rule never applies, because an earlier one takes all that it is for (nat[0]): remove it, or put it before that one`},
		"maps with one outside prefix":        {[]Rule{netmap("10.77.1.0/24", "198.51.100.0/24"), netmap("10.77.2.0/24", "198.51.100.0/24")}, `mistake: nat[1].to[0]: 198.51.100.0/24 and 198.51.100.0/24 overlap, and one of them is mapped one to one (nat[0]): write addresses that no other rule has`},
		"pool in a mapped prefix":             {[]Rule{netmap("10.77.1.0/24", "198.51.100.0/24"), snat("198.51.100.7")}, `mistake: nat[1].to[0]: 198.51.100.7 and 198.51.100.0/24 overlap, and one of them is mapped one to one (nat[0]): write addresses that no other rule has`},
		"nptv6 twice from one prefix":         {[]Rule{nptv6("fd01::/48", "2001:db8:1::/48"), nptv6("fd01::/48", "2001:db8:2::/48")}, `mistake: nat[1].source[0]: fd01::/48 and fd01::/48 are inside prefixes of two maps (nat[0]): write another network, or another out`},
		"pools that share addresses may stay": {[]Rule{snat("198.51.100.0/28"), snat("198.51.100.8/29")}, `warning: nat[1]: the rule never applies, because an earlier one takes all that it is for (nat[0]): remove it, or put it before that one`},
	} {
		cfg := testConfig(tt.rules...)
		cfg.Interfaces = append(cfg.Interfaces, Interface{Name: "bare0", Outside: true},
			Interface{Name: "four0", Outside: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}})
		got := told(Check(cfg))
		if got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, tt.want)
		}
		if _, err := New(cfg, nil); (err != nil) != strings.Contains(got, "mistake: ") {
			t.Errorf("%s: New says %v, Check %s", name, err, got)
		}
	}
}

// told returns a line for each problem, with its severity.
func told(l ruleset.Problems) string {
	var lines []string
	for _, p := range l {
		word := "mistake: "
		if p.Severity == ruleset.Warning {
			word = "warning: "
		}
		lines = append(lines, word+p.Error())
	}
	return strings.Join(lines, "\n")
}

func TestCheckDefaultsAndInterfaces(t *testing.T) {
	cfg := testConfig()
	cfg.Defaults.PortRange = conntrack.PortRange{First: 80, Last: 90}
	cfg.Interfaces[dmz].Name = "lan0"
	_, err := New(cfg, nil)
	for _, want := range []string{`nat_defaults.port_range: port_range 80-90 must lie in 1024-65535`, `interface[2].name: interface "lan0" stands already (interface[0].name)`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

// forwardRules are as many forwards: of one address's ports, and of as many addresses as that takes.
func forwardRules(n int) Config {
	cfg := testConfig()
	for i := range n {
		a := netip.AddrFrom4([4]byte{198, 51, byte(i / 50000), 7})
		cfg.Rules = append(cfg.Rules, Rule{
			Action: DNAT, In: "wan0", Proto: packet.ProtoTCP, Destination: []conntrack.AddrRange{{First: a, Last: a}},
			Ports: portList(uint16(1+i%50000), uint16(1+i%50000)), To: addrs("10.77.1.2"), ToPorts: portList(80, 80), Line: i + 1,
		})
	}
	return cfg
}

// mapRules are as many netmaps beside as many pools.
func mapRules(n int) Config {
	cfg := testConfig()
	for i := range n / 2 {
		in, out := netip.AddrFrom4([4]byte{10, 78, byte(i >> 8), byte(i)}), netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		pool := netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)})
		cfg.Rules = append(cfg.Rules,
			Rule{Action: Netmap, Out: "wan0", Source: []conntrack.AddrRange{{First: in, Last: in}}, To: []conntrack.AddrRange{{First: out, Last: out}}},
			Rule{Action: SNAT, Out: "wan0", Source: []conntrack.AddrRange{{First: pool, Last: pool}}, To: []conntrack.AddrRange{{First: pool, Last: pool}}})
	}
	return cfg
}

// TestCheckIsLinear counts the work of finding clashes: ten times the rules, about ten times the steps. (Comparing each
// pair took 11 s for 40 000 forwards.)
func TestCheckIsLinear(t *testing.T) {
	for name, rules := range map[string]func(int) Config{"forwards": forwardRules, "maps and pools": mapRules} {
		work := func(n int) int {
			cfg := rules(n)
			k := check(&cfg)
			if len(k.Problems) > 0 {
				t.Fatalf("%s: %v", name, k.Problems[0])
			}
			return k.steps
		}
		if few, all := work(2000), work(20000); few < 2000 || all > 15*few {
			t.Errorf("%s: %d steps for 2000 rules, %d for 20000", name, few, all)
		}
	}
}
