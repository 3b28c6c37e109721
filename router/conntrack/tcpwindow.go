package conntrack

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/packet"
)

const (
	maxScale    = 14    // RFC 7323, section 2.3
	minAckRange = 66000 // bytes that an acknowledgement may lie back, at least: one unscaled window
)

// synOptions returns what a SYN offers: sideScale and sideSACK, and the scale. Options that contradict themselves end
// the look.
func synOptions(hdr packet.TCP) (flags, scale uint8) {
	for opts := hdr.Options(); len(opts) > 0; {
		kind, v, rest, ok := packet.NextTCPOption(opts)
		switch {
		case !ok || kind == packet.OptEnd:
			return flags, scale
		case kind == packet.OptWScale && len(v) == 1:
			flags, scale = flags|sideScale, min(v[0], maxScale)
		case kind == packet.OptSACKPermitted && len(v) == 0:
			flags |= sideSACK
		}
		opts = rest
	}
	return flags, scale
}

// timestampOnly is how nearly all segments of a connection with options begin: two NOPs and a timestamp.
const timestampOnly = 0x0101080a

// highestSACK returns the highest right edge of the SACK blocks, at least ack.
func highestSACK(hdr packet.TCP, ack uint32) uint32 {
	opts := hdr.Options()
	if len(opts) == 0 || len(opts) == 12 && binary.BigEndian.Uint32(opts) == timestampOnly {
		return ack
	}
	high := ack
	for len(opts) > 0 {
		kind, v, rest, ok := packet.NextTCPOption(opts)
		if !ok || kind == packet.OptEnd {
			return high
		}
		if kind == packet.OptSACK {
			for ; len(v) >= 8; v = v[8:] {
				if right := binary.BigEndian.Uint32(v[4:]); after(right, high) {
					high = right
				}
			}
		}
		opts = rest
	}
	return high
}

// windowVerdict is what the numbers of a segment say.
type windowVerdict uint8

const (
	inWindow    windowVerdict = iota
	outOfDate                 // passes, but nothing is learnt from it: an old retransmission, a late acknowledgement
	outOfWindow               // not of this connection
)

// initSide takes a SYN or SYN-ACK as the first of its end.
func (ts *tcpState) initSide(dir Direction, g *tcpSegment) {
	s, r := &ts.side[dir], &ts.side[1-dir]
	s.end, s.maxEnd, s.maxWin = g.end, g.end, max(uint32(g.win), 1)
	flags, scale := synOptions(g.hdr)
	s.flags, s.scale = s.flags&^(sideScale|sideSACK)|flags, scale
	// Scaling holds only when both ends offered it (RFC 7323, section 2.2). The first SYN can't know yet.
	if r.maxWin != 0 && (s.flags&sideScale == 0 || r.flags&sideScale == 0) {
		s.scale, r.scale = 0, 0
	}
}

// window checks a segment's numbers and learns from them. g.ack is in the receiver's own numbers. liberal lets
// pass what fails, and learns from it: with an unknown scale the bounds would stand still otherwise.
func (ts *tcpState) window(dir Direction, g *tcpSegment, liberal bool) windowVerdict {
	s, r := &ts.side[dir], &ts.side[1-dir]
	known := ts.side
	switch {
	case s.maxWin == 0 && g.has(packet.FlagSYN):
		ts.initSide(dir, g)
		if !g.has(packet.FlagACK) { // simultaneous open
			return inWindow
		}
	case s.maxWin == 0:
		ts.pickUp(dir, g)
	case g.has(packet.FlagSYN) && after(g.end, s.end) &&
		(ts.state == tcpSynSent && dir == Original || ts.state == tcpSynRecv && dir == Reply):
		ts.initSide(dir, g) // the handshake starts again with new numbers
		if dir == Reply && !g.has(packet.FlagACK) {
			return inWindow
		}
	}
	ack, sack, seq, end := g.ack, g.sack, g.seq, g.end
	if !g.has(packet.FlagACK) || g.has(packet.FlagRST) && ack == 0 {
		ack, sack = r.end, r.end // says nothing
	}
	if g.has(packet.FlagRST) && seq == 0 && ts.state == tcpSynSent {
		seq, end = s.end, s.end // answers a SYN: RFC 9293, section 3.5.2
	}
	v := judge(s, r, seq, end, sack)
	if v != inWindow && !liberal && (s.flags|r.flags)&sideLiberal == 0 {
		if known[dir].maxWin == 0 || g.has(packet.FlagSYN) {
			ts.side = known // else a blind SYN-ACK could set numbers that the real one contradicts: RFC 5961, section 4
		}
		return v
	}
	if g.event != evRST { // one may be blind: RFC 5961, section 3
		ts.learn(dir, g, ack, sack, end)
	}
	return inWindow
}

