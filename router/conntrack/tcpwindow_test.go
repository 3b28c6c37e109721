package conntrack

import (
	"encoding/binary"
	"testing"

	"github.com/natrouter/natrouter/router/packet"
)

// TestTCPBounds stands on each of the four bounds and one step beyond it.
func TestTCPBounds(t *testing.T) {
	// A has sent up to 10000 of the 20000 that B permits; B has sent up to 90000.
	sides := [2]tcpSide{
		{end: 10000, maxEnd: 20000, maxWin: 70000, flags: sideMaxAck, maxAck: 90000},
		{end: 90000, maxEnd: 95000, maxWin: 5000, flags: sideMaxAck | sideSACK, maxAck: 9000},
	}
	for name, tt := range map[string]struct {
		seg   seg
		maxIV uint32 // A's largest window, 0: as above
		want  windowVerdict
	}{
		"I: at the end of what B permits":               {ab("A", 20000, 90000, 0), 0, inWindow},
		"I: beyond it, after a gap":                     {ab("A", 20001, 90000, 0), 0, outOfWindow},
		"I: begins within, ends beyond":                 {ab("A", 20000, 90000, 1400), 0, inWindow},
		"II: the end as far back as B's window":         {ab("A", 4990, 90000, 10), 0, inWindow},
		"II: further back":                              {ab("A", 4989, 90000, 10), 0, outOfDate},
		"III: acknowledges all that B sent":             {ab("A", 10000, 90000, 0), 0, inWindow},
		"III: acknowledges more":                        {ab("A", 10000, 90001, 0), 0, outOfWindow},
		"IV: as far back as A's largest window":         {ab("A", 10000, 20000, 0), 0, inWindow},
		"IV: further back":                              {ab("A", 10000, 19999, 0), 0, outOfDate},
		"IV: at least 66000, whatever the window":       {ab("A", 10000, 24000, 0), 100, inWindow},
		"IV: more than 66000":                           {ab("A", 10000, 23999, 0), 100, outOfDate},
		"without ACK its number says nothing":           {ab("R", 10000, 5, 0), 0, inWindow},
		"RST with ACK 0 says nothing":                   {ab("RA", 10000, 0, 0), 0, inWindow},
		"III by the SACK edge, which B permits A":       {seg{flags: "A", seq: 10000, ack: 89000, opts: sackBlock(90001)}, 0, outOfWindow},
		"the SACK edge at what B sent":                  {seg{flags: "A", seq: 10000, ack: 89000, opts: sackBlock(90000)}, 0, inWindow},
		"a SACK block below the acknowledgement":        {seg{flags: "A", seq: 10000, ack: 89000, opts: sackBlock(100)}, 0, inWindow},
		"a SACK option of impossible length is not one": {seg{flags: "A", seq: 10000, ack: 89000, opts: []byte{5, 60, 0, 0}}, 0, inWindow},
	} {
		for _, shift := range []uint32{0, 1<<32 - 15000, 1<<31 - 15000} { // numbers wrap
			ts := tcpState{side: sides, state: tcpEstablished}
			if tt.maxIV != 0 {
				ts.side[0].maxWin = tt.maxIV
			}
			for i := range ts.side {
				ts.side[i].end += shift
				ts.side[i].maxEnd += shift
				ts.side[i].maxAck += shift
			}
			var g tcpSegment
			g.read(packet.TCP(tt.seg.bytes()[20:]), tt.seg.n)
			g.seq, g.end = g.seq+shift, g.end+shift
			if g.ack != 0 {
				g.ack += shift
			}
			if g.sack = highestSACK(g.hdr, tt.seg.ack); tt.seg.ack != 0 {
				g.sack += shift
			}
			if got := ts.window(Original, &g, false); got != tt.want {
				t.Errorf("%s, shifted by %d: %v, want %v", name, shift, got, tt.want)
			}
			if got := ts.window(Original, &g, true); got != inWindow && tt.want != inWindow {
				t.Errorf("%s: liberal, %v", name, got)
			}
		}
	}
}

