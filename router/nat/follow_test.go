package nat

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// await announces a connection to a port, from anywhere where src is not valid, of the last packet's connection.
func (w *world) await(t *testing.T, src netip.Addr, dst string, n conntrack.ExpectNAT) {
	t.Helper()
	at := ap(dst)
	e := conntrack.Expectation{Master: w.conn.ID, Lifetime: 60 * second, NAT: n, Tuple: conntrack.Tuple{
		Dst: at.Addr().As16(), DstID: at.Port(), Proto: packet.ProtoTCP, Family: 4,
	}}
	if src.IsValid() {
		e.Tuple.Src, e.Mask = src.As16(), conntrack.MaskAnyPort
	}
	if _, err := w.table.Expect(w.now, e); err != nil {
		t.Fatal(err)
	}
}

// An inside server is known by two outside addresses. What it begins from one port follows its masters: by the address
// that each peer has dialled, though the port already stands for it at the other.
func TestFollowByEachAddress(t *testing.T) {
	outside := []string{"203.0.113.1", "198.51.100.200"}
	peers := []string{"192.0.2.7", "192.0.2.8"}
	var rules []Rule
	for _, a := range outside {
		rules = append(rules, Rule{
			Action: DNAT, In: "wan0", Proto: packet.ProtoTCP, Ports: portList(21, 21), Destination: addrs(a), To: addrs("10.77.1.9"),
		})
	}
	w := newWorld(t, append(rules, masquerade)...)
	for range 2 { // then each has a mapping of its own
		for i, peer := range peers {
			w.pass(wan, syn(peer+":1025", outside[i]+":21"))
			w.await(t, addr("10.77.1.9"), peer+":5000", conntrack.ExpectNAT{Follow: true, Dir: conntrack.Reply})
		}
		for i, peer := range peers {
			wantEnds(t, w.pass(lan, syn("10.77.1.9:20", peer+":5000")), outside[i]+":20", peer+":5000")
		}
		if s := w.nat.Stats(); s.Mappings != 2 {
			t.Errorf("%d mappings", s.Mappings)
		}
		w.advance(24 * 3600 * second)
	}
	if s := w.nat.Stats(); s.Mappings != 0 {
		t.Errorf("%d mappings are left", s.Mappings)
	}
}

// What anybody may begin, an inside host may as well, by the outside address: it comes with its outside source, so that
// the answers come back through the router (RFC 4787, REQ-9a). Who comes from outside keeps its own.
func TestExpectHairpin(t *testing.T) {
	for _, tt := range []struct {
		rule            Rule
		in              int
		from, to, seen  string
		reserved        bool
		hairpins, binds int
	}{
		{masquerade, lan, "10.77.1.3:4444", "203.0.113.1:5000", "203.0.113.1:4444", true, 1, 1},
		{masquerade, lan, "10.77.1.3:4444", "203.0.113.1:5000", "203.0.113.1:4444", false, 1, 1},
		{masquerade, dmz, "10.88.0.5:4444", "203.0.113.1:5000", "203.0.113.1:4444", true, 1, 1},
		{masquerade, lan, "10.77.1.2:4444", "203.0.113.1:5000", "203.0.113.1:4444", true, 1, 1}, // itself
		{Rule{Action: SNAT, Out: "wan0", Source: addrs("10.77.1.2"), To: addrs("198.51.100.9")}, lan,
			"10.77.1.3:4444", "198.51.100.9:5000", "198.51.100.9:4444", true, 1, 1}, // no rule translates the peer
		{masquerade, wan, "192.0.2.7:4444", "203.0.113.1:5000", "192.0.2.7:4444", true, 0, 0},
		{masquerade, lan, "10.77.1.3:4444", "10.77.1.2:5000", "10.77.1.3:4444", false, 0, 0}, // not by the outside address
	} {
		t.Run(fmt.Sprintf("%s to %s", tt.from, tt.to), func(t *testing.T) {
			w := newWorld(t, tt.rule)
			w.pass(lan, syn("10.77.1.2:2000", "198.51.100.7:6667"))
			if tt.reserved {
				w.nat.Reserve(w.now, packet.ProtoTCP, ap(tt.to).Addr(), ap("10.77.1.2:5000"))
			}
			w.await(t, netip.Addr{}, tt.to, conntrack.ExpectNAT{
				Dst: conntrack.Manip{Addr: addr("10.77.1.2").As16(), Key: 5000, HasAddr: true, HasKey: true},
			})
			before := w.nat.Stats()
			wantEnds(t, w.pass(tt.in, syn(tt.from, tt.to)), tt.seen, "10.77.1.2:5000")
			if tt.hairpins > 0 { // the answer finds its way back
				wantEnds(t, w.pass(lan, syn("10.77.1.2:5000", tt.seen)), tt.to, tt.from)
			}
			after := w.nat.Stats()
			if int(after.Hairpins-before.Hairpins) != tt.hairpins || after.Mappings-before.Mappings != tt.binds {
				t.Errorf("%d hairpins, %d more mappings", after.Hairpins-before.Hairpins, after.Mappings-before.Mappings)
			}
		})
	}
}
