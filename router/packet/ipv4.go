package packet

import (
	"encoding/binary"
	"errors"
)

// ErrTruncated says that a header, or what its lengths promise, is not all there.
var ErrTruncated = errors.New("truncated header")

// ErrVersion says that the version or the length field of a header contradicts the view asked for.
var ErrVersion = errors.New("wrong version or header length")

// IPv4Size is the length of an IPv4 header without options, bytes.
const IPv4Size = 20

// IPv4 is an IPv4 packet (RFC 791, section 3.1) in place: setting writes through, and leaves the header checksum
// to the caller. No method of an IPv4 that [ParseIPv4] returned panics.
type IPv4 []byte

// ParseIPv4 returns the packet cut to its total length. It does not verify the header checksum.
func ParseIPv4(b []byte) (IPv4, error) {
	if len(b) < IPv4Size {
		return nil, ErrTruncated
	}
	hl, tl := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || hl < IPv4Size {
		return nil, ErrVersion
	}
	if hl > tl || tl > len(b) {
		return nil, ErrTruncated
	}
	return IPv4(b[:tl]), nil
}

// HeaderLen returns the length of the header with options, bytes.
func (p IPv4) HeaderLen() int { return int(p[0]&15) * 4 }

// TotalLen returns the length of header and payload, bytes.
func (p IPv4) TotalLen() int { return int(binary.BigEndian.Uint16(p[2:])) }

// TOS returns DSCP and ECN.
func (p IPv4) TOS() uint8 { return p[1] }

// ID returns the identification.
func (p IPv4) ID() uint16 { return binary.BigEndian.Uint16(p[4:]) }

// DF reports the don't fragment flag.
func (p IPv4) DF() bool { return p[6]&0x40 != 0 }

// MoreFragments reports the MF flag.
func (p IPv4) MoreFragments() bool { return p[6]&0x20 != 0 }

// FragOffset returns the fragment offset, in bytes.
func (p IPv4) FragOffset() uint16 { return binary.BigEndian.Uint16(p[6:]) << 3 }

// TTL returns the time to live.
func (p IPv4) TTL() uint8 { return p[8] }

// Proto returns the protocol number.
func (p IPv4) Proto() uint8 { return p[9] }

// Checksum returns the header checksum.
func (p IPv4) Checksum() uint16 { return binary.BigEndian.Uint16(p[10:]) }

// SetChecksum sets the header checksum.
func (p IPv4) SetChecksum(c uint16) { binary.BigEndian.PutUint16(p[10:], c) }

// Src returns the source address: four bytes of the packet itself.
func (p IPv4) Src() []byte { return p[12:16] }

// Dst returns the destination address: four bytes of the packet itself.
func (p IPv4) Dst() []byte { return p[16:20] }

// SetTotalLen sets the total length, which must not exceed the bytes of p.
func (p IPv4) SetTotalLen(n int) { binary.BigEndian.PutUint16(p[2:], uint16(n)) }

// SetID sets the identification.
func (p IPv4) SetID(id uint16) { binary.BigEndian.PutUint16(p[4:], id) }

// SetFragment sets the fragment offset, bytes and a multiple of 8, and MF; DF stays.
func (p IPv4) SetFragment(offset int, more bool) {
	v := uint16(p[6]&0x40)<<8 | uint16(offset>>3)
	if more {
		v |= 0x2000
	}
	binary.BigEndian.PutUint16(p[6:], v)
}

// SetTTL sets the time to live; see also [DecrementTTL].
func (p IPv4) SetTTL(ttl uint8) { p[8] = ttl }

// UpdateChecksum computes the header checksum anew.
func (p IPv4) UpdateChecksum() {
	p.SetChecksum(0)
	p.SetChecksum(^Checksum(p[:p.HeaderLen()], 0))
}

// Options returns the options, empty where there are none.
func (p IPv4) Options() []byte { return p[IPv4Size:p.HeaderLen()] }

// Payload returns what follows the header.
func (p IPv4) Payload() []byte { return p[p.HeaderLen():] }
