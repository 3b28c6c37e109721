package router

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// forward is a port forward of UDP port 9000 of the outside addresses to the clients.
func forward() []nat.Rule {
	rule := func(wan, client netip.Addr) nat.Rule {
		return nat.Rule{
			Action: nat.DNAT, In: "wan0", Proto: packet.ProtoUDP, Destination: []conntrack.AddrRange{{First: wan, Last: wan}},
			Ports: []conntrack.PortRange{{First: 9000, Last: 9000}}, To: []conntrack.AddrRange{{First: client, Last: client}},
			ToPorts: []conntrack.PortRange{{First: 9, Last: 9}},
		}
	}
	return []nat.Rule{rule(wan4, client4), rule(wan6, client6)}
}

// bothWays are flows over the router: what the sender sends, and where; the answer of the other end.
var bothWays = []struct {
	name           string
	in, out        string
	from, to       netip.AddrPort // as the sender writes them
	back, backTo   netip.AddrPort // as the other end writes them
	source         netip.Addr     // of the router's errors to the sender
	packetTooLarge bool
}{
	{"masquerade IPv4", "lan0", "wan0", port(client4, 5000), port(server4, 53), port(server4, 53), port(wan4, 5000), lan4, true},
	{"masquerade IPv6", "lan0", "wan0", port(client6, 5000), port(server6, 53), port(server6, 53), port(wan6, 5000), lan6, true},
	{"dnat IPv4", "wan0", "lan0", port(server4, 700), port(wan4, 9000), port(client4, 9), port(server4, 700), wan4, true},
	{"dnat IPv6", "wan0", "lan0", port(server6, 700), port(wan6, 9000), port(client6, 9), port(server6, 700), wan6, true},
	{"both IPv4", "lan0", "lan0", port(other4, 700), port(wan4, 9000), port(client4, 9), port(wan4, 700), lan4, false},
}

// TestRouterErrors: each ICMP error that the router makes, about a first packet and about one of an established
// flow, goes to who sent the packet, from the address he sent it to the router by, and quotes what he sent.
func TestRouterErrors(t *testing.T) {
	kinds := []struct {
		name   string
		config func(*Config)
		udp    testpkt.UDP
		reason packet.DropReason
		v4, v6 [2]uint8
	}{
		{"time exceeded", nil, testpkt.UDP{TTL: 1, Payload: []byte("hops")}, packet.TTLExceeded, [2]uint8{11, 0}, [2]uint8{3, 0}},
		{"too big", func(c *Config) { c.Interfaces[0].MTU, c.Interfaces[1].MTU = 1400, 1400 },
			testpkt.UDP{DF: true, Payload: make([]byte, 1400)}, packet.TooBig, [2]uint8{3, 4}, [2]uint8{2, 0}},
		{"prohibited", func(c *Config) {
			c.Filter.Rules = []FilterRule{{Proto: packet.ProtoUDP, Action: FilterReject, State: []string{"new"}}}
		}, testpkt.UDP{Payload: []byte("no")}, packet.Filtered, [2]uint8{3, 13}, [2]uint8{1, 1}},
		{"prohibited later", func(c *Config) {
			c.Filter.Rules = []FilterRule{{Proto: packet.ProtoUDP, Action: FilterReject, State: []string{"established"}}}
		}, testpkt.UDP{Payload: []byte("no")}, packet.Filtered, [2]uint8{3, 13}, [2]uint8{1, 1}},
	}
	for _, way := range bothWays {
		for _, kind := range kinds {
			for _, established := range []bool{false, true} {
				if kind.name == "prohibited" && established || kind.name == "prohibited later" && !established {
					continue
				}
				name := way.name + ", " + kind.name + ", first packet"
				if established {
					name = way.name + ", " + kind.name + ", established"
				}
				t.Run(name, func(t *testing.T) {
					cfg := testConfig()
					cfg.NAT = append(cfg.NAT, forward()...)
					if kind.config != nil {
						kind.config(&cfg)
					}
					n := newNetwork(t, cfg)
					if established {
						n.one(n.send(way.in, testpkt.UDP{Src: way.from, Dst: way.to, Payload: []byte("1")}.Bytes()), way.out)
						if kind.name == "prohibited later" {
							n.send(way.out, testpkt.UDP{Src: way.back, Dst: way.backTo, Payload: []byte("2")}.Bytes())
							n.resetDrops()
						} else {
							n.one(n.send(way.out, testpkt.UDP{Src: way.back, Dst: way.backTo, Payload: []byte("2")}.Bytes()), way.in)
						}
					}
					udp := kind.udp
					udp.Src, udp.Dst, udp.ID = way.from, way.to, 77
					sent := udp.Bytes()
					got := n.one(n.send(way.in, sent), way.in)
					n.reason(kind.reason)
					checkError(t, got, sent, way.source, way.from.Addr(), kind.v4, kind.v6)
				})
			}
		}
	}
}

