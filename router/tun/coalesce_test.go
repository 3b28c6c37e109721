package tun

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/natrouter/natrouter/router/packet"
)

// merge returns what a coalescing device would write for the frames.
func merge(m *merger, frames []Frame) (out []Frame) {
	m.plan(frames)
	for i := range m.groups[:m.n] {
		g := &m.groups[i]
		if g.count == 1 {
			out = append(out, frames[g.first])
			continue
		}
		head := m.header(frames, g)
		buf := append(make([]byte, Headroom-vnetSize), head...)
		at := g.first
		for range g.count {
			buf = append(buf, frames[at].Bytes()[g.payload:]...)
			at = m.next[at]
		}
		f := Frame{Buf: buf, Off: Headroom, Len: len(buf) - Headroom}
		var ok bool
		if f.Meta, ok = decodeVnet(head[:vnetSize], f.Bytes()); !ok {
			panic(fmt.Sprintf("merged packet contradicts its header % x", head))
		}
		out = append(out, f)
	}
	return out
}

func TestMergeRules(t *testing.T) {
	udp := spec{payload: 100, id: 7}
	tcp := spec{proto: packet.ProtoTCP, payload: 100, seq: 1000, id: 7}
	timestamp := []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	next := func(s spec, change func(*spec)) spec {
		s.id, s.seq = s.id+1, s.seq+uint32(s.payload)
		change(&s)
		return s
	}
	for name, tt := range map[string]struct {
		first  spec
		change func(second *spec)
		merged bool
	}{
		"TCP in sequence":                     {tcp, func(*spec) {}, true},
		"TCP, the last is shorter":            {tcp, func(s *spec) { s.payload = 1 }, true},
		"TCP, the second is longer":           {tcp, func(s *spec) { s.payload = 101 }, false},
		"TCP, a gap":                          {tcp, func(s *spec) { s.seq++ }, false},
		"TCP, sent again":                     {tcp, func(s *spec) { s.seq -= 100 }, false},
		"TCP, another acknowledgement":        {tcp, func(s *spec) { s.ack = 1 }, false},
		"TCP, another window":                 {tcp, func(s *spec) { s.window = 2 }, false},
		"TCP, no data":                        {tcp, func(s *spec) { s.payload = 0 }, false},
		"TCP, PSH on the last":                {tcp, func(s *spec) { s.flags = packet.FlagACK | packet.FlagPSH }, true},
		"TCP, FIN":                            {tcp, func(s *spec) { s.flags = packet.FlagACK | packet.FlagFIN }, false},
		"TCP, RST":                            {tcp, func(s *spec) { s.flags = packet.FlagACK | packet.FlagRST }, false},
		"TCP, URG":                            {tcp, func(s *spec) { s.flags = packet.FlagACK | packet.FlagURG }, false},
		"TCP, CWR":                            {tcp, func(s *spec) { s.flags = packet.FlagACK | packet.FlagCWR }, false},
		"TCP, ECE on one only":                {tcp, func(s *spec) { s.flags = packet.FlagACK | packet.FlagECE }, false},
		"TCP, options on one only":            {tcp, func(s *spec) { s.options = timestamp }, false},
		"TCP, IPv6 in sequence":               {with(tcp, func(s *spec) { s.family = 6 }), func(*spec) {}, true},
		"TCP, the first has PSH":              {with(tcp, func(s *spec) { s.flags = packet.FlagACK | packet.FlagPSH }), func(*spec) {}, false},
		"TCP, ECE on both":                    {with(tcp, func(s *spec) { s.flags = packet.FlagACK | packet.FlagECE }), func(*spec) {}, true},
		"TCP, same timestamps":                {with(tcp, func(s *spec) { s.options = timestamp }), func(*spec) {}, true},
		"TCP, another timestamp":              {with(tcp, func(s *spec) { s.options = timestamp }), func(s *spec) { s.options = []byte{1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 2} }, false},
		"TCP, partial after complete":         {tcp, func(s *spec) { s.partial = true }, true},
		"TCP, a super-segment behind":         {tcp, func(s *spec) { s.payload, s.segSize = 1000, 100 }, false},
		"TCP, DF and any identification":      {with(tcp, func(s *spec) { s.df = true }), func(s *spec) { s.id = 99 }, true},
		"UDP neighbours":                      {udp, func(*spec) {}, true},
		"UDP, other payload":                  {udp, func(s *spec) { s.fill = 9 }, true},
		"UDP over IPv6":                       {with(udp, func(s *spec) { s.family = 6 }), func(*spec) {}, true},
		"UDP, the last is shorter":            {udp, func(s *spec) { s.payload = 99 }, true},
		"UDP, the second is longer":           {udp, func(s *spec) { s.payload = 101 }, false},
		"UDP, no data":                        {udp, func(s *spec) { s.payload = 0 }, false},
		"UDP, another port":                   {udp, func(s *spec) { s.sport = 9 }, false},
		"UDP, another TTL":                    {udp, func(s *spec) { s.ttl = 9 }, false},
		"UDP, another DSCP":                   {udp, func(s *spec) { s.tos = 4 }, false},
		"UDP, another ECN":                    {udp, func(s *spec) { s.tos = 1 }, false},
		"UDP over IPv6, another flow label":   {with(udp, func(s *spec) { s.family = 6 }), func(s *spec) { s.label = 5 }, false},
		"UDP over IPv6, another hop limit":    {with(udp, func(s *spec) { s.family = 6 }), func(s *spec) { s.ttl = 5 }, false},
		"UDP over IPv6, another class":        {with(udp, func(s *spec) { s.family = 6 }), func(s *spec) { s.tos = 5 }, false},
		"UDP, DF on one only":                 {udp, func(s *spec) { s.df = true }, false},
		"UDP, the same identification":        {udp, func(s *spec) { s.id-- }, false},
		"UDP, identifications wrap":           {with(udp, func(s *spec) { s.id = 0xffff }), func(*spec) {}, true},
		"UDP, DF and the same identification": {with(udp, func(s *spec) { s.df = true }), func(s *spec) { s.id-- }, true},
		"UDP, second without checksum":        {udp, func(s *spec) { s.noCsum = true }, false},
		"UDP, first without checksum":         {with(udp, func(s *spec) { s.noCsum = true }), func(s *spec) { s.noCsum = false }, false},
		"UDP, second checksum wrong":          {udp, func(s *spec) { s.badCsum = true }, false},
		"UDP, first checksum wrong":           {with(udp, func(s *spec) { s.badCsum = true }), func(s *spec) { s.badCsum = false }, false},
		"UDP, checksums not vouched for":      {with(udp, func(s *spec) { s.unproven = true }), func(*spec) {}, true},
		"UDP, partial checksums":              {with(udp, func(s *spec) { s.partial = true }), func(*spec) {}, true},
	} {
		frames := []Frame{frameOf(tt.first), frameOf(next(tt.first, tt.change))}
		got := merge(&merger{caps: allCaps}, frames)
		if merged := len(got) == 1; merged != tt.merged {
			t.Errorf("%s: merged is %v, want %v", name, merged, tt.merged)
		}
		checkMerge(t, name, frames, got)
		if got := merge(&merger{}, frames); len(got) != 2 {
			t.Errorf("%s: merged without Caps", name)
		}
	}
}

