package router

import (
	"net/netip"
	"slices"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// TestNoPortLeft: where every outside port is in use a new connection is refused and the inside host is told (RFC 6888,
// REQ-11); those that are there go on, and when one ends its port is free for the next.
func TestNoPortLeft(t *testing.T) {
	cfg := testConfig()
	cfg.NAT = []nat.Rule{{Action: nat.SNAT, Out: "wan0", To: []conntrack.AddrRange{host(pool4)}, ToPorts: []conntrack.PortRange{{First: 40000, Last: 40000}}}}
	n := newNetwork(t, cfg)
	first := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()
	second := testpkt.UDP{Src: port(other4, 5000), Dst: port(server4, 53)}.Bytes()
	n.one(n.send("lan0", first), "wan0")
	checkError(t, n.one(n.send("lan0", second), "lan0"), second, lan4, other4, [2]uint8{3, 1}, [2]uint8{1, 3})
	n.reason(packet.NoPort)
	n.one(n.send("lan0", first), "wan0")
	if n.r.table.Len() != 1 {
		t.Errorf("%d connections, want 1", n.r.table.Len())
	}
	for range 600 { // more than UDP's five minutes
		n.tick(1e9)
	}
	if got := endpoints(t, n.one(n.send("lan0", second), "wan0")); got.src != port(pool4, 40000) {
		t.Errorf("leaves from %s", got.src)
	}
}

// TestReassembledTooBig: a datagram whose fragments say DF is not made smaller than they were: where they don't fit, the
// sender is told (RFC 1191, section 4; RFC 8200, section 5).
func TestReassembledTooBig(t *testing.T) {
	cfg := testConfig()
	cfg.Interfaces[1].MTU = 1400
	n := newNetwork(t, cfg)
	for _, sent := range [][]byte{
		testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), ID: 5, DF: true, Payload: pattern(3000)}.Bytes(),
		testpkt.UDP{Src: port(client6, 5000), Dst: port(server6, 53), Payload: pattern(3000)}.Bytes(),
	} {
		got := n.one(n.send("lan0", testpkt.Fragments(sent, 1480, 9)...), "lan0")
		n.reason(packet.TooBig)
		h, reason := packet.Parse(got)
		if reason != packet.NotDropped {
			t.Fatal(reason)
		}
		if icmp := got[h.L4:]; (icmp[0] != 3 || icmp[1] != 4) && icmp[0] != 2 || int(icmp[6])<<8|int(icmp[7]) != 1400 {
			t.Errorf("answered by type %d code %d, MTU %d", icmp[0], icmp[1], int(icmp[6])<<8|int(icmp[7]))
		}
		if n.r.table.Len() != 0 {
			t.Errorf("%d connections are left", n.r.table.Len())
		}
		for _, f := range testpkt.Fragments(sent, 1400, 10) {
			n.send("lan0", f)
		}
		if n.r.table.Len() != 1 {
			t.Errorf("fragments that fit: %d connections; drops %v", n.r.table.Len(), n.drops())
		}
		for range 600 {
			n.tick(1e9)
		}
		n.resetDrops()
	}
}

// TestDeviceClosed: what is to leave by a closed device is counted, packet by packet, and holds nothing up.
func TestDeviceClosed(t *testing.T) {
	n := newNetwork(t, testConfig())
	if err := n.near["wan0"].Close(); err != nil {
		t.Fatal(err)
	}
	b := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()
	n.lane("lan0").handle([]tun.Frame{frame(b, packet.Meta{}), frame(b, packet.Meta{}), frame(b, packet.Meta{})})
	if got := n.drops(); len(got) != 1 || got[packet.DeviceDown.String()] != 3 {
		t.Errorf("drops %v, want three %s", got, packet.DeviceDown)
	}
}

// TestReassembledBelowMTU: a datagram that would fit whole leaves in fragments all the same, if it came so: a hop behind
// may carry no more (RFC 8200, section 5, has the path in mind).
func TestReassembledBelowMTU(t *testing.T) {
	n := newNetwork(t, testConfig())
	for _, sent := range [][]byte{
		testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), ID: 5, Payload: pattern(1300)}.Bytes(),
		testpkt.UDP{Src: port(client6, 5000), Dst: port(server6, 53), Payload: pattern(1300)}.Bytes(),
	} {
		out := n.send("lan0", testpkt.Fragments(sent, 800, 9)...)["wan0"]
		if len(out) != 2 {
			t.Fatalf("%d packets left, want 2 fragments; drops %v", len(out), n.drops())
		}
		for i := range out {
			if out[i].Len > 800 {
				t.Errorf("a fragment of %d bytes", out[i].Len)
			}
		}
	}
}

