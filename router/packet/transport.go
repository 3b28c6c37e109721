package packet

import (
	"encoding/binary"
	"errors"
)

// Lengths of transport headers without options, bytes.
const (
	TCPSize   = 20
	UDPSize   = 8
	ICMPSize  = 8
	SCTPSize  = 12
	DCCPSize  = 12
	GRESize   = 4 // version 0 without options
	GREv1Size = 8 // enhanced GRE without sequence and acknowledgement numbers
)

// ErrLength says that a length field of a header is impossible: below the header's own size, or beyond the packet.
var ErrLength = errors.New("impossible length field")

// UDP is a UDP datagram (RFC 768), or a UDP-Lite one (RFC 3828), in place: setting writes through, and leaves the
// checksum to the caller. No method of a UDP that [ParseUDP] or [ParseUDPLite] returned panics.
type UDP []byte

// ParseUDP returns the datagram cut to its own length.
func ParseUDP(b []byte) (UDP, error) {
	if len(b) < UDPSize {
		return nil, ErrTruncated
	}
	switch n := int(binary.BigEndian.Uint16(b[4:])); {
	case n < UDPSize:
		return nil, ErrLength
	case n > len(b):
		return nil, ErrTruncated
	default:
		return UDP(b[:n]), nil
	}
}

// ParseUDPLite checks a UDP-Lite header, whose length field is a checksum coverage: 0 for all, or at least the
// header (RFC 3828, section 3.1).
func ParseUDPLite(b []byte) (UDP, error) {
	if len(b) < UDPSize {
		return nil, ErrTruncated
	}
	if n := int(binary.BigEndian.Uint16(b[4:])); n != 0 && (n < UDPSize || n > len(b)) {
		return nil, ErrLength
	}
	return UDP(b), nil
}

// SrcPort returns the source port, host byte order.
func (u UDP) SrcPort() uint16 { return binary.BigEndian.Uint16(u) }

// DstPort returns the destination port, host byte order.
func (u UDP) DstPort() uint16 { return binary.BigEndian.Uint16(u[2:]) }

// Length returns the length of header and payload, bytes; of UDP-Lite, the checksum coverage.
func (u UDP) Length() int { return int(binary.BigEndian.Uint16(u[4:])) }

// Checksum returns the checksum field; 0 says that there is none.
func (u UDP) Checksum() uint16 { return binary.BigEndian.Uint16(u[6:]) }

// SetSrcPort sets the source port, host byte order.
func (u UDP) SetSrcPort(port uint16) { binary.BigEndian.PutUint16(u, port) }

// SetDstPort sets the destination port, host byte order.
func (u UDP) SetDstPort(port uint16) { binary.BigEndian.PutUint16(u[2:], port) }

// SetLength sets the length of header and payload, bytes.
func (u UDP) SetLength(n int) { binary.BigEndian.PutUint16(u[4:], uint16(n)) }

// SetChecksum sets the checksum field.
func (u UDP) SetChecksum(c uint16) { binary.BigEndian.PutUint16(u[6:], c) }

// Payload returns what follows the header.
func (u UDP) Payload() []byte { return u[UDPSize:] }

// SCTP is an SCTP packet (RFC 9260, section 3) in place. No method of an SCTP that [ParseSCTP] returned panics.
type SCTP []byte

// ParseSCTP checks that the common header is whole.
func ParseSCTP(b []byte) (SCTP, error) {
	if len(b) < SCTPSize {
		return nil, ErrTruncated
	}
	return SCTP(b), nil
}

// SrcPort returns the source port, host byte order.
func (s SCTP) SrcPort() uint16 { return binary.BigEndian.Uint16(s) }

// DstPort returns the destination port, host byte order.
func (s SCTP) DstPort() uint16 { return binary.BigEndian.Uint16(s[2:]) }

// Tag returns the verification tag.
func (s SCTP) Tag() uint32 { return binary.BigEndian.Uint32(s[4:]) }

// Checksum returns the CRC32c as [SCTPChecksum] gives it.
func (s SCTP) Checksum() uint32 { return binary.LittleEndian.Uint32(s[8:]) }

// SetSrcPort sets the source port, host byte order.
func (s SCTP) SetSrcPort(port uint16) { binary.BigEndian.PutUint16(s, port) }

// SetDstPort sets the destination port, host byte order.
func (s SCTP) SetDstPort(port uint16) { binary.BigEndian.PutUint16(s[2:], port) }

// SetChecksum sets the CRC32c that [SCTPChecksum] returned.
func (s SCTP) SetChecksum(c uint32) { binary.LittleEndian.PutUint32(s[8:], c) }

// Chunks returns what follows the common header.
func (s SCTP) Chunks() []byte { return s[SCTPSize:] }

// DCCP is a DCCP packet (RFC 4340, section 5.1) in place. No method of a DCCP that [ParseDCCP] returned panics.
type DCCP []byte

// ParseDCCP checks that the header, by its data offset, is whole.
func ParseDCCP(b []byte) (DCCP, error) {
	if len(b) < DCCPSize {
		return nil, ErrTruncated
	}
	switch n := int(b[4]) * 4; {
	case n < DCCPSize:
		return nil, ErrLength
	case n > len(b):
		return nil, ErrTruncated
	}
	return DCCP(b), nil
}

// SrcPort returns the source port, host byte order.
func (d DCCP) SrcPort() uint16 { return binary.BigEndian.Uint16(d) }

// DstPort returns the destination port, host byte order.
func (d DCCP) DstPort() uint16 { return binary.BigEndian.Uint16(d[2:]) }

// HeaderLen returns the data offset: the length of the header with options, bytes.
func (d DCCP) HeaderLen() int { return int(d[4]) * 4 }

// Type returns the packet type, 0 (request) to 15.
func (d DCCP) Type() uint8 { return d[8] >> 1 & 15 }

// Checksum returns the checksum field.
func (d DCCP) Checksum() uint16 { return binary.BigEndian.Uint16(d[6:]) }

// SetSrcPort sets the source port, host byte order.
func (d DCCP) SetSrcPort(port uint16) { binary.BigEndian.PutUint16(d, port) }

// SetDstPort sets the destination port, host byte order.
func (d DCCP) SetDstPort(port uint16) { binary.BigEndian.PutUint16(d[2:], port) }

// SetChecksum sets the checksum field.
func (d DCCP) SetChecksum(c uint16) { binary.BigEndian.PutUint16(d[6:], c) }

// coverage returns how many bytes of d, from its start, the checksum covers (RFC 4340, section 9.2), more than
// there are if the header lies.
func (d DCCP) coverage() int {
	if n := int(d[5] & 15); n != 0 {
		return d.HeaderLen() + (n-1)*4
	}
	return len(d)
}
