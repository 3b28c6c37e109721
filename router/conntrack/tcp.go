package conntrack

import "github.com/natrouter/natrouter/router/packet"

// tcpStateID is the state of a TCP connection as seen from between its ends (RFC 9293, section 3.3.2, with what
// the tracker adds). A segment that was let through may still be lost beyond us.
type tcpStateID uint8

const (
	tcpNone tcpStateID = iota
	tcpSynSent
	tcpSynRecv
	tcpEstablished
	tcpFinWait   // one FIN
	tcpCloseWait // one FIN, acknowledged
	tcpLastAck   // both FINs
	tcpTimeWait  // both FINs, acknowledged
	tcpClose     // RST
	tcpSynSent2  // SYNs crossed: simultaneous open (RFC 9293, section 3.5)
	numTCPStates

	// Not states but answers of the table.
	tcpIgnore  // pass the segment, keep the state
	tcpInvalid // no segment of this connection
)

// tcpEvent is what a segment does, its strongest flag first.
type tcpEvent uint8

const (
	evNone tcpEvent = iota
	evSYN
	evSYNACK
	evFIN
	evACK
	evRST
	numTCPEvents
)

const (
	xx = tcpInvalid
	ig = tcpIgnore
	ss = tcpSynSent
	sr = tcpSynRecv
	es = tcpEstablished
	fw = tcpFinWait
	cw = tcpCloseWait
	la = tcpLastAck
	tw = tcpTimeWait
	cl = tcpClose
	s2 = tcpSynSent2
)

// tcpNext is the state after a segment. ss from tw and cl means reopen, see tcpState.step; es from none is the
// pick-up of a connection that began before us.
var tcpNext = [2][numTCPEvents][numTCPStates]tcpStateID{
	Original: {
		//         none ss  sr  es  fw  cw  la  tw  cl  s2
		evSYN:    {ss, ss, ig, ig, ig, ig, ig, ss, ss, s2},
		evSYNACK: {xx, xx, sr, xx, xx, xx, xx, xx, xx, sr}, // answers a crossed SYN
		evFIN:    {xx, xx, fw, fw, la, la, la, tw, cl, xx},
		evACK:    {es, xx, es, es, cw, cw, tw, tw, cl, xx},
		evRST:    {xx, cl, cl, cl, cl, cl, cl, cl, cl, cl},
		evNone:   {xx, xx, xx, xx, xx, xx, xx, xx, xx, xx},
	},
	Reply: {
		evSYN:    {xx, s2, xx, xx, xx, xx, xx, ss, xx, s2},
		evSYNACK: {xx, sr, ig, ig, ig, ig, ig, ig, ig, sr}, // sent again: our end's ACK was lost
		evFIN:    {xx, xx, fw, fw, la, la, la, tw, cl, xx},
		evACK:    {xx, ig, sr, es, cw, cw, tw, tw, cl, ig}, // in ss: a half-open peer challenges (RFC 9293, section 3.5.1)
		evRST:    {xx, cl, cl, cl, cl, cl, cl, cl, cl, cl},
		evNone:   {xx, xx, xx, xx, xx, xx, xx, xx, xx, xx},
	},
}

var tcpStateNames = [numTCPStates]string{
	"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2",
}

// String returns the state as conntrack-tools print it.
func (s tcpStateID) String() string {
	if s < numTCPStates {
		return tcpStateNames[s]
	}
	return "INVALID"
}

// closing reports a state in which an end has given the connection up: its numbers may be out of date, since the
// pair of ports may be in use again.
func (s tcpStateID) closing() bool { return s >= tcpFinWait && s <= tcpClose }

func eventOf(flags uint8) tcpEvent {
	switch {
	case flags&packet.FlagRST != 0:
		return evRST
	case flags&packet.FlagSYN != 0 && flags&packet.FlagACK != 0:
		return evSYNACK
	case flags&packet.FlagSYN != 0:
		return evSYN
	case flags&packet.FlagFIN != 0:
		return evFIN
	case flags&packet.FlagACK != 0:
		return evACK
	}
	return evNone
}

// tcpSide is what is known of one end: of the segments that it sent, and of what it lets the other send.
type tcpSide struct {
	end    uint32 // highest sequence number sent, one past the last byte
	maxEnd uint32 // highest that the other end permits it
	maxWin uint32 // largest window that it offered, scaled; 0: nothing seen of it
	maxAck uint32 // highest acknowledgement that it sent; holds with sideMaxAck
	scale  uint8  // of its windows (RFC 7323, section 2.3)
	flags  uint8
}

// Bits of tcpSide.flags, and of tcpState.lastFlags.
const (
	sideScale     = 1 << iota // sent the window scale option
	sideSACK                  // permits SACK
	sideCloseInit             // sent the first FIN
	sideLiberal               // its window scale is unknown: numbers are not checked
	sideUnacked               // sent data that the other has not acknowledged
	sideMaxAck                // maxAck holds
	lastChallenge             // lastFlags only: a SYN passed in LAST_ACK may be answered by a challenge ACK
	lastSimOpen               // lastFlags only: SYNs crossed
)

// tcpState is all state of a tracked TCP connection: one cache line.
type tcpState struct {
	side [2]tcpSide // by the direction in which that end sends

	// The last segment that passed, as far as later ones are judged by it.
	lastSeq, lastAck, lastEnd uint32
	lastWin                   uint16 // unscaled
	lastScale, lastFlags      uint8  // of a SYN that was ignored; lastFlags holds the last* bits too
	lastEvent                 tcpEvent
	lastDir                   Direction
	retrans                   uint8
	state                     tcpStateID

	clamp [2]packet.Delta // by direction: see Conn.ErrorClamp
}

// began reports whether a direction may have begun with a SYN of number seq: no more than a window without scaling was
// sent behind it. Where nothing is known of the direction any may be it.
func (ts *tcpState) began(dir Direction, seq uint32) bool {
	s := &ts.side[dir]
	return s.maxWin == 0 || s.end-(seq+1) <= 0xffff
}

// maxRetransmissions of the same bare ACK after which tcp_max_retrans applies.
const maxRetransmissions = 3

// tcpSegment is what the tracker reads of a segment.
type tcpSegment struct {
	hdr   packet.TCP
	seq   uint32
	end   uint32 // seq + payload + SYN + FIN
	ack   uint32 // in the sender's own numbers: without the offset of edits
	sack  uint32 // the highest right edge, at least ack
	win   uint16 // unscaled
	flags uint8
	event tcpEvent
}

// read takes a segment's numbers. payload is the length of a super-segment's too: sequence space has no bounds
// of packets.
func (g *tcpSegment) read(hdr packet.TCP, payload int) {
	g.hdr, g.flags, g.event = hdr, hdr.Flags(), eventOf(hdr.Flags())
	g.seq, g.ack, g.win = hdr.Seq(), hdr.Ack(), hdr.Window()
	g.end = g.seq + uint32(payload)
	if g.flags&packet.FlagSYN != 0 {
		g.end++
	}
	if g.flags&packet.FlagFIN != 0 {
		g.end++
	}
	g.sack = g.ack
}

func (g *tcpSegment) has(flag uint8) bool { return g.flags&flag != 0 }

// before and after compare sequence numbers modulo 2^32 (RFC 9293, section 3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }
func after(a, b uint32) bool  { return int32(b-a) < 0 }
