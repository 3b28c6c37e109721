package tun

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/packet"
)

// Accepts reports whether a packet with m may be written as it is.
func (c Caps) Accepts(m *packet.Meta) bool {
	switch m.GSO {
	case packet.GSONone:
		return c.Checksum || !m.Partial()
	case packet.GSOTCPv4:
		return c.Checksum && c.TSO4 && (c.ECN || !m.ECN)
	case packet.GSOTCPv6:
		return c.Checksum && c.TSO6 && (c.ECN || !m.ECN)
	case packet.GSOUDP:
		return c.Checksum && c.USO
	}
	return false
}

// validFrame reports whether f keeps the rules of a frame to write.
func validFrame(f *Frame) bool {
	inBuf := f.Off >= Headroom && f.Len > 0 && f.Len <= MaxPacket && f.Off <= len(f.Buf) && f.Len <= len(f.Buf)-f.Off
	return inBuf && validMeta(f.Bytes(), &f.Meta)
}

// validMeta reports whether what m says about packet b lies within it, and is known. A super-segment's checksum is
// partial.
func validMeta(b []byte, m *packet.Meta) bool {
	if !m.Partial() {
		return m.GSO == packet.GSONone
	}
	if _, ok := partialField(b, m); !ok {
		return false
	}
	switch m.GSO {
	case packet.GSONone:
		return true
	case packet.GSOTCPv4, packet.GSOTCPv6:
		return m.SegSize != 0 && m.CsumOff == tcpCsumOff && gsoHeaders(b, m) <= len(b)
	case packet.GSOUDP:
		return m.SegSize != 0 && m.CsumOff == udpCsumOff && gsoHeaders(b, m) <= len(b)
	}
	return false
}

// gsoHeaders returns the length of all headers of a super-segment whose checksum field lies in b.
func gsoHeaders(b []byte, m *packet.Meta) int {
	if m.GSO == packet.GSOUDP {
		return int(m.CsumStart) + packet.UDPSize
	}
	return int(m.CsumStart) + int(b[m.CsumStart+12]>>4)*4 // the field is behind byte 12
}

// roomy reports whether f keeps the rules of a frame to read into.
func roomy(f *Frame) bool { return f.Off >= Headroom && len(f.Buf)-f.Off >= MaxPacket }

// finisher does in software what the other side does not accept. One belongs to one writing goroutine.
type finisher struct {
	out     func(b []byte) error // sends one whole packet
	emit    func(seg []byte) bool
	scratch []byte         // of segment
	headers packet.Headers // of segment; a local one would be an allocation a call
	err     error
}

func newFinisher(out func(b []byte) error) *finisher {
	s := &finisher{out: out}
	s.emit = func(seg []byte) bool {
		s.err = s.out(seg)
		return s.err == nil
	}
	return s
}

// send sends f as whole packets with valid checksums. With an error some of a super-segment may have gone out.
// f is valid; its packet is as it was when send returns.
func (s *finisher) send(f *Frame) error {
	if f.Meta.GSO != packet.GSONone {
		return s.segment(f)
	}
	b := f.Bytes()
	if !f.Meta.Partial() {
		return s.out(b)
	}
	field, _ := partialField(b, &f.Meta)
	keep := [2]byte(field)
	finishChecksum(b, &f.Meta)
	err := s.out(b)
	copy(field, keep[:])
	return err
}

func (s *finisher) segment(f *Frame) error {
	b, h := f.Bytes(), &s.headers
	var reason packet.DropReason
	*h, reason = packet.Parse(b)
	if reason != packet.NotDropped || int(h.Len) != len(b) || h.L4 != f.Meta.CsumStart || !kindFits(h, f.Meta.GSO) {
		return ErrFrame
	}
	if s.scratch == nil {
		s.scratch = make([]byte, MaxPacket)
	}
	s.err = nil
	packet.Segment(b, h, &f.Meta, s.scratch, s.emit)
	return s.err
}

// kindFits reports whether a packet with headers h can be a super-segment of that kind.
func kindFits(h *packet.Headers, kind packet.GSOType) bool {
	switch {
	case h.Fragment || h.PayloadLen() == 0:
		return false
	case kind == packet.GSOUDP:
		return h.Proto == packet.ProtoUDP
	case kind == packet.GSOTCPv4:
		return h.Proto == packet.ProtoTCP && h.Family == 4
	}
	return kind == packet.GSOTCPv6 && h.Proto == packet.ProtoTCP && h.Family == 6
}

// partialField returns the checksum field that m says is partial, and whether it lies in b.
func partialField(b []byte, m *packet.Meta) ([]byte, bool) {
	at := int(m.CsumStart) + int(m.CsumOff)
	if at+2 > len(b) {
		return nil, false
	}
	return b[at : at+2 : at+2], true
}

// finishChecksum completes a partial checksum wherever m says it stands, also within a tunnel. The field, which
// [partialField] found, holds the sum of the pseudo-header, so summing from CsumStart on covers all. A sum of 0 is
// sent as 0xffff: UDP needs it (RFC 768), and for all others it is the same number.
func finishChecksum(b []byte, m *packet.Meta) {
	sum := ^packet.Checksum(b[m.CsumStart:], 0)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[int(m.CsumStart)+int(m.CsumOff):], sum)
}
