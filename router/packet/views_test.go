package packet

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
)

func TestIPv4View(t *testing.T) {
	b := testpkt.Raw{Src: in4.Addr(), Dst: out4.Addr(), Proto: 50, Payload: text(7), ID: 0x1234, DF: true, TOS: 0xb9, IPOptions: sourceRoute}.Bytes()
	ip, err := ParseIPv4(append(b, 9, 9))
	if err != nil || len(ip) != len(b) {
		t.Fatal(len(ip), err)
	}
	if ip.HeaderLen() != 28 || ip.TOS() != 0xb9 || ip.ID() != 0x1234 || !ip.DF() || ip.MoreFragments() || ip.FragOffset() != 0 ||
		ip.TTL() != 64 || ip.Proto() != 50 || !bytes.Equal(ip.Payload(), text(7)) || !bytes.Equal(ip.Options()[:7], sourceRoute) {
		t.Errorf("read % x wrong", ip)
	}
	ip.SetFragment(1480, true)
	if !ip.DF() || !ip.MoreFragments() || ip.FragOffset() != 1480 {
		t.Errorf("SetFragment: % x", ip[6:8])
	}
	ip.SetFragment(65528, false)
	if !ip.DF() || ip.MoreFragments() || ip.FragOffset() != 65528 {
		t.Errorf("SetFragment: % x", ip[6:8])
	}
	ip.SetID(7)
	ip.SetTTL(8)
	ip.UpdateChecksum()
	if h, reason := Parse(ip); reason != NotDropped || h.ID != 7 || h.TTL != 8 {
		t.Errorf("Parse = %+v, %v", h, reason)
	}
	for name, first := range map[string]byte{"version 6": 0x65, "header of 16 bytes": 0x44} {
		b[0] = first
		if _, err := ParseIPv4(b); !errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v, want ErrVersion", name, err)
		}
	}
}

func TestIPv6View(t *testing.T) {
	b := testpkt.Raw{Src: in6.Addr(), Dst: out6.Addr(), Proto: 50, Payload: text(7), TOS: 0xb9, TTL: 3}.Bytes()
	b[2], b[3] = 0x12, 0x34
	ip, err := ParseIPv6(append(b, 9, 9))
	if err != nil || len(ip) != len(b) {
		t.Fatal(len(ip), err)
	}
	if ip.TrafficClass() != 0xb9 || ip.FlowLabel() != 0x1234 || ip.PayloadLen() != 7 || ip.NextHeader() != 50 || ip.HopLimit() != 3 ||
		Addr(ip.Src()) != in6.Addr() || Addr(ip.Dst()) != out6.Addr() {
		t.Errorf("read % x wrong", ip)
	}
	ip.SetPayloadLen(6)
	ip.SetNextHeader(59)
	ip.SetHopLimit(9)
	if ip.PayloadLen() != 6 || ip.NextHeader() != 59 || ip.HopLimit() != 9 {
		t.Errorf("wrote % x wrong", ip)
	}
	b[0] = 0x45
	if _, err := ParseIPv6(b); !errors.Is(err, ErrVersion) {
		t.Errorf("version 4: %v, want ErrVersion", err)
	}
	big := make([]byte, 65540)
	big[0], big[4], big[5] = 0x60, 0xff, 0xff
	if _, err := ParseIPv6(big); !errors.Is(err, ErrTruncated) {
		t.Errorf("longer than 65535 bytes: %v, want ErrTruncated", err)
	}
}

func TestUDPViews(t *testing.T) {
	b := testpkt.UDP{Src: in4, Dst: out4, Payload: text(5)}.Bytes()[20:]
	u, err := ParseUDP(append(bytes.Clone(b), 1, 2))
	if err != nil || u.SrcPort() != 40000 || u.DstPort() != 1723 || u.Length() != 13 || !bytes.Equal(u.Payload(), text(5)) {
		t.Errorf("ParseUDP = % x, %v", u, err)
	}
	u.SetLength(7)
	if _, err := ParseUDP(u); !errors.Is(err, ErrLength) {
		t.Errorf("length 7: %v, want ErrLength", err)
	}
	for n := range b {
		if _, err := ParseUDP(b[:n]); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes: %v, want ErrTruncated", n, err)
		}
	}
	lite, err := ParseUDPLite(testpkt.UDPLite{Src: in4, Dst: out4, Coverage: 9, Payload: text(5)}.Bytes()[20:])
	if err != nil || lite.Length() != 9 || len(lite.Payload()) != 5 {
		t.Errorf("ParseUDPLite = % x, %v", lite, err)
	}
	for n := range UDPSize {
		if _, err := ParseUDPLite(lite[:n]); !errors.Is(err, ErrTruncated) {
			t.Errorf("UDP-Lite, %d bytes: %v, want ErrTruncated", n, err)
		}
	}
}

