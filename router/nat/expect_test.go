package nat

import (
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// A reserved endpoint is nobody's mapping; the connection that comes of it holds it on.
func TestReserve(t *testing.T) {
	w := newWorld(t, masquerade)
	w.pass(lan, syn("10.77.1.2:2000", "198.51.100.7:21"))
	control := w.conn.ID
	outside := addr("203.0.113.1")
	inside := netip.MustParseAddrPort("10.77.1.2:5000")
	port, ok := w.nat.Reserve(w.now, packet.ProtoTCP, outside, inside)
	if !ok || port != 5000 {
		t.Fatalf("reserved %d, %v", port, ok)
	}
	if other, ok := w.nat.Reserve(w.now, packet.ProtoTCP, outside, netip.MustParseAddrPort("10.77.1.9:5000")); !ok || other == 5000 {
		t.Errorf("reserved %d for two hosts", other)
	} else {
		w.nat.Unreserve(w.now, packet.ProtoTCP, outside, other)
	}
	if again, ok := w.nat.Reserve(w.now, packet.ProtoTCP, outside, inside); !ok || again == 5000 {
		t.Errorf("reserved %d twice", again)
	} else {
		w.nat.Unreserve(w.now, packet.ProtoTCP, outside, again)
	}
	if elsewhere, ok := w.nat.Reserve(w.now, packet.ProtoTCP, addr("203.0.113.2"), inside); !ok || elsewhere != 5000 {
		t.Errorf("at another address %d", elsewhere)
	} else {
		w.nat.Unreserve(w.now, packet.ProtoTCP, addr("203.0.113.2"), elsewhere)
	}
	src, _ := ends(w.pass(lan, syn("10.77.1.3:5000", "198.51.100.7:80")))
	if src.Port() == 5000 {
		t.Error("a mapping got the reserved port")
	}
	expect := conntrack.Expectation{
		Master: control, Lifetime: 60 * second, Mask: conntrack.Mask{},
		Tuple: conntrack.Tuple{Src: addr("198.51.100.7").As16(), Dst: outside.As16(), DstID: 5000, Proto: packet.ProtoTCP, Family: 4},
		NAT:   conntrack.ExpectNAT{Dst: conntrack.Manip{Addr: addr("10.77.1.2").As16(), Key: 4000, HasAddr: true, HasKey: true}},
	}
	if _, err := w.table.Expect(w.now, expect); err != nil {
		t.Fatal(err)
	}
	wantEnds(t, w.pass(wan, syn("198.51.100.7:20", "203.0.113.1:5000")), "198.51.100.7:20", "10.77.1.2:4000")
	if w.conn.Status&conntrack.NoInboundRefresh != 0 {
		t.Error("a helper's child is refreshed by both directions (docs/spec/nat.md, section 12)")
	}
	w.nat.Unreserve(w.now, packet.ProtoTCP, outside, 5000)
	src, _ = ends(w.pass(lan, syn("10.77.1.4:5000", "198.51.100.7:80")))
	if src.Port() == 5000 {
		t.Error("a mapping got the port of a living child")
	}
	if again, ok := w.nat.Reserve(w.now, packet.ProtoTCP, outside, inside); !ok || again != 5000 { // RFC 4787, REQ-1
		t.Errorf("beside its living child the endpoint became %d", again)
	}
	w.nat.Unreserve(w.now, packet.ProtoTCP, outside, 5000)
	w.advance(3600 * second)
	wantEnds(t, w.pass(lan, syn("10.77.1.5:5000", "198.51.100.7:80")), "203.0.113.1:5000", "198.51.100.7:80")
}

// An expected connection whose expectation follows its master takes the master's addresses.
func TestExpectFollow(t *testing.T) {
	w := newWorld(t, masquerade)
	w.pass(lan, syn("10.77.1.2:2000", "198.51.100.7:21"))
	expect := conntrack.Expectation{
		Master: w.conn.ID, Lifetime: 60 * second, Permanent: true,
		Tuple: conntrack.Tuple{Src: addr("10.77.1.2").As16(), Dst: addr("198.51.100.7").As16(), DstID: 999, Proto: packet.ProtoUDP, Family: 4},
		Mask:  conntrack.MaskAnyPort,
		NAT:   conntrack.ExpectNAT{Follow: true, Dir: conntrack.Original},
	}
	if _, err := w.table.Expect(w.now, expect); err != nil {
		t.Fatal(err)
	}
	wantEnds(t, w.pass(lan, udp("10.77.1.2:7000", "198.51.100.7:999")), "203.0.113.1:7000", "198.51.100.7:999")
	if w.conn.Status&conntrack.NoInboundRefresh != 0 {
		t.Error("a helper's child is refreshed by both directions (docs/spec/nat.md, section 12)")
	}
	wantEnds(t, w.pass(wan, udp("198.51.100.7:999", "203.0.113.1:7000")), "198.51.100.7:999", "10.77.1.2:7000")
	w.refuse(wan, udp("198.51.100.7:998", "203.0.113.1:7000"), packet.NoMapping)
}

// An expectation may name the outside source of what an inside host will begin, reserved beforehand.
func TestExpectSource(t *testing.T) {
	w := newWorld(t, masquerade)
	w.pass(lan, syn("10.77.1.2:2000", "198.51.100.7:21"))
	outside := addr("203.0.113.1")
	port, _ := w.nat.Reserve(w.now, packet.ProtoUDP, outside, netip.MustParseAddrPort("10.77.1.2:6000"))
	expect := conntrack.Expectation{
		Master: w.conn.ID, Lifetime: 60 * second, Mask: conntrack.MaskAnyPort,
		Tuple: conntrack.Tuple{Src: addr("10.77.1.2").As16(), Dst: addr("198.51.100.7").As16(), DstID: 999, Proto: packet.ProtoUDP, Family: 4},
		NAT:   conntrack.ExpectNAT{Src: conntrack.Manip{Addr: outside.As16(), Key: port, HasAddr: true, HasKey: true}},
	}
	if _, err := w.table.Expect(w.now, expect); err != nil {
		t.Fatal(err)
	}
	wantEnds(t, w.pass(lan, udp("10.77.1.2:7000", "198.51.100.7:999")), "203.0.113.1:6000", "198.51.100.7:999")
	w.nat.Unreserve(w.now, packet.ProtoUDP, outside, port)
	if src, _ := ends(w.pass(lan, udp("10.77.1.9:6000", "198.51.100.7:53"))); src.Port() == 6000 {
		t.Error("a mapping got the port of a living child")
	}
}

// Identifications: unique where datagrams may be fragmented, left alone where not (RFC 6864; RFC 7857, section 11).
func TestRewriteID(t *testing.T) {
	w := newWorld(t, masquerade)
	send := func(p testpkt.UDP, m packet.Meta) uint16 {
		b := w.pass(lan, p.Bytes())
		h, _ := packet.Parse(b)
		if !SharesSource(&w.conn) {
			t.Fatal("the source is not shared")
		}
		w.nat.RewriteID(b, &h, &m)
		if err := testpkt.Verify(b); err != nil {
			t.Fatal(err)
		}
		return packet.IPv4(b).ID()
	}
	p := testpkt.UDP{Src: ap("10.77.1.2:5000"), Dst: ap("198.51.100.7:53"), ID: 77, Payload: make([]byte, 100)}
	first := send(p, packet.Meta{})
	p.Src = ap("10.77.1.3:5001") // another host with the same identification
	if second := send(p, packet.Meta{}); second != first+1 {
		t.Errorf("identifications %d and %d", first, second)
	}
	if super := send(p, packet.Meta{GSO: packet.GSOUDP, SegSize: 40}); super != first+2 {
		t.Errorf("super-segment begins with %d", super)
	}
	if next := send(p, packet.Meta{}); next != first+5 { // three segments
		t.Errorf("behind it comes %d, want %d", next, first+5)
	}
	p.DF = true
	if got := send(p, packet.Meta{}); got != 77 {
		t.Errorf("an atomic datagram got the identification %d", got)
	}
	w.nat.defaults.KeepIPID, p.DF = true, false
	if got := send(p, packet.Meta{}); got != 77 {
		t.Errorf("ip_id = keep: %d", got)
	}
	w.pass(wan, udp("198.51.100.7:53", "203.0.113.1:5000"))
	if SharesSource(&w.conn) {
		t.Error("an answer's source is its own")
	}
}
