package tun

import (
	"encoding/binary"
	"net/netip"

	"github.com/natrouter/natrouter/router/packet"
)

// testAddrs are the addresses of all packets that these tests make, by family (RFC 2544, RFC 3849), so that what
// a kernel sends on its own can be told from them.
var testAddrs = map[int][2]netip.Addr{
	4: {netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")},
	6: {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")},
}

// spec describes a test packet; the zero value is a UDP datagram over IPv4 without payload.
type spec struct {
	family   int // 0: 4
	proto    uint8
	payload  int
	fill     byte // first byte of the payload, which counts up
	sport    uint16
	seq      uint32
	ack      uint32
	flags    uint8
	window   uint16
	options  []byte // of TCP
	id       uint16
	df       bool
	tos      uint8
	ttl      uint8
	label    uint32
	partial  bool
	noCsum   bool // UDP checksum 0
	badCsum  bool
	segSize  uint16 // not 0: a super-segment
	ecnGSO   bool
	unproven bool // complete checksum, but Meta does not vouch for it
}

// build returns the packet and its Meta.
func (s spec) build() ([]byte, packet.Meta) {
	s.family, s.proto, s.ttl = orElse(s.family, 4), orElse(s.proto, packet.ProtoUDP), orElse(s.ttl, 64)
	l4 := make([]byte, packet.UDPSize)
	if s.proto == packet.ProtoTCP {
		l4 = make([]byte, packet.TCPSize+len(s.options))
		binary.BigEndian.PutUint32(l4[4:], s.seq)
		binary.BigEndian.PutUint32(l4[8:], s.ack)
		l4[12], l4[13] = byte(len(l4)/4)<<4, orElse(s.flags, packet.FlagACK)
		binary.BigEndian.PutUint16(l4[14:], orElse(s.window, 1000))
		copy(l4[packet.TCPSize:], s.options)
	} else {
		binary.BigEndian.PutUint16(l4[4:], uint16(packet.UDPSize+s.payload))
	}
	binary.BigEndian.PutUint16(l4, orElse(s.sport, 1111))
	binary.BigEndian.PutUint16(l4[2:], 2222)
	for i := range s.payload {
		l4 = append(l4, s.fill+byte(i)+byte(i>>8))
	}
	b := append(s.ipHeader(len(l4)), l4...)
	return b, s.checksum(b)
}

func (s spec) ipHeader(n int) []byte {
	a := testAddrs[s.family]
	if s.family == 6 {
		b := binary.BigEndian.AppendUint32(nil, 6<<28|uint32(s.tos)<<20|s.label)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, s.proto, s.ttl)
		return append(append(b, a[0].AsSlice()...), a[1].AsSlice()...)
	}
	b := []byte{0x45, s.tos}
	b = binary.BigEndian.AppendUint16(b, uint16(packet.IPv4Size+n))
	b = binary.BigEndian.AppendUint16(b, s.id)
	frag := uint16(0)
	if s.df {
		frag = 0x4000
	}
	b = binary.BigEndian.AppendUint16(b, frag)
	b = append(b, s.ttl, s.proto, 0, 0)
	b = append(append(b, a[0].AsSlice()...), a[1].AsSlice()...)
	packet.IPv4(b).SetChecksum(^packet.Checksum(b, 0))
	return b
}

// checksum fills in the transport checksum and returns the Meta that fits.
func (s spec) checksum(b []byte) packet.Meta {
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		panic("test packet does not parse")
	}
	m := packet.Meta{CsumStart: h.L4, CsumOff: udpCsumOff, SegSize: s.segSize, ECN: s.ecnGSO}
	switch {
	case s.segSize == 0:
	case s.proto == packet.ProtoUDP:
		m.GSO = packet.GSOUDP
	case s.family == 6:
		m.GSO = packet.GSOTCPv6
	default:
		m.GSO = packet.GSOTCPv4
	}
	if s.proto == packet.ProtoTCP {
		m.CsumOff = tcpCsumOff
	}
	field := b[h.L4+m.CsumOff:]
	binary.BigEndian.PutUint16(field, pseudoHeader(b, &h))
	if s.partial || s.segSize != 0 {
		return m
	}
	finishChecksum(b, &m)
	switch {
	case s.noCsum:
		binary.BigEndian.PutUint16(field, 0)
	case s.badCsum:
		field[0] ^= 0x55
	}
	return packet.Meta{CsumValid: !s.noCsum && !s.badCsum && !s.unproven}
}

// newFrames returns n frames as a router would hold them.
func newFrames(n int) []Frame {
	frames := make([]Frame, n)
	for i := range frames {
		frames[i] = Frame{Buf: make([]byte, Headroom+MaxPacket), Off: Headroom}
	}
	return frames
}

// fill puts a packet into f.
func (f *Frame) fill(b []byte, m packet.Meta) {
	f.Off, f.Len, f.Meta = Headroom, copy(f.Buf[Headroom:], b), m
}

// frameOf returns a frame with the packet of s.
func frameOf(s spec) Frame {
	b, m := s.build()
	f := Frame{Buf: make([]byte, Headroom+len(b)), Off: Headroom}
	f.fill(b, m)
	return f
}

// isTestPacket tells the packets of these tests from what a kernel sends on its own.
func isTestPacket(b []byte) bool {
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		return false
	}
	src := b[12:16]
	if h.Family == 6 {
		src = b[8:24]
	}
	addr, _ := netip.AddrFromSlice(src)
	return addr == testAddrs[4][0] || addr == testAddrs[6][0]
}

// whole returns the packets that b with m stands for, as a kernel would put them on a wire.
func whole(b []byte, m packet.Meta) (packets [][]byte) {
	f := Frame{Buf: make([]byte, Headroom+len(b)), Off: Headroom}
	f.fill(b, m)
	err := newFinisher(func(b []byte) error {
		packets = append(packets, append([]byte(nil), b...))
		return nil
	}).send(&f)
	if err != nil {
		panic(err)
	}
	return packets
}
