package nat

import (
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// TestVector10: the address of a masquerading interface changes: its connections go, and what comes next, TCP in the
// middle of a stream, gets a new mapping and does not leak the inside address.
func TestVector10(t *testing.T) {
	for _, keep := range []bool{false, true} {
		rule := masquerade
		rule.KeepOnChange = keep
		w := newWorld(t, rule, Rule{Action: DNAT, In: "wan0", Ports: portList(80, 80), To: addrs("10.88.0.9")})
		w.pass(lan, udp("10.77.1.2:40000", "198.51.100.7:53"))
		w.pass(lan, syn("10.77.1.2:40000", "198.51.100.7:80"))
		w.pass(wan, udp("198.51.100.9:53", "203.0.113.1:80"))
		w.pass(lan, testpkt.Raw{Src: addr("10.77.1.2"), Dst: addr("198.51.100.7"), Proto: packet.ProtoESP, Payload: make([]byte, 16)}.Bytes())
		if flush := w.nat.SetAddresses(wan, prefixes("203.0.113.1/24", "2001:db8:113::1/64", "203.0.113.9/24")); flush != nil {
			t.Error("an address more deletes connections")
		}
		flush := w.nat.SetAddresses(wan, prefixes("203.0.113.9/24", "2001:db8:113::1/64"))
		var deleted []conntrack.Handle
		w.table.Walk(w.now, func(s *conntrack.Snapshot) bool {
			if flush(s) {
				deleted = append(deleted, s.ID)
			}
			return true
		})
		want := 3 // UDP, TCP, ESP
		if keep {
			want = 1 // ESP has no mapping that could say so
		}
		if len(deleted) != want {
			t.Fatalf("keep %v: %d connections are to go, want %d", keep, len(deleted), want)
		}
		for _, id := range deleted {
			w.table.Delete(w.now, id)
		}
		w.reap()
		ack := testpkt.TCP{Src: ap("10.77.1.2:40000"), Dst: ap("198.51.100.7:80"), Seq: 2000, Ack: 1, Flags: packet.FlagACK}.Bytes()
		if keep {
			wantEnds(t, w.pass(lan, udp("10.77.1.2:40000", "198.51.100.7:53")), "203.0.113.1:40000", "198.51.100.7:53")
		} else {
			wantEnds(t, w.pass(lan, ack), "203.0.113.9:40000", "198.51.100.7:80")
		}
		wantEnds(t, w.pass(lan, udp("10.77.1.2:40000", "198.51.100.8:53")), "203.0.113.9:40000", "198.51.100.8:53")
		w.advance(3600 * second)
		w.refuse(wan, udp("198.51.100.7:53", "203.0.113.9:1"), packet.NoMapping)
		if w.nat.OutsideAddress(addr("203.0.113.1")) {
			t.Error("the old address still counts as ours")
		}
	}
}
