package router

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// Labs, carrier networks and VPN appliances have private addresses outside. What a rule translated to one may leave by it;
// what no rule translated may not.

func spans(list ...string) (all []conntrack.AddrRange) {
	for _, s := range list {
		all = append(all, span(s))
	}
	return all
}

func snatTo(first, last string) []nat.Rule {
	return []nat.Rule{{Action: nat.SNAT, Out: "wan0", Source: spans("10.77.0.0/16", "fd77::/16"),
		To: []conntrack.AddrRange{{First: addr(first), Last: addr(last)}}}}
}

// TestTranslatedToPrivateLeaves: the first packet of a host leaves by the private address that a rule gives it, its answer
// comes back, and so do errors of both ends. (All of these were once dropped as untranslated, though they were not.)
func TestTranslatedToPrivateLeaves(t *testing.T) {
	for name, tt := range map[string]struct {
		rules  []nat.Rule
		client netip.Addr
		want   netip.Prefix
	}{
		"snat, RFC 1918": {snatTo("172.20.9.4", "172.20.9.9"), client4, netip.MustParsePrefix("172.20.9.0/24")},
		"snat, RFC 6598": {snatTo("100.70.0.0", "100.70.0.7"), client4, netip.MustParsePrefix("100.70.0.0/29")},
		"snat, ULA":      {snatTo("fd12:34::4", "fd12:34::9"), client6, netip.MustParsePrefix("fd12:34::/124")},
		"netmap": {[]nat.Rule{{Action: nat.Netmap, Out: "wan0", Source: spans("10.77.0.0/24"), To: spans("10.88.7.0/24")}},
			client4, netip.MustParsePrefix("10.88.7.2/32")},
		"netmap, ULA": {[]nat.Rule{{Action: nat.Netmap, Out: "wan0", Source: spans("fd77::/64"), To: spans("fd88:7::/64")}},
			client6, netip.MustParsePrefix("fd88:7::2/128")},
		"nptv6": {[]nat.Rule{{Action: nat.NPTv6, Out: "wan0", Source: spans("fd77::/64"), To: spans("fd12:34::/64")}},
			client6, netip.MustParsePrefix("fd12:34::/64")},
		"snat to the host's own address": {snatTo("10.77.0.2", "10.77.0.2"), client4, netip.MustParsePrefix("10.77.0.2/32")},
	} {
		for _, fast := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, fast path %t", name, fast), func(t *testing.T) {
				cfg := testConfig()
				cfg.NAT, cfg.NoFastPath = tt.rules, !fast
				n := newNetwork(t, cfg)
				server := server4
				if tt.client.Is6() {
					server = server6
				}
				for range 3 {
					sent := n.one(n.send("lan0", testpkt.UDP{Src: port(tt.client, 5000), Dst: port(server, 53), Payload: pattern(30)}.Bytes()), "wan0")
					from := endpoints(t, sent).src
					if !tt.want.Contains(from.Addr()) {
						t.Fatalf("left as %s, want %s", from, tt.want)
					}
					answer := testpkt.UDP{Src: port(server, 53), Dst: from, Payload: pattern(40)}.Bytes()
					back := n.one(n.send("wan0", answer), "lan0")
					if got := endpoints(t, back).dst; got != port(tt.client, 5000) {
						t.Errorf("the answer came to %s", got)
					}
					told := n.one(n.send("lan0", unreachable(tt.client, server, back)), "wan0")
					if src := sourceOf(told); src != from.Addr() {
						t.Errorf("the host's error left as %s", src)
					}
					if out := n.send("lan0", unreachable(deeper(tt.client), server, back)); from.Addr() == tt.client {
						n.dropped(out, packet.UntranslatedSource) // the rule is not for it
					} else if src := sourceOf(n.one(out, "wan0")); src != wanOf(tt.client) {
						t.Errorf("the error of an inside router left as %s", src)
					}
					n.one(n.send("wan0", unreachable(server, from.Addr(), sent)), "lan0")
				}
				if fast != (n.r.Status().Fast > 0) {
					t.Errorf("%d packets took the fast path", n.r.Status().Fast)
				}
			})
		}
	}
}