// checkError compares an ICMP error with what it must be; sent is the packet that it is about.
func checkError(t *testing.T, got, sent []byte, from, to netip.Addr, v4, v6 [2]uint8) {
	t.Helper()
	h, reason := packet.Parse(got)
	if reason != packet.NotDropped {
		t.Fatal(reason)
	}
	want, limit := v4, 576
	if h.Family == 6 {
		want, limit = v6, 1280
	}
	if src, dst := addresses(got, &h); addrOf(src) != from || addrOf(dst) != to {
		t.Errorf("from %s to %s, want from %s to %s", addrOf(src), addrOf(dst), from, to)
	}
	icmp := got[h.L4:]
	if icmp[0] != want[0] || icmp[1] != want[1] {
		t.Errorf("type %d code %d, want %v", icmp[0], icmp[1], want)
	}
	if quote := icmp[8:]; !bytes.Equal(quote, sent[:min(len(sent), limit-int(h.L4)-8)]) {
		t.Errorf("quotes\n% x, want\n% x", quote[:min(len(quote), 64)], sent[:min(len(sent), 64)])
	}
	if want == [2]uint8{3, 4} || want == [2]uint8{2, 0} {
		if mtu := int(icmp[6])<<8 | int(icmp[7]); mtu != 1400 {
			t.Errorf("MTU %d, want 1400", mtu)
		}
	}
}

// TestNoRoute: a destination without route is told to both sides.
func TestNoRoute(t *testing.T) {
	cfg := testConfig()
	cfg.Routes = nil
	n := newNetwork(t, cfg)
	for _, tt := range []struct{ from, to, router netip.Addr }{{client4, server4, lan4}, {client6, server6, lan6}} {
		sent := testpkt.UDP{Src: port(tt.from, 5000), Dst: port(tt.to, 53), Payload: []byte("q")}.Bytes()
		checkError(t, n.one(n.send("lan0", sent), "lan0"), sent, tt.router, tt.from, [2]uint8{3, 0}, [2]uint8{1, 0})
		n.reason(packet.NoRoute)
	}
}

// TestPortUnreachableSource: the answer comes from the interface's address (RFC 1812, section 4.3.2.4), of IPv6 from
// the one that was asked (RFC 4443, section 2.2 (a)).
func TestPortUnreachableSource(t *testing.T) {
	for _, tt := range []struct{ host, asked, want netip.Addr }{
		{client4, lan4, lan4}, {client4, wan4, lan4}, {client6, lan6, lan6}, {client6, wan6, wan6},
	} {
		n := newNetwork(t, testConfig())
		sent := testpkt.UDP{Src: port(tt.host, 5000), Dst: port(tt.asked, 33434), Payload: []byte("trace")}.Bytes()
		checkError(t, n.one(n.send("lan0", sent), "lan0"), sent, tt.want, tt.host, [2]uint8{3, 3}, [2]uint8{1, 4})
	}
}

// TestTracerouteToRouter: UDP from inside to the router itself is answered with port unreachable, from outside never.
func TestTracerouteToRouter(t *testing.T) {
	n := newNetwork(t, testConfig())
	sent := testpkt.UDP{Src: port(client4, 5000), Dst: port(lan4, 33434), Payload: []byte("trace")}.Bytes()
	checkError(t, n.one(n.send("lan0", sent), "lan0"), sent, lan4, client4, [2]uint8{3, 3}, [2]uint8{1, 4})
	n.reason(packet.InputFiltered)
	n.dropped(n.send("wan0", testpkt.UDP{Src: port(server4, 5000), Dst: port(wan4, 33434)}.Bytes()), packet.NoMapping)
}

// TestRejectReset: a rejected SYN gets the RST that the destination would have sent (RFC 9293, section 3.10.7.1).
func TestRejectReset(t *testing.T) {
	cfg := testConfig()
	cfg.Filter.Rules = []FilterRule{{Proto: packet.ProtoTCP, Ports: []conntrack.PortRange{{First: 25, Last: 25}}, Action: FilterReject}}
	for _, tt := range []struct{ from, to netip.Addr }{{client4, server4}, {client6, server6}} {
		n := newNetwork(t, cfg)
		got := n.one(n.send("lan0", testpkt.TCP{Src: port(tt.from, 5000), Dst: port(tt.to, 25), Seq: 99, Flags: packet.FlagSYN}.Bytes()), "lan0")
		n.reason(packet.Filtered)
		if e := endpoints(t, got); e != (flowOf{port(tt.to, 25), port(tt.from, 5000)}) {
			t.Errorf("RST %v", e)
		}
		h, _ := packet.Parse(got)
		if seg := packet.TCP(got[h.L4:]); seg.Flags() != packet.FlagRST|packet.FlagACK || seg.Ack() != 100 || seg.Seq() != 0 {
			t.Errorf("flags %02x, seq %d, ack %d", seg.Flags(), seg.Seq(), seg.Ack())
		}
	}
}

