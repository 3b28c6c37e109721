package packet

import "encoding/binary"

// segmenter cuts one super-segment; its fields are what all segments share.
type segmenter struct {
	b         []byte
	h         *Headers
	out       []byte // scratch
	total     int    // payload bytes of the super-segment
	seq       uint32 // TCP: sequence number of the first byte
	flags     uint8  // TCP flags of the super-segment
	id        uint16 // IPv4 identification of the first segment
	addresses uint16 // sum of both addresses
}

// Segment cuts a TCP or UDP super-segment into the packets that a kernel would have made, each with complete
// checksums, and calls emit for them in order until it returns false. IPv4 identifications count up from the
// packet's; options and IPv6 extension headers are copied; FIN and PSH go with the last TCP segment, CWR with the
// first (RFC 3168, section 6.1.2); each UDP datagram has its own length. A packet that is none (GSO of another
// protocol, no segment size) is emitted as one, its partial checksum finished.
//
// scratch must hold the longest segment, or the packet if it is none; all segments are made in it, one after the
// other. emit may change a segment, but not keep it. b and m are not changed.
func Segment(b []byte, h *Headers, m *Meta, scratch []byte, emit func(seg []byte) bool) {
	if !m.segmentable(h) {
		whole := scratch[:copy(scratch[:h.Len], b)]
		meta := *m
		FinishChecksum(whole, h, &meta)
		emit(whole)
		return
	}
	s := segmenter{b: b, h: h, out: scratch, total: h.PayloadLen(), id: uint16(h.ID)}
	s.addresses = Checksum(h.Dst(b), Checksum(h.Src(b), 0))
	if h.Proto == ProtoTCP {
		t := TCP(b[h.L4:])
		s.seq, s.flags = t.Seq(), t.Flags()
	}
	for off, n := 0, 0; off < s.total; off, n = off+int(m.SegSize), n+1 {
		if !emit(s.segment(n, off, min(int(m.SegSize), s.total-off))) {
			return
		}
	}
}

// segmentable reports whether m's GSO type fits the packet and there is something to cut.
func (m *Meta) segmentable(h *Headers) bool {
	if h.Fragment || m.SegSize == 0 || h.PayloadLen() <= 0 {
		return false
	}
	switch m.GSO {
	case GSOTCPv4:
		return h.Family == 4 && h.Proto == ProtoTCP
	case GSOTCPv6:
		return h.Family == 6 && h.Proto == ProtoTCP
	case GSOUDP:
		return h.Proto == ProtoUDP
	}
	return false
}

// segment makes the nth segment, of size bytes from off of the super-segment's payload.
func (s *segmenter) segment(n, off, size int) []byte {
	hl := int(s.h.Payload)
	out := s.out[:hl+size]
	copy(out, s.b[:hl])
	copy(out[hl:], s.b[hl+off:])
	if s.h.Family == 4 {
		ip := IPv4(out)
		ip.SetTotalLen(len(out))
		ip.SetID(s.id + uint16(n))
		ip.UpdateChecksum()
	} else {
		IPv6(out).SetPayloadLen(len(out) - IPv6Size)
	}
	l4 := out[s.h.L4:]
	if s.h.Proto == ProtoTCP {
		s.tcp(TCP(l4), off, off+size == s.total)
	} else {
		UDP(l4).SetLength(len(l4))
	}
	s.checksum(l4)
	return out
}

// tcp sets what differs in the header of a segment at off.
func (s *segmenter) tcp(t TCP, off int, last bool) {
	flags := s.flags
	if !last {
		flags &^= FlagFIN | FlagPSH
	}
	if off > 0 {
		flags &^= FlagCWR
	}
	t.SetFlags(flags)
	t.SetSeq(s.seq + uint32(off))
}

func (s *segmenter) checksum(l4 []byte) {
	at, _ := checksumOff(s.h.Proto)
	binary.BigEndian.PutUint16(l4[at:], 0)
	sum := ^Checksum(l4, fold(uint64(s.addresses)+uint64(s.h.Proto)+uint64(len(l4))))
	if sum == 0 && s.h.Proto == ProtoUDP {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(l4[at:], sum)
}
