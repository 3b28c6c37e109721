package packet

// IANA protocol numbers that some room treats by name.
const (
	ProtoICMP    = 1
	ProtoIPIP    = 4
	ProtoTCP     = 6
	ProtoUDP     = 17
	ProtoDCCP    = 33
	ProtoIPv6    = 41
	ProtoGRE     = 47
	ProtoESP     = 50
	ProtoAH      = 51
	ProtoICMPv6  = 58
	ProtoSCTP    = 132
	ProtoUDPLite = 136
)

// Headers is what one look at a packet found: where its headers are, and what all rooms ask of them. Offsets and
// lengths are bytes from the start of the IP header. It has no pointers, stays valid while the packet's lengths
// do not change, and after a change is made anew with [Parse].
type Headers struct {
	Family   uint8  // 4 or 6
	Proto    uint8  // the transport protocol, after IPv6 extension headers
	TTL      uint8  // TTL or hop limit as it came in
	Options  bool   // IPv4 options, or an IPv6 extension header other than a fragment header
	Fragment bool   // a part of a datagram: MF set or offset not 0
	MoreFrag bool   // MF
	DF       bool   // IPv4 don't fragment; always true for IPv6
	FragOff  uint16 // bytes of datagram payload before this fragment
	FragHdr  uint16 // IPv6: offset of the fragment header, 0 if there is none
	ID       uint32 // IPv4 identification, or that of the IPv6 fragment header
	L4       uint16 // offset of the transport header
	Payload  uint16 // offset of what follows the transport header; L4 where Proto has none that we know, or a fragment not all
	Len      uint32 // length of the IP packet, at most MaxIPv4 or MaxIPv6
}

// The longest packets, bytes: the length field of IPv4 counts its header (RFC 791, section 3.1), that of IPv6 does not
// (RFC 8200, section 3). Jumbograms (RFC 2675) are Malformed.
const (
	MaxIPv4 = 65535
	MaxIPv6 = IPv6Size + 65535
)

// Longest returns the length of the longest packet of h's family, bytes.
func (h *Headers) Longest() int {
	if h.Family == 6 {
		return MaxIPv6
	}
	return MaxIPv4
}

// L4Len returns the length of transport header and payload, bytes.
func (h *Headers) L4Len() int { return int(h.Len) - int(h.L4) }

// PayloadLen returns the length of what follows the transport header, bytes.
func (h *Headers) PayloadLen() int { return int(h.Len) - int(h.Payload) }

// Parse checks the IP header and, in an unfragmented packet or a first fragment, the transport header of b, and
// says where they are. ICMP and ICMPv6 in the other family are Malformed. Bytes of b behind the IP packet's own
// length are ignored: callers cut b to Headers.Len. It does not verify transport checksums: see [VerifyTransport].
// With a reason other than [NotDropped] the Headers are not to be used.
func Parse(b []byte) (h Headers, reason DropReason) {
	reason = h.Parse(b)
	return h, reason
}

// Parse is [Parse] into a Headers that is used again: it sets all of h.
func (h *Headers) Parse(b []byte) DropReason {
	if len(b) == 0 {
		return Malformed
	}
	switch b[0] >> 4 {
	case 4:
		return h.parseIPv4(b)
	case 6:
		return h.parseIPv6(b)
	}
	return Malformed
}

func (h *Headers) parseIPv4(b []byte) DropReason {
	ip, err := ParseIPv4(b)
	if err != nil {
		return Malformed
	}
	size := ip.HeaderLen()
	if Checksum(ip[:size], 0) != 0xffff {
		return BadIPChecksum
	}
	*h = Headers{
		Family: 4, Proto: ip.Proto(), TTL: ip.TTL(), DF: ip.DF(),
		Options: size > IPv4Size,
		FragOff: ip.FragOffset(), MoreFrag: ip.MoreFragments(),
		ID: uint32(ip.ID()), L4: uint16(size), Len: uint32(len(ip)),
	}
	h.Fragment = h.MoreFrag || h.FragOff != 0
	return h.parseTransport(ip)
}

// parseTransport finds the end of the transport header and checks that it is whole. A later fragment has none. An
// IPv4 first fragment may be as short as eight bytes (RFC 791, section 3.2): the header is checked when the datagram
// is whole again. An IPv6 one must have the whole header chain (RFC 7112, section 5).
func (h *Headers) parseTransport(b []byte) DropReason {
	h.Payload = h.L4
	if h.FragOff != 0 {
		return NotDropped
	}
	size, ok := h.transportSize(b[h.L4:])
	switch {
	case ok:
		h.Payload += uint16(size)
	case !h.Fragment:
		return Malformed
	case h.Family == 6:
		return FragmentInvalid
	}
	return NotDropped
}

// transportSize returns the length of the transport header at the start of l4, 0 for a protocol without one that
// we know. ok is false if it is not whole or contradicts itself.
func (h *Headers) transportSize(l4 []byte) (size int, ok bool) {
	var err error
	switch h.Proto {
	case ProtoTCP:
		var t TCP
		if t, err = ParseTCP(l4); err == nil {
			size = t.HeaderLen()
		}
	case ProtoUDP:
		size, err = UDPSize, h.checkUDP(l4)
	case ProtoUDPLite:
		size, err = UDPSize, h.checkUDPLite(l4)
	case ProtoICMP, ProtoICMPv6:
		if h.Family == 4 != (h.Proto == ProtoICMP) {
			return 0, false // the other family's ICMP: nobody could say what checksum it has
		}
		_, err = ParseICMP(l4)
		size = ICMPSize
	case ProtoSCTP:
		_, err = ParseSCTP(l4)
		size = SCTPSize
	case ProtoDCCP:
		var d DCCP
		if d, err = ParseDCCP(l4); err == nil {
			size = d.HeaderLen()
		}
	case ProtoGRE:
		var g GRE
		if g, err = ParseGRE(l4); err == nil {
			size = g.HeaderLen()
		}
	}
	return size, err == nil
}

// checkUDP checks a UDP header; in a first fragment its length may point beyond the fragment.
func (h *Headers) checkUDP(l4 []byte) error {
	_, err := ParseUDP(l4)
	if err == ErrTruncated && h.Fragment && len(l4) >= UDPSize {
		return nil
	}
	return err
}

// checkUDPLite is checkUDP for a coverage, which may do the same.
func (h *Headers) checkUDPLite(l4 []byte) error {
	_, err := ParseUDPLite(l4)
	if err == ErrLength && h.Fragment && UDP(l4).Length() >= UDPSize {
		return nil
	}
	return err
}
