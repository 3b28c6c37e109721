package packet

import (
	"encoding/binary"
	"hash/crc32"
)

// castagnoli is the table of CRC32c (RFC 9260, appendix A).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// noChecksum stands for the checksum field while it is computed; never written. (A local array would be allocated.)
var noChecksum = make([]byte, 4)

// SCTPChecksum returns the CRC32c of an SCTP packet as if its checksum field were zero (RFC 9260, section 6.8); see
// [SCTP.SetChecksum].
func SCTPChecksum(s SCTP) uint32 {
	c := crc32.Update(0, castagnoli, s[:8])
	c = crc32.Update(c, castagnoli, noChecksum)
	return crc32.Update(c, castagnoli, s[SCTPSize:])
}

// checksumOff returns where the ones'-complement checksum stands in the transport header of a protocol that has
// one, bytes.
func checksumOff(proto uint8) (off int, ok bool) {
	switch proto {
	case ProtoTCP:
		return 16, true
	case ProtoUDP, ProtoUDPLite, ProtoDCCP:
		return 6, true
	case ProtoICMP, ProtoICMPv6:
		return 2, true
	}
	return 0, false
}

// covered returns the bytes of transport header and payload that the checksum covers, and the length that its
// pseudo-header names. It is false if the header says more than there is.
func (h *Headers) covered(b []byte) (bytes []byte, length int, ok bool) {
	l4 := b[h.L4:h.Len]
	n := len(l4)
	switch h.Proto {
	case ProtoUDP: // what follows the datagram is not its own
		u, err := ParseUDP(l4)
		return u, len(u), err == nil
	case ProtoUDPLite: // RFC 3828, section 3.1: the length is that of the IP payload
		if c := UDP(l4).Length(); c != 0 {
			n = c
		}
	case ProtoDCCP:
		n = DCCP(l4).coverage()
	}
	if n > len(l4) {
		return nil, 0, false
	}
	return l4[:n], len(l4), true
}

// pseudoHeader returns the sum of the packet's pseudo-header; ICMP over IPv4 has none.
func (h *Headers) pseudoHeader(b []byte, length int) uint16 {
	if h.Proto == ProtoICMP {
		return 0
	}
	return PseudoHeader(h.Src(b), h.Dst(b), h.Proto, length)
}

// PartialInner reports whether the unfinished checksum of m is not that of h's own transport header, but one
// further in, of a packet in a tunnel. Rewrites know only the former: [FinishChecksum] first.
func (m *Meta) PartialInner(h *Headers) bool { return m.Partial() && m.CsumStart != h.L4 }

// VerifyTransport checks the TCP, UDP, UDP-Lite, DCCP, ICMP or ICMPv6 checksum of an unfragmented packet; fragments
// and other protocols pass (for SCTP see [SCTPChecksum]). With m.CsumValid the kernel has done it. A partial
// checksum has nothing to check yet, but must stand where the packet has one. UDP without a checksum passes over
// IPv4; over IPv6 it is refused (RFC 8200, section 8.1; RFC 6936 leaves it to tunnel end points), and so is
// UDP-Lite without one (RFC 3828, section 3.1). It returns NotDropped or BadChecksum.
func VerifyTransport(b []byte, h *Headers, m *Meta) DropReason {
	switch {
	case h.Fragment:
		return NotDropped
	case m.Partial():
		return h.verifyPartial(m)
	case m.CsumValid:
		return NotDropped
	}
	off, ok := checksumOff(h.Proto)
	if !ok {
		return NotDropped
	}
	bytes, length, ok := h.covered(b)
	if !ok {
		return BadChecksum
	}
	if binary.BigEndian.Uint16(bytes[off:]) == 0 {
		switch {
		case h.Proto == ProtoUDP && h.Family == 4:
			return NotDropped
		case h.Proto == ProtoUDP || h.Proto == ProtoUDPLite:
			return BadChecksum
		}
	}
	if Checksum(bytes, h.pseudoHeader(b, length)) != 0xffff {
		return BadChecksum
	}
	return NotDropped
}

// verifyPartial checks that a partial checksum stands at h's own checksum field, or in the payload of a protocol
// that can carry packets.
func (h *Headers) verifyPartial(m *Meta) DropReason {
	off, ok := checksumOff(h.Proto)
	switch start, end := int(m.CsumStart), int(m.CsumStart)+int(m.CsumOff)+2; {
	case m.CsumStart == h.L4 && ok && int(m.CsumOff) == off:
		return NotDropped
	case start > int(h.L4) && start >= int(h.Payload) && end <= int(h.Len) && carriesPackets(h.Proto):
		return NotDropped
	}
	return BadChecksum
}

// carriesPackets reports whether a kernel may have left the checksum of a packet in the payload of proto undone.
func carriesPackets(proto uint8) bool {
	switch proto {
	case ProtoUDP, ProtoGRE, ProtoIPIP, ProtoIPv6:
		return true
	}
	return false
}

// FinishChecksum completes a partial checksum in software and clears it in m; without one it does nothing. The
// result of UDP is never 0, which would say that there is none (RFC 768). A partial checksum that points beyond the
// packet, which [VerifyTransport] refuses, is cleared only.
func FinishChecksum(b []byte, h *Headers, m *Meta) {
	start, at := int(m.CsumStart), int(m.CsumStart)+int(m.CsumOff)
	if m.Partial() && at+2 <= int(h.Len) {
		end := int(h.Len)
		if h.Proto == ProtoUDP && start == int(h.L4) {
			if u, err := ParseUDP(b[start:end]); err == nil {
				end = start + len(u)
			}
		}
		sum := ^Checksum(b[start:end], 0)
		if sum == 0 && m.CsumOff == 6 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(b[at:], sum)
	}
	m.CsumStart, m.CsumOff = 0, 0
}

// ComputeTransport fills in the whole transport checksum of an unfragmented packet, whatever stood there: TCP, UDP,
// UDP-Lite, DCCP, ICMP, ICMPv6, and SCTP's CRC32c. Other protocols and fragments are left alone.
func ComputeTransport(b []byte, h *Headers) {
	if h.Fragment {
		return
	}
	if h.Proto == ProtoSCTP {
		s := SCTP(b[h.L4:h.Len])
		s.SetChecksum(SCTPChecksum(s))
		return
	}
	off, ok := checksumOff(h.Proto)
	if !ok {
		return
	}
	bytes, length, ok := h.covered(b)
	if !ok {
		return
	}
	binary.BigEndian.PutUint16(bytes[off:], 0)
	sum := ^Checksum(bytes, h.pseudoHeader(b, length))
	if sum == 0 && (h.Proto == ProtoUDP || h.Proto == ProtoUDPLite) {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(bytes[off:], sum)
}

// DecrementTTL takes one from the TTL, with its IPv4 header checksum (RFC 1624), or from the hop limit. The caller
// has seen that it is above 0; h.TTL stays as the packet came in.
func DecrementTTL(b []byte, h *Headers) {
	if h.Family == 6 {
		b[7]--
		return
	}
	ip := IPv4(b)
	old := binary.BigEndian.Uint16(b[8:])
	ip.SetTTL(ip.TTL() - 1)
	ip.SetChecksum(Change16(old, binary.BigEndian.Uint16(b[8:])).Apply(ip.Checksum()))
}