// unreachable is an ICMP error about a packet.
func unreachable(from, to netip.Addr, quote []byte) []byte {
	typ := uint8(3)
	if from.Is6() {
		typ = 1
	}
	return testpkt.ICMP{Src: from, Dst: to, Type: typ, Code: 3, Payload: quote}.Bytes()
}

// sourceOf returns a packet's source.
func sourceOf(b []byte) netip.Addr {
	l := layout(b)
	src, _ := layoutAddrs(&l)
	return src
}

// TestRepliesOfPrivateOutsideLeave: what a private outside address offers is answered by it, whoever offers it.
func TestRepliesOfPrivateOutsideLeave(t *testing.T) {
	forward := func(to string, toPort uint16, destination string) []nat.Rule {
		r := nat.Rule{Action: nat.DNAT, In: "wan0", Proto: packet.ProtoUDP, Ports: ports(80), Destination: spans(destination), To: spans(to)}
		if toPort != 0 {
			r.ToPorts = ports(toPort)
		}
		return []nat.Rule{masquerade(), r}
	}
	for name, tt := range map[string]struct {
		rules  []nat.Rule
		at, to netip.Addr
		toPort uint16
	}{
		"dnat, RFC 1918":        {forward("10.77.0.2/32", 8080, "172.20.9.4/32"), addr("172.20.9.4"), client4, 8080},
		"dnat, RFC 6598":        {forward("10.77.0.2/32", 0, "100.70.0.1/32"), addr("100.70.0.1"), client4, 80},
		"dnat, ULA":             {forward("fd77::2/128", 8080, "fd12:34::4/128"), addr("fd12:34::4"), client6, 8080},
		"dnat of the port only": {forward("10.77.0.2/32", 8080, "10.77.0.2/32"), client4, client4, 8080},
		"netmap": {[]nat.Rule{{Action: nat.Netmap, Out: "wan0", Source: spans("10.77.0.0/24"), To: spans("10.88.7.0/24")}},
			addr("10.88.7.2"), client4, 80},
		"netmap from the other side": {[]nat.Rule{{Action: nat.Netmap, In: "wan0", Destination: spans("10.88.7.0/24"), To: spans("10.77.0.0/24")}},
			addr("10.88.7.2"), client4, 80},
		"nptv6": {[]nat.Rule{{Action: nat.NPTv6, Out: "wan0", Source: spans("fd77::/64"), To: spans("fd77:1::/64")}},
			addr("fd77:1::ffff:0:0:1"), netip.Addr{}, 80},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.NAT = tt.rules
			n := newNetwork(t, cfg)
			server := server4
			if tt.at.Is6() {
				server = server6
			}
			for range 3 {
				asked := n.one(n.send("wan0", testpkt.UDP{Src: port(server, 700), Dst: port(tt.at, 80), Payload: pattern(9)}.Bytes()), "lan0")
				got := endpoints(t, asked)
				if tt.to.IsValid() && got.dst != port(tt.to, tt.toPort) {
					t.Fatalf("came to %s, want %s", got.dst, port(tt.to, tt.toPort))
				}
				answer := n.one(n.send("lan0", testpkt.UDP{Src: got.dst, Dst: got.src, Payload: pattern(11)}.Bytes()), "wan0")
				if got := endpoints(t, answer).src; got != port(tt.at, 80) {
					t.Errorf("answered by %s", got)
				}
				told := n.one(n.send("lan0", unreachable(got.dst.Addr(), server, asked)), "wan0")
				if src := sourceOf(told); src != tt.at {
					t.Errorf("the host's error left as %s", src)
				}
			}
		})
	}
}