func with(s spec, change func(*spec)) spec {
	change(&s)
	return s
}

// checkMerge is the law of merging: taken apart again, each flow's packets are those that went in, in their order.
func checkMerge(t *testing.T, name string, in, out []Frame) {
	t.Helper()
	want, got := perFlow(in), perFlow(out)
	if len(want) != len(got) {
		t.Errorf("%s: %d flows out of %d", name, len(got), len(want))
	}
	for flow, packets := range want {
		if len(got[flow]) != len(packets) {
			t.Errorf("%s: %d packets of %d", name, len(got[flow]), len(packets))
			continue
		}
		for i := range packets {
			if !bytes.Equal(got[flow][i], packets[i]) {
				t.Errorf("%s: packet %d:\n got % x\nwant % x", name, i, got[flow][i], packets[i])
			}
		}
	}
}

// perFlow returns the finished packets of frames by flow: addresses, protocol and ports; all fragments are one flow.
// Identifications under DF are blanked, and so are headers' checksums with them.
func perFlow(frames []Frame) map[string][][]byte {
	flows := make(map[string][][]byte)
	for _, f := range frames {
		h, reason := packet.Parse(f.Bytes())
		if reason != packet.NotDropped || h.Fragment || int(h.Len) != f.Len {
			flows["?"] = append(flows["?"], bytes.Clone(f.Bytes()))
			continue
		}
		for _, b := range whole(f.Bytes(), f.Meta) {
			at, end := 12, 20
			if h.Family == 6 {
				at, end = 8, 40
			}
			key := fmt.Sprint(h.Family, h.Proto, b[at:end])
			if h.Proto == packet.ProtoTCP || h.Proto == packet.ProtoUDP {
				key += fmt.Sprint(b[h.L4 : h.L4+4])
			}
			if h.Family == 4 && h.DF {
				clear(b[4:6])
				clear(b[10:12])
			}
			flows[key] = append(flows[key], b)
		}
	}
	return flows
}

