package router

import (
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// TestRouteChange: a connection's own route holds until the routes change; then its next packet goes by the new ones, on
// the fast path and in the transit list.
func TestRouteChange(t *testing.T) {
	for _, options := range [][]byte{nil, {1, 1, 1, 0}} { // a packet with IP options does not take the fast path
		cfg := testConfig()
		cfg.Interfaces = append(cfg.Interfaces, Interface{Name: "dmz0", Side: Outside, MTU: 1500, Address: prefixes("192.0.2.1/24")})
		n := newNetwork(t, cfg)
		out := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: []byte("q"), IPOptions: options}.Bytes()
		back := testpkt.UDP{Src: port(server4, 53), Dst: port(wan4, 5000), Payload: []byte("a")}.Bytes()
		for range 2 {
			n.one(n.send("lan0", out), "wan0")
			n.one(n.send("wan0", back), "lan0")
		}
		if err := n.r.SetAddresses("dmz0", prefixes("192.0.2.1/24", "198.51.100.1/24")); err != nil {
			t.Fatal(err)
		}
		n.one(n.send("lan0", out), "dmz0")
		n.one(n.send("lan0", out), "dmz0")
		n.dropped(n.send("wan0", back), packet.ReversePath)
		n.one(n.send("dmz0", back), "lan0")
		if err := n.r.SetAddresses("dmz0", prefixes("192.0.2.1/24")); err != nil {
			t.Fatal(err)
		}
		n.one(n.send("lan0", out), "wan0")
	}
}
