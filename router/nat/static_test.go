package nat

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// TestVector6: docs/spec/nat.md, section 11.6.
func TestVector6(t *testing.T) {
	w := newWorld(t, Rule{Action: DNAT, In: "wan0", Proto: packet.ProtoTCP, Destination: addrs("203.0.113.1"), Ports: portList(80, 80), To: addrs("10.88.0.9"), ToPorts: portList(8080, 8080)})
	wantEnds(t, w.pass(wan, syn("198.51.100.7:5000", "203.0.113.1:80")), "198.51.100.7:5000", "10.88.0.9:8080")
	if r := w.conn.Tuples[conntrack.Reply]; r.SrcAddr() != addr("10.88.0.9") || r.SrcID != 8080 {
		t.Errorf("reply tuple %+v", r)
	}
	if w.conn.Status&conntrack.NoInboundRefresh != 0 {
		t.Error("a static rule's connection is refreshed by both directions (docs/spec/nat.md, section 12)")
	}
	answer := testpkt.TCP{Src: ap("10.88.0.9:8080"), Dst: ap("198.51.100.7:5000"), Seq: 1, Ack: 1001, Flags: packet.FlagSYN | packet.FlagACK}
	wantEnds(t, w.pass(dmz, answer.Bytes()), "203.0.113.1:80", "198.51.100.7:5000")
}

func TestDNATPorts(t *testing.T) {
	for name, tt := range map[string]struct {
		ports, to []conntrack.PortRange
		in, out   uint16
	}{
		"unchanged":        {portList(80, 90), nil, 85, 85},
		"one port":         {portList(80, 90), portList(8080, 8080), 85, 8080},
		"shifted":          {portList(8000, 8010), portList(9000, 9010), 8007, 9007},
		"shifted lists":    {portList(80, 80, 443, 444), portList(8080, 8081, 9000, 9000), 444, 9000},
		"every port":       {nil, portList(7, 7), 1234, 7},
		"first of a range": {portList(1, 65535), portList(1, 65535), 1, 1},
	} {
		rule := Rule{Action: DNAT, In: "wan0", Proto: packet.ProtoUDP, Ports: tt.ports, To: addrs("10.88.0.9"), ToPorts: tt.to}
		w := newWorld(t, rule)
		got := w.pass(wan, udp("198.51.100.7:5000", fmt.Sprintf("203.0.113.1:%d", tt.in)))
		if _, dst := ends(got); dst.Port() != tt.out {
			t.Errorf("%s: port %d became %d, want %d", name, tt.in, dst.Port(), tt.out)
		}
	}
}

// Several targets: a source keeps to one.
func TestDNATSpread(t *testing.T) {
	w := newWorld(t, Rule{Action: DNAT, In: "wan0", Proto: packet.ProtoUDP, Ports: portList(53, 53), To: addrs("10.88.0.8/30")})
	seen := map[string]bool{}
	for host := range 64 {
		first := ""
		for port := range 3 {
			got := w.pass(wan, udp(fmt.Sprintf("198.51.100.%d:%d", host, port+1), "203.0.113.1:53"))
			_, dst := ends(got)
			if first == "" {
				first = dst.Addr().String()
			}
			if dst.Addr().String() != first {
				t.Fatalf("host %d goes to %s and %s", host, first, dst.Addr())
			}
		}
		seen[first] = true
	}
	if len(seen) != 4 {
		t.Errorf("only %d of 4 targets are used", len(seen))
	}
}

func TestRedirect(t *testing.T) {
	w := newWorld(t,
		Rule{Action: Redirect, In: "lan0", Proto: packet.ProtoTCP, Ports: portList(80, 80), ToPorts: portList(3128, 3128)},
		Rule{Action: Redirect, In: "wan0", Proto: packet.ProtoUDP, Ports: portList(53, 53)})
	wantEnds(t, w.pass(lan, syn("10.77.1.2:5000", "198.51.100.7:80")), "10.77.1.2:5000", "10.77.0.1:3128")
	wantEnds(t, w.pass(lan, syn("[fd77::2]:5000", "[2001:db8::7]:80")), "[fd77::2]:5000", "[fd77::1]:3128")
	wantEnds(t, w.pass(wan, udp("198.51.100.7:5000", "203.0.113.1:53")), "198.51.100.7:5000", "203.0.113.1:53")
}

