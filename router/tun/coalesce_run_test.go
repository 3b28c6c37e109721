package tun

import (
	"fmt"
	"testing"

	"github.com/natrouter/natrouter/router/packet"
)

// TestMergeRuns: where a run of one flow's packets is cut into super-segments. All segments but the last have one length,
// and PSH or a packet that can't be merged ends the one before it.
func TestMergeRuns(t *testing.T) {
	const push = packet.FlagACK | packet.FlagPSH
	type one struct {
		payload int
		flags   uint8 // TCP only; 0: ACK
	}
	for name, tt := range map[string]struct {
		run      []one
		tcp, udp []int // packets of each write
	}{
		"one length":                  {[]one{{payload: 100}, {payload: 100}, {payload: 100}}, []int{3}, []int{3}},
		"the last is shorter":         {[]one{{payload: 100}, {payload: 100}, {payload: 7}}, []int{3}, []int{3}},
		"one in the middle is short":  {[]one{{payload: 100}, {payload: 50}, {payload: 100}}, []int{2, 1}, []int{2, 1}},
		"the second run has its own":  {[]one{{payload: 100}, {payload: 50}, {payload: 50}, {payload: 50}}, []int{2, 2}, []int{2, 2}},
		"PSH in the middle":           {[]one{{payload: 100}, {100, push}, {payload: 100}}, []int{2, 1}, []int{3}},
		"no data in the middle":       {[]one{{payload: 100}, {payload: 0}, {payload: 100}}, []int{1, 1, 1}, []int{1, 1, 1}},
		"a FIN in the middle":         {[]one{{payload: 100}, {100, packet.FlagACK | packet.FlagFIN}, {payload: 100}}, []int{1, 1, 1}, []int{3}},
		"a longer one begins another": {[]one{{payload: 50}, {payload: 50}, {payload: 100}, {payload: 100}}, []int{2, 2}, []int{2, 2}},
	} {
		for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
			for _, family := range []int{4, 6} {
				var frames []Frame
				s := spec{proto: proto, family: family, seq: 1000, id: 7}
				for _, o := range tt.run {
					s.payload = o.payload
					if s.flags = 0; proto == packet.ProtoTCP {
						s.flags = max(o.flags, packet.FlagACK)
					}
					frames = append(frames, frameOf(s))
					s.seq += uint32(o.payload)
					s.id++
				}
				want := tt.tcp
				if proto == packet.ProtoUDP {
					want = tt.udp
				}
				m := &merger{caps: allCaps}
				m.plan(frames)
				var got []int
				for _, g := range m.groups[:m.n] {
					got = append(got, int(g.count))
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s, protocol %d over IPv%d: writes of %v packets, want %v", name, proto, family, got, want)
				}
				checkMerge(t, name, frames, merge(m, frames))
			}
		}
	}
}
