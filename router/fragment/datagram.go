package fragment

import (
	"bytes"
	"cmp"
	"container/list"
	"slices"

	"github.com/natrouter/natrouter/router/packet"
)

// ECN codepoints (RFC 3168, section 5), low two bits of TOS and traffic class.
const (
	ecnNot = 0
	ecnCE  = 3
)

// piece is one fragment's part of a datagram's payload.
type piece struct {
	off, end int // bytes of the datagram's payload
	data     []byte
	last     bool // MF was clear
}

// newPiece returns the part of b, in place, unless its length or offset is impossible: no bytes at all, not a
// multiple of eight before the last, or an end beyond the longest packet (RFC 8200, section 4.5; RFC 791 means the
// same).
func newPiece(b []byte, h *packet.Headers) (p piece, ok bool) {
	head, start := int(h.L4), int(h.L4)
	if h.Family == 6 {
		head, start = int(h.FragHdr), int(h.FragHdr)+packet.FragHeaderSize
	}
	n := int(h.Len) - start
	p = piece{off: int(h.FragOff), end: int(h.FragOff) + n, data: b[start:h.Len], last: !h.MoreFrag}
	return p, h.Fragment && n > 0 && (p.last || n%8 == 0) && head+p.end <= h.Longest()
}

// datagram is one that is not complete, or one of IPv6 that was dropped and is remembered until its deadline.
type datagram struct {
	key             key
	began, deadline packet.Time
	byAge, bySource *list.Element
	byPair          *list.Element // nil for IPv6
	later           int           // datagrams of its pair that began later and were completed

	bad    packet.DropReason // dropped for this reason
	pieces []piece           // in order, without overlap
	first  []byte            // fragment with offset 0, from the IP header on
	have   int               // bytes of payload that are there
	end    int               // bytes of payload in all; 0 while the last fragment is missing
	bytes  int               // memory that pieces and first take
	header packet.Headers    // of first
	size   int               // length of the largest fragment, bytes
	df     bool
	ecn    uint8 // a bit for each codepoint seen
}

// begins reports whether p is the first fragment of another datagram than d, which has one with other bytes: over IPv4
// a sender has so few identifications that he uses one again while fragments of the last time may still be waiting for
// one that was lost (RFC 4963, section 3).
func (d *datagram) begins(p *piece) bool {
	return d.key.family() == 4 && p.off == 0 && d.first != nil && !bytes.Equal(d.pieces[0].data, p.data)
}

// add takes over a copy of p, which is a part of b.
func (d *datagram) add(p piece, b []byte, h *packet.Headers) packet.DropReason {
	if d.bad != packet.NotDropped {
		return d.bad
	}
	at, found := slices.BinarySearchFunc(d.pieces, p.off, func(q piece, off int) int { return cmp.Compare(q.off, off) })
	if found {
		if q := d.pieces[at]; q.last == p.last && bytes.Equal(q.data, p.data) {
			return packet.NotDropped
		}
		return d.drop(packet.FragmentOverlap)
	}
	switch {
	case at > 0 && d.pieces[at-1].end > p.off, at < len(d.pieces) && p.end > d.pieces[at].off:
		return d.drop(packet.FragmentOverlap)
	case p.last && at < len(d.pieces), d.end != 0 && p.end > d.end, p.last && d.end != 0:
		return d.drop(packet.FragmentInvalid) // bytes behind the end, or two ends
	case len(d.pieces) == maxFragments:
		return d.drop(packet.FragmentInvalid)
	}
	d.keep(at, p, b, h)
	return packet.NotDropped
}

// keep inserts a copy of p, which fits in at index at.
func (d *datagram) keep(at int, p piece, b []byte, h *packet.Headers) {
	if p.off == 0 {
		d.first, d.header = bytes.Clone(b[:h.Len]), *h
		p.data = d.first[len(d.first)-len(p.data):]
		d.bytes += len(d.first)
	} else {
		p.data = bytes.Clone(p.data)
		d.bytes += len(p.data)
	}
	d.pieces = slices.Insert(d.pieces, at, p)
	d.bytes += pieceCost
	d.have += len(p.data)
	if p.last {
		d.end = p.end
	}
	d.size = max(d.size, int(h.Len))
	d.df = d.df || h.DF
	d.ecn |= 1 << ecn(b)
}

// drop frees the fragments and remembers why.
func (d *datagram) drop(reason packet.DropReason) packet.DropReason {
	d.bad, d.pieces, d.first, d.bytes = reason, nil, nil, 0
	return reason
}

func (d *datagram) complete() bool { return d.end != 0 && d.have == d.end }

// assemble writes the complete datagram to dst.
func (d *datagram) assemble(dst []byte) (int, packet.DropReason) {
	head := int(d.header.L4)
	if d.header.Family == 6 {
		head = int(d.header.FragHdr)
	}
	n := head + d.end
	ce, ok := d.congestion()
	switch {
	case n > d.header.Longest() || !ok:
		return 0, packet.FragmentInvalid
	case n > len(dst):
		return 0, packet.Oversize
	}
	copy(dst, d.first[:head])
	for _, p := range d.pieces {
		copy(dst[head+p.off:], p.data)
	}
	if d.header.Family == 6 {
		d.finishIPv6(packet.IPv6(dst[:n]), ce)
	} else {
		finishIPv4(packet.IPv4(dst[:n]), ce)
	}
	return n, packet.NotDropped
}

// congestion reports whether the whole has to say CE because a fragment did. It is not ok if another fragment says
// that its sender does not know ECN: the mark must not be lost, so the datagram is (RFC 3168, section 5.3).
func (d *datagram) congestion() (ce, ok bool) {
	ce = d.ecn&(1<<ecnCE) != 0
	return ce, !ce || d.ecn&(1<<ecnNot) == 0
}

// ecn returns the ECN codepoint of a packet.
func ecn(b []byte) uint8 {
	if b[0]>>4 == 4 {
		return b[1] & 3
	}
	return b[1] >> 4 & 3
}

func finishIPv4(ip packet.IPv4, ce bool) {
	if ce {
		ip[1] |= ecnCE
	}
	ip.SetTotalLen(len(ip))
	ip.SetFragment(0, false)
	ip.UpdateChecksum()
}

// finishIPv6 sets the length, and gives the header before the fragment header what stood behind that.
func (d *datagram) finishIPv6(ip packet.IPv6, ce bool) {
	if ce {
		ip[1] |= ecnCE << 4
	}
	ip.SetPayloadLen(len(ip) - packet.IPv6Size)
	link := 6
	for off := packet.IPv6Size; off < int(d.header.FragHdr); {
		link, off = off, off+(int(ip[off+1])+1)*8
	}
	ip[link] = d.first[d.header.FragHdr]
}
