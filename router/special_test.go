package router

import (
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// TestSpecialAddresses: what comes of the first, last and neighbouring addresses of each special-purpose range as source
// and as destination. (240.0.0.0/4 was once forwarded as destination.)
func TestSpecialAddresses(t *testing.T) {
	const (
		no, link, ok = packet.BadAddress, packet.ProhibitedForward, packet.NotDropped
	)
	for _, tt := range []struct {
		a        string
		from, to packet.DropReason
	}{
		{"0.0.0.0", no, no}, {"0.255.255.255", no, no}, {"1.0.0.0", ok, ok},
		{"100.64.0.1", ok, ok},
		{"126.255.255.255", ok, ok}, {"127.0.0.0", no, no}, {"127.255.255.255", no, no}, {"128.0.0.0", ok, ok},
		{"169.253.255.255", ok, ok}, {"169.254.0.1", link, link}, {"169.254.255.255", link, link}, {"169.255.0.0", ok, ok},
		{"191.255.255.255", ok, ok}, {"192.0.0.0", ok, ok}, {"192.0.0.7", ok, ok}, {"192.0.0.8", no, no}, {"192.0.0.9", ok, ok},
		{"192.0.0.10", ok, ok}, {"192.0.0.11", no, no}, {"192.0.0.170", no, no}, {"192.0.0.255", no, no}, {"192.0.1.0", ok, ok},
		{"192.0.2.1", ok, ok}, {"192.88.99.1", ok, ok}, {"198.18.0.1", ok, ok}, {"198.51.100.1", ok, ok},
		{"223.255.255.255", ok, ok}, {"224.0.0.0", no, link}, {"239.255.255.255", no, link},
		{"240.0.0.0", no, no}, {"240.0.0.1", no, no}, {"247.1.2.3", no, no}, {"255.255.255.254", no, no}, {"255.255.255.255", no, link},
		{"::", no, no}, {"::1", no, no}, {"::2", ok, ok}, {"::ffff:10.77.0.9", no, no}, {"64:ff9b::1", ok, ok}, {"64:ff9b:1::1", ok, ok},
		{"100::1", ok, ok}, {"100:0:0:1::1", no, no}, {"100:0:0:2::1", ok, ok},
		{"2001::1", ok, ok}, {"2001:1::", no, no}, {"2001:1::1", ok, ok}, {"2001:1::2", ok, ok}, {"2001:1::3", ok, ok}, {"2001:1::4", no, no},
		{"2001:2::1", ok, ok}, {"2001:2:1::1", no, no}, {"2001:3::1", ok, ok}, {"2001:4:111::1", no, no}, {"2001:4:112::1", ok, ok},
		{"2001:10::1", no, no}, {"2001:20::1", ok, ok}, {"2001:3f::1", ok, ok}, {"2001:40::1", no, no}, {"2001:1ff::1", no, no},
		{"2001:200::1", ok, ok}, {"2001:db8::1", ok, ok}, {"2002::1", ok, ok}, {"3fff::1", ok, ok}, {"5f00::1", ok, ok},
		{"fc00::1", ok, ok}, {"fe7f::1", ok, ok}, {"fe80::1", link, link}, {"febf::1", link, link}, {"fec0::1", ok, ok},
		{"ff00::1", no, link}, {"ff02::1", no, link}, {"ff0e::1", no, link},
	} {
		a := addr(tt.a)
		cfg := testConfig()
		cfg.Filter.NoReversePath, cfg.NAT = true, []nat.Rule{{Action: nat.Accept}}
		n := newNetwork(t, cfg)
		inside := client4
		if a.Is6() {
			inside = client6
		}
		judge := func(what string, want packet.DropReason, from, to netip.Addr) {
			t.Helper()
			out := n.send("lan0", testpkt.UDP{Src: port(from, 5000), Dst: port(to, 53), Payload: []byte("x")}.Bytes())
			if got := n.drops(); want == ok && (len(out["wan0"]) != 1 || len(got) != 0) || want != ok && (len(out) != 0 || got[want.String()] != 1) {
				t.Errorf("%s %s: %d packets outside, drops %v, want %s", what, a, len(out["wan0"]), got, want)
			}
			n.resetDrops()
		}
		judge("to", tt.to, inside, a)
		judge("from", tt.from, a, wanServer(a))
	}
}

func wanServer(like netip.Addr) netip.Addr {
	if like.Is4() {
		return server4
	}
	return server6
}

// TestBroadcastIsNoSource: the broadcast address of a connected network sends nothing (RFC 1122, section 3.2.1.3): the
// answer to it would go to all of that network.
func TestBroadcastIsNoSource(t *testing.T) {
	n := newNetwork(t, testConfig())
	for side, from := range map[string]string{"lan0": "10.77.0.255", "wan0": "203.0.113.255"} {
		n.dropped(n.send(side, testpkt.UDP{Src: port(addr(from), 5000), Dst: port(server4, 53)}.Bytes()), packet.BadAddress)
	}
	n.one(n.send("lan0", testpkt.UDP{Src: port(addr("10.77.0.254"), 5000), Dst: port(server4, 53)}.Bytes()), "wan0")
}

// TestNoTranslationToABroadcast: a rule for a whole network leads to no address of it that nothing may be forwarded to
// (RFC 2644), by whatever name the packet comes.
func TestNoTranslationToABroadcast(t *testing.T) {
	lan := spans("10.77.0.0/24")
	for name, tt := range map[string]struct {
		rule nat.Rule
		to   string
		want packet.DropReason
	}{
		"netmap":               {nat.Rule{Action: nat.Netmap, Out: "wan0", Source: lan, To: spans("10.88.7.0/24")}, "10.88.7.255", packet.ProhibitedForward},
		"netmap, a host":       {nat.Rule{Action: nat.Netmap, Out: "wan0", Source: lan, To: spans("10.88.7.0/24")}, "10.88.7.254", packet.NotDropped},
		"dnat":                 {nat.Rule{Action: nat.DNAT, In: "wan0", Destination: spans("203.0.113.9/32"), To: spans("10.77.0.255/32")}, "203.0.113.9", packet.ProhibitedForward},
		"dnat to class E":      {nat.Rule{Action: nat.DNAT, In: "wan0", Destination: spans("203.0.113.9/32"), To: spans("240.1.2.3/32")}, "203.0.113.9", packet.BadAddress},
		"dnat to this network": {nat.Rule{Action: nat.DNAT, In: "wan0", Destination: spans("203.0.113.9/32"), To: spans("0.1.2.3/32")}, "203.0.113.9", packet.BadAddress},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.NAT = []nat.Rule{tt.rule}
			n := newNetwork(t, cfg)
			for range 2 {
				out := n.send("wan0", testpkt.UDP{Src: port(server4, 53), Dst: port(addr(tt.to), 5000)}.Bytes())
				if tt.want == packet.NotDropped {
					n.one(out, "lan0")
					return
				}
				n.dropped(out, tt.want)
			}
			if s := n.r.Status(); s.Flows != 0 || s.Mappings != 0 {
				t.Errorf("%d flows and %d mappings are left", s.Flows, s.Mappings)
			}
		})
	}
}

// TestRangesDoNotAllocate: the ranges are looked up for each packet that the fast path does not take.
func TestRangesDoNotAllocate(t *testing.T) {
	f := newFIB(&Config{}, nil)
	for _, a := range []netip.Addr{client4, client6, addr("192.0.0.8"), addr("2001:1::4")} {
		if allocs := testing.AllocsPerRun(100, func() { _ = maySend(a) || f.refusesTo(a) == packet.NotDropped }); allocs != 0 {
			t.Errorf("%s: %v allocations", a, allocs)
		}
	}
}
