package nat

import (
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// TestPortOfConnectionWithoutMapping: a connection that came in by a rule for all ports has no mapping, and the rule
// takes no port; but the connection's tuple is taken. An inside host that would leave with the same one towards the
// same remote endpoint gets another port, and both connections go on.
func TestPortOfConnectionWithoutMapping(t *testing.T) {
	const remote, exposed = "198.51.100.7:5000", "203.0.113.1:8080"
	w := newWorld(t,
		Rule{Action: DNAT, In: "wan0", Proto: packet.ProtoTCP, Destination: addrs("203.0.113.1"), To: addrs("10.88.0.9")},
		masquerade)
	wantEnds(t, w.pass(wan, syn(remote, exposed)), remote, "10.88.0.9:8080")
	src, _ := ends(w.pass(lan, syn("10.77.1.2:8080", remote)))
	if src.Addr() != addr("203.0.113.1") || src == ap(exposed) {
		t.Errorf("leaves from %s, want another port than the exposed one", src)
	}
	answer := testpkt.TCP{Src: ap("10.88.0.9:8080"), Dst: ap(remote), Seq: 1, Ack: 1001, Flags: packet.FlagSYN | packet.FlagACK}
	wantEnds(t, w.pass(dmz, answer.Bytes()), exposed, remote)
	wantEnds(t, w.pass(lan, syn("10.77.1.3:8080", "198.51.100.8:5000")), exposed, "198.51.100.8:5000")
}

// TestFilteringOfDependentMapping: where the mapping knows the remote address only, filtering by address and port does
// not let that host begin from another port (RFC 4787, section 5).
func TestFilteringOfDependentMapping(t *testing.T) {
	for _, tt := range []struct {
		mapping, filtering Behaviour
		ok                 bool
	}{
		{AddressDependent, AddressAndPortDependent, false},
		{AddressDependent, AddressDependent, true},
		{AddressDependent, EndpointIndependent, true},
	} {
		rule := masquerade
		rule.Mapping, rule.Filtering = tt.mapping, tt.filtering
		w := newWorld(t, rule)
		src, _ := ends(w.pass(lan, udp("10.77.1.2:40000", "198.51.100.1:1000")))
		for _, from := range []string{"198.51.100.1:2000", "198.51.100.1:3000"} {
			if tt.ok {
				wantEnds(t, w.pass(wan, udp(from, src.String())), from, "10.77.1.2:40000")
			} else {
				w.refuse(wan, udp(from, src.String()), packet.NoMapping)
			}
		}
		wantEnds(t, w.pass(wan, udp("198.51.100.1:1000", src.String())), "198.51.100.1:1000", "10.77.1.2:40000")
	}
}
