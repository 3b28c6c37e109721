package alg

import (
	"bytes"
	"encoding/binary"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// place makes the packet carry its bytes up to `to` as they are after the edits, in place, or in pieces where they
// have outgrown what may leave.
func (p *part) place(f *flow, to uint32) (packet.Verdict, packet.DropReason) {
	from := p.seq
	if f.floored && before(from, f.floor) && len(p.payload) > 0 {
		if !after(p.end, f.floor) && !p.fin {
			return p.probe(f)
		}
		from = least(f.floor, p.end)
	}
	edits := &p.st.ext.Edits[p.dir]
	whole := from == p.seq && p.flagsStay(f, to)
	if whole && edits.Pending() == 0 {
		return p.adjust()
	}
	s := p.st.kit.scratch.Get().(*scratch)
	defer p.st.kit.scratch.Put(s)
	data := p.payload[from-p.seq : to-p.seq]
	s.render = edits.Render(s.render[:0], data, from)
	if whole && bytes.Equal(s.render, data) {
		return p.adjust()
	}
	head, limit := int(p.h.Payload), max(p.room, len(p.b))
	if p.m.GSO != packet.GSONone {
		limit = p.h.Longest()
	}
	if size := head + len(s.render); size > limit || size > cap(p.b) {
		if reason := p.pieces(s, p.b[:head], *p.h, from, p.flagsStay(f, to)); reason != packet.NotDropped {
			return p.drop(reason)
		}
		return packet.Stolen, packet.NotDropped
	}
	p.b = p.b[:head+len(s.render)]
	copy(p.b[head:], s.render)
	p.hdr = packet.TCP(p.b[p.h.L4:])
	if reason := p.header(p.hdr, from, 0, p.flagsStay(f, to)); reason != packet.NotDropped {
		return p.drop(reason)
	}
	finish(p.b, p.h, p.m)
	return p.accept()
}

// flagsStay reports whether what leaves goes to the end of the segment: FIN and PSH belong to the last byte.
func (p *part) flagsStay(f *flow, to uint32) bool { return to == p.end && (f.done || !p.fin) }

// probe stands for a segment all of which was acknowledged, edits and all, and forgotten: its bytes can't be made
// again, and its receiver does not look at them. It is to answer all the same, as to a keep-alive (RFC 9293, section
// 3.8.4), because the sender seems to have missed the acknowledgement.
func (p *part) probe(f *flow) (packet.Verdict, packet.DropReason) {
	p.b = p.b[:p.h.Payload]
	p.hdr = packet.TCP(p.b[p.h.L4:])
	if reason := p.header(p.hdr, f.floor, 0, false); reason != packet.NotDropped {
		return p.drop(reason)
	}
	p.hdr.SetSeq(p.hdr.Seq() - 1)
	finish(p.b, p.h, p.m)
	return p.accept()
}

// sendSelf sends the packet's bytes up to `to` to the sink.
func (p *part) sendSelf(f *flow, to uint32) packet.DropReason {
	from := p.seq
	if f.floored && before(from, f.floor) {
		from = least(f.floor, to)
	}
	s := p.st.kit.scratch.Get().(*scratch)
	defer p.st.kit.scratch.Put(s)
	s.render = p.st.ext.Edits[p.dir].Render(s.render[:0], p.payload[from-p.seq:to-p.seq], from)
	return p.pieces(s, p.b[:p.h.Payload], *p.h, from, p.flagsStay(f, to))
}

// sendHeld sends a waiting segment up to `to`. What can't be sent is dropped: its sender sends it again.
func (p *part) sendHeld(f *flow, q *held, to uint32) {
	from := q.seq
	if f.floored && before(from, f.floor) {
		if from = least(f.floor, to); from == to && !q.fin {
			return
		}
	}
	s := p.st.kit.scratch.Get().(*scratch)
	defer p.st.kit.scratch.Put(s)
	s.render = p.st.ext.Edits[p.dir].Render(s.render[:0], q.data[from-q.seq:to-q.seq], from)
	s.head = append(s.head[:0], p.b[:p.h.Payload]...)
	hdr := packet.TCP(s.head[p.h.L4:])
	const own = packet.FlagFIN | packet.FlagPSH | packet.FlagURG
	hdr.SetSeq(q.first)
	hdr.SetFlags(hdr.Flags()&^own | q.flags&own)
	binary.BigEndian.PutUint16(hdr[18:], q.urgent)
	if p.pieces(s, s.head, *p.h, from, to == q.end && (f.done || !q.fin)) != packet.NotDropped {
		p.st.helper.counters.add(CountDrops)
	}
}

// pieces sends s.render, which stands for the bytes from a number on, in packets that may leave; head is what they
// have before it.
func (p *part) pieces(s *scratch, head []byte, h packet.Headers, from uint32, flags bool) packet.DropReason {
	size := max(p.room-len(head), minPiece)
	if p.m.GSO != packet.GSONone && p.m.SegSize > 0 {
		size = min(size, int(p.m.SegSize))
	}
	id := uint16(h.ID)
	for off := 0; ; {
		n := min(size, len(s.render)-off)
		last := off+n == len(s.render)
		s.piece = append(append(s.piece[:0], head...), s.render[off:off+n]...)
		hdr := packet.TCP(s.piece[h.L4:])
		if reason := p.header(hdr, from, uint32(off), flags && last); reason != packet.NotDropped {
			return reason
		}
		if off > 0 { // RFC 3168, section 6.1.2
			hdr.SetFlags(hdr.Flags() &^ packet.FlagCWR)
		}
		if h.Family == 4 {
			packet.IPv4(s.piece).SetID(id)
			id++
		}
		var whole packet.Meta
		finish(s.piece, &h, &whole)
		p.sink.Send(s.piece, whole)
		if off += n; last {
			return packet.NotDropped
		}
	}
}

// minPiece keeps pieces from having no bytes where headers fill an absurd MTU.
const minPiece = 8

// header gives a TCP header the numbers of what stands off bytes behind the image of from, an original number. Without
// flags it is not the end of a segment. The checksum is the caller's.
func (p *part) header(hdr packet.TCP, from, off uint32, flags bool) packet.DropReason {
	edits := &p.st.ext.Edits
	urgent := edits[p.dir].Seq(hdr.Seq() + uint32(binary.BigEndian.Uint16(hdr[18:])))
	hdr.SetSeq(from)
	if !edits[0].Empty() || !edits[1].Empty() {
		if reason := conntrack.AdjustTCP(hdr, p.dir, edits, true); reason != packet.NotDropped {
			return reason
		}
	}
	hdr.SetSeq(hdr.Seq() + off)
	f := hdr.Flags()
	if !flags {
		f &^= packet.FlagFIN | packet.FlagPSH
	}
	if f&packet.FlagURG != 0 { // RFC 6093, section 2: it counts from the sequence number
		distance := int32(urgent - hdr.Seq())
		if distance <= 0 || distance > 0xffff {
			f, distance = f&^packet.FlagURG, 0
		}
		binary.BigEndian.PutUint16(hdr[18:], uint16(distance))
	}
	hdr.SetFlags(f)
	return packet.NotDropped
}

// finish makes the lengths and checksums of a changed packet right: an unfinished transport checksum stays so.
func finish(b []byte, h *packet.Headers, m *packet.Meta) {
	h.Len = uint32(len(b))
	if h.Family == 4 {
		ip := packet.IPv4(b)
		ip.SetTotalLen(len(b))
		ip.UpdateChecksum()
	} else {
		packet.IPv6(b).SetPayloadLen(len(b) - packet.IPv6Size)
	}
	if m.GSO != packet.GSONone && h.PayloadLen() <= int(m.SegSize) {
		m.GSO, m.SegSize, m.ECN = packet.GSONone, 0, false
	}
	if !m.Partial() {
		packet.ComputeTransport(b, h)
		return
	}
	sum := packet.PseudoHeader(h.Src(b), h.Dst(b), h.Proto, len(b)-int(h.L4))
	binary.BigEndian.PutUint16(b[int(m.CsumStart)+int(m.CsumOff):], sum)
}

// trimSYN takes the bytes off a SYN: no helper has seen them, and what is not acknowledged comes again with the
// connection open (RFC 7413, section 4.2, where a server takes none).
func trimSYN(b []byte, h *packet.Headers, m *packet.Meta) []byte {
	if packet.TCP(b[h.L4:]).Flags()&packet.FlagSYN == 0 || h.PayloadLen() == 0 {
		return b
	}
	b = b[:h.Payload]
	finish(b, h, m)
	return b
}
