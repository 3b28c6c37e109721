package packet

import (
	"bytes"
	"net/netip"

	"github.com/natrouter/natrouter/internal/testpkt"
)

var (
	in4, out4 = netip.MustParseAddrPort("192.168.1.10:40000"), netip.MustParseAddrPort("203.0.113.5:1723")
	in6, out6 = netip.MustParseAddrPort("[fd77::2]:40000"), netip.MustParseAddrPort("[2001:db8::5]:443")
)

// tcpOptions: MSS 1460, SACK permitted, timestamps, no-operation, window scale 7.
var tcpOptions = []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}

// recordRoute is an IPv4 option without the copied flag, sourceRoute one with it.
var (
	recordRoute = []byte{7, 7, 4, 0, 0, 0, 0}
	sourceRoute = []byte{0x83, 7, 4, 10, 0, 0, 1}
)

var (
	hopByHop    = testpkt.Ext{Type: 0, Data: []byte{1, 4, 0, 0, 0, 0}}
	routing     = testpkt.Ext{Type: 43, Data: []byte{4, 0, 0, 0, 0, 0}}
	destination = testpkt.Ext{Type: 60, Data: []byte{1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}
)

// text returns n bytes that differ from place to place.
func text(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// samples are good packets of every kind that the parser knows.
func samples() map[string][]byte {
	m := map[string][]byte{
		"icmp error":   testpkt.ICMP{Src: out4.Addr(), Dst: in4.Addr(), Type: 3, Code: 4, Rest: 1400, Payload: text(40)}.Bytes(),
		"icmpv6 error": testpkt.ICMP{Src: out6.Addr(), Dst: in6.Addr(), Type: 2, Rest: 1280, Payload: text(61)}.Bytes(),
		"ipv4 options": testpkt.TCP{Src: in4, Dst: out4, Flags: FlagSYN, IPOptions: append(bytes.Clone(recordRoute), sourceRoute...)}.Bytes(),
		"ipv6 extensions": testpkt.UDP{Src: in6, Dst: out6, Payload: text(9),
			Ext: []testpkt.Ext{hopByHop, destination, routing, destination}}.Bytes(),
		"ipv6 atomic fragment": testpkt.UDP{Src: in6, Dst: out6, Payload: text(9), Ext: []testpkt.Ext{testpkt.FragHeader(0, false, 7)}}.Bytes(),
		"ipv6 later fragment": testpkt.Raw{Src: in6.Addr(), Dst: out6.Addr(), Proto: 6, Payload: text(16),
			Ext: []testpkt.Ext{testpkt.FragHeader(1448, true, 7)}}.Bytes(),
		"udp without checksum": testpkt.UDP{Src: in4, Dst: out4, Payload: text(3), NoChecksum: true}.Bytes(),
		"gre v0":               testpkt.GREv0{Src: in4.Addr(), Dst: out4.Addr(), Payload: text(20)}.Bytes(),
		"gre v0 all fields": testpkt.GREv0{Src: in4.Addr(), Dst: out4.Addr(), HasChecksum: true, HasKey: true, Key: 0xdeadbeef,
			HasSeq: true, Seq: 9, Payload: text(21)}.Bytes(),
		"gre v1 data": testpkt.GREv1{Src: in4.Addr(), Dst: out4.Addr(), CallID: 0xda80, HasSeq: true, Seq: 5, HasAck: true, Ack: 4, Payload: text(33)}.Bytes(),
		"gre v1 ack":  testpkt.GREv1{Src: in4.Addr(), Dst: out4.Addr(), CallID: 1, HasAck: true, Ack: 4}.Bytes(),
		"esp":         testpkt.Raw{Src: in4.Addr(), Dst: out4.Addr(), Proto: ProtoESP, Payload: text(64)}.Bytes(),
		"no next":     testpkt.Raw{Src: in6.Addr(), Dst: out6.Addr(), Proto: 59}.Bytes(),
	}
	for name, pair := range map[string][2]netip.AddrPort{"ipv4 ": {in4, out4}, "ipv6 ": {in6, out6}} {
		src, dst := pair[0], pair[1]
		m[name+"syn"] = testpkt.TCP{Src: src, Dst: dst, Seq: 1000, Flags: FlagSYN, Options: tcpOptions}.Bytes()
		m[name+"data"] = testpkt.TCP{Src: src, Dst: dst, Seq: 1, Ack: 2, Flags: FlagACK | FlagPSH, Payload: text(1459), ID: 77, DF: true}.Bytes()
		m[name+"udp"] = testpkt.UDP{Src: src, Dst: dst, Payload: text(31), TTL: 2}.Bytes()
		m[name+"empty udp"] = testpkt.UDP{Src: src, Dst: dst}.Bytes()
		m[name+"udp-lite"] = testpkt.UDPLite{Src: src, Dst: dst, Payload: text(31)}.Bytes()
		m[name+"udp-lite header only"] = testpkt.UDPLite{Src: src, Dst: dst, Coverage: 8, Payload: text(31)}.Bytes()
		m[name+"echo"] = testpkt.Echo{Src: src.Addr(), Dst: dst.Addr(), ID: 0x1234, Seq: 1, Payload: text(56)}.Bytes()
		m[name+"sctp"] = testpkt.SCTP{Src: src, Dst: dst, Tag: 99, Chunks: text(20)}.Bytes()
		m[name+"dccp"] = testpkt.DCCP{Src: src, Dst: dst, Type: 2, Options: text(12), Payload: text(17)}.Bytes()
		m[name+"dccp partly covered"] = testpkt.DCCP{Src: src, Dst: dst, Type: 2, Coverage: 2, Payload: text(17)}.Bytes()
	}
	return m
}

// mustParse parses a packet that the test made.
func mustParse(b []byte) Headers {
	h, reason := Parse(b)
	if reason != NotDropped {
		panic(reason.String())
	}
	return h
}
