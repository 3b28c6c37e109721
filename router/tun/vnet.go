package tun

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/packet"
)

// vnetSize is the length of the virtio header without the fields of merged receive buffers, bytes. [Headroom]
// leaves room for it.
const vnetSize = 10

// Fields of the virtio header (VIRTIO 1.2, section 5.1.6), byte offsets.
const (
	vnetFlags     = 0
	vnetGSOType   = 1
	vnetHdrLen    = 2
	vnetGSOSize   = 4
	vnetCsumStart = 6
	vnetCsumOff   = 8
)

// Values of its flags and gso_type.
const (
	vnetNeedsCsum = 1
	vnetDataValid = 2

	vnetGSONone  = 0
	vnetGSOTCPv4 = 1
	vnetGSOTCPv6 = 4
	vnetGSOUDPL4 = 5
	vnetGSOECN   = 0x80 // beside a TCP type
)

// Offset of the checksum in the transport header, bytes.
const (
	tcpCsumOff = 16 // RFC 9293, section 3.1
	udpCsumOff = 6  // RFC 768
)

// decodeVnet returns what the virtio header hdr, of vnetSize bytes, says about packet b. It believes nothing that
// it can see in the packet: hdr_len is not read, and a super-segment's headers are parsed. A partial checksum
// that is not that of the packet's own TCP or UDP header, as under a tunnel, is finished in b, so a Meta
// that is partial always names the transport checksum. ok is false where header and packet contradict each other.
func decodeVnet(hdr, b []byte) (m packet.Meta, ok bool) {
	flags, gsoType := hdr[vnetFlags], hdr[vnetGSOType]
	m.CsumValid = flags&vnetDataValid != 0
	if flags&vnetNeedsCsum != 0 {
		m.CsumStart = binary.NativeEndian.Uint16(hdr[vnetCsumStart:])
		m.CsumOff = binary.NativeEndian.Uint16(hdr[vnetCsumOff:])
		if _, fits := partialField(b, &m); !fits || m.CsumOff == 0 || m.CsumStart < packet.IPv4Size {
			return packet.Meta{}, false
		}
	}
	if gsoType != vnetGSONone {
		return decodeVnetGSO(hdr, b, m)
	}
	if m.Partial() && !ownChecksum(b, &m) {
		finishChecksum(b, &m)
		m.CsumStart, m.CsumOff = 0, 0
	}
	return m, true
}

// ownChecksum reports whether the partial checksum of m is that of the TCP or UDP header behind the IP header.
func ownChecksum(b []byte, m *packet.Meta) bool {
	var proto uint8
	switch {
	case len(b) > packet.IPv4Size && b[0]>>4 == 4 && int(b[0]&15)*4 == int(m.CsumStart):
		proto = packet.IPv4(b).Proto()
	case len(b) > packet.IPv6Size && b[0]>>4 == 6 && m.CsumStart == packet.IPv6Size:
		proto = packet.IPv6(b).NextHeader()
	case len(b) > packet.IPv6Size && b[0]>>4 == 6:
		h, reason := packet.Parse(b)
		if reason != packet.NotDropped || h.L4 != m.CsumStart {
			return false
		}
		proto = h.Proto
	}
	switch proto {
	case packet.ProtoTCP:
		return m.CsumOff == tcpCsumOff
	case packet.ProtoUDP:
		return m.CsumOff == udpCsumOff
	}
	return false
}

// decodeVnetGSO completes m for a super-segment.
func decodeVnetGSO(hdr, b []byte, m packet.Meta) (packet.Meta, bool) {
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped || int(h.Len) != len(b) {
		return packet.Meta{}, false
	}
	m.ECN = hdr[vnetGSOType]&vnetGSOECN != 0
	off := uint16(tcpCsumOff)
	switch hdr[vnetGSOType] &^ vnetGSOECN {
	case vnetGSOTCPv4:
		m.GSO = packet.GSOTCPv4
	case vnetGSOTCPv6:
		m.GSO = packet.GSOTCPv6
	case vnetGSOUDPL4:
		m.GSO, off = packet.GSOUDP, udpCsumOff
	default:
		return packet.Meta{}, false
	}
	m.SegSize = binary.NativeEndian.Uint16(hdr[vnetGSOSize:])
	if m.SegSize == 0 || !kindFits(&h, m.GSO) || (m.ECN && m.GSO == packet.GSOUDP) {
		return packet.Meta{}, false
	}
	switch {
	case m.Partial():
		if m.CsumStart != h.L4 || m.CsumOff != off {
			return packet.Meta{}, false
		}
	case m.CsumValid: // verified, so it may be said anew; each segment needs its own
		m.CsumStart, m.CsumOff = h.L4, off
		binary.BigEndian.PutUint16(b[h.L4+off:], pseudoHeader(b, &h))
	default:
		return packet.Meta{}, false
	}
	if h.PayloadLen() <= int(m.SegSize) { // one segment only
		m.GSO, m.ECN, m.SegSize = packet.GSONone, false, 0
	}
	return m, true
}

// pseudoHeader returns the sum of the pseudo-header of TCP or UDP packet b, as it stands in a partial checksum.
func pseudoHeader(b []byte, h *packet.Headers) uint16 {
	if h.Family == 4 {
		return packet.PseudoHeader(packet.IPv4(b).Src(), packet.IPv4(b).Dst(), h.Proto, h.L4Len())
	}
	return packet.PseudoHeader(packet.IPv6(b).Src(), packet.IPv6(b).Dst(), h.Proto, h.L4Len())
}

// encodeVnet writes the virtio header for packet b into hdr, of vnetSize bytes. validMeta holds for b and m; of a
// super-segment only the headers need to be in b.
func encodeVnet(hdr, b []byte, m *packet.Meta) {
	clear(hdr)
	if !m.Partial() {
		return
	}
	hdr[vnetFlags] = vnetNeedsCsum
	binary.NativeEndian.PutUint16(hdr[vnetCsumStart:], m.CsumStart)
	binary.NativeEndian.PutUint16(hdr[vnetCsumOff:], m.CsumOff)
	switch m.GSO {
	case packet.GSONone:
		return
	case packet.GSOTCPv4:
		hdr[vnetGSOType] = vnetGSOTCPv4
	case packet.GSOTCPv6:
		hdr[vnetGSOType] = vnetGSOTCPv6
	case packet.GSOUDP:
		hdr[vnetGSOType] = vnetGSOUDPL4
	}
	if m.ECN {
		hdr[vnetGSOType] |= vnetGSOECN
	}
	binary.NativeEndian.PutUint16(hdr[vnetHdrLen:], uint16(gsoHeaders(b, m)))
	binary.NativeEndian.PutUint16(hdr[vnetGSOSize:], m.SegSize)
}