// No rule, no mapping: silent, for an address of the router and for one of a pool (RFC 5382 REQ-4).
func TestUnsolicited(t *testing.T) {
	w := newWorld(t, masquerade, Rule{Action: SNAT, Out: "wan0", Source: addrs("10.99.0.0/16"), To: addrs("198.51.100.32/28")})
	for _, dst := range []string{"203.0.113.1", "198.51.100.40"} {
		w.refuse(wan, syn("192.0.2.1:5000", dst+":80"), packet.NoMapping)
		w.refuse(wan, udp("192.0.2.1:5000", dst+":53"), packet.NoMapping)
		w.refuse(wan, testpkt.Echo{Src: addr("192.0.2.1"), Dst: addr(dst), ID: 1}.Bytes(), packet.NoMapping)
		w.refuse(wan, testpkt.Raw{Src: addr("192.0.2.1"), Dst: addr(dst), Proto: packet.ProtoESP, Payload: make([]byte, 16)}.Bytes(), packet.NoMapping)
		w.refuse(lan, udp("10.77.1.2:5000", dst+":53"), packet.NoMapping)
	}
	for a, want := range map[string][2]bool{
		"203.0.113.1": {true, false}, "198.51.100.40": {true, true}, "10.77.0.1": {false, false}, "198.51.100.48": {false, false},
		"2001:db8:113::1": {true, false},
	} {
		if got := [2]bool{w.nat.OutsideAddress(addr(a)), w.nat.Pool(addr(a))}; got != want {
			t.Errorf("%s: outside, pool = %v, want %v", a, got, want)
		}
	}
}

// accept exempts at the position where it matches, and first match wins (RFC 6888 REQ-6).
func TestAccept(t *testing.T) {
	w := newWorld(t,
		Rule{Action: Accept, Out: "wan0", Source: addrs("10.77.0.0/16"), Destination: addrs("192.0.2.0/24")},
		Rule{Action: Accept, In: "wan0", Proto: packet.ProtoTCP, Ports: portList(22, 22), Source: addrs("198.51.100.7")},
		Rule{Action: DNAT, In: "wan0", Proto: packet.ProtoTCP, To: addrs("10.88.0.9")},
		masquerade)
	wantEnds(t, w.pass(lan, udp("10.77.1.2:5000", "192.0.2.9:53")), "10.77.1.2:5000", "192.0.2.9:53")
	wantEnds(t, w.pass(lan, udp("10.77.1.2:5000", "198.51.100.9:53")), "203.0.113.1:5000", "198.51.100.9:53")
	wantEnds(t, w.pass(wan, syn("198.51.100.7:5000", "203.0.113.1:22")), "198.51.100.7:5000", "203.0.113.1:22")
	wantEnds(t, w.pass(wan, syn("198.51.100.8:5000", "203.0.113.1:22")), "198.51.100.8:5000", "10.88.0.9:22")
	for dst, want := range map[string]bool{"192.0.2.9:53": true, "198.51.100.9:53": false} {
		w.pass(lan, udp("10.77.1.2:5001", dst))
		if got := w.nat.MayLeave(lan, wan, &w.conn, addr("10.77.1.2")); got != want {
			t.Errorf("may leave towards %s: %v", dst, got)
		}
	}
}

// Both ends translated: rules see the source as it was sent and the destination as it is by then.
func TestTwiceNAT(t *testing.T) {
	w := newWorld(t,
		Rule{Action: DNAT, In: "lan0", Destination: addrs("10.99.0.1"), To: addrs("192.0.2.80")},
		Rule{Action: SNAT, Out: "wan0", Source: addrs("10.77.0.0/16"), Destination: addrs("192.0.2.80"), To: addrs("198.51.100.77")},
		masquerade)
	w.route = func(a netip.Addr) int { return wan }
	wantEnds(t, w.pass(lan, syn("10.77.1.2:5000", "10.99.0.1:80")), "198.51.100.77:5000", "192.0.2.80:80")
	w.route = func(a netip.Addr) int { return lan }
	answer := testpkt.TCP{Src: ap("192.0.2.80:80"), Dst: ap("198.51.100.77:5000"), Seq: 1, Ack: 1001, Flags: packet.FlagSYN | packet.FlagACK}
	wantEnds(t, w.pass(wan, answer.Bytes()), "10.99.0.1:80", "10.77.1.2:5000")
}

// Ports that static rules answer are nobody's mapping.
func TestStaticReservation(t *testing.T) {
	w := newWorld(t,
		Rule{Action: DNAT, In: "wan0", Proto: packet.ProtoUDP, Ports: portList(40000, 40003), To: addrs("10.88.0.9")},
		Rule{Action: Redirect, In: "wan0", Proto: packet.ProtoUDP, Ports: portList(41000, 41000), ToPorts: portList(42000, 42000)},
		Rule{Action: Redirect, In: "lan0", Proto: packet.ProtoUDP, Ports: portList(53, 53)},
		masquerade)
	for port, kept := range map[int]bool{39999: true, 40000: false, 40003: false, 40004: true, 41000: false, 42000: false, 53: true} {
		src, _ := ends(w.pass(lan, udp(fmt.Sprintf("10.77.1.2:%d", port), "198.51.100.7:9")))
		if got := int(src.Port()) == port; got != kept {
			t.Errorf("port %d became %d", port, src.Port())
		}
		wantEnds(t, w.pass(lan, syn(fmt.Sprintf("10.77.1.2:%d", port), "198.51.100.7:9")), fmt.Sprintf("203.0.113.1:%d", port), "198.51.100.7:9")
	}
}

