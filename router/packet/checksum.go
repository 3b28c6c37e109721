package packet

import (
	"encoding/binary"
	"math/bits"
)

// Checksum returns the folded ones'-complement sum (RFC 1071) of b and initial, not complemented. An odd last
// byte counts as the high half of a word. A header with a right checksum in it sums to 0xffff.
func Checksum(b []byte, initial uint16) uint16 {
	var sum, carry uint64
	for len(b) >= 32 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	var tail uint64
	for len(b) >= 2 {
		tail += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		tail += uint64(b[0]) << 8
	}
	sum, carry = bits.Add64(sum, tail+uint64(initial), carry)
	sum, carry = bits.Add64(sum, 0, carry)
	sum += carry
	return fold(sum)
}

// fold brings a sum of 16-bit words, with its carries, to 16 bits.
func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum&0xffff)
}

// Delta is the folded sum of ~m + m' over changed 16-bit words (RFC 1624, equation 3): what a rewrite adds to a
// sum. The zero value changes nothing. Deltas of several changes are joined with [Delta.Add].
type Delta uint16

// Change returns the delta of replacing the words of from by those of to; both have the same even length and
// stand at an even offset.
func Change(from, to []byte) Delta {
	return Delta(Checksum(to, ^Checksum(from, 0)))
}

// Change16 returns the delta of replacing one word.
func Change16(from, to uint16) Delta { return Delta(fold(uint64(^from) + uint64(to))) }

// Add joins two deltas.
func (d Delta) Add(e Delta) Delta { return Delta(fold(uint64(d) + uint64(e))) }

// Apply returns the checksum field after the change: HC' = ~(~HC + ~m + m') (RFC 1624, equation 3).
func (d Delta) Apply(field uint16) uint16 { return ^fold(uint64(^field) + uint64(d)) }

// ApplyPartial returns an un-complemented partial checksum after a change of the pseudo-header.
func (d Delta) ApplyPartial(field uint16) uint16 { return fold(uint64(field) + uint64(d)) }

// PseudoHeader returns the folded, un-complemented sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200,
// section 8.1): src and dst of 4 or 16 bytes, proto, and the length of transport header and payload.
func PseudoHeader(src, dst []byte, proto uint8, length int) uint16 {
	sum := uint64(Checksum(src, 0)) + uint64(Checksum(dst, 0)) + uint64(proto) + uint64(length>>16) + uint64(length&0xffff)
	return fold(sum)
}