// TestErrorRate: the router answers no more than [icmp] error_rate allows, and counts what it did not say: one source
// has a burst of a tenth, but of six at least.
func TestErrorRate(t *testing.T) {
	cfg := testConfig()
	cfg.ErrorRate = 70
	n := newNetwork(t, cfg)
	b := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), TTL: 1}.Bytes()
	if out := n.send("lan0", slices.Repeat([][]byte{b}, 9)...); len(out["lan0"]) != 7 {
		t.Errorf("%d answers, want 7", len(out["lan0"]))
	}
	if got := n.drops()["rate-limited"]; got != 2 {
		t.Errorf("%d rate-limited, want 2", got)
	}
	n.tick(1e9)
	if out := n.send("lan0", b, b); len(out["lan0"]) != 1 {
		t.Errorf("%d answers a second later, want 1", len(out["lan0"]))
	}
}

// TestErrorRateStarvesNobody is the reported fault: 5000 packets a second without a hop left from one host kept "too big"
// from all others, and so path MTU discovery. The flood gets its own part and no more, the others get each answer; of
// IPv6 they may be of the same /64.
func TestErrorRateStarvesNobody(t *testing.T) {
	for _, tt := range []struct {
		name          string
		flood, honest netip.Addr
		to            netip.Addr
	}{
		{"IPv4", other4, client4, server4},
		{"IPv4, the same host", client4, client4, server4},
		{"IPv6", addr("fd77::3"), client6, server6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig()
			cfg.Interfaces[1].MTU = 1400
			n := newNetwork(t, cfg)
			flood := slices.Repeat([][]byte{testpkt.UDP{Src: port(tt.flood, 5000), Dst: port(tt.to, 53), TTL: 1}.Bytes()}, 50)
			big := testpkt.UDP{Src: port(tt.honest, 6000), Dst: port(tt.to, 53), DF: true, Payload: make([]byte, 1400)}.Bytes()
			flooded, told := 0, 0
			for i := range 1000 { // of 10 ms
				n.tick(10e6)
				flooded += len(n.send("lan0", flood...)["lan0"])
				if i%14 == 0 {
					told += len(n.send("lan0", big)["lan0"])
				}
			}
			if told != 72 || flooded < 190 || flooded > 210 {
				t.Errorf("%d of 72 times told that it is too big; the flood got %d answers in 10 s, want about 200", told, flooded)
			}
		})
	}
}

// TestErrorRateKinds: one limit holds for all that the router answers: RST and port unreachable are other hosts' too.
func TestErrorRateKinds(t *testing.T) {
	cfg := testConfig()
	cfg.Filter.Rules = []FilterRule{{Proto: packet.ProtoTCP, Ports: []conntrack.PortRange{{First: 25, Last: 25}}, Action: FilterReject}}
	for name, b := range map[string][]byte{
		"RST":              testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 25), Seq: 99, Flags: packet.FlagSYN}.Bytes(),
		"port unreachable": testpkt.UDP{Src: port(client4, 5000), Dst: port(lan4, 33434), Payload: []byte("trace")}.Bytes(),
	} {
		n := newNetwork(t, cfg)
		if got := len(n.send("lan0", slices.Repeat([][]byte{b}, 300)...)["lan0"]); got != 100 {
			t.Errorf("%s: %d answers to one host, want a burst of 100", name, got)
		}
		n.one(n.send("lan0", testpkt.UDP{Src: port(other4, 5000), Dst: port(server4, 53), TTL: 1}.Bytes()), "lan0")
	}
}

// TestNoErrorAboutErrors (RFC 1812, section 4.3.2.7; RFC 4443, section 2.4(e)).
func TestNoErrorAboutErrors(t *testing.T) {
	n := newNetwork(t, testConfig())
	n.one(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()), "wan0")
	quoted := testpkt.UDP{Src: port(wan4, 5000), Dst: port(server4, 53)}.Bytes()
	n.dropped(n.send("wan0", testpkt.ICMP{Src: server4, Dst: wan4, Type: 3, Code: 3, Payload: quoted, TTL: 1}.Bytes()), packet.TTLExceeded)
}

// TestQuoteOfSuperSegment: what is quoted is the first segment, with its checksum finished.
func TestQuoteOfSuperSegment(t *testing.T) {
	cfg := testConfig()
	cfg.Interfaces[1].MTU = 1400
	n := newNetwork(t, cfg)
	n.one(n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 1, Flags: packet.FlagSYN}.Bytes()), "wan0")
	n.one(n.send("wan0", testpkt.TCP{Src: port(server4, 80), Dst: port(wan4, 5000), Seq: 1, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK}.Bytes()), "lan0")
	big := testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 2, Ack: 2, Flags: packet.FlagACK, DF: true, Payload: make([]byte, 4380)}.Bytes()
	want := testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 2, Ack: 2, Flags: packet.FlagACK, DF: true, Payload: make([]byte, 1460)}.Bytes()
	start, off := testpkt.MakePartial(big)
	got := n.one(n.sendFrames("lan0", frame(big, packet.Meta{GSO: packet.GSOTCPv4, SegSize: 1460, CsumStart: start, CsumOff: off})), "lan0")
	n.reason(packet.TooBig)
	checkError(t, got, want, lan4, client4, [2]uint8{3, 4}, [2]uint8{2, 0})
}