func TestNetmap(t *testing.T) {
	for name, rule := range map[string]Rule{
		"from inside":  {Action: Netmap, Out: "wan0", Source: addrs("10.77.1.0/24"), To: addrs("198.51.100.0/24")},
		"from outside": {Action: Netmap, In: "wan0", Destination: addrs("198.51.100.0/24"), To: addrs("10.77.1.0/24")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, rule, masquerade)
			wantEnds(t, w.pass(lan, udp("10.77.1.9:5000", "192.0.2.1:53")), "198.51.100.9:5000", "192.0.2.1:53")
			wantEnds(t, w.pass(wan, udp("192.0.2.1:53", "198.51.100.9:5000")), "192.0.2.1:53", "10.77.1.9:5000")
			wantEnds(t, w.pass(wan, syn("192.0.2.2:99", "198.51.100.200:22")), "192.0.2.2:99", "10.77.1.200:22")
			wantEnds(t, w.pass(lan, udp("10.77.2.9:5000", "192.0.2.1:53")), "203.0.113.1:5000", "192.0.2.1:53")
			if s := w.nat.Stats(); s.Mappings != 1 {
				t.Errorf("%d mappings, want that of the masquerade alone", s.Mappings)
			}
			// Inside hosts by their outside addresses.
			got := w.pass(lan, udp("10.77.1.3:7", "198.51.100.4:8"))
			wantEnds(t, got, "198.51.100.3:7", "10.77.1.4:8")
			wantEnds(t, w.pass(lan, udp("10.77.1.4:8", "198.51.100.3:7")), "198.51.100.4:8", "10.77.1.3:7")
		})
	}
}

// NAT66: masquerade and snat with IPv6 are those of IPv4.
func TestNAT66(t *testing.T) {
	w := newWorld(t, Rule{Action: SNAT, Out: "wan0", To: addrs("2001:db8:9::/120", "198.51.100.9")})
	got := w.pass(lan, udp("[fd77::2]:5000", "[2001:db8::1]:53"))
	src, _ := ends(got)
	if !addrs("2001:db8:9::/120")[0].First.Is6() || src.Addr().String()[:10] != "2001:db8:9" {
		t.Errorf("source %v", src)
	}
	wantEnds(t, w.pass(wan, udp("[2001:db8::1]:53", src.String())), "[2001:db8::1]:53", "[fd77::2]:5000")
	wantEnds(t, w.pass(lan, udp("10.77.1.2:5000", "192.0.2.1:53")), "198.51.100.9:5000", "192.0.2.1:53")
}

// A rule does what it can for each family: one without addresses of a family is not for it.
func TestRuleWithoutFamily(t *testing.T) {
	w := newWorld(t, Rule{Action: SNAT, Out: "wan0", To: addrs("198.51.100.9")}, masquerade)
	wantEnds(t, w.pass(lan, udp("[fd77::2]:5000", "[2001:db8::1]:53")), "[2001:db8:113::1]:5000", "[2001:db8::1]:53")
	cfg := testConfig(masquerade)
	cfg.Interfaces[wan].Addresses = prefixes("203.0.113.1/24")
	w = newWorldConfig(t, cfg)
	w.refuse(lan, udp("[fd77::2]:5000", "[2001:db8::1]:53"), packet.NATUnmappable)
}

// The scope of the masquerade address fits the destination (RFC 6724, section 5, rule 2).
func TestMasqueradeScope(t *testing.T) {
	cfg := testConfig(masquerade)
	cfg.Interfaces[wan].Addresses = prefixes("fe80::1/64", "fd99::1/64", "2001:db8:113::1/64", "203.0.113.1/24", "203.0.113.2/24")
	w := newWorldConfig(t, cfg)
	w.route = func(netip.Addr) int { return wan }
	wantEnds(t, w.pass(lan, udp("[fd77::2]:5000", "[2001:db8::1]:53")), "[2001:db8:113::1]:5000", "[2001:db8::1]:53")
	wantEnds(t, w.pass(lan, udp("[fd77::3]:5000", "[fd12::1]:53")), "[fd99::1]:5000", "[fd12::1]:53")
	wantEnds(t, w.pass(lan, udp("10.77.1.2:5000", "192.0.2.1:53")), "203.0.113.1:5000", "192.0.2.1:53")
}
