package tun

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/natrouter/natrouter/router/packet"
)

// vnetHeader returns a virtio header from its fields.
func vnetHeader(flags, gsoType byte, hdrLen, gsoSize, start, off uint16) []byte {
	b := []byte{flags, gsoType}
	for _, v := range []uint16{hdrLen, gsoSize, start, off} {
		b = binary.NativeEndian.AppendUint16(b, v)
	}
	return b
}

func TestDecodeVnet(t *testing.T) {
	udp4, _ := spec{payload: 300, partial: true}.build()
	udp6, _ := spec{family: 6, payload: 300, partial: true}.build()
	tcp4, _ := spec{proto: packet.ProtoTCP, payload: 300, partial: true}.build()
	tcp6, _ := spec{family: 6, proto: packet.ProtoTCP, payload: 300, partial: true, options: make([]byte, 12)}.build()
	long6, _ := spec{family: 6, proto: packet.ProtoTCP, payload: MaxPacket - packet.IPv6Size - packet.TCPSize, partial: true}.build()
	tcpMeta := packet.Meta{GSO: packet.GSOTCPv4, SegSize: 100, CsumStart: 20, CsumOff: 16}
	for name, tt := range map[string]struct {
		hdr, b []byte
		want   packet.Meta
		ok     bool
	}{
		"nothing to do":                     {vnetHeader(0, 0, 0, 0, 0, 0), udp4, packet.Meta{}, true},
		"fields without their flag":         {vnetHeader(0, 0, 9, 9, 9, 9), udp4, packet.Meta{}, true},
		"checked":                           {vnetHeader(2, 0, 0, 0, 0, 0), udp4, packet.Meta{CsumValid: true}, true},
		"partial UDP":                       {vnetHeader(1, 0, 0, 0, 20, 6), udp4, packet.Meta{CsumStart: 20, CsumOff: 6}, true},
		"partial TCP over IPv6":             {vnetHeader(1, 0, 0, 0, 40, 16), tcp6, packet.Meta{CsumStart: 40, CsumOff: 16}, true},
		"checksum in the IP header":         {vnetHeader(1, 0, 0, 0, 10, 2), udp4, packet.Meta{}, false},
		"checksum beyond the end":           {vnetHeader(1, 0, 0, 0, 327, 0), udp4, packet.Meta{}, false},
		"checksum half beyond the end":      {vnetHeader(1, 0, 0, 0, 320, 7), udp4, packet.Meta{}, false},
		"sum of start and offset overflows": {vnetHeader(1, 0, 0, 0, 0xffff, 0xffff), udp4, packet.Meta{}, false},
		"TCP super-segment":                 {vnetHeader(1, 1, 40, 100, 20, 16), tcp4, tcpMeta, true},
		"hdr_len is not believed":           {vnetHeader(1, 1, 3, 100, 20, 16), tcp4, tcpMeta, true},
		"with ECN": {vnetHeader(1, 0x81, 40, 100, 20, 16), tcp4,
			packet.Meta{GSO: packet.GSOTCPv4, ECN: true, SegSize: 100, CsumStart: 20, CsumOff: 16}, true},
		"TCP super-segment over IPv6": {vnetHeader(1, 4, 72, 100, 40, 16), tcp6,
			packet.Meta{GSO: packet.GSOTCPv6, SegSize: 100, CsumStart: 40, CsumOff: 16}, true},
		"the longest super-segment": {vnetHeader(1, 4, 60, 100, 40, 16), long6,
			packet.Meta{GSO: packet.GSOTCPv6, SegSize: 100, CsumStart: 40, CsumOff: 16}, true},
		"UDP super-segment": {vnetHeader(1, 5, 28, 100, 20, 6), udp4,
			packet.Meta{GSO: packet.GSOUDP, SegSize: 100, CsumStart: 20, CsumOff: 6}, true},
		"UDP super-segment over IPv6": {vnetHeader(1, 5, 48, 100, 40, 6), udp6,
			packet.Meta{GSO: packet.GSOUDP, SegSize: 100, CsumStart: 40, CsumOff: 6}, true},
		"super-segment, checksums checked": {vnetHeader(2, 1, 40, 100, 0, 0), tcp4,
			packet.Meta{GSO: packet.GSOTCPv4, SegSize: 100, CsumStart: 20, CsumOff: 16, CsumValid: true}, true},
		"super-segment of one segment": {vnetHeader(1, 1, 40, 300, 20, 16), tcp4, packet.Meta{CsumStart: 20, CsumOff: 16}, true},
		"super-segment, nothing known": {vnetHeader(0, 1, 40, 100, 0, 0), tcp4, packet.Meta{}, false},
		"segment size 0":               {vnetHeader(1, 1, 40, 0, 20, 16), tcp4, packet.Meta{}, false},
		"TCP said, UDP seen":           {vnetHeader(1, 1, 40, 100, 20, 16), udp4, packet.Meta{}, false},
		"IPv6 said, IPv4 seen":         {vnetHeader(1, 4, 40, 100, 20, 16), tcp4, packet.Meta{}, false},
		"UDP with ECN":                 {vnetHeader(1, 0x85, 28, 100, 20, 6), udp4, packet.Meta{}, false},
		"UFO, never asked for":         {vnetHeader(1, 3, 28, 100, 20, 6), udp4, packet.Meta{}, false},
		"checksum of something else":   {vnetHeader(1, 1, 40, 100, 24, 16), tcp4, packet.Meta{}, false},
		"a truncated super-segment":    {vnetHeader(1, 1, 40, 100, 20, 16), tcp4[:200], packet.Meta{}, false},
		"no packet at all":             {vnetHeader(1, 1, 40, 100, 20, 16), nil, packet.Meta{}, false},
	} {
		got, ok := decodeVnet(tt.hdr, bytes.Clone(tt.b))
		if got != tt.want || ok != tt.ok {
			t.Errorf("%s: decodeVnet = %+v, %v, want %+v, %v", name, got, ok, tt.want, tt.ok)
		}
	}
}