func ports(p uint16) []conntrack.PortRange { return []conntrack.PortRange{{First: p, Last: p}} }

// TestUntranslatedStaysBesidePrivatePools: that some may leave by a private address lets no other source out, in neither
// direction: no host that the rule is not for, no answer of one, no router on the way.
func TestUntranslatedStaysBesidePrivatePools(t *testing.T) {
	for _, e := range []struct {
		inside, beside, server netip.Addr
		to                     string
	}{{client4, other4, server4, "172.20.9.4/32"}, {client6, addr("fd77::3"), server6, "fd12:34::4/128"}} {
		cfg := testConfig()
		cfg.Filter.Rules = []FilterRule{{In: "wan0", Action: FilterAccept}}
		cfg.Interfaces[1].Address = nil // no address that a router on the way could be given
		host := []conntrack.AddrRange{{First: e.inside, Last: e.inside}}
		cfg.NAT = []nat.Rule{{Action: nat.SNAT, Out: "wan0", Source: host, To: spans(e.to)}}
		n := newNetwork(t, cfg)
		udp := func(from, to netip.AddrPort) []byte {
			return testpkt.UDP{Src: from, Dst: to, Payload: pattern(9)}.Bytes()
		}
		for range 3 {
			n.dropped(n.send("lan0", udp(port(e.beside, 5000), port(e.server, 53))), packet.UntranslatedSource)
			for _, a := range []netip.Addr{e.inside, e.beside} {
				n.one(n.send("wan0", udp(port(e.server, 700), port(a, 800))), "lan0")
				n.dropped(n.send("lan0", udp(port(a, 800), port(e.server, 700))), packet.UntranslatedSource)
			}
			left := endpoints(t, n.one(n.send("lan0", udp(port(e.inside, 5000), port(e.server, 53))), "wan0"))
			back := n.one(n.send("wan0", udp(left.dst, left.src)), "lan0")
			n.dropped(n.send("lan0", unreachable(e.beside, e.server, back)), packet.UntranslatedSource)
		}
	}
}

// TestExemptedBothWays: what an accept rule exempts may leave whoever began the connection: an answer of an exempted host
// is as private as its question. Of a rule for ports only questions are meant.
func TestExemptedBothWays(t *testing.T) {
	vpn := []conntrack.AddrRange{span("198.51.100.0/24")}
	for name, tt := range map[string]struct {
		rule nat.Rule
		want packet.DropReason
	}{
		"from inside to a network": {nat.Rule{Action: nat.Accept, Out: "wan0", Source: spans("10.77.0.0/16"), Destination: vpn}, packet.NotDropped},
		"to an inside network":     {nat.Rule{Action: nat.Accept, In: "wan0", Destination: spans("10.77.0.0/16")}, packet.NotDropped},
		"another network":          {nat.Rule{Action: nat.Accept, Out: "wan0", Destination: spans("192.0.2.0/24")}, packet.UntranslatedSource},
		"another interface":        {nat.Rule{Action: nat.Accept, In: "lan0", Destination: spans("10.77.0.0/16")}, packet.UntranslatedSource},
		"another port":             {nat.Rule{Action: nat.Accept, Out: "wan0", Ports: ports(700)}, packet.UntranslatedSource},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.NAT = []nat.Rule{tt.rule, masquerade()}
			cfg.Filter.Rules = []FilterRule{{In: "wan0", Action: FilterAccept}}
			n := newNetwork(t, cfg)
			for range 3 {
				n.one(n.send("wan0", testpkt.UDP{Src: port(server4, 700), Dst: port(client4, 800)}.Bytes()), "lan0")
				out := n.send("lan0", testpkt.UDP{Src: port(client4, 800), Dst: port(server4, 700)}.Bytes())
				if tt.want != packet.NotDropped {
					n.dropped(out, tt.want)
					continue
				}
				n.one(out, "wan0")
			}
		})
	}
}
