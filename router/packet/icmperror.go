package packet

import (
	"encoding/binary"
	"net/netip"
)

// Largest ICMP error, bytes of IP packet: RFC 1812, section 4.3.2.3; RFC 4443, section 2.4(c).
const (
	maxICMPError   = 576
	maxICMPv6Error = 1280
)

// errorTOS is the precedence of errors, internetwork control (RFC 1812, section 4.3.2.5).
const errorTOS = 0xc0

// defaultTTL is that of ICMPError.TTL 0 (RFC 1700, as the IANA keeps it).
const defaultTTL = 64

// ICMPError is an ICMP or ICMPv6 error to be made; Src decides which.
type ICMPError struct {
	Type, Code uint8
	Param      uint32 // MTU in bytes, or pointer, in host order: placed as the type wants
	Src, Dst   netip.Addr
	TTL        uint8  // or hop limit; 0: 64
	ID         uint16 // IPv4 identification
}

// Append appends the error about orig to dst and returns it, with complete checksums. orig is quoted from its IP
// header on, as it came in, and as much of it as a packet of 576 bytes holds over IPv4 (RFC 1812, section 4.3.2.3)
// or 1280 over IPv6 (RFC 4443, section 2.4(c)). It allocates only if dst has no room. dst must not overlap orig.
func (e *ICMPError) Append(dst []byte, orig []byte) []byte {
	if e.Src.Is4() || e.Src.Is4In6() {
		return e.appendIPv4(dst, orig)
	}
	return e.appendIPv6(dst, orig)
}

func (e *ICMPError) appendIPv4(dst, orig []byte) []byte {
	orig = orig[:min(len(orig), maxICMPError-IPv4Size-ICMPSize)]
	start := len(dst)
	dst = append(dst, make([]byte, IPv4Size+ICMPSize)...)
	dst = append(dst, orig...)
	ip := IPv4(dst[start:])
	ip[0], ip[1] = 4<<4|IPv4Size/4, errorTOS
	ip.SetTotalLen(len(ip))
	ip.SetID(e.ID)
	ip.SetTTL(e.ttl())
	ip[9] = ProtoICMP
	src, to := e.Src.Unmap().As4(), e.Dst.Unmap().As4()
	copy(ip.Src(), src[:])
	copy(ip.Dst(), to[:])
	ip.UpdateChecksum()
	c := ICMP(ip[IPv4Size:])
	c[0], c[1] = e.Type, e.Code
	switch e.Type {
	case ICMPUnreachable: // RFC 1191, section 4: the low half
		c.SetRest(e.Param & 0xffff)
	case ICMPParamProblem: // RFC 792: the first byte
		c[4] = uint8(e.Param)
	default:
		c.SetRest(e.Param)
	}
	c.SetChecksum(^Checksum(c, 0))
	return dst
}

func (e *ICMPError) appendIPv6(dst, orig []byte) []byte {
	orig = orig[:min(len(orig), maxICMPv6Error-IPv6Size-ICMPSize)]
	start := len(dst)
	dst = append(dst, make([]byte, IPv6Size+ICMPSize)...)
	dst = append(dst, orig...)
	ip := IPv6(dst[start:])
	ip[0], ip[1] = 6<<4|errorTOS>>4, errorTOS<<4&0xff
	ip.SetPayloadLen(len(ip) - IPv6Size)
	ip.SetNextHeader(ProtoICMPv6)
	ip.SetHopLimit(e.ttl())
	src, to := e.Src.As16(), e.Dst.As16()
	copy(ip.Src(), src[:])
	copy(ip.Dst(), to[:])
	c := ICMP(ip[IPv6Size:])
	c[0], c[1] = e.Type, e.Code
	binary.BigEndian.PutUint32(c[4:], e.Param)
	c.SetChecksum(^Checksum(c, PseudoHeader(src[:], to[:], ProtoICMPv6, len(c))))
	return dst
}

func (e *ICMPError) ttl() uint8 {
	if e.TTL == 0 {
		return defaultTTL
	}
	return e.TTL
}

// MayAnswer reports whether an ICMP error may be sent about a packet (RFC 1812, section 4.3.2.7; RFC 4443, section
// 2.4(e)): not about an ICMP error or redirect, nor an ICMPv4 message that may be one, nor a later fragment, nor to
// a group, from a group or from nobody. Directed broadcasts only the caller can know. For packet too big see
// [MayAnswerTooBig].
func MayAnswer(b []byte, h *Headers) bool {
	return !groupDst(b, h) && MayAnswerTooBig(b, h)
}

// MayAnswerTooBig is [MayAnswer] for an ICMPv6 packet too big, or a parameter problem with code 2: these also go
// out about packets to a multicast group (RFC 4443, section 2.4(e.3)). Over IPv4 it is the same as MayAnswer.
func MayAnswerTooBig(b []byte, h *Headers) bool {
	if h.FragOff != 0 || h.Family == 4 && groupDst(b, h) || !singleHost(h.Src(b)) {
		return false
	}
	if h.Proto != ProtoICMP && h.Proto != ProtoICMPv6 {
		return true
	}
	if h.L4Len() <= 0 {
		return false // the first fragment has no type
	}
	typ := b[h.L4]
	if h.Family == 6 {
		return !ICMPTypeIsError(typ, 6) && typ != ICMPv6Redirect
	}
	return answerableICMP(typ)
}

// answerableICMP reports whether an ICMPv4 message is known not to be an error: echo, router discovery, the other
// queries, traceroute, and extended echo (RFC 8335).
func answerableICMP(typ uint8) bool {
	switch typ {
	case ICMPEcho, ICMPEchoReply, 9, 10, ICMPTimestamp, ICMPTimestampReply, ICMPInfo, ICMPInfoReply,
		ICMPMask, ICMPMaskReply, 30, 42, 43:
		return true
	}
	return false
}

// groupDst reports whether the packet goes to a multicast group or to the limited broadcast address.
func groupDst(b []byte, h *Headers) bool {
	dst := h.Dst(b)
	if h.Family == 4 {
		return dst[0]>>4 == 14 || binary.BigEndian.Uint32(dst) == 0xffffffff
	}
	return dst[0] == 0xff
}

// singleHost reports whether a source address can be that of one host on a network: not unspecified (all of
// 0.0.0.0/8, RFC 1122, section 3.2.1.3), loopback, multicast, or IPv4 class E, which holds the broadcast address.
func singleHost(src []byte) bool {
	if len(src) == 4 {
		return src[0] != 0 && src[0] != 127 && src[0] < 224
	}
	return src[0] != 0xff && (binary.BigEndian.Uint64(src) != 0 || binary.BigEndian.Uint64(src[8:]) > 1)
}
