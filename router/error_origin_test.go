package router

import (
	"bytes"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// TestErrorPastChangedPort: a connection from outside whose source has another port inside only, as its own would look
// like another's, is no reason to give an outside router's error the router's address.
func TestErrorPastChangedPort(t *testing.T) {
	cfg := testConfig()
	cfg.NAT = append(cfg.NAT, modelForward(packet.ProtoUDP, wan4, port(client4, 80)))
	n := newNetwork(t, cfg)
	n.one(n.send("lan0", testpkt.UDP{Src: port(client4, 80), Dst: port(server4, 53)}.Bytes()), "wan0")
	asked := endpoints(t, n.one(n.send("wan0", testpkt.UDP{Src: port(server4, 53), Dst: port(wan4, modelForwarded)}.Bytes()), "lan0"))
	if asked.src.Port() == 53 || asked.src.Addr() != server4 {
		t.Fatalf("the client is asked by %s, which can't be told from what it asked itself", asked.src)
	}
	sent := testpkt.UDP{Src: port(client4, 80), Dst: asked.src, DF: true}.Bytes()
	answer := n.one(n.send("lan0", bytes.Clone(sent)), "wan0")
	from := addr("192.0.2.99")
	got := n.one(n.send("wan0", testpkt.ICMP{Src: from, Dst: wan4, Type: 3, Code: 1, Payload: answer}.Bytes()), "lan0")
	sent[8]-- // the router's hop
	want := testpkt.ICMP{Src: from, Dst: client4, Type: 3, Code: 1, TTL: 63, Payload: withSum(sent)}.Bytes()
	if !bytes.Equal(got, want) {
		t.Errorf("% x, want\n% x", got, want)
	}
}

// withSum puts the right sum into an IPv4 header of 20 bytes.
func withSum(b []byte) []byte {
	b[10], b[11] = 0, 0
	sum := ^packet.Checksum(b[:20], 0)
	b[10], b[11] = byte(sum>>8), byte(sum)
	return b
}

// TestErrorAboutNothing: an end that has sent nothing has nothing under way that an error could be about (RFC 5927,
// section 4.1).
func TestErrorAboutNothing(t *testing.T) {
	n := newNetwork(t, testConfig())
	n.one(n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 1, Flags: packet.FlagSYN}.Bytes()), "wan0")
	quote := testpkt.TCP{Src: port(server4, 80), Dst: port(client4, 5000), Seq: 77, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK}.Bytes()
	n.dropped(n.send("lan0", testpkt.ICMP{Src: client4, Dst: server4, Type: 3, Code: 3, Payload: quote}.Bytes()), packet.ForgedICMPError)
}
