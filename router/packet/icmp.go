package packet

import "encoding/binary"

// ICMP types (RFC 792, RFC 950).
const (
	ICMPEchoReply      = 0
	ICMPUnreachable    = 3
	ICMPSourceQuench   = 4
	ICMPRedirect       = 5
	ICMPEcho           = 8
	ICMPTimeExceeded   = 11
	ICMPParamProblem   = 12
	ICMPTimestamp      = 13
	ICMPTimestampReply = 14
	ICMPInfo           = 15
	ICMPInfoReply      = 16
	ICMPMask           = 17
	ICMPMaskReply      = 18
)

// Codes of ICMPUnreachable (RFC 792; RFC 1812, section 5.2.7.1).
const (
	CodeNetUnreachable   = 0
	CodeHostUnreachable  = 1
	CodeProtoUnreachable = 2
	CodePortUnreachable  = 3
	CodeFragNeeded       = 4
	CodeAdminProhibited  = 13
)

// ICMPv6 types (RFC 4443, RFC 2710, RFC 3810, RFC 4861).
const (
	ICMPv6Unreachable  = 1
	ICMPv6TooBig       = 2
	ICMPv6TimeExceeded = 3
	ICMPv6ParamProblem = 4
	ICMPv6Echo         = 128
	ICMPv6EchoReply    = 129
	ICMPv6MLDQuery     = 130
	ICMPv6MLDReport    = 131
	ICMPv6MLDDone      = 132
	ICMPv6RouterSol    = 133
	ICMPv6RouterAdv    = 134
	ICMPv6NeighborSol  = 135
	ICMPv6NeighborAdv  = 136
	ICMPv6Redirect     = 137
	ICMPv6NodeInfo     = 139
	ICMPv6NodeInfoAns  = 140
	ICMPv6MLDv2Report  = 143
)

// Codes of ICMPv6Unreachable (RFC 4443, section 3.1).
const (
	CodeV6NoRoute         = 0
	CodeV6AdminProhibited = 1
	CodeV6AddrUnreachable = 3
	CodeV6PortUnreachable = 4
)

// Codes of both families' time exceeded messages.
const (
	CodeTTLExceeded        = 0
	CodeReassemblyExceeded = 1
)

// ICMP is an ICMP (RFC 792) or ICMPv6 (RFC 4443) message in place: setting writes through, and leaves the checksum
// to the caller. No method of an ICMP that [ParseICMP] returned panics.
type ICMP []byte

// ParseICMP checks that the first eight bytes, which all messages that we treat have, are there.
func ParseICMP(b []byte) (ICMP, error) {
	if len(b) < ICMPSize {
		return nil, ErrTruncated
	}
	return ICMP(b), nil
}

// Type returns the type, which means something else in each family.
func (c ICMP) Type() uint8 { return c[0] }

// Code returns the code.
func (c ICMP) Code() uint8 { return c[1] }

// Checksum returns the checksum field; ICMPv6's covers a pseudo-header.
func (c ICMP) Checksum() uint16 { return binary.BigEndian.Uint16(c[2:]) }

// ID returns the identifier of a query or its reply, host byte order.
func (c ICMP) ID() uint16 { return binary.BigEndian.Uint16(c[4:]) }

// Seq returns the sequence number of a query or its reply.
func (c ICMP) Seq() uint16 { return binary.BigEndian.Uint16(c[6:]) }

// Rest returns bytes 4 to 7 as one number: MTU of ICMPv6 too big, and others.
func (c ICMP) Rest() uint32 { return binary.BigEndian.Uint32(c[4:]) }

// MTU returns the next-hop MTU of a fragmentation needed (RFC 1191, section 4; 0 from old routers) or a packet too
// big message (RFC 4443, section 3.2), bytes.
func (c ICMP) MTU(family uint8) uint32 {
	if family == 4 {
		return uint32(binary.BigEndian.Uint16(c[6:]))
	}
	return c.Rest()
}

// SetID sets the identifier, host byte order.
func (c ICMP) SetID(id uint16) { binary.BigEndian.PutUint16(c[4:], id) }

// SetRest sets bytes 4 to 7.
func (c ICMP) SetRest(v uint32) { binary.BigEndian.PutUint32(c[4:], v) }

// SetChecksum sets the checksum field.
func (c ICMP) SetChecksum(sum uint16) { binary.BigEndian.PutUint16(c[2:], sum) }

// Payload returns what follows the first eight bytes: of an error, the quoted packet.
func (c ICMP) Payload() []byte { return c[ICMPSize:] }

// IsError reports whether the message is an error, which quotes the packet that it is about. family is 4 or 6. The
// IPv4 redirect counts as one; the IPv6 one, which is neighbour discovery, does not.
func (c ICMP) IsError(family uint8) bool { return ICMPTypeIsError(c.Type(), family) }

// IsQuery reports whether the message is a query or a reply with an identifier, and which.
func (c ICMP) IsQuery(family uint8) (query, reply bool) {
	if family == 6 {
		switch c.Type() {
		case ICMPv6Echo:
			return true, false
		case ICMPv6EchoReply:
			return false, true
		}
		return false, false
	}
	switch c.Type() {
	case ICMPEcho, ICMPTimestamp, ICMPInfo, ICMPMask:
		return true, false
	case ICMPEchoReply, ICMPTimestampReply, ICMPInfoReply, ICMPMaskReply:
		return false, true
	}
	return false, false
}

// ICMPTypeIsError is [ICMP.IsError] of a type alone: RFC 1122, section 3.2.2; RFC 4443, section 2.1.
func ICMPTypeIsError(typ, family uint8) bool {
	if family == 6 {
		return typ < 128
	}
	switch typ {
	case ICMPUnreachable, ICMPSourceQuench, ICMPRedirect, ICMPTimeExceeded, ICMPParamProblem:
		return true
	}
	return false
}
