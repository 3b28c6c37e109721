package router

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// What replay needs to know of packets, on testpkt's slow reader, so that it does not check the router with itself.

// quoteOf returns the layout of the packet that an ICMP error quotes, as far as the quote goes.
func quoteOf(b []byte, l *testpkt.Layout) (q testpkt.Layout, ok bool) {
	if l.Fragment() || l.Len < l.L4+8 || l.Len > len(b) {
		return q, false
	}
	switch typ := b[l.L4]; {
	case l.Proto == 1 && (typ == 3 || typ == 4 || typ == 5 || typ == 11 || typ == 12):
	case l.Proto == 58 && typ < 128:
	default:
		return q, false
	}
	quote := b[l.L4+8 : l.Len]
	q, _ = testpkt.Parse(quote) // it may be cut short: what it says of the addresses is enough
	if q.Len > len(quote) || len(q.Src) == 0 {
		q = shortQuote(quote)
	}
	return q, len(q.Src) > 0
}

// shortQuote is a layout of the beginning of a packet, without extension headers.
func shortQuote(b []byte) (q testpkt.Layout) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		q = testpkt.Layout{Family: 4, Src: b[12:16], Dst: b[16:20], Proto: int(b[9]), L4: int(b[0]&15) * 4, Len: len(b),
			FragOff: int(binary.BigEndian.Uint16(b[6:])&0x1fff) * 8}
	case len(b) >= 40 && b[0]>>4 == 6:
		q = testpkt.Layout{Family: 6, Src: b[8:24], Dst: b[24:40], Proto: int(b[6]), L4: 40, Len: len(b)}
	}
	return q
}

// idsOf returns the ports or the ICMP query identifier of a packet; at is where they are, -1 for none.
func idsOf(b []byte, l *testpkt.Layout) (src, dst uint16, at int) {
	t := b[min(l.L4, len(b)):]
	if len(t) < 8 || l.FragOff > 0 {
		return 0, 0, -1
	}
	switch l.Proto {
	case 6, 17, 33, 132, 136:
		return binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:]), l.L4
	case 1, 58:
		if q, r := packet.ICMP(t).IsQuery(uint8(l.Family)); q || r {
			id := binary.BigEndian.Uint16(t[4:])
			return id, id, l.L4 + 4
		}
	}
	return 0, 0, -1
}

// checksumAt is where a transport header has its checksum.
var checksumAt = map[int]int{1: 2, 6: 16, 17: 6, 33: 6, 58: 2, 132: 8, 136: 6}

// setEndpoint gives a packet another source or destination, and changes its checksums by the difference, so that right
// ones stay right and wrong ones wrong: of fragments and quotes not all that they cover is there.
func setEndpoint(b []byte, l *testpkt.Layout, src bool, e netip.AddrPort) {
	whole := l.Proto == 132 && testpkt.Verify(b) == nil
	a, from := l.Dst, bytes.Clone(l.Dst)
	if src {
		a, from = l.Src, bytes.Clone(l.Src)
	}
	copy(a, e.Addr().AsSlice())
	var d packet.Delta
	if l.Proto != 1 { // ICMP for IPv4 has no pseudo-header
		d = packet.Change(from, a)
	}
	own, other, at := idsOf(b, l)
	if !src {
		own = other
		if at == l.L4 {
			at += 2
		}
	}
	if at >= 0 {
		binary.BigEndian.PutUint16(b[at:], e.Port())
		d = d.Add(packet.Change16(own, e.Port()))
	}
	if l.Family == 4 {
		setSum(b[:l.L4], 10)
	}
	h, reason := packet.Parse(b)
	_, isError := quoteOf(b, l)
	off, ok := checksumAt[l.Proto]
	switch {
	case reason == packet.NotDropped && (whole || isError): // CRC32c; and an error's sum covers the quote, changed before
		packet.ComputeTransport(b[:h.Len], &h)
	case ok && l.Proto != 132 && l.FragOff == 0 && len(b) >= l.L4+off+2:
		changeSum(b[l.L4+off:], d, l.Proto == 17)
	}
}

// changeSum changes a checksum by a difference. UDP's 0 is none, and a sum of 0 is all ones there (RFC 768).
func changeSum(field []byte, d packet.Delta, udp bool) {
	old := binary.BigEndian.Uint16(field)
	if udp && old == 0 {
		return
	}
	next := d.Apply(old)
	if udp && next == 0 {
		next = 0xffff
	}
	binary.BigEndian.PutUint16(field, next)
}

// setSum computes a checksum over b into its field at off.
func setSum(b []byte, off int) {
	b[off], b[off+1] = 0, 0
	binary.BigEndian.PutUint16(b[off:], ^packet.Checksum(b, 0))
}

// neutral blanks what routing and translation may change besides endpoints: TTL, identification and checksums, in an
// ICMP error's quote too. That the checksums are right is looked at before.
func neutral(b []byte) []byte {
	b = bytes.Clone(b)
	l, err := testpkt.Parse(b)
	if err != nil {
		return b
	}
	if q, ok := quoteOf(b, &l); ok {
		blank(b[l.L4+8:l.Len], &q)
	}
	blank(b, &l)
	return b
}

func blank(b []byte, l *testpkt.Layout) {
	if l.Family == 4 {
		clear(b[4:6])
		b[8] = 0
		clear(b[10:12])
	} else {
		b[7] = 0
	}
	off, n := checksumAt[l.Proto], 2
	if l.Proto == 132 {
		n = 4
	}
	if off != 0 && l.FragOff == 0 && len(b) >= l.L4+off+n {
		clear(b[l.L4+off:][:n])
	}
}
