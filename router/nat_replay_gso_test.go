package router

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// Super-segments as a kernel makes them and takes them apart, said once more and slowly.

// single makes a group of each packet.
func single(round []replayed) (groups [][]replayed) {
	for i := range round {
		groups = append(groups, round[i:i+1])
	}
	return groups
}

// merged makes groups of the consecutive segments that a kernel would hand over as one.
func merged(round []replayed) (groups [][]replayed) {
	for i := range round {
		if n := len(groups); n > 0 && continues(groups[n-1], round[i]) {
			groups[n-1] = round[i-len(groups[n-1]) : i+1]
			continue
		}
		groups = append(groups, round[i:i+1])
	}
	return groups
}

// continues reports whether a packet is the next segment of a group: right in all checksums, with the headers of the
// first but for identification, sequence number and PSH, and not behind a shorter one or one with PSH.
func continues(group []replayed, p replayed) bool {
	first, last := group[0], group[len(group)-1]
	a, errA := testpkt.Parse(first.b)
	b, errB := testpkt.Parse(last.b)
	c, errC := testpkt.Parse(p.b)
	if errA != nil || errB != nil || errC != nil || first.inbound != p.inbound || !plainTCP(first.b, &a) || !plainTCP(p.b, &c) {
		return false
	}
	size := a.Len - a.Payload
	n := c.Len - c.Payload
	total := a.Payload + n
	for _, q := range group {
		total += len(q.b) - a.Payload
	}
	seq := binary.BigEndian.Uint32(last.b[b.L4+4:]) + uint32(b.Len-b.Payload)
	return c.Payload == a.Payload && b.Len-b.Payload == size && n <= size && total <= 65535 &&
		last.b[b.L4+13]&packet.FlagPSH == 0 && binary.BigEndian.Uint32(p.b[c.L4+4:]) == seq &&
		bytes.Equal(shared(first.b, &a), shared(p.b, &c))
}

// plainTCP reports whether a packet may be part of a super-segment: data, ACK, perhaps PSH, nothing odd.
func plainTCP(b []byte, l *testpkt.Layout) bool {
	return l.Proto == 6 && !l.Fragment() && !l.Options && l.FragHdr == 0 && l.Payload < l.Len &&
		b[l.L4+13]&^packet.FlagPSH == packet.FlagACK && testpkt.Verify(b) == nil
}

// shared returns the headers, with what may differ between segments blanked.
func shared(b []byte, l *testpkt.Layout) []byte {
	h := bytes.Clone(b[:l.Payload])
	if l.Family == 4 {
		clear(h[2:6])
		clear(h[10:12])
	} else {
		clear(h[4:6])
	}
	clear(h[l.L4+4 : l.L4+8])
	h[l.L4+13] &^= packet.FlagPSH
	clear(h[l.L4+16 : l.L4+18])
	return h
}

// superSegment makes one frame of a group's packets. Of one it is that packet.
func superSegment(packets [][]byte) tun.Frame {
	first := packets[0]
	if len(packets) == 1 {
		return frame(first, packet.Meta{})
	}
	l, _ := testpkt.Parse(first)
	b := bytes.Clone(first)
	for _, p := range packets[1:] {
		b = append(b, p[l.Payload:]...)
	}
	b[l.L4+13] |= packets[len(packets)-1][l.L4+13]
	setLen(b, &l)
	m := packet.Meta{GSO: packet.GSOTCPv4, SegSize: uint16(l.Len - l.Payload)}
	if l.Family == 6 {
		m.GSO = packet.GSOTCPv6
	}
	m.CsumStart, m.CsumOff = testpkt.MakePartial(b)
	return frame(b, m)
}

// setLen makes the IP header fit the packet's length.
func setLen(b []byte, l *testpkt.Layout) {
	if l.Family == 6 {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		return
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	setSum(b[:l.L4], 10)
}

// cutSlow returns the packets that a frame stands for: of a super-segment its segments.
func cutSlow(f *tun.Frame) (segments [][]byte, err error) {
	b, size := f.Bytes(), int(f.Meta.SegSize)
	if f.Meta.GSO == packet.GSONone {
		if f.Meta.Partial() {
			err = errors.New("a whole packet with an unfinished checksum")
		}
		return [][]byte{b}, err
	}
	l, err := testpkt.Parse(b)
	if err != nil {
		return nil, err
	}
	if err := unfinished(f); err != nil {
		return nil, err
	}
	for i, part := range slices.Collect(slices.Chunk(b[l.Payload:], size)) {
		s := append(bytes.Clone(b[:l.Payload]), part...)
		if l.Family == 4 {
			binary.BigEndian.PutUint16(s[4:], uint16(l.ID+i))
		}
		setLen(s, &l)
		t := s[l.L4:]
		if f.Meta.GSO == packet.GSOUDP {
			binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
		} else {
			binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(i*size))
			if l.Payload+(i+1)*size < len(b) {
				t[13] &^= packet.FlagPSH | packet.FlagFIN
			}
		}
		finish(s)
		segments = append(segments, s)
	}
	return segments, nil
}

// unfinished returns an error if a frame's checksum is not the sum of its pseudo-header, as it is left to a device.
func unfinished(f *tun.Frame) error {
	again := bytes.Clone(f.Bytes())
	start, off := testpkt.MakePartial(again)
	if !bytes.Equal(again, f.Bytes()) || start != f.Meta.CsumStart || off != f.Meta.CsumOff {
		return errors.New("an unfinished checksum is not the sum of the pseudo-header")
	}
	return nil
}

// finish writes the checksum of TCP or UDP.
func finish(b []byte) {
	start, off := testpkt.MakePartial(b)
	t := b[start:]
	s := ^packet.Checksum(t, 0)
	if off == 6 && s == 0 {
		s = 0xffff // 0: none (RFC 768)
	}
	binary.BigEndian.PutUint16(t[off:], s)
}
