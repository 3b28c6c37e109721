package router

import (
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// TestRepeatedSYNACKIsClamped: a SYN-ACK that is sent again on a connection that is established, since the ACK was lost,
// has its MSS lowered as the first one had: it is none for the fast path.
func TestRepeatedSYNACKIsClamped(t *testing.T) {
	cfg := testConfig()
	cfg.Interfaces[0].MTU = 1400
	n := newNetwork(t, cfg)
	mss := []byte{2, 4, 0x05, 0xb4} // 1460
	answer := testpkt.TCP{Src: port(server4, 80), Dst: port(wan4, 5000), Seq: 9, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK, Options: mss}.Bytes()
	n.one(n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 1, Flags: packet.FlagSYN, Options: mss}.Bytes()), "wan0")
	for range 2 {
		b := n.one(n.send("wan0", answer), "lan0")
		if got := int(b[42])<<8 | int(b[43]); got != 1360 {
			t.Errorf("MSS %d, want 1360", got)
		}
		for range 2 {
			n.one(n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 2, Ack: 10, Flags: packet.FlagACK}.Bytes()), "wan0")
		}
	}
}

// TestSuperSegmentCount: a super-segment counts as the packets that it is cut into, and its bytes as they crossed the
// device.
func TestSuperSegmentCount(t *testing.T) {
	n := newNetwork(t, testConfig(), func(c *tun.PairConfig) { c.A.Caps = offload })
	n.one(n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 1, Flags: packet.FlagSYN}.Bytes()), "wan0")
	n.one(n.send("wan0", testpkt.TCP{Src: port(server4, 80), Dst: port(wan4, 5000), Seq: 9, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK}.Bytes()), "lan0")
	before := n.r.Status().Interfaces
	var segments [][]byte
	for i, size := range []int{1000, 1000, 1000, 1000, 321} {
		segments = append(segments, testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 2 + uint32(1000*i), Ack: 10,
			Flags: packet.FlagACK, Payload: pattern(size)}.Bytes())
	}
	if out := n.sendFrames("lan0", superSegment(segments)); len(out["wan0"]) != 1 || out["wan0"][0].Meta.SegSize != 1000 {
		t.Fatalf("%d frames left; drops %v", len(out["wan0"]), n.drops())
	}
	after := n.r.Status().Interfaces
	for _, got := range []struct {
		name           string
		packets, bytes uint64
	}{
		{"in by lan0", after[0].PacketsIn - before[0].PacketsIn, after[0].BytesIn - before[0].BytesIn},
		{"out by wan0", after[1].PacketsOut - before[1].PacketsOut, after[1].BytesOut - before[1].BytesOut},
	} {
		if got.packets != 5 || got.bytes != 4361 {
			t.Errorf("%s: %d packets of %d bytes, want 5 of 4361", got.name, got.packets, got.bytes)
		}
	}
}