// TestFilterPortsNeedPorts: a rule for ports says nothing about packets that have none.
func TestFilterPortsNeedPorts(t *testing.T) {
	cfg := testConfig()
	cfg.Filter.Rules = []FilterRule{{Ports: []conntrack.PortRange{{First: 1, Last: 65535}}, Action: FilterDrop}}
	n := newNetwork(t, cfg)
	n.one(n.send("lan0", testpkt.Echo{Src: client4, Dst: server4, ID: 7}.Bytes()), "wan0")
	n.dropped(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()), packet.Filtered)
}

// TestFullTableIsSilentOutside: when there is no room for a connection an inside host is told so, an outside one is not
// (RFC 6888, REQ-11, speaks of the subscriber).
func TestFullTableIsSilentOutside(t *testing.T) {
	cfg := testConfig()
	cfg.NAT = append(cfg.NAT, forward()...)
	cfg.Conntrack.Max = 1
	n := newNetwork(t, cfg)
	n.one(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()), "wan0")
	n.one(n.send("wan0", testpkt.UDP{Src: port(server4, 53), Dst: port(wan4, 5000)}.Bytes()), "lan0") // answered, so never evicted
	n.dropped(n.send("wan0", testpkt.UDP{Src: port(server4, 700), Dst: port(wan4, 9000)}.Bytes()), packet.TableFull)
	sent := testpkt.UDP{Src: port(other4, 5000), Dst: port(server4, 53)}.Bytes()
	checkError(t, n.one(n.send("lan0", sent), "lan0"), sent, lan4, other4, [2]uint8{3, 1}, [2]uint8{1, 3})
	n.reason(packet.TableFull)
}

// TestOwnErrorsStayInside: a socket of the router's own host that is closed makes netstack answer port unreachable. An
// outside host hears nothing of it, an inside host does, within the limit of all that the router answers.
func TestOwnErrorsStayInside(t *testing.T) {
	for _, tt := range []struct {
		side      string
		own, peer netip.Addr
		silent    bool
	}{{"wan0", wan4, server4, true}, {"lan0", lan4, client4, false}} {
		cfg := testConfig()
		cfg.Filter.Input = InputAccept
		n := newNetwork(t, cfg)
		c, err := gonet.DialUDP(n.r.Stack(), &tcpip.FullAddress{Addr: tcpip.AddrFrom4(tt.own.As4()), Port: 9000},
			&tcpip.FullAddress{Addr: tcpip.AddrFrom4(tt.peer.As4()), Port: 53}, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("q")); err != nil {
			t.Fatal(err)
		}
		n.one(n.collect(), tt.side)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		out := n.send(tt.side, testpkt.UDP{Src: port(tt.peer, 53), Dst: port(tt.own, 9000), Payload: []byte("a")}.Bytes())
		if tt.silent {
			n.dropped(out, packet.NoMapping)
			continue
		}
		if b := n.one(out, tt.side); b[9] != packet.ProtoICMP || b[20] != packet.ICMPUnreachable {
			t.Errorf("% x, want a port unreachable", b)
		}
		again := testpkt.UDP{Src: port(tt.peer, 53), Dst: port(tt.own, 9000), Payload: []byte("a")}.Bytes()
		if got := len(n.send(tt.side, slices.Repeat([][]byte{again}, 300)...)[tt.side]); got != 99 {
			t.Errorf("%d more answers, want what is left of a burst of 100", got)
		}
		if got := n.drops()[packet.RateLimited.String()]; got != 201 {
			t.Errorf("%d rate-limited, want 201", got)
		}
	}
}

// TestReassembledDFOnOne: DF on any fragment counts for the datagram, not only that on the first.
func TestReassembledDFOnOne(t *testing.T) {
	for which := range 3 {
		cfg := testConfig()
		cfg.Interfaces[1].MTU = 1400
		n := newNetwork(t, cfg)
		fragments := testpkt.Fragments(testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), ID: 5, Payload: pattern(4000)}.Bytes(), 1480, 9)
		fragments[which][6] |= 0x40
		setSum(fragments[which][:20], 10)
		if b := n.one(n.send("lan0", fragments...), "lan0"); b[9] != packet.ProtoICMP || b[20] != 3 || b[21] != 4 {
			t.Errorf("DF on fragment %d: % x, want fragmentation needed", which, b)
		}
		n.reason(packet.TooBig)
	}
}