func TestSCTPAndDCCPViews(t *testing.T) {
	b := testpkt.SCTP{Src: in4, Dst: out4, Tag: 0xcafebabe, Chunks: text(8)}.Bytes()[20:]
	s, err := ParseSCTP(b)
	if err != nil || s.SrcPort() != 40000 || s.DstPort() != 1723 || s.Tag() != 0xcafebabe || !bytes.Equal(s.Chunks(), text(8)) || s.Checksum() != SCTPChecksum(s) {
		t.Errorf("ParseSCTP = % x, %v", s, err)
	}
	if _, err := ParseSCTP(b[:11]); !errors.Is(err, ErrTruncated) {
		t.Errorf("SCTP of 11 bytes: %v", err)
	}
	b = testpkt.DCCP{Src: in4, Dst: out4, Type: 7, Options: text(8), Payload: text(3)}.Bytes()[20:]
	d, err := ParseDCCP(b)
	if err != nil || d.SrcPort() != 40000 || d.DstPort() != 1723 || d.Type() != 7 || d.HeaderLen() != 20 {
		t.Errorf("ParseDCCP = % x, %v", d, err)
	}
	if d.SetChecksum(5); d.Checksum() != 5 {
		t.Error("SetChecksum did not write")
	}
	for n := range 20 {
		if _, err := ParseDCCP(b[:n]); !errors.Is(err, ErrTruncated) {
			t.Errorf("DCCP of %d bytes: %v", n, err)
		}
	}
	b[4] = 2
	if _, err := ParseDCCP(b); !errors.Is(err, ErrLength) {
		t.Errorf("DCCP data offset 2: %v", err)
	}
}

func TestICMPView(t *testing.T) {
	b := testpkt.Echo{Src: in4.Addr(), Dst: out4.Addr(), ID: 0x1234, Seq: 9, Payload: text(4)}.Bytes()[20:]
	c, err := ParseICMP(b)
	if err != nil || c.Type() != 8 || c.Code() != 0 || c.ID() != 0x1234 || c.Seq() != 9 || c.Rest() != 0x12340009 || !bytes.Equal(c.Payload(), text(4)) {
		t.Errorf("ParseICMP = % x, %v", c, err)
	}
	c.SetID(1)
	c.SetChecksum(2)
	if c.ID() != 1 || c.Checksum() != 2 || c.Seq() != 9 {
		t.Errorf("wrote % x wrong", c)
	}
	c.SetRest(0x0102_0578)
	if c.MTU(4) != 1400 || c.MTU(6) != 0x01020578 {
		t.Errorf("MTU %d and %d", c.MTU(4), c.MTU(6))
	}
	for n := range ICMPSize {
		if _, err := ParseICMP(b[:n]); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes: %v, want ErrTruncated", n, err)
		}
	}
}

// Every type of both families, against the lists of RFC 1122, section 3.2.2 and RFC 4443, section 2.1.
func TestICMPKinds(t *testing.T) {
	const errors4, queries4, replies4 = "\x03\x04\x05\x0b\x0c", "\x08\x0d\x0f\x11", "\x00\x0e\x10\x12"
	for typ := range 256 {
		c := make(ICMP, ICMPSize)
		c[0] = byte(typ)
		has := func(list string) bool { return bytes.IndexByte([]byte(list), byte(typ)) >= 0 }
		if query, reply := c.IsQuery(4); c.IsError(4) != has(errors4) || query != has(queries4) || reply != has(replies4) {
			t.Errorf("ICMP type %d: error %v, query %v, reply %v", typ, c.IsError(4), query, reply)
		}
		if query, reply := c.IsQuery(6); c.IsError(6) != (typ < 128) || query != (typ == 128) || reply != (typ == 129) {
			t.Errorf("ICMPv6 type %d: error %v, query %v, reply %v", typ, c.IsError(6), query, reply)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, addr := range []netip.Addr{in4.Addr(), in6.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		var a [16]byte
		AddrTo16(&a, addr.AsSlice())
		if a != addr.As16() || Is4In6(&a) != addr.Is4() {
			t.Errorf("AddrTo16(%v) = % x", addr, a)
		}
		back := make([]byte, len(addr.AsSlice()))
		if AddrFrom16(back, &a); Addr(back) != addr {
			t.Errorf("AddrFrom16(% x) = % x", a, back)
		}
	}
	if Addr([]byte{1, 2, 3}).IsValid() {
		t.Error("an address of three bytes")
	}
}
