package router

import (
	"bytes"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// TestSplitUnfinished: what is larger than the egress MTU and may be fragmented leaves in fragments also where the
// kernel left it unfinished: a super-segment is cut first, and checksums are finished before, since a fragment has none.
func TestSplitUnfinished(t *testing.T) {
	cfg := testConfig()
	cfg.Interfaces[1].MTU, cfg.MSSClamp = 576, MSSClampOff
	data := pattern(4321)
	var segments [][]byte
	for off := 0; off < len(data); off += 1000 {
		segments = append(segments, testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 2 + uint32(off), Ack: 10, ID: 300,
			Flags: packet.FlagACK, Payload: data[off:min(off+1000, len(data))]}.Bytes())
	}
	n := newNetwork(t, cfg)
	n.one(n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 1, Flags: packet.FlagSYN}.Bytes()), "wan0")
	n.one(n.send("wan0", testpkt.TCP{Src: port(server4, 80), Dst: port(wan4, 5000), Seq: 9, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK}.Bytes()), "lan0")
	var got []byte
	for _, b := range joined(t, n, n.sendFrames("lan0", superSegment(segments))["wan0"]) {
		got = append(got, b[40:]...)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes came out of the super-segment, want %d as they were", len(got), len(data))
	}

	datagram := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), ID: 7, Payload: pattern(1400)}.Bytes()
	var m packet.Meta
	m.CsumStart, m.CsumOff = testpkt.MakePartial(datagram)
	whole := joined(t, n, n.sendFrames("lan0", frame(datagram, m))["wan0"])
	if len(whole) != 1 || !bytes.Equal(whole[0][28:], pattern(1400)) {
		t.Errorf("%d datagrams came out, want one as it was", len(whole))
	}
}

// joined puts fragments that left a router together, with the reassembler of another, and checks each for its size and
// each datagram for its checksums.
func joined(t *testing.T, n *network, frames []tun.Frame) (all [][]byte) {
	t.Helper()
	other := newNetwork(t, testConfig())
	for i := range frames {
		b := frames[i].Bytes()
		h, reason := packet.Parse(b)
		if reason != packet.NotDropped || len(b) > 576 {
			t.Fatalf("a packet of %d bytes, %s; drops %v", len(b), reason, n.drops())
		}
		if !h.Fragment {
			if err := testpkt.Verify(b); err != nil {
				t.Error(err)
			}
			all = append(all, b)
			continue
		}
		buf := make([]byte, bufferSize)
		size, _, _, reason := other.r.fragments.Add(0, 0, b, &h, buf)
		if reason != packet.NotDropped {
			t.Fatal(reason)
		}
		if size == 0 {
			continue
		}
		if err := testpkt.Verify(buf[:size]); err != nil {
			t.Error(err)
		}
		all = append(all, buf[:size])
	}
	return all
}
