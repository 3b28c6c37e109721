package nat

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/packet"
)

// quote says where the headers of the packet quoted in an ICMP error are. Offsets are from the start of the whole
// packet. The quote may end anywhere behind its IP header (RFC 792; RFC 4443, section 2.4).
type quote struct {
	l3, l4, end int
	family      uint8
	proto       uint8
	later       bool // a later fragment: l4 has no transport header
}

// parseQuote reads the quoted IP header at b[l3:end]. It checks neither checksum (RFC 5508, REQ-3).
func parseQuote(b []byte, l3, end int) (quote, bool) {
	q := quote{l3: l3, end: end}
	if l3 < 0 || end > len(b) || l3 >= end {
		return q, false
	}
	in := b[l3:end]
	switch in[0] >> 4 {
	case 4:
		hl := int(in[0]&15) * 4
		if hl < packet.IPv4Size || len(in) < hl {
			return q, false
		}
		q.family, q.proto, q.l4 = 4, in[9], l3+hl
		q.later = binary.BigEndian.Uint16(in[6:])&0x1fff != 0
		return q, true
	case 6:
		if len(in) < packet.IPv6Size {
			return q, false
		}
		q.family = 6
		return q, q.walk(b, in[6])
	}
	return q, false
}

// IPv6 extension headers that a quote may carry (RFC 8200, section 4; RFC 7045).
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestination = 60
	extMobility    = 135
	extHIP         = 139
	extShim6       = 140
)

// maxQuoteHeaders bounds the walk, as in packet.Parse.
const maxQuoteHeaders = 8

// walk sets proto and l4 of an IPv6 quote.
func (q *quote) walk(b []byte, next uint8) bool {
	off := q.l3 + packet.IPv6Size
	for range maxQuoteHeaders {
		size := 8
		switch next {
		case extHopByHop, extRouting, extDestination, extMobility, extHIP, extShim6:
			if off+8 > q.end {
				return false
			}
			size = (int(b[off+1]) + 1) * 8
		case extFragment:
			if off+8 > q.end {
				return false
			}
			q.later = binary.BigEndian.Uint16(b[off+2:])&^7 != 0
		default:
			q.proto, q.l4 = next, off
			return true
		}
		if off+size > q.end {
			return false
		}
		next, off = b[off], off+size
		if q.later {
			q.proto, q.l4 = next, off
			return true
		}
	}
	return false
}

// has reports whether n bytes of the quoted transport header from off on are there.
func (q *quote) has(off, n int) bool { return !q.later && q.l4+off+n <= q.end }

// length returns how long the transport header and its payload were, of which the quote has the beginning, as the quoted
// IP header says.
func (q *quote) length(b []byte) int {
	if q.family == 4 {
		return int(binary.BigEndian.Uint16(b[q.l3+2:])) - (q.l4 - q.l3)
	}
	return int(binary.BigEndian.Uint16(b[q.l3+4:])) - (q.l4 - q.l3 - packet.IPv6Size)
}
