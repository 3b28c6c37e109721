package packet

import "encoding/binary"

// IPv6Size is the length of the fixed IPv6 header, bytes.
const IPv6Size = 40

// Extension headers that we walk (RFC 8200, section 4; RFC 7045, section 4). AH and ESP end the walk.
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestination = 60
	extMobility    = 135
	extHIP         = 139
	extShim6       = 140
)

// maxExtHeaders bounds the walk: more than any sender needs, RFC 8200 section 4.1 lists seven.
const maxExtHeaders = 8

// IPv6 is an IPv6 packet (RFC 8200, section 3) in place. No method of an IPv6 that [ParseIPv6] returned panics.
type IPv6 []byte

// ParseIPv6 returns the packet cut to the length that its header says.
func ParseIPv6(b []byte) (IPv6, error) {
	if len(b) < IPv6Size {
		return nil, ErrTruncated
	}
	if b[0]>>4 != 6 {
		return nil, ErrVersion
	}
	n := IPv6Size + int(binary.BigEndian.Uint16(b[4:]))
	if n > len(b) {
		return nil, ErrTruncated
	}
	return IPv6(b[:n]), nil
}

// TrafficClass returns DSCP and ECN.
func (p IPv6) TrafficClass() uint8 { return p[0]<<4 | p[1]>>4 }

// FlowLabel returns the 20 bits of the flow label.
func (p IPv6) FlowLabel() uint32 { return binary.BigEndian.Uint32(p) & 0xfffff }

// PayloadLen returns the length of all that follows the fixed header, bytes.
func (p IPv6) PayloadLen() int { return int(binary.BigEndian.Uint16(p[4:])) }

// NextHeader returns the number of the first header after the fixed one.
func (p IPv6) NextHeader() uint8 { return p[6] }

// HopLimit returns the hop limit.
func (p IPv6) HopLimit() uint8 { return p[7] }

// SetPayloadLen sets the length of all that follows the fixed header, which must be there.
func (p IPv6) SetPayloadLen(n int) { binary.BigEndian.PutUint16(p[4:], uint16(n)) }

// SetNextHeader sets the number of the first header after the fixed one.
func (p IPv6) SetNextHeader(proto uint8) { p[6] = proto }

// SetHopLimit sets the hop limit; see also [DecrementTTL].
func (p IPv6) SetHopLimit(n uint8) { p[7] = n }

// Src returns the source address: sixteen bytes of the packet itself.
func (p IPv6) Src() []byte { return p[8:24] }

// Dst returns the destination address: sixteen bytes of the packet itself.
func (p IPv6) Dst() []byte { return p[24:40] }

func (h *Headers) parseIPv6(b []byte) DropReason {
	ip, err := ParseIPv6(b)
	if err != nil {
		return Malformed
	}
	*h = Headers{Family: 6, TTL: ip.HopLimit(), DF: true, Len: uint32(len(ip))}
	switch reason := h.walkExtensions(ip); {
	case reason == Malformed && h.Fragment:
		return FragmentInvalid // RFC 7112, section 5: a first fragment has all headers
	case reason != NotDropped:
		return reason
	}
	return h.parseTransport(ip)
}

// walkExtensions sets Proto, L4 and the fragment fields. A later fragment ends the walk: what follows is payload.
func (h *Headers) walkExtensions(ip IPv6) DropReason {
	next, off := ip.NextHeader(), IPv6Size
	for range maxExtHeaders + 1 {
		size := 0
		switch next {
		case extHopByHop, extRouting, extDestination, extMobility, extHIP, extShim6:
			if off+8 > len(ip) || next == extHopByHop && off != IPv6Size { // RFC 8200, section 4.1: first or not at all
				return Malformed
			}
			size = (int(ip[off+1]) + 1) * 8
			h.Options = true
		case extFragment:
			if off+8 > len(ip) || h.FragHdr != 0 {
				return Malformed
			}
			size = 8
			f := binary.BigEndian.Uint16(ip[off+2:])
			h.FragHdr, h.FragOff, h.MoreFrag = uint16(off), f&^7, f&1 != 0
			h.ID = binary.BigEndian.Uint32(ip[off+4:])
			h.Fragment = h.MoreFrag || h.FragOff != 0
		default:
			h.Proto, h.L4 = next, uint16(off)
			return NotDropped
		}
		if off+size > len(ip) {
			return Malformed
		}
		next, off = ip[off], off+size
		if h.FragOff != 0 {
			h.Proto, h.L4 = next, uint16(off)
			return NotDropped
		}
	}
	return UnsupportedHeader
}
