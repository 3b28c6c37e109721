package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// Every bit that a checksum covers, turned over, is noticed.
func TestVerifyTransportNoticesEveryBit(t *testing.T) {
	for name, b := range samples() {
		h := mustParse(b)
		if _, ok := checksumOff(h.Proto); !ok || h.Fragment || name == "udp without checksum" {
			continue
		}
		covered, _, _ := h.covered(b)
		for i := range covered {
			covered[i] ^= 0x10
			if h2, reason := Parse(b); reason == NotDropped && VerifyTransport(b, &h2, &Meta{}) == NotDropped {
				t.Errorf("%s: byte %d changed: passed", name, i)
			}
			covered[i] ^= 0x10
		}
	}
}

func TestVerifyTransportRules(t *testing.T) {
	broken := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	tcp, udp6 := testpkt.TCP{Src: in4, Dst: out4, Payload: text(4)}.Bytes(), testpkt.UDP{Src: in6, Dst: out6, Payload: text(4)}
	lite := testpkt.UDPLite{Src: in4, Dst: out4, Payload: text(4)}.Bytes()
	binary.BigEndian.PutUint16(lite[26:], 0)
	dccp := testpkt.DCCP{Src: in4, Dst: out4, Payload: text(4)}.Bytes()
	dccp[25] = 3 // two words of a payload of one
	gre := testpkt.GREv0{Src: in4.Addr(), Dst: out4.Addr(), Payload: tcp}.Bytes()
	trailing := append(testpkt.UDP{Src: in4, Dst: out4, Payload: text(5)}.Bytes(), 0xee)
	IPv4(trailing).SetTotalLen(len(trailing))
	IPv4(trailing).UpdateChecksum()
	for name, tt := range map[string]struct {
		in   []byte
		m    Meta
		want DropReason
	}{
		"complete":                          {tcp, Meta{}, NotDropped},
		"wrong":                             {broken(bytes.Clone(tcp)), Meta{}, BadChecksum},
		"wrong, but the kernel vouches":     {broken(bytes.Clone(tcp)), Meta{CsumValid: true}, NotDropped},
		"partial":                           {broken(bytes.Clone(tcp)), Meta{CsumStart: 20, CsumOff: 16}, NotDropped},
		"partial at another field":          {tcp, Meta{CsumStart: 20, CsumOff: 6}, BadChecksum},
		"partial in the IP header":          {tcp, Meta{CsumStart: 0, CsumOff: 10}, BadChecksum},
		"partial beyond the packet":         {tcp, Meta{CsumStart: 43, CsumOff: 16}, BadChecksum},
		"partial in TCP payload":            {tcp, Meta{CsumStart: 40, CsumOff: 2}, BadChecksum},
		"partial inside a tunnel":           {gre, Meta{CsumStart: 44, CsumOff: 16}, NotDropped},
		"partial behind a tunnel's packet":  {gre, Meta{CsumStart: 60, CsumOff: 16}, BadChecksum},
		"UDP without checksum over IPv4":    {testpkt.UDP{Src: in4, Dst: out4, NoChecksum: true}.Bytes(), Meta{}, NotDropped},
		"UDP without checksum over IPv6":    {testpkt.UDP{Src: in6, Dst: out6, NoChecksum: true}.Bytes(), Meta{}, BadChecksum},
		"UDP over IPv6":                     {udp6.Bytes(), Meta{}, NotDropped},
		"UDP-Lite without checksum":         {lite, Meta{}, BadChecksum},
		"DCCP covers more than there is":    {dccp, Meta{}, BadChecksum},
		"bytes behind a UDP datagram":       {trailing, Meta{}, NotDropped},
		"wrong, but a fragment":             {testpkt.Fragments(broken(bytes.Clone(tcp)), 28, 0)[0], Meta{}, NotDropped},
		"wrong, but a protocol without any": {broken(testpkt.Raw{Src: in4.Addr(), Dst: out4.Addr(), Proto: ProtoESP, Payload: text(9)}.Bytes()), Meta{}, NotDropped},
	} {
		h := mustParse(tt.in)
		if got := VerifyTransport(tt.in, &h, &tt.m); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestFinishChecksum(t *testing.T) {
	trailing := append(testpkt.UDP{Src: in4, Dst: out4, Payload: text(6)}.Bytes(), 0xee, 0xff)
	for name, b := range map[string][]byte{
		"tcp": testpkt.TCP{Src: in4, Dst: out4, Payload: text(33), IPOptions: recordRoute}.Bytes(),
		"udp": testpkt.UDP{Src: in6, Dst: out6, Payload: text(33), Ext: []testpkt.Ext{hopByHop}}.Bytes(),
	} {
		want := bytes.Clone(b)
		start, off := testpkt.MakePartial(b)
		h, m := mustParse(b), Meta{CsumStart: start, CsumOff: off}
		FinishChecksum(b, &h, &m)
		if !bytes.Equal(b, want) || m != (Meta{}) {
			t.Errorf("%s: % x, %+v, want % x", name, b, m, want)
		}
		FinishChecksum(b, &h, &m)
		if !bytes.Equal(b, want) {
			t.Errorf("%s: finished twice: changed", name)
		}
	}
	want := bytes.Clone(trailing)
	start, off := testpkt.MakePartial(trailing)
	IPv4(trailing).SetTotalLen(len(trailing))
	IPv4(trailing).UpdateChecksum()
	h, m := mustParse(trailing), Meta{CsumStart: start, CsumOff: off}
	if FinishChecksum(trailing, &h, &m); !bytes.Equal(trailing[20:], want[20:]) {
		t.Errorf("bytes behind a UDP datagram: % x, want % x", trailing, want)
	}
}

// 10.0.0.1:5000 to 10.0.0.2:53, payload d81a: the sum is 0 and goes out as ffff (RFC 768).
func TestUDPZeroVector(t *testing.T) {
	src, dst := netip.MustParseAddrPort("10.0.0.1:5000"), netip.MustParseAddrPort("10.0.0.2:53")
	b := testpkt.UDP{Src: src, Dst: dst, Payload: []byte{0xd8, 0x1a}}.Bytes()
	h := mustParse(b)
	start, off := testpkt.MakePartial(b)
	m := Meta{CsumStart: start, CsumOff: off}
	FinishChecksum(b, &h, &m)
	if got := UDP(b[20:]).Checksum(); got != 0xffff {
		t.Errorf("FinishChecksum: %04x, want ffff", got)
	}
	UDP(b[20:]).SetChecksum(0x1234)
	ComputeTransport(b, &h)
	if got := UDP(b[20:]).Checksum(); got != 0xffff {
		t.Errorf("ComputeTransport: %04x, want ffff", got)
	}
}

// A kernel leaves the checksum of a packet in a tunnel undone: finishing it touches nothing of the tunnel's header.
func TestFinishChecksumInTunnel(t *testing.T) {
	inner := testpkt.TCP{Src: in4, Dst: out4, Payload: text(33)}.Bytes()
	want := testpkt.GREv0{Src: in4.Addr(), Dst: out4.Addr(), Payload: inner}.Bytes()
	start, off := testpkt.MakePartial(inner)
	b := testpkt.GREv0{Src: in4.Addr(), Dst: out4.Addr(), Payload: inner}.Bytes()
	h, m := mustParse(b), Meta{CsumStart: 24 + start, CsumOff: off}
	if !m.PartialInner(&h) {
		t.Error("PartialInner = false")
	}
	if FinishChecksum(b, &h, &m); !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
}

func TestComputeTransport(t *testing.T) {
	for name, want := range samples() {
		h := mustParse(want)
		if h.Fragment || name == "udp without checksum" {
			continue
		}
		b := bytes.Clone(want)
		if at, ok := checksumOff(h.Proto); ok {
			binary.BigEndian.PutUint16(b[int(h.L4)+at:], 0xabcd)
		} else if h.Proto == ProtoSCTP {
			SCTP(b[h.L4:]).SetChecksum(0x1234567)
		}
		if ComputeTransport(b, &h); !bytes.Equal(b, want) {
			t.Errorf("%s: % x, want % x", name, b, want)
		}
		if n := testing.AllocsPerRun(100, func() { ComputeTransport(b, &h) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
