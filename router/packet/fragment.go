package packet

import "encoding/binary"

// FragHeaderSize is the length of an IPv6 fragment header, bytes.
const FragHeaderSize = 8

// IPv4 options (RFC 791, section 3.1).
const (
	ipOptEnd    = 0
	ipOptNop    = 1
	ipOptCopied = 0x80 // goes into every fragment
)

// Fragment cuts a packet into fragments of at most size bytes, and calls emit for them in order until it returns
// false. A packet that fits is emitted as it is. IPv4 (RFC 791, section 3.2): DF is not asked and stays set where
// it was, identification too, options go by their copied flag; a fragment may be cut again. IPv6 (RFC 8200, section
// 4.5): every fragment carries id, a fragment header that was there already is used, a fragment is not cut again.
//
// It returns TooBig, having emitted nothing, if not even eight bytes, or the header chain (RFC 7112, section 5), fit
// beside the headers. A partial checksum must have been finished before. scratch must hold size bytes, or the packet
// if that is shorter; all fragments are made in it, one after the other. emit may change a fragment, but not keep
// it. b is not changed.
func Fragment(b []byte, h *Headers, size int, id uint32, scratch []byte, emit func(frag []byte) bool) DropReason {
	if int(h.Len) <= size {
		emit(scratch[:copy(scratch[:h.Len], b)])
		return NotDropped
	}
	if h.Family == 4 {
		return fragmentIPv4(IPv4(b[:h.Len]), size, scratch, emit)
	}
	return fragmentIPv6(b[:h.Len], h, size, id, scratch, emit)
}

func fragmentIPv4(ip IPv4, size int, out []byte, emit func([]byte) bool) DropReason {
	if size < ip.HeaderLen()+8 {
		return TooBig
	}
	payload, base, more := ip.Payload(), int(ip.FragOffset()), ip.MoreFragments()
	for off := 0; off < len(payload); {
		hl := copyHeader(out, ip, off == 0)
		n := fitting(len(payload)-off, size-hl)
		frag := IPv4(out[:hl+n])
		copy(frag[hl:], payload[off:off+n])
		frag.SetTotalLen(len(frag))
		frag.SetFragment(base+off, more || off+n < len(payload))
		frag.UpdateChecksum()
		if !emit(frag) {
			break
		}
		off += n
	}
	return NotDropped
}

// fitting returns how much of rest goes into room: all, or a multiple of eight.
func fitting(rest, room int) int {
	if rest <= room {
		return rest
	}
	return room &^ 7
}

// copyHeader writes the header of ip to out, with all options or only with those whose copied flag is set (RFC 791,
// section 3.1), and returns its length. Behind a malformed option none is copied.
func copyHeader(out []byte, ip IPv4, all bool) int {
	if all {
		return copy(out, ip[:ip.HeaderLen()])
	}
	hl := copy(out, ip[:IPv4Size])
	for opts := ip.Options(); len(opts) > 0 && opts[0] != ipOptEnd; {
		n := 1
		if opts[0] != ipOptNop {
			if len(opts) < 2 || opts[1] < 2 || int(opts[1]) > len(opts) {
				break
			}
			n = int(opts[1])
			if opts[0]&ipOptCopied != 0 {
				hl += copy(out[hl:], opts[:n])
			}
		}
		opts = opts[n:]
	}
	for hl%4 != 0 {
		out[hl] = ipOptEnd
		hl++
	}
	out[0] = 4<<4 | uint8(hl/4)
	return hl
}

func fragmentIPv6(b []byte, h *Headers, size int, id uint32, out []byte, emit func([]byte) bool) DropReason {
	keep, link, rest := perFragment(b, h)
	hl := keep + FragHeaderSize
	if room := (size - hl) &^ 7; h.Fragment || room < 8 || int(h.Payload)-rest > room {
		return TooBig
	}
	proto, payload := b[link], b[rest:]
	if rest != keep {
		proto = b[keep] // what follows the fragment header that is there already
	}
	for off := 0; off < len(payload); {
		n := fitting(len(payload)-off, size-hl)
		frag := IPv6(out[:hl+n])
		copy(frag, b[:keep])
		frag.SetPayloadLen(len(frag) - IPv6Size)
		frag[link] = extFragment
		flags := uint16(off)
		if off+n < len(payload) {
			flags |= 1
		}
		frag[keep], frag[keep+1] = proto, 0
		binary.BigEndian.PutUint16(frag[keep+2:], flags)
		binary.BigEndian.PutUint32(frag[keep+4:], id)
		copy(frag[hl:], payload[off:off+n])
		if !emit(frag) {
			break
		}
		off += n
	}
	return NotDropped
}

// perFragment returns the length of the headers that every fragment repeats (RFC 8200, section 4.5: up to the last
// hop-by-hop options or routing header), where the number of what follows them stands, and where the part to be cut
// begins, which is further on if there is a fragment header already.
func perFragment(b []byte, h *Headers) (keep, link, rest int) {
	keep, link = IPv6Size, 6
	for at, off := 6, IPv6Size; off < int(h.L4); {
		switch next := b[at]; next {
		case extFragment:
			return off, at, off + FragHeaderSize
		case extHopByHop, extRouting:
			at, off = off, off+(int(b[off+1])+1)*8
			keep, link = off, at
		default:
			at, off = off, off+(int(b[off+1])+1)*8
		}
	}
	return keep, link, keep
}
