package plain

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A sender's device may hand over many segments as one packet, which is longer than any on a wire and says how much each
// segment carries. To the model it is one packet to the end: its segments have one fate, and what comes out of it is glued
// together again.

// wire is the length of the longest packet on the wire that a packet stands for, in bytes.
func (p *packet) wire() int {
	if p.size == 0 {
		return len(p.b)
	}
	return min(len(p.b), p.l.Payload+p.size)
}

// glue makes one packet of the segments that it was cut into: each carries size bytes, the last one what is left.
func glue(parts [][]byte, size int) ([]byte, error) {
	first, last := take(parts[0]), take(parts[len(parts)-1])
	whole := bytes.Clone(first.b[:first.l.Payload])
	for i, b := range parts {
		p := take(b)
		data := b[p.l.Payload:p.l.Len]
		switch end := i == len(parts)-1; {
		case len(data) > size || len(data) < size && !end:
			return nil, fmt.Errorf("segment %d carries %d bytes, want %d", i, len(data), size)
		case p.proto == tcpIP && p.segment().seq != first.segment().seq+uint32(i*size):
			return nil, fmt.Errorf("segment %d is not where it should be", i)
		case p.proto == tcpIP && !end && b[p.l.L4+13]&lastOnly != 0:
			return nil, errors.New("a segment before the last one has FIN or PSH")
		case p.df && !p.six() && p.l.ID != first.l.ID+i&0xffff:
			return nil, fmt.Errorf("segment %d has the identification %d after %d", i, p.l.ID, first.l.ID)
		case !bytes.Equal(p.alike(), first.alike()):
			return nil, fmt.Errorf("the headers of segments 0 and %d differ", i)
		}
		whole = append(whole, data...)
	}
	if first.proto == tcpIP {
		whole[first.l.L4+13] |= last.b[last.l.L4+13] & lastOnly
	}
	resize(whole, first)
	return whole, nil
}

// resize writes the lengths and checksums of a packet that has the headers of p.
func resize(b []byte, p *packet) {
	if p.proto == udp {
		binary.BigEndian.PutUint16(b[p.l.L4+4:], uint16(len(b)-p.l.L4))
	}
	if p.six() {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	} else {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		sumIP(b)
	}
	sums(b)
}

// first is the first segment that a packet stands for, or the packet itself: errors are about that.
func (p *packet) first() *packet {
	if p.wire() == len(p.b) {
		return p
	}
	b := bytes.Clone(p.b[:p.wire()])
	if p.proto == tcpIP {
		b[p.l.L4+13] &^= lastOnly
	}
	resize(b, p)
	return take(b)
}

// lastOnly are the flags that belong to the last byte.
const lastOnly = flagFIN | 8 // FIN and PSH

// alike are the headers of a segment without what differs between segments.
func (p *packet) alike() []byte {
	h := bytes.Clone(p.b[:p.l.Payload])
	if p.six() {
		clear(h[4:6]) // length
	} else {
		clear(h[2:6])   // length, identification
		clear(h[10:12]) // checksum
	}
	t := h[p.l.L4:]
	if p.proto == tcpIP {
		clear(t[4:8]) // sequence number
		t[13] &^= lastOnly
		clear(t[16:18]) // checksum
	} else {
		clear(t[4:8]) // length and checksum
	}
	return h
}