func TestMergeManyFlows(t *testing.T) {
	var frames []Frame
	for i := range mergeWindow {
		flow := uint16(i % 16)
		frames = append(frames, frameOf(spec{payload: 64, sport: 5000 + flow, id: uint16(i / 16), fill: byte(i)}))
	}
	got := merge(&merger{caps: allCaps}, frames)
	if len(got) != 16 {
		t.Errorf("%d packets of 16 interleaved flows became %d writes, want 16", len(frames), len(got))
	}
	checkMerge(t, "16 flows", frames, got)
}

func TestMergeBounds(t *testing.T) {
	for name, tt := range map[string]struct {
		s    spec
		n    int
		want []int // segments in each write
	}{
		"64 segments":                {spec{payload: 10}, 100, []int{64, 36}},
		"UDP, 65507 bytes":           {spec{payload: 32754}, 3, []int{1, 1, 1}},
		"UDP, just 65507 bytes":      {spec{payload: 32753}, 3, []int{2, 1}},
		"TCP, 65535 bytes of packet": {spec{proto: packet.ProtoTCP, payload: 1460}, 60, []int{44, 16}},
		"IPv6, 65535 bytes":          {spec{family: 6, payload: 32744}, 2, []int{1, 1}},
	} {
		var frames []Frame
		for range tt.n {
			frames = append(frames, frameOf(tt.s))
			tt.s.id, tt.s.seq = tt.s.id+1, tt.s.seq+uint32(tt.s.payload)
		}
		m := merger{caps: allCaps}
		got := merge(&m, frames)
		checkMerge(t, name, frames, got)
		var counts []int
		for _, g := range m.groups[:m.n] {
			counts = append(counts, int(g.count))
		}
		if fmt.Sprint(counts) != fmt.Sprint(tt.want) {
			t.Errorf("%s: segments %v, want %v", name, counts, tt.want)
		}
	}
}

// TestMergeFragmentIsBarrier: a fragment has no ports, so it may be of any flow, and nothing passes it.
func TestMergeFragmentIsBarrier(t *testing.T) {
	fragment := frameOf(spec{payload: 64})
	b := fragment.Bytes()
	binary.BigEndian.PutUint16(b[6:], 8) // offset 64 bytes
	packet.IPv4(b).SetChecksum(0)
	packet.IPv4(b).SetChecksum(^packet.Checksum(b[:20], 0))
	frames := []Frame{frameOf(spec{payload: 64}), fragment, frameOf(spec{payload: 64, id: 1})}
	if got := merge(&merger{caps: allCaps}, frames); len(got) != 3 {
		t.Errorf("%d writes, want 3", len(got))
	}
}

