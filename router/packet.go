package router

import (
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// snapshotSize is how much of a packet's headers is kept as it came in: an IPv4 header with all options and a
// TCP header with all options are 120 bytes, the rest is for IPv6 extension headers.
const snapshotSize = 256

// Packet is one packet on its way through the pipeline, with what the hooks found out about it. A lane reuses one
// Packet for all of its packets: nothing may keep it.
type Packet struct {
	Bytes  []byte         // from the IP header on, cut to the packet's length; in a buffer of the lane's
	Meta   packet.Meta    // what is unfinished in it
	H      packet.Headers // valid after the parse hook
	Conn   conntrack.Conn // valid after the conntrack hook
	Reason packet.DropReason

	in, out *netInterface // out is nil before the route hook; in is nil for what the router itself made
	lane    *lane
	now     packet.Time

	buf     []byte // the buffer that Bytes lies in
	off     int    // where it begins there
	tracked bool   // Conn is this packet's
	cached  bool   // the route is the connection's own of before
	noMatch bool   // to an outside address, and no connection, mapping or rule claims it
	reject  bool   // the filter rule that dropped it wants an answer
	rule    int    // the filter rule that decided, by its place from 1 on; 0: none

	fragmentSize int // largest fragment of a reassembled datagram, bytes; 0: it came whole
	splitSize    int // largest packet that may leave; 0: leaves as it is

	// The headers as they came in, for the ICMP errors that quote them.
	snapshot  [snapshotSize]byte
	snapshotN uint16
}

// reset makes p ready for the next packet of its lane.
func (p *Packet) reset(buf []byte, off, n int, m packet.Meta) {
	p.buf, p.off, p.Bytes, p.Meta = buf, off, buf[off:off+n], m
	p.Reason = packet.NotDropped
	p.out = nil
	p.tracked, p.cached, p.noMatch, p.reject = false, false, false, false
	p.rule, p.fragmentSize, p.splitSize, p.snapshotN = 0, 0, 0, 0
}

// refuse sets the reason and drops, unless there is none.
func (p *Packet) refuse(reason packet.DropReason) packet.Verdict {
	if reason == packet.NotDropped {
		return packet.Accept
	}
	p.Reason = reason
	return packet.Drop
}

// keepSnapshot remembers the headers before anything is rewritten.
func (p *Packet) keepSnapshot() {
	p.snapshotN = uint16(copy(p.snapshot[:], p.Bytes[:p.H.Payload]))
}

// segments returns how many packets on the wire p stands for.
func (p *Packet) segments() uint64 {
	whole := p.H
	whole.Len = uint32(len(p.Bytes))
	return segments(&whole, &p.Meta)
}

// largest returns the size of the largest packet on the wire that p stands for, bytes.
func (p *Packet) largest() int {
	if p.Meta.GSO != packet.GSONone {
		return int(p.H.Payload) + int(p.Meta.SegSize)
	}
	return len(p.Bytes)
}
