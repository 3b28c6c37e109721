package router

import (
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg/tftp"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// TestTFTP: the first packet of a connection of UDP is read by its helper, so the connection must be in the table before:
// the server's answer from another port finds the client, and nobody else's does.
func TestTFTP(t *testing.T) {
	cfg := testConfig()
	cfg.Helpers = []HelperRule{{Name: "tftp", Proto: packet.ProtoUDP, Ports: []conntrack.PortRange{{First: 69, Last: 69}}}}
	n := newHelped(t, cfg, tftp.New())
	for _, e := range []struct{ client, server, wan, stranger string }{
		{"10.77.0.2", "198.51.100.7", "203.0.113.1", "198.51.100.8"}, {"fd77::2", "2001:db8:ffff::7", "2001:db8:113::1", "2001:db8:ffff::8"},
	} {
		client, server, wan := port(addr(e.client), 3000), addr(e.server), addr(e.wan)
		request := testpkt.UDP{Src: client, Dst: port(server, 69), Payload: []byte("\x00\x01boot\x00octet\x00")}.Bytes()
		asked := endpoints(t, n.one(n.send("lan0", request), "wan0"))
		answer := func(from string) []byte {
			return testpkt.UDP{Src: port(addr(from), 4321), Dst: port(wan, asked.src.Port()), Payload: []byte("\x00\x03\x00\x01data")}.Bytes()
		}
		n.dropped(n.send("wan0", answer(e.stranger)), packet.NoMapping)
		got := n.one(n.send("wan0", answer(e.server)), "lan0")
		if want := (flowOf{port(server, 4321), client}); endpoints(t, got) != want {
			t.Errorf("the answer goes %v, want %v", endpoints(t, got), want)
		}
		ack := testpkt.UDP{Src: client, Dst: port(server, 4321), Payload: []byte("\x00\x04\x00\x01")}.Bytes()
		if got := endpoints(t, n.one(n.send("lan0", ack), "wan0")); got.src != asked.src {
			t.Errorf("the transfer leaves from %s, the request left from %s", got.src, asked.src)
		}
	}
}
