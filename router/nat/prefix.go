package nat

import (
	"net/netip"

	"github.com/natrouter/natrouter/router/packet"
)

// prefixMap is a one-to-one translation of prefixes: netmap, or NPTv6 where the checksum stays the same.
type prefixMap struct {
	inside, outside addrSpan
	bits            int  // of the prefix, for NPTv6
	neutral         bool // NPTv6
	adjust          uint16
}

// newNPTv6 prepares the map of two prefixes of one length (RFC 6296, section 3.1): what is added, in ones'
// complement, to a word of the address for its checksum to stay.
func newNPTv6(inside, outside addrSpan, bits int) prefixMap {
	in, out := inside.first.bytes(), outside.first.bytes()
	sumIn, sumOut := packet.Checksum(in[:8], 0), packet.Checksum(out[:8], 0)
	return prefixMap{inside: inside, outside: outside, bits: bits, neutral: true, adjust: onesAdd(sumIn, ^sumOut)}
}

// onesAdd adds in ones' complement.
func onesAdd(a, b uint16) uint16 {
	sum := uint32(a) + uint32(b)
	return uint16(sum + sum>>16)
}

// outward maps an inside address to its outside one; ok is false where it has none.
func (p *prefixMap) outward(a address) (address, bool) {
	return p.translate(a, p.inside, p.outside, p.adjust)
}

// inward is the reverse of outward.
func (p *prefixMap) inward(a address) (address, bool) {
	return p.translate(a, p.outside, p.inside, ^p.adjust)
}

func (p *prefixMap) translate(a address, from, to addrSpan, adjust uint16) (address, bool) {
	out := to.first.plus(a.sub(from.first))
	if !p.neutral {
		return out, true
	}
	word, ok := p.adjustable(a)
	if !ok {
		return address{}, false
	}
	return out.adjustWord(word, adjust), true
}

// adjustable returns which word of the address takes the adjustment: bits 48 to 63 for prefixes of up to 48 bits,
// the first of the last four that is not 0xffff for longer ones (RFC 6296, sections 3.4 and 3.5). A subnet of
// 0xffff cannot be mapped, since 0xffff and 0 are one value in ones' complement.
func (p *prefixMap) adjustable(a address) (word int, ok bool) {
	b := a.bytes()
	at := func(i int) uint16 { return uint16(b[2*i])<<8 | uint16(b[2*i+1]) }
	if p.bits <= 48 {
		return 3, at(3) != 0xffff
	}
	for i := 4; i < 8; i++ {
		if at(i) != 0xffff {
			return i, true
		}
	}
	return 0, false
}

// adjustWord adds to one 16-bit word; a result of 0xffff becomes 0 (RFC 6296, section 3.4).
func (a address) adjustWord(i int, adjust uint16) address {
	b := a.bytes()
	v := onesAdd(uint16(b[2*i])<<8|uint16(b[2*i+1]), adjust)
	if v == 0xffff {
		v = 0
	}
	b[2*i], b[2*i+1] = byte(v>>8), byte(v)
	return addressOf(&b)
}

// translatable reports whether an address may be translated at all: never link-local, multicast, loopback and
// unspecified ones.
func (a address) translatable() bool {
	b := a.bytes()
	ip := netip.AddrFrom16(b).Unmap()
	return !ip.IsLinkLocalUnicast() && !ip.IsMulticast() && !ip.IsLoopback() && !ip.IsUnspecified()
}

// mapsOutward reports whether a rule's prefixes have the flow's source.
func (r *rule) mapsOutward(f *flow) bool {
	if !f.src.translatable() || !f.dst.translatable() {
		return false
	}
	for i := range r.prefixes {
		if r.prefixes[i].inside.contains(f.src) {
			return true
		}
	}
	return false
}

// mapsInward reports whether a rule's prefixes have the flow's destination, and the flow comes from where the
// rule translates to: the outside interface, or an inside one where the rule hairpins.
func (r *rule) mapsInward(f *flow) bool {
	if !f.src.translatable() || !f.dst.translatable() {
		return false
	}
	if r.out >= 0 && f.in != r.out && (!r.hairpinned || !f.hairpin) {
		return false
	}
	for i := range r.prefixes {
		if r.prefixes[i].outside.contains(f.dst) && !f.own {
			return true
		}
	}
	return false
}

// translateOutward returns the outside address of the flow's source.
func (r *rule) translateOutward(f *flow) (address, bool) {
	for i := range r.prefixes {
		if p := &r.prefixes[i]; p.inside.contains(f.src) {
			return p.outward(f.src)
		}
	}
	return address{}, false
}

// translateInward returns the inside address of the flow's destination.
func (r *rule) translateInward(f *flow) (address, bool) {
	for i := range r.prefixes {
		if p := &r.prefixes[i]; p.outside.contains(f.dst) {
			return p.inward(f.dst)
		}
	}
	return address{}, false
}