// judge applies the four bounds of a segment: I and II to its place in the sender's stream, III and IV to what it
// acknowledges of the receiver's.
func judge(s, r *tcpSide, seq, end, sack uint32) windowVerdict {
	recent := r.maxWin == 0 || !before(end, s.end-r.maxWin)       // II
	acksSent := !after(sack, r.end)                               // III
	acksRecent := !before(sack, r.end-max(s.maxWin, minAckRange)) // IV
	if after(seq, s.maxEnd) {                                     // I
		if recent && acksSent && acksRecent && !after(seq, s.end) && end-s.maxEnd+1 <= r.maxWin {
			// The receiver took its offer back, and the sender went on where it was: RFC 9293, section 3.8.6 asks
			// for robustness. What would leave a gap is not that.
			s.end = end
			return outOfDate
		}
		return outOfWindow
	}
	if !acksSent {
		return outOfWindow
	}
	if !recent || !acksRecent {
		return outOfDate
	}
	return inWindow
}

// pickUp takes the first segment that is seen of an end, in the middle of its stream.
func (ts *tcpState) pickUp(dir Direction, g *tcpSegment) {
	s, r := &ts.side[dir], &ts.side[1-dir]
	s.end = g.end
	s.maxWin = max(uint32(g.win)<<s.scale, 1)
	s.maxEnd = g.end + s.maxWin
	switch {
	case r.maxWin == 0:
		r.end, r.maxEnd = g.sack, g.sack
	case g.sack == r.end+1:
		r.end++ // answers a keep-alive, which repeats the last byte
	}
}

// learn moves the bounds by a segment that is within them.
func (ts *tcpState) learn(dir Direction, g *tcpSegment, ack, sack, end uint32) {
	s, r := &ts.side[dir], &ts.side[1-dir]
	win := uint32(g.win)
	if !g.has(packet.FlagSYN) { // the window of a SYN is never scaled: RFC 7323, section 2.2
		win <<= s.scale
	}
	s.maxWin = max(s.maxWin, win+(sack-ack))
	if after(end, s.end) {
		s.end = end
		s.flags |= sideUnacked
	}
	if g.has(packet.FlagACK) {
		if s.flags&sideMaxAck == 0 || after(ack, s.maxAck) {
			s.maxAck = ack
			s.flags |= sideMaxAck
		}
	}
	if r.maxWin != 0 && after(end, s.maxEnd) {
		r.maxWin += end - s.maxEnd
	}
	if !before(sack+win, r.maxEnd) {
		r.maxEnd = sack + win
		if win == 0 {
			r.maxEnd++ // window probes
		}
	}
	if ack == r.end {
		r.flags &^= sideUnacked
	}
	if g.event != evACK {
		return
	}
	if ts.lastDir == dir && ts.lastSeq == g.seq && ts.lastAck == ack && ts.lastEnd == end && ts.lastWin == g.win {
		if ts.retrans < 255 {
			ts.retrans++
		}
		return
	}
	ts.lastDir, ts.lastSeq, ts.lastAck, ts.lastEnd, ts.lastWin = dir, g.seq, ack, end, g.win
	ts.retrans = 0
}
