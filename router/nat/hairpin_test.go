package nat

import (
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// An inside host reaches a port forward by its outside address, and the server sees the outside source (RFC 4787
// REQ-9a, RFC 5382 REQ-8).
func TestHairpinForward(t *testing.T) {
	forward := Rule{Action: DNAT, In: "wan0", Proto: packet.ProtoTCP, Ports: portList(8080, 8080), To: addrs("10.77.1.9"), ToPorts: portList(80, 80)}
	w := newWorld(t, forward, masquerade)
	wantEnds(t, w.pass(lan, udp("10.77.1.2:5000", "198.51.100.7:53")), "203.0.113.1:5000", "198.51.100.7:53")
	wantEnds(t, w.pass(lan, syn("10.77.1.2:5000", "203.0.113.1:8080")), "203.0.113.1:5000", "10.77.1.9:80")
	answer := testpkt.TCP{Src: ap("10.77.1.9:80"), Dst: ap("203.0.113.1:5000"), Seq: 1, Ack: 1001, Flags: packet.FlagSYN | packet.FlagACK}
	wantEnds(t, w.pass(lan, answer.Bytes()), "203.0.113.1:8080", "10.77.1.2:5000")
	wantEnds(t, w.pass(lan, syn("10.77.1.2:5000", "198.51.100.7:80")), "203.0.113.1:5000", "198.51.100.7:80") // the same mapping
	wantEnds(t, w.pass(lan, syn("10.77.1.9:99", "203.0.113.1:8080")), "203.0.113.1:99", "10.77.1.9:80")       // to itself
	if s := w.nat.Stats(); s.Hairpins != 2 {
		t.Errorf("%d hairpins", s.Hairpins)
	}
	// A host of another inside network, and one that no rule translates.
	wantEnds(t, w.pass(dmz, syn("10.88.0.5:7", "203.0.113.1:8080")), "203.0.113.1:7", "10.77.1.9:80")
	rule := masquerade
	rule.Source = addrs("10.77.0.0/16")
	w = newWorld(t, forward, rule)
	wantEnds(t, w.pass(dmz, syn("10.88.0.5:7", "203.0.113.1:8080")), "203.0.113.1:7", "10.77.1.9:80")
}

func TestHairpinOff(t *testing.T) {
	forward := Rule{Action: DNAT, In: "wan0", Proto: packet.ProtoTCP, Ports: portList(8080, 8080), To: addrs("10.77.1.9"), Hairpin: Off}
	anywhere := Rule{Action: DNAT, Proto: packet.ProtoUDP, Ports: portList(53, 53), To: addrs("10.77.1.9"), Hairpin: Off}
	rule := masquerade
	rule.Hairpin = Off
	w := newWorld(t, forward, anywhere, rule)
	w.refuse(lan, syn("10.77.1.2:5000", "203.0.113.1:8080"), packet.NoMapping)
	wantEnds(t, w.pass(lan, udp("10.77.1.2:5000", "203.0.113.1:53")), "10.77.1.2:5000", "10.77.1.9:53")
	w.pass(lan, udp("10.77.1.3:6000", "198.51.100.7:9"))
	w.refuse(lan, udp("10.77.1.2:5000", "203.0.113.1:6000"), packet.NoMapping)
}

// Inside hosts reach each other's mappings, whatever the filtering: that is about the outside.
func TestHairpinMapping(t *testing.T) {
	for _, filtering := range []Behaviour{EndpointIndependent, AddressDependent, AddressAndPortDependent} {
		rule := masquerade
		rule.Filtering = filtering
		w := newWorld(t, rule)
		w.pass(lan, udp("10.77.1.2:5000", "198.51.100.7:53"))
		w.pass(lan, udp("10.77.1.3:6000", "198.51.100.7:53"))
		wantEnds(t, w.pass(lan, udp("10.77.1.2:5000", "203.0.113.1:6000")), "203.0.113.1:5000", "10.77.1.3:6000")
		if w.conn.Status&conntrack.NoInboundRefresh != 0 {
			t.Error("both ends of a hairpin are inside: both refresh it")
		}
		wantEnds(t, w.pass(lan, udp("10.77.1.3:6000", "203.0.113.1:5000")), "203.0.113.1:6000", "10.77.1.2:5000")
		w.pass(lan, syn("10.77.1.2:5000", "198.51.100.7:53"))
		wantEnds(t, w.pass(lan, syn("10.77.1.3:1", "203.0.113.1:5000")), "203.0.113.1:1", "10.77.1.2:5000")
	}
}

// ICMP queries: the one identifier is that of the host that is asked (RFC 5508 REQ-7; RFC 7857, section 13).
func TestHairpinQuery(t *testing.T) {
	w := newWorld(t, masquerade)
	w.pass(lan, testpkt.Echo{Src: addr("10.77.1.9"), Dst: addr("198.51.100.7"), ID: 7}.Bytes())
	first := w.pass(lan, testpkt.Echo{Src: addr("10.77.1.2"), Dst: addr("198.51.100.7"), ID: 7}.Bytes())
	outside, _ := ends(first)
	query := testpkt.Echo{Src: addr("10.77.1.3"), Dst: addr("203.0.113.1"), ID: outside.Port(), Seq: 3}.Bytes()
	wantEnds(t, w.pass(lan, query), "203.0.113.1:7", "10.77.1.2:0")
	answer := testpkt.Echo{Src: addr("10.77.1.2"), Dst: addr("203.0.113.1"), ID: 7, Seq: 3, Reply: true}.Bytes()
	src, dst := ends(w.pass(lan, answer))
	if src.Addr() != addr("203.0.113.1") || dst.Addr() != addr("10.77.1.3") || src.Port() != outside.Port() {
		t.Errorf("answer %v > %v", src, dst)
	}
	// From outside the router answers on its own addresses, whatever is mapped there.
	w.refuse(wan, testpkt.Echo{Src: addr("198.51.100.7"), Dst: addr("203.0.113.1"), ID: outside.Port()}.Bytes(), packet.NoMapping)
}

// A pool address never answers itself, so there a mapping's query is the inside host's.
func TestInboundQueryToPool(t *testing.T) {
	w := newWorld(t, Rule{Action: SNAT, Out: "wan0", To: addrs("198.51.100.9"), Filtering: EndpointIndependent})
	w.pass(lan, testpkt.Echo{Src: addr("10.77.1.2"), Dst: addr("192.0.2.1"), ID: 7}.Bytes())
	wantEnds(t, w.pass(wan, testpkt.Echo{Src: addr("192.0.2.2"), Dst: addr("198.51.100.9"), ID: 7}.Bytes()), "192.0.2.2:7", "10.77.1.2:0")
	w.refuse(wan, testpkt.Echo{Src: addr("192.0.2.2"), Dst: addr("198.51.100.9"), ID: 8}.Bytes(), packet.NoMapping)
}

// An error about a hairpinned packet: each end sees its own packet in it, and the outside address as its sender
// (RFC 5508 REQ-7; RFC 7857, section 13).
func TestHairpinError(t *testing.T) {
	w := newWorld(t, masquerade)
	w.pass(lan, udp("10.77.1.2:5000", "198.51.100.7:53"))
	sent := udp("10.77.1.3:6000", "203.0.113.1:5000")
	got := w.pass(lan, sent)
	wantEnds(t, got, "203.0.113.1:6000", "10.77.1.2:5000")
	e := w.pass(lan, testpkt.ICMP{Src: addr("10.77.1.2"), Dst: addr("203.0.113.1"), Type: 3, Code: 3, Payload: got}.Bytes())
	h, _ := packet.Parse(e)
	if src, dst := packet.Addr(h.Src(e)), packet.Addr(h.Dst(e)); src != addr("203.0.113.1") || dst != addr("10.77.1.3") {
		t.Errorf("error goes %v > %v", src, dst)
	}
	if quoted := e[28:]; string(quoted) != string(sent) {
		t.Errorf("it quotes % x, the host sent % x", quoted, sent)
	}
}