// TestDecodeVnetTunnel: a partial checksum of a packet within a packet is finished where it stands, because the
// Meta of a packet speaks of its own transport header.
func TestDecodeVnetTunnel(t *testing.T) {
	inner, _ := spec{payload: 50, partial: true}.build()
	want, _ := spec{payload: 50}.build()
	outer, m := spec{payload: len(inner), partial: true}.build()
	copy(outer[28:], inner)
	finished := whole(outer, m)[0]
	copy(finished[28:], inner)
	got, ok := decodeVnet(vnetHeader(1, 0, 0, 0, 48, 6), finished)
	if !ok || got.Partial() || !bytes.Equal(finished[28:], want) {
		t.Errorf("got %+v, %v, inner packet % x, want % x", got, ok, finished[28:], want)
	}
}

// FuzzVnet holds decoding to its promises, by a slow look at the same bytes, and encoding to decoding.
func FuzzVnet(f *testing.F) {
	for _, s := range []spec{
		{payload: 30, partial: true}, {family: 6, payload: 30, partial: true},
		{proto: packet.ProtoTCP, payload: 30, partial: true}, {family: 6, proto: packet.ProtoTCP, payload: 30, partial: true},
	} {
		b, _ := s.build()
		for _, kind := range []byte{0, 1, 3, 4, 5, 0x81} {
			for _, at := range [][2]uint16{{20, 6}, {20, 16}, {40, 6}, {40, 16}} {
				f.Add(vnetHeader(1, kind, 54, 10, at[0], at[1]), b)
			}
		}
		f.Add(vnetHeader(2, 1, 0, 7, 0, 0), b)
	}
	f.Fuzz(func(t *testing.T, hdr, b []byte) {
		if len(hdr) != vnetSize || len(b) > MaxPacket {
			return
		}
		before := bytes.Clone(b)
		m, ok := decodeVnet(hdr, b)
		if !ok {
			return
		}
		if slowlyWrong(hdr, before, b, m) {
			t.Fatalf("header % x, packet % x: Meta %+v", hdr, before, m)
		}
		if len(b) == 0 {
			return
		}
		if !validMeta(b, &m) {
			t.Fatalf("Meta %+v can't be written again", m)
		}
		again := make([]byte, vnetSize)
		encodeVnet(again, b, &m)
		m.CsumValid = false // not told to the other side
		if back, ok := decodeVnet(again, b); !ok || back != m {
			t.Fatalf("Meta %+v came back as %+v, %v", m, back, ok)
		}
	})
}

// slowlyWrong reports whether m, or what decoding changed in the packet, contradicts header and packet.
func slowlyWrong(hdr, before, b []byte, m packet.Meta) bool {
	h, reason := packet.Parse(before)
	changed := !bytes.Equal(before, b)
	if m.GSO != packet.GSONone {
		kind := map[packet.GSOType][2]uint8{
			packet.GSOTCPv4: {4, packet.ProtoTCP}, packet.GSOTCPv6: {6, packet.ProtoTCP}, packet.GSOUDP: {h.Family, packet.ProtoUDP},
		}[m.GSO]
		return reason != packet.NotDropped || h.Family != kind[0] || h.Proto != kind[1] || m.SegSize == 0 ||
			int(m.SegSize) >= len(b)-int(h.Payload) || m.CsumStart != h.L4 || (changed && hdr[0]&2 == 0)
	}
	if m.SegSize != 0 || m.ECN {
		return true
	}
	if m.Partial() {
		return int(m.CsumStart)+int(m.CsumOff)+2 > len(b) || m.CsumStart < 20
	}
	return changed && hdr[0]&1 == 0
}
