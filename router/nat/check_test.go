package nat

import (
	"errors"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// line gives a rule its line.
func line(r Rule, n int) Rule {
	r.Line = n
	return r
}

// What New refuses, with the lines that it names.
func TestCheck(t *testing.T) {
	snat := func(to ...string) Rule { return Rule{Action: SNAT, Out: "wan0", To: addrs(to...), Line: 20} }
	forward := func(port uint16, to string) Rule {
		return Rule{Action: DNAT, In: "wan0", Proto: packet.ProtoTCP, Destination: addrs("203.0.113.1"), Ports: portList(port, port), To: addrs(to), Line: 20}
	}
	netmap := func(from, to string) Rule {
		return Rule{Action: Netmap, Out: "wan0", Source: addrs(from), To: addrs(to), Line: 20}
	}
	for name, tt := range map[string]struct {
		rules []Rule
		line  int // 0: accepted
		other int
		msg   string
	}{
		"nothing":                  {nil, 0, 0, ""},
		"ordinary rules":           {[]Rule{forward(80, "10.77.1.2"), forward(81, "10.77.1.2"), masquerade}, 0, 0, ""},
		"no action":                {[]Rule{{Line: 20}}, 20, 0, "action"},
		"unknown in":               {[]Rule{{Action: Accept, In: "eth7", Line: 20}}, 20, 0, `"eth7"`},
		"unknown out":              {[]Rule{{Action: Masquerade, Out: "eth7", Line: 20}}, 20, 0, `"eth7"`},
		"masquerade without out":   {[]Rule{{Action: Masquerade, Line: 20}}, 20, 0, `needs "out"`},
		"masquerade with to":       {[]Rule{{Action: Masquerade, Out: "wan0", To: addrs("192.0.2.1"), Line: 20}}, 20, 0, "snat"},
		"snat without to":          {[]Rule{snat()}, 20, 0, `needs "to"`},
		"dnat without to":          {[]Rule{{Action: DNAT, In: "wan0", Line: 20}}, 20, 0, `needs "to"`},
		"dnat with out":            {[]Rule{{Action: DNAT, Out: "wan0", To: addrs("10.77.1.2"), Line: 20}}, 20, 0, `use "in"`},
		"redirect to an address":   {[]Rule{{Action: Redirect, To: addrs("10.77.1.2"), Line: 20}}, 20, 0, `":port"`},
		"accept with to":           {[]Rule{{Action: Accept, To: addrs("10.77.1.2"), Line: 20}}, 20, 0, "accept"},
		"keep without masquerade":  {[]Rule{{Action: Accept, KeepOnChange: true, Line: 20}}, 20, 0, "masquerade"},
		"ports of ICMP":            {[]Rule{{Action: Accept, Proto: packet.ProtoICMP, Ports: portList(1, 2), Line: 20}}, 20, 0, "no ports"},
		"reversed ports":           {[]Rule{{Action: Accept, Ports: portList(9, 2), Line: 20}}, 20, 0, "9-2"},
		"port 0":                   {[]Rule{{Action: Accept, Ports: portList(0, 2), Line: 20}}, 20, 0, "from 1 up"},
		"mixed range":              {[]Rule{{Action: Accept, Source: []conntrack.AddrRange{{First: addr("10.0.0.1"), Last: addr("fd00::1")}}, Line: 20}}, 20, 0, "mixes families"},
		"reversed range":           {[]Rule{{Action: Accept, Source: []conntrack.AddrRange{{First: addr("10.0.0.9"), Last: addr("10.0.0.1")}}, Line: 20}}, 20, 0, "before it begins"},
		"empty range":              {[]Rule{{Action: Accept, Source: make([]conntrack.AddrRange, 1), Line: 20}}, 20, 0, "without addresses"},
		"families that never meet": {[]Rule{{Action: SNAT, Source: addrs("fd77::/64"), To: addrs("192.0.2.1"), Line: 20}}, 20, 0, "IPv6"},
		"families that meet":       {[]Rule{{Action: SNAT, Source: addrs("fd77::/64", "10.0.0.0/8"), To: addrs("192.0.2.1"), Line: 20}}, 0, 0, ""},
		"unequal port ranges":      {[]Rule{{Action: DNAT, In: "wan0", Ports: portList(80, 89), To: addrs("10.77.1.2"), ToPorts: portList(80, 84), Line: 20}}, 20, 0, "10 ports"},
		"redirect, unequal ranges": {[]Rule{{Action: Redirect, In: "wan0", Ports: portList(80, 89), ToPorts: portList(80, 84), Line: 20}}, 20, 0, "10 ports"},
		"netmap of unequal sizes":  {[]Rule{netmap("10.77.1.0/24", "198.51.100.0/25")}, 20, 0, "unequal size"},
		"netmap of two families":   {[]Rule{netmap("10.77.1.0/24", "2001:db8::/120")}, 20, 0, "different families"},
		"netmap without a pair":    {[]Rule{{Action: Netmap, Out: "wan0", To: addrs("192.0.2.0/24"), Line: 20}}, 20, 0, "give a pair"},
		"netmap from both sides":   {[]Rule{{Action: Netmap, Source: addrs("10.0.0.0/24"), Destination: addrs("192.0.2.0/24"), To: addrs("192.0.2.0/24"), Line: 20}}, 20, 0, "other side"},
		"netmap with ports":        {[]Rule{{Action: Netmap, Source: addrs("10.0.0.0/24"), To: addrs("192.0.2.0/24"), ToPorts: portList(1, 1), Line: 20}}, 20, 0, "without their ports"},
		"nptv6 of IPv4":            {[]Rule{line(nptv6("10.0.0.0/24", "192.0.2.0/24"), 20)}, 20, 0, "use netmap"},
		"nptv6 of unequal length":  {[]Rule{line(nptv6("fd01::/48", "2001:db8:1::/56"), 20)}, 20, 0, "unequal length"},
		"nptv6 longer than /64":    {[]Rule{line(nptv6("fd01::/72", "2001:db8:1::/72"), 20)}, 20, 0, "/64"},
		"nptv6 without out":        {[]Rule{{Action: NPTv6, Source: addrs("fd01::/48"), To: addrs("2001:db8:1::/48"), Line: 20}}, 20, 0, `needs "out"`},
		"nptv6 of a range": {[]Rule{{Action: NPTv6, Out: "wan0", Source: []conntrack.AddrRange{{First: addr("fd01::"), Last: addr("fd01::5")}},
			To: addrs("2001:db8:1::/64"), Line: 20}}, 20, 0, "not ranges"},
		"pool with the router's address":      {[]Rule{snat("203.0.113.0/28")}, 20, 2, "203.0.113.1 of wan0"},
		"pool with an inside address":         {[]Rule{snat("10.77.0.1")}, 20, 1, "10.77.0.1 of lan0"},
		"netmap over the router's address":    {[]Rule{netmap("10.77.1.0/24", "203.0.113.0/24")}, 20, 2, "203.0.113.1"},
		"snat to the router's own address":    {[]Rule{snat("203.0.113.1")}, 0, 0, ""},
		"one outside endpoint, two targets":   {[]Rule{line(forward(80, "10.77.1.2"), 10), forward(80, "10.77.1.3")}, 20, 10, "never applies"},
		"general before special":              {[]Rule{{Action: DNAT, To: addrs("10.77.1.3"), Line: 10}, forward(80, "10.77.1.2")}, 20, 10, "never applies"},
		"special before general":              {[]Rule{line(forward(80, "10.77.1.2"), 10), {Action: DNAT, In: "wan0", To: addrs("10.77.1.3"), Line: 20}}, 0, 0, ""},
		"other family before":                 {[]Rule{{Action: DNAT, To: addrs("fd77::3"), Line: 10}, forward(80, "10.77.1.2")}, 0, 0, ""},
		"redirect shadows a dnat":             {[]Rule{{Action: Redirect, In: "wan0", Line: 10}, forward(80, "10.77.1.2")}, 20, 10, "never applies"},
		"maps with one outside prefix":        {[]Rule{line(netmap("10.77.1.0/24", "198.51.100.0/24"), 10), netmap("10.77.2.0/24", "198.51.100.0/24")}, 20, 10, "overlap"},
		"pool in a mapped prefix":             {[]Rule{line(netmap("10.77.1.0/24", "198.51.100.0/24"), 10), snat("198.51.100.7")}, 20, 10, "overlap"},
		"nptv6 twice from one prefix":         {[]Rule{line(nptv6("fd01::/48", "2001:db8:1::/48"), 10), line(nptv6("fd01::/48", "2001:db8:2::/48"), 20)}, 20, 10, "two maps"},
		"pools that share addresses may stay": {[]Rule{snat("198.51.100.0/28"), snat("198.51.100.8/29")}, 0, 0, ""},
	} {
		_, err := New(testConfig(tt.rules...), nil)
		if tt.line == 0 {
			if err != nil {
				t.Errorf("%s: refused: %v", name, err)
			}
			continue
		}
		var e *RuleError
		if !errors.As(err, &e) {
			t.Errorf("%s: error %v", name, err)
			continue
		}
		if e.Line != tt.line || e.Other != tt.other || !strings.Contains(e.Error(), tt.msg) {
			t.Errorf("%s: %d, %d, %q, want %d, %d, %q", name, e.Line, e.Other, e, tt.line, tt.other, tt.msg)
		}
	}
}

func TestCheckDefaultsAndInterfaces(t *testing.T) {
	cfg := testConfig()
	cfg.Defaults.PortRange = conntrack.PortRange{First: 80, Last: 90}
	cfg.Interfaces[dmz].Name = "lan0"
	_, err := New(cfg, nil)
	for _, want := range []string{"port_range 80-90", `line 3: interface "lan0" is there twice (line 1)`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}
