package router

import (
	"bytes"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// TestWarmDecidesNothing: the first glance at a batch, whatever is in it, changes no packet and no connection, so what
// comes out is the same with and without; and it allocates nothing.
func TestWarmDecidesNothing(t *testing.T) {
	batch := func() (frames []tun.Frame) {
		add := func(b []byte) { frames = append(frames, frame(b, packet.Meta{})) }
		add(testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: []byte("known")}.Bytes())
		add(testpkt.UDP{Src: port(client6, 5001), Dst: port(server6, 53), Payload: []byte("new")}.Bytes())
		add([]byte{0x45})
		add(nil)
		add(testpkt.Echo{Src: client4, Dst: server4, ID: 7}.Bytes())
		add(testpkt.Fragments(testpkt.UDP{Src: port(client4, 1), Dst: port(server4, 2), Payload: pattern(3000)}.Bytes(), 1500, 1)[1])
		add(testpkt.ICMP{Src: client4, Dst: server4, Type: 3, Code: 3, Payload: make([]byte, 30)}.Bytes())
		for len(frames) < batchSize {
			add(testpkt.TCP{Src: port(other4, uint16(6000+len(frames))), Dst: port(server4, 80), Flags: packet.FlagSYN}.Bytes())
		}
		return frames
	}
	run := func(warm bool) (map[string][]tun.Frame, int) {
		n := newNetwork(t, testConfig())
		n.one(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: []byte("first")}.Bytes()), "wan0")
		l, frames := n.lane("lan0"), batch()
		if warm {
			if a := testing.AllocsPerRun(10, func() { l.ahead.warm(n.r.table, 0, frames) }); a != 0 {
				t.Errorf("%v allocations a batch", a)
			}
			for i, f := range batch() {
				if !bytes.Equal(frames[i].Bytes(), f.Bytes()) || frames[i].Meta != f.Meta {
					t.Errorf("packet %d was changed", i)
				}
			}
			if n.r.table.Len() != 1 {
				t.Errorf("%d connections, want the one before", n.r.table.Len())
			}
		}
		return n.sendFrames("lan0", frames...), n.r.table.Len()
	}
	cold, flows := run(false)
	warmed, warmedFlows := run(true)
	if diff := differ(warmed, cold); diff != "" || flows != warmedFlows {
		t.Errorf("%d connections, want %d; %s", warmedFlows, flows, diff)
	}
	if flows < batchSize-10 {
		t.Errorf("%d connections came of a batch of %d", flows, batchSize)
	}
}
