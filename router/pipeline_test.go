package router

import (
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// TestMasquerade: what goes out bears the outside address, what comes back finds its host.
func TestMasquerade(t *testing.T) {
	for name, tt := range map[string]struct{ client, wan, server netip.Addr }{
		"IPv4": {client4, wan4, server4},
		"IPv6": {client6, wan6, server6},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, testConfig())
			out := n.one(n.send("lan0", testpkt.UDP{Src: port(tt.client, 5000), Dst: port(tt.server, 53), Payload: []byte("q")}.Bytes()), "wan0")
			if got := endpoints(t, out); got != (flowOf{port(tt.wan, 5000), port(tt.server, 53)}) {
				t.Errorf("outside: %v", got)
			}
			back := n.one(n.send("wan0", testpkt.UDP{Src: port(tt.server, 53), Dst: port(tt.wan, 5000), Payload: []byte("a")}.Bytes()), "lan0")
			if got := endpoints(t, back); got != (flowOf{port(tt.server, 53), port(tt.client, 5000)}) {
				t.Errorf("inside: %v", got)
			}
			if h, _ := packet.Parse(back); h.TTL != 63 {
				t.Errorf("TTL %d, want 63", h.TTL)
			}
		})
	}
}

// TestPortForward: a dnat rule lets new connections in, and their answers bear the outside endpoint.
func TestPortForward(t *testing.T) {
	cfg := testConfig()
	cfg.NAT = append(cfg.NAT, nat.Rule{
		Action: nat.DNAT, In: "wan0", Proto: packet.ProtoTCP, Destination: []conntrack.AddrRange{{First: wan4, Last: wan4}},
		Ports: []conntrack.PortRange{{First: 8080, Last: 8080}}, To: []conntrack.AddrRange{{First: client4, Last: client4}},
		ToPorts: []conntrack.PortRange{{First: 80, Last: 80}},
	})
	n := newNetwork(t, cfg)
	in := n.one(n.send("wan0", testpkt.TCP{Src: port(server4, 4000), Dst: port(wan4, 8080), Flags: packet.FlagSYN, Seq: 1}.Bytes()), "lan0")
	if got := endpoints(t, in); got != (flowOf{port(server4, 4000), port(client4, 80)}) {
		t.Errorf("inside: %v", got)
	}
	back := n.one(n.send("lan0", testpkt.TCP{
		Src: port(client4, 80), Dst: port(server4, 4000), Flags: packet.FlagSYN | packet.FlagACK, Seq: 7, Ack: 2,
	}.Bytes()), "wan0")
	if got := endpoints(t, back); got != (flowOf{port(wan4, 8080), port(server4, 4000)}) {
		t.Errorf("outside: %v", got)
	}
}

// TestEchoToRouter: the router answers pings on its own addresses from every side, but that its private ones are
// not shown outside.
func TestEchoToRouter(t *testing.T) {
	n := newNetwork(t, testConfig())
	for _, tt := range []struct {
		side     string
		from, to netip.Addr
	}{
		{"lan0", client4, lan4}, {"lan0", client4, wan4}, {"wan0", server4, wan4},
		{"lan0", client6, lan6}, {"lan0", client6, wan6}, {"wan0", server6, wan6},
	} {
		out := n.one(n.send(tt.side, testpkt.Echo{Src: tt.from, Dst: tt.to, ID: 9, Seq: 1, Payload: []byte("ping")}.Bytes()), tt.side)
		h, _ := packet.Parse(out)
		if src, dst := addresses(out, &h); addrOf(src) != tt.to || addrOf(dst) != tt.from {
			t.Errorf("%s to %s by %s: answer from %s to %s", tt.from, tt.to, tt.side, addrOf(src), addrOf(dst))
		}
	}
	n.dropped(n.send("wan0", testpkt.Echo{Src: server4, Dst: lan4, ID: 9}.Bytes()), packet.InputFiltered)
	n.dropped(n.send("wan0", testpkt.Echo{Src: server6, Dst: lan6, ID: 9}.Bytes()), packet.InputFiltered)
}

// TestUnsolicited: nothing outside learns anything from an outside address, one reason each.
func TestUnsolicited(t *testing.T) {
	cfg := testConfig()
	cfg.NAT = append(cfg.NAT, nat.Rule{Action: nat.SNAT, Out: "wan0", Source: []conntrack.AddrRange{span("10.78.0.0/16")},
		To: []conntrack.AddrRange{{First: pool4, Last: pool4}}})
	n := newNetwork(t, cfg)
	for _, to := range []netip.Addr{wan4, pool4} {
		for name, b := range map[string][]byte{
			"SYN":  testpkt.TCP{Src: port(server4, 4000), Dst: port(to, 22), Flags: packet.FlagSYN}.Bytes(),
			"ACK":  testpkt.TCP{Src: port(server4, 4000), Dst: port(to, 22), Flags: packet.FlagACK}.Bytes(),
			"UDP":  testpkt.UDP{Src: port(server4, 4000), Dst: port(to, 22)}.Bytes(),
			"GRE":  testpkt.GREv1{Src: server4, Dst: to, CallID: 7, Payload: []byte("ppp")}.Bytes(),
			"ESP":  testpkt.Raw{Src: server4, Dst: to, Proto: packet.ProtoESP, Payload: make([]byte, 32)}.Bytes(),
			"SCTP": testpkt.SCTP{Src: port(server4, 4000), Dst: port(to, 22), Chunks: []byte{1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1}}.Bytes(),
		} {
			t.Run(name+" to "+to.String(), func(t *testing.T) {
				n.t = t
				n.dropped(n.send("wan0", b), packet.NoMapping)
			})
		}
	}
	if n.r.table.Len() != 0 {
		t.Errorf("%d connections were made", n.r.table.Len())
	}
}