func TestMergeMarkSent(t *testing.T) {
	frames := []Frame{
		frameOf(spec{payload: 64}), frameOf(spec{payload: 64, sport: 9}), frameOf(spec{payload: 64, id: 1}),
		frameOf(spec{payload: 64, sport: 9, id: 1}),
	}
	m := merger{caps: allCaps}
	m.plan(frames)
	m.markSent(frames, 1)
	if frames[0].Len == 0 || frames[1].Len == 0 || frames[2].Len != 0 || frames[3].Len == 0 {
		t.Errorf("after the second of two flows failed, frame 2 and no other is marked: %d %d %d %d",
			frames[0].Len, frames[1].Len, frames[2].Len, frames[3].Len)
	}
	if got := merge(&m, frames[1:]); len(got) != 1 {
		t.Errorf("what is left makes %d writes, want 1", len(got))
	}
}

// FuzzMerge makes a batch from three bytes a packet (what it is, its length, a mutation) and holds it to the law.
func FuzzMerge(f *testing.F) {
	f.Add([]byte{0, 50, 0, 0, 50, 0, 0, 20, 0, 1, 50, 0})
	f.Add([]byte{4, 50, 0, 4, 50, 0, 6, 50, 0, 4, 50, 9, 4, 50, 0, 12, 50, 0, 4, 50, 0})
	f.Add(bytes.Repeat([]byte{2, 200, 0}, 100))
	f.Add(bytes.Repeat([]byte{0, 10, 0, 1, 10, 0, 2, 10, 0, 6, 10, 77}, 30))
	m := &merger{caps: allCaps}
	f.Fuzz(func(t *testing.T, script []byte) {
		frames := fuzzBatch(script)
		if len(frames) == 0 {
			return
		}
		checkMerge(t, "batch", frames, merge(m, frames))
	})
}

func fuzzBatch(script []byte) (frames []Frame) {
	var ids [4]uint16
	var seqs [4]uint32
	for len(script) >= 3 && len(frames) < mergeWindow {
		kind, size, change := script[0], int(script[1]), script[2]
		script = script[3:]
		flow := kind & 3
		s := spec{payload: size, sport: 100 + uint16(flow&1), fill: change, id: ids[flow], seq: seqs[flow], df: kind&16 != 0,
			partial: kind&32 != 0, unproven: true, badCsum: kind&192 == 192}
		if kind&2 != 0 {
			s.family = 6
		}
		if kind&4 != 0 {
			s.proto = packet.ProtoTCP
		}
		if kind&8 != 0 {
			s.flags = packet.FlagACK | packet.FlagPSH
		}
		ids[flow]++
		seqs[flow] += uint32(size)
		frame := frameOf(s)
		if change > 200 { // damage one byte; the packet must come through as it is
			frame.Bytes()[int(change)%frame.Len] ^= change
			frame.Meta = packet.Meta{}
		}
		frames = append(frames, frame)
	}
	return frames
}

// mergeBatches are batches as a fast path writes them.
func mergeBatches() map[string][]Frame {
	batches := make(map[string][]Frame)
	for i := range mergeWindow {
		id, n := uint16(i), uint32(i)
		tcp := spec{proto: packet.ProtoTCP, payload: 1460, seq: n * 1460, id: id}
		for name, s := range map[string]spec{
			"64B-UDP-1-flow":     {payload: 64, id: id},
			"64B-UDP-8-flows":    {payload: 64, id: id / 8, sport: 1 + id%8},
			"64B-UDP-64-flows":   {payload: 64, id: id / 64, sport: 1 + id%64},
			"1460B-TCP-1-flow":   tcp,
			"1460B-TCP-unproven": with(tcp, func(s *spec) { s.unproven = true }),
		} {
			batches[name] = append(batches[name], frameOf(s))
		}
	}
	return batches
}

func TestMergeAllocs(t *testing.T) {
	m := &merger{caps: allCaps}
	for name, frames := range mergeBatches() {
		if n := testing.AllocsPerRun(100, func() { planAll(m, frames) }); n != 0 {
			t.Errorf("%s: %v allocations a batch, want 0", name, n)
		}
	}
}

func planAll(m *merger, frames []Frame) {
	m.plan(frames)
	for i := range m.groups[:m.n] {
		if g := &m.groups[i]; g.count > 1 {
			m.header(frames, g)
		}
	}
}

func BenchmarkMerge(b *testing.B) {
	m := &merger{caps: allCaps}
	for name, frames := range mergeBatches() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				planAll(m, frames)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(frames)), "ns/packet")
		})
	}
}