func sackBlock(right uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{1, 1, 5, 10}, right-50), right)
}

// TestTCPLearning is what a segment within the window moves, one rule a line.
func TestTCPLearning(t *testing.T) {
	start := [2]tcpSide{
		{end: 10000, maxEnd: 20000, maxWin: 1000, scale: 2},
		{end: 90000, maxEnd: 91000, maxWin: 5000, flags: sideSACK | sideUnacked, scale: 3},
	}
	for name, tt := range map[string]struct {
		seg  seg
		want func(a, b *tcpSide)
	}{
		"a window is scaled, and opens what B may send": {seg{flags: "A", seq: 10000, ack: 89000, win: 1000}, func(a, b *tcpSide) {
			a.maxWin, a.maxAck, b.maxEnd = 4000, 89000, 93000
		}},
		"the largest window counts the bytes that SACK skips": {seg{flags: "A", seq: 10000, ack: 89000, win: 500, opts: sackBlock(90000)}, func(a, b *tcpSide) {
			a.maxWin, a.maxAck, b.maxEnd = 2000+1000, 89000, 92000
		}},
		"a smaller offer takes nothing back": {seg{flags: "A", seq: 10000, ack: 89000, win: 10}, func(a, b *tcpSide) {
			a.maxAck = 89000
			a.maxWin = 1000
		}},
		"no window leaves one byte to probe with": {seg{flags: "A", seq: 10000, ack: 90000, win: noWindow}, func(a, b *tcpSide) {
			a.maxAck = 90000
			b.flags = sideSACK
		}},
		"data is unacknowledged, and beyond the offer widens it": {seg{flags: "PA", seq: 19000, ack: 89000, win: 1, n: 1500}, func(a, b *tcpSide) {
			a.end, a.maxAck = 20500, 89000
			a.flags |= sideUnacked
			b.maxWin = 5500
		}},
	} {
		ts := tcpState{side: start, state: tcpEstablished}
		want := start
		want[0].flags |= sideMaxAck
		tt.want(&want[0], &want[1])
		var g tcpSegment
		g.read(packet.TCP(tt.seg.bytes()[20:]), tt.seg.n)
		g.sack = highestSACK(g.hdr, g.ack)
		if v := ts.window(Original, &g, false); v != inWindow || ts.side != want {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, v, ts.side, want)
		}
	}
	ts := tcpState{side: start, state: tcpEstablished}
	ts.side[1].maxEnd = 90000
	var g tcpSegment
	g.read(packet.TCP(seg{flags: "A", seq: 10000, ack: 90000, win: noWindow}.bytes()[20:]), 0)
	if ts.window(Original, &g, false); ts.side[1].maxEnd != 90001 {
		t.Errorf("window 0 at the very end: %d, want one byte more", ts.side[1].maxEnd)
	}
}

func TestTCPSynOptions(t *testing.T) {
	for name, tt := range map[string]struct {
		opts         []byte
		flags, scale uint8
	}{
		"both":                       {synOpts, sideScale | sideSACK, 7},
		"none":                       {nil, 0, 0},
		"a scale is 14 at most":      {[]byte{3, 3, 15}, sideScale, 14},
		"of the wrong length":        {[]byte{3, 4, 7, 0, 4, 3, 0}, 0, 0},
		"behind the end":             {[]byte{0, 3, 3, 7}, 0, 0},
		"cut off":                    {[]byte{1, 1, 1, 3}, 0, 0},
		"length 0 ends the look":     {[]byte{9, 0, 3, 3, 7, 0}, 0, 0},
		"unknown options are passed": {[]byte{99, 3, 1, 4, 2, 3, 3, 2}, sideScale | sideSACK, 2},
	} {
		hdr := packet.TCP(seg{flags: "S", opts: tt.opts}.bytes()[20:])
		if flags, scale := synOptions(hdr); flags != tt.flags || scale != tt.scale {
			t.Errorf("%s: %b %d", name, flags, scale)
		}
	}
}
