package alg

import (
	"bytes"

	"github.com/natrouter/natrouter/router/packet"
)

// handleDatagram gives a UDP packet to the helper; of a super-packet, each datagram.
func (p *part) handleDatagram() (packet.Verdict, packet.DropReason) {
	st := p.st
	if p.m.GSO == packet.GSONone || st.detached {
		return p.datagram()
	}
	s := st.kit.scratch.Get().(*scratch)
	defer st.kit.scratch.Put(s)
	s.piece = grow(s.piece, len(p.b))
	packet.Segment(p.b, p.h, p.m, s.piece, func(segment []byte) bool {
		h, reason := packet.Parse(segment)
		if reason != packet.NotDropped {
			return true
		}
		var m packet.Meta
		one := part{st: st, b: segment, h: &h, m: &m, dir: p.dir, room: p.room, sink: p.sink}
		if v, _ := one.datagram(); v == packet.Accept {
			p.sink.Send(one.b, m)
		}
		return true
	})
	return packet.Stolen, packet.NotDropped
}

// grow returns b with a length of at least n.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// datagram is the way of one datagram.
func (p *part) datagram() (packet.Verdict, packet.DropReason) {
	st := p.st
	udp, err := packet.ParseUDP(p.b[p.h.L4:p.h.Len])
	switch {
	case st.detached: // by an earlier datagram of a super-packet, too
		return p.accept()
	case err != nil || len(udp) != p.h.L4Len():
		return p.accept() // bytes behind the datagram: it can't be edited
	}
	var edits []Edit
	v := packet.Accept
	st.guard(func() { edits, v = st.datagramOf(p, udp.Payload()) })
	if st.detached {
		return p.accept()
	}
	if v != packet.Accept {
		st.Logf("dropping packet")
		return p.drop(packet.HelperDropped)
	}
	if len(edits) == 0 {
		return p.accept()
	}
	return p.edit(udp, edits)
}

func (st *state) datagramOf(p *part, b []byte) ([]Edit, packet.Verdict) {
	return st.datagram.Datagram(st, p.dir, b)
}

// edit replaces bytes of a datagram.
func (p *part) edit(udp packet.UDP, edits []Edit) (packet.Verdict, packet.DropReason) {
	s := p.st.kit.scratch.Get().(*scratch)
	defer p.st.kit.scratch.Put(s)
	payload, at := udp.Payload(), 0
	s.render = s.render[:0]
	for i := range edits {
		e := &edits[i]
		if e.Off < at || e.Len < 0 || e.Len > len(payload)-e.Off {
			p.st.desync("the helper's edits overlap or lie outside")
			return p.accept()
		}
		s.render = append(append(s.render, payload[at:e.Off]...), e.New...)
		at = e.Off + e.Len
		p.st.helper.counters.add(CountEdits)
	}
	s.render = append(s.render, payload[at:]...)
	if bytes.Equal(s.render, payload) {
		return p.accept()
	}
	head := int(p.h.Payload)
	size := head + len(s.render)
	if size > p.h.Longest() {
		return p.drop(packet.HelperDropped)
	}
	if p.m.PartialInner(p.h) {
		packet.FinishChecksum(p.b, p.h, p.m)
	}
	stolen := size > cap(p.b)
	if stolen {
		p.b = append(make([]byte, 0, size), p.b[:head]...)
	}
	noSum := udp.Checksum() == 0 && !p.m.Partial() // RFC 768
	p.b = p.b[:size]
	copy(p.b[head:], s.render)
	packet.UDP(p.b[p.h.L4:]).SetLength(size - int(p.h.L4))
	finish(p.b, p.h, p.m)
	if noSum {
		packet.UDP(p.b[p.h.L4:]).SetChecksum(0)
	}
	if stolen {
		p.sink.Send(p.b, *p.m)
		return packet.Stolen, packet.NotDropped
	}
	return p.accept()
}
