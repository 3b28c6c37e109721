package nat

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// bound returns the connection of a first packet, translated to the endpoints given; an empty one stays.
func bound(t testing.TB, b []byte, src, dst string) (packet.Headers, conntrack.Conn) {
	t.Helper()
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		t.Fatalf("Parse(% x): %v", b, reason)
	}
	var c conntrack.Conn
	p := conntrack.Packet{Bytes: b, H: &h, Meta: &packet.Meta{}}
	if reason := conntrack.New(conntrack.DefaultConfig()).Track(0, second, &p, &c); reason != packet.NotDropped {
		t.Fatalf("Track(% x): %v", b, reason)
	}
	bind(&c, src, dst)
	return h, c
}

func bind(c *conntrack.Conn, src, dst string) {
	if dst != "" {
		e := ap(dst)
		a := e.Addr().As16()
		setDestination(c, &a, e.Port())
	}
	if src != "" {
		e := ap(src)
		a := e.Addr().As16()
		setSource(c, &a, e.Port())
	}
}

func rewriteBoth(t testing.TB, b []byte, h *packet.Headers, m *packet.Meta, c *conntrack.Conn) {
	t.Helper()
	if reason := RewriteDst(b, h, m, c); reason != packet.NotDropped {
		t.Fatalf("RewriteDst(% x): %v", b, reason)
	}
	if reason := RewriteSrc(b, h, m, c, netip.Addr{}); reason != packet.NotDropped {
		t.Fatalf("RewriteSrc(% x): %v", b, reason)
	}
}

// TestVector1: RFC 1624, section 4: the sum is 0 and not ffff.
func TestVector1(t *testing.T) {
	if got := packet.Change16(0x5555, 0x3285).Apply(0xdd2f); got != 0 {
		t.Errorf("checksum %04x, want 0000", got)
	}
}

// TestVector2: docs/spec/nat.md, section 11.2.
func TestVector2(t *testing.T) {
	for name, tt := range map[string]struct {
		src  string
		ip   uint16
		sum  uint16
		port uint16
	}{
		"address":          {"198.51.100.1:40000", 0xd494, 0xa7d3, 40000},
		"address and port": {"198.51.100.1:40001", 0xd494, 0xa7d2, 40001},
	} {
		b, _ := hex.DecodeString("450000280001400040063d17c0a8010acb007105" + "9c4006bb000003e8000000005002faf010560000")
		h, c := bound(t, b, tt.src, "")
		rewriteBoth(t, b, &h, &packet.Meta{}, &c)
		tcp := packet.TCP(b[20:])
		if got := packet.IPv4(b).Checksum(); got != tt.ip {
			t.Errorf("%s: IP checksum %04x, want %04x", name, got, tt.ip)
		}
		if tcp.Checksum() != tt.sum || tcp.SrcPort() != tt.port {
			t.Errorf("%s: port %d, checksum %04x, want %d, %04x", name, tcp.SrcPort(), tcp.Checksum(), tt.port, tt.sum)
		}
	}
}

// TestVector3: a UDP checksum that is computed as 0 goes out as ffff, whichever way it is reached.
func TestVector3(t *testing.T) {
	b := testpkt.UDP{Src: ap("10.0.0.9:5000"), Dst: ap("10.0.0.2:53"), Payload: []byte{0xd8, 0x1a}}.Bytes()
	h, c := bound(t, b, "10.0.0.1:5000", "")
	rewriteBoth(t, b, &h, &packet.Meta{}, &c)
	if got := packet.UDP(b[20:]).Checksum(); got != 0xffff {
		t.Errorf("checksum %04x, want ffff", got)
	}
}

// TestVector4: docs/spec/nat.md, section 11.4.
func TestVector4(t *testing.T) {
	b := testpkt.Echo{Src: addr("10.0.0.1"), Dst: addr("10.0.0.2"), ID: 0x1234, Seq: 1}.Bytes()
	if got := packet.ICMP(b[20:]).Checksum(); got != 0xe5ca {
		t.Fatalf("the packet begins with %04x, want e5ca", got)
	}
	h, c := bound(t, b, "10.0.0.1:17185", "") // 0x4321
	rewriteBoth(t, b, &h, &packet.Meta{}, &c)
	if icmp := packet.ICMP(b[20:]); icmp.ID() != 0x4321 || icmp.Checksum() != 0xb4dd {
		t.Errorf("id %04x, checksum %04x, want 4321, b4dd", icmp.ID(), icmp.Checksum())
	}
}

// An echo answer of nothing but zeros is the one packet whose sum is 0, not ffff.
func TestRewriteAllZero(t *testing.T) {
	b := testpkt.Echo{Src: addr("10.77.1.2"), Dst: addr("198.51.100.7"), ID: 9}.Bytes()
	h, c := bound(t, b, "203.0.113.1:0", "")
	rewriteBoth(t, b, &h, &packet.Meta{}, &c)
	c.Dir = conntrack.Reply
	c.Tuples[0].SrcID, c.Tuples[1].SrcID = 0, 9
	b = testpkt.Echo{Src: addr("198.51.100.7"), Dst: addr("203.0.113.1"), ID: 9, Reply: true}.Bytes()
	rewriteBoth(t, b, &h, &packet.Meta{}, &c)
	if err := testpkt.Verify(b); err != nil || packet.ICMP(b[20:]).ID() != 0 {
		t.Errorf("% x: %v", b, err)
	}
}

// TestVector8: with a partial checksum only the pseudo-header counts.
func TestVector8(t *testing.T) {
	for name, src := range map[string]string{"address": "198.51.100.1:40000", "address and port": "198.51.100.1:40001"} {
		b := syn("192.168.1.10:40000", "203.0.113.5:1723")
		h, c := bound(t, b, src, "")
		m := packet.Meta{}
		m.CsumStart, m.CsumOff = testpkt.MakePartial(b)
		field := uint64(packet.TCP(b[20:]).Checksum())
		for _, v := range []uint16{^uint16(0xc0a8), 0xc633, ^uint16(0x010a), 0x6401} {
			field += uint64(v)
			field = field>>16 + field&0xffff
		}
		rewriteBoth(t, b, &h, &m, &c)
		if got := packet.TCP(b[20:]).Checksum(); got != uint16(field) {
			t.Errorf("%s: field %04x, want %04x", name, got, field)
		}
	}
}

func TestUDPWithoutChecksum(t *testing.T) {
	b := testpkt.UDP{Src: ap("10.77.1.2:5000"), Dst: ap("198.51.100.7:53"), Payload: []byte("x"), NoChecksum: true}.Bytes()
	h, c := bound(t, b, "203.0.113.1:6000", "")
	rewriteBoth(t, b, &h, &packet.Meta{}, &c)
	if got := packet.UDP(b[20:]).Checksum(); got != 0 {
		t.Errorf("checksum %04x, want none", got)
	}
}

// A wrong checksum stays wrong: a rewrite is no repair (docs/spec/nat.md, section 5).
func TestWrongChecksumStaysWrong(t *testing.T) {
	for name, b := range map[string][]byte{
		"TCP":  syn("10.77.1.2:5000", "198.51.100.7:80"),
		"UDP":  udp("10.77.1.2:5000", "198.51.100.7:53"),
		"SCTP": testpkt.SCTP{Src: ap("10.77.1.2:5000"), Dst: ap("198.51.100.7:80"), Chunks: sctpInit}.Bytes(),
	} {
		h, c := bound(t, b, "203.0.113.1:6000", "198.51.100.9:81")
		b[len(b)-1] ^= 0x5a
		rewriteBoth(t, b, &h, &packet.Meta{}, &c)
		if testpkt.Verify(b) == nil {
			t.Errorf("%s: the rewrite made the checksum right", name)
		}
	}
}

// sctpInit is an INIT chunk (RFC 9260, section 3.3.2).
var sctpInit = []byte{1, 0, 0, 20, 1, 2, 3, 4, 0, 0, 0x80, 0, 0, 10, 0, 10, 5, 6, 7, 8}

// firstPackets are first packets of connections of each protocol, by the family of their addresses.
func firstPackets(src, dst netip.AddrPort, payload []byte) map[string][]byte {
	return map[string][]byte{
		"TCP": testpkt.TCP{Src: src, Dst: dst, Seq: 1, Flags: packet.FlagSYN, Payload: payload, Options: []byte{2, 4, 5, 180}}.Bytes(),
		"UDP": testpkt.UDP{Src: src, Dst: dst, Payload: payload}.Bytes(),
		"UDP-Lite": testpkt.UDPLite{
			Src: src, Dst: dst, Payload: payload, Coverage: 8,
		}.Bytes(),
		"DCCP": dccpRequest(src, dst, payload),
		"SCTP": testpkt.SCTP{Src: src, Dst: dst, Chunks: sctpInit}.Bytes(),
		"echo": testpkt.Echo{Src: src.Addr(), Dst: dst.Addr(), ID: src.Port(), Payload: payload}.Bytes(),
		"ESP":  testpkt.Raw{Src: src.Addr(), Dst: dst.Addr(), Proto: packet.ProtoESP, Payload: append([]byte{1, 2, 3, 4, 0, 0, 0, 1}, payload...)}.Bytes(),
		"GRE":  testpkt.GREv0{Src: src.Addr(), Dst: dst.Addr(), HasChecksum: true, HasKey: true, Key: 7, Payload: payload}.Bytes(),
	}
}

// dccpRequest returns a DCCP-Request (RFC 4340, section 5.2).
func dccpRequest(src, dst netip.AddrPort, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = append(b, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9, 't', 'e', 's', 't') // offset, coverage, checksum, type and X, sequence, service
	b = append(b, payload...)
	sum := packet.PseudoHeader(src.Addr().AsSlice(), dst.Addr().AsSlice(), packet.ProtoDCCP, len(b))
	binary.BigEndian.PutUint16(b[6:], ^packet.Checksum(b, sum))
	return testpkt.Raw{Src: src.Addr(), Dst: dst.Addr(), Proto: packet.ProtoDCCP, Payload: b}.Bytes()
}

// TestRewriteProtocols: each protocol of docs/spec/nat.md, section 4, both manipulations and both directions, with
// checksums right by an independent sum, and nothing but endpoints changed.
func TestRewriteProtocols(t *testing.T) {
	for family, e := range map[string][4]string{
		"IPv4": {"10.77.1.2:40000", "203.0.113.1:8080", "198.51.100.1:40001", "10.88.0.9:80"},
		"IPv6": {"[fd77::2]:40000", "[2001:db8:113::1]:8080", "[2001:db8:113::5]:40001", "[fd88::9]:80"},
	} {
		for name, b := range firstPackets(ap(e[0]), ap(e[1]), []byte("some payload!")) {
			t.Run(family+"/"+name, func(t *testing.T) {
				want := bytes.Clone(b)
				h, c := bound(t, b, "", "")
				bindAs(&c, ap(e[2]), ap(e[3]))
				rewriteBoth(t, b, &h, &packet.Meta{}, &c)
				if err := testpkt.Verify(b); err != nil {
					t.Fatalf("% x: %v", b, err)
				}
				checkTuple(t, b, c.Target())
				r := NewRewrite(&c, conntrack.Original)
				fast := bytes.Clone(want)
				if reason := r.Apply(fast, &h, &packet.Meta{}); reason != packet.NotDropped || !bytes.Equal(fast, b) {
					t.Errorf("Rewrite gives % x (%v), the hooks % x", fast, reason, b)
				}
				back(&c)
				rewriteBoth(t, b, &h, &packet.Meta{}, &c)
				if !bytes.Equal(b, want) {
					t.Errorf("back: % x, want % x", b, want)
				}
			})
		}
	}
}

// bindAs translates to two endpoints; protocols without ports take the addresses.
func bindAs(c *conntrack.Conn, src, dst netip.AddrPort) {
	s, d := src.Addr().As16(), dst.Addr().As16()
	proto := c.Tuples[0].Proto
	switch {
	case hasPorts(proto):
		setDestination(c, &d, dst.Port())
		setSource(c, &s, src.Port())
	case isICMP(proto):
		setDestination(c, &d, c.Tuples[1].SrcID)
		setSource(c, &s, src.Port())
	default:
		setDestination(c, &d, c.Tuples[1].SrcID)
		setSource(c, &s, c.Tuples[1].DstID)
	}
}

// back turns the connection so that its rewrite undoes itself: packets that left are taken as arriving ones.
func back(c *conntrack.Conn) {
	target := c.Target()
	orig := c.Tuples[0]
	c.Tuples[0] = target
	c.Tuples[1], _ = orig.Inverse()
}

// checkTuple checks that a packet carries a tuple.
func checkTuple(t testing.TB, b []byte, want conntrack.Tuple) {
	t.Helper()
	h, _ := packet.Parse(b)
	var c conntrack.Conn
	p := conntrack.Packet{Bytes: b, H: &h, Meta: &packet.Meta{}}
	if reason := conntrack.New(conntrack.DefaultConfig()).Track(0, second, &p, &c); reason != packet.NotDropped {
		t.Fatalf("Track(% x): %v", b, reason)
	}
	if c.Tuples[0] != want {
		t.Errorf("packet carries %+v, want %+v", c.Tuples[0], want)
	}
}

// TestRewriteCallID: a GRE packet names its receiver's call ID, so only the DST position writes it (docs/spec/nat.md,
// section 4; RFC 2637, section 4.1).
func TestRewriteCallID(t *testing.T) {
	const greV1 = 0x10
	tuple := func(src, dst string, srcID, dstID uint16) conntrack.Tuple {
		return conntrack.Tuple{
			Src: addr(src).As16(), Dst: addr(dst).As16(), SrcID: srcID, DstID: dstID, Proto: packet.ProtoGRE, Family: 4 | greV1,
		}
	}
	c := conntrack.Conn{
		Tuples: [2]conntrack.Tuple{tuple("10.77.1.2", "198.51.100.7", 11, 22), tuple("198.51.100.7", "203.0.113.1", 22, 33)},
		Status: conntrack.SrcNAT,
	}
	gre := func(src, dst string, id uint16) []byte {
		return testpkt.GREv1{Src: addr(src), Dst: addr(dst), CallID: id, HasSeq: true, Payload: []byte("ppp")}.Bytes()
	}
	for _, tt := range []struct {
		dir      conntrack.Direction
		in, want []byte
	}{
		{conntrack.Original, gre("10.77.1.2", "198.51.100.7", 22), gre("203.0.113.1", "198.51.100.7", 22)},
		{conntrack.Reply, gre("198.51.100.7", "203.0.113.1", 33), gre("198.51.100.7", "10.77.1.2", 11)},
	} {
		c.Dir = tt.dir
		h, reason := packet.Parse(tt.in)
		if reason != packet.NotDropped {
			t.Fatal(reason)
		}
		rewriteBoth(t, tt.in, &h, &packet.Meta{}, &c)
		if !bytes.Equal(tt.in, tt.want) {
			t.Errorf("direction %d: % x, want % x", tt.dir, tt.in, tt.want)
		}
	}
}

// A later fragment has no transport header: its payload must not be touched, and a first one keeps its sum over
// the whole datagram.
func TestRewriteFragments(t *testing.T) {
	whole := testpkt.UDP{Src: ap("10.77.1.2:5000"), Dst: ap("198.51.100.7:53"), Payload: bytes.Repeat([]byte("abcdefg"), 300)}.Bytes()
	h, c := bound(t, whole, "203.0.113.1:6000", "")
	want := bytes.Clone(whole)
	rewriteBoth(t, want, &h, &packet.Meta{}, &c)
	for i, f := range testpkt.Fragments(whole, 1280, 0) {
		h, reason := packet.Parse(f)
		if reason != packet.NotDropped {
			t.Fatal(reason)
		}
		rewriteBoth(t, f, &h, &packet.Meta{}, &c)
		if err := testpkt.Verify(f); err != nil {
			t.Errorf("fragment %d: %v", i, err)
		}
		off := 20 + int(h.FragOff)
		if !bytes.Equal(f[20:], want[off:off+len(f)-20]) {
			t.Errorf("fragment %d differs from the datagram's part", i)
		}
	}
}

// A header that is shorter than its protocol needs is refused, not read behind.
func TestRewriteTruncated(t *testing.T) {
	for name, b := range firstPackets(ap("10.77.1.2:40000"), ap("203.0.113.1:8080"), nil) {
		h, c := bound(t, b, "", "")
		bindAs(&c, ap("198.51.100.1:40001"), ap("10.88.0.9:80"))
		r := NewRewrite(&c, conntrack.Original)
		if name == "ESP" || name == "GRE" {
			continue // addresses only
		}
		for n := int(h.L4); n < int(h.L4)+int(layouts[h.Proto].need); n++ {
			cut := h
			cut.Len, cut.Payload = uint32(n), uint16(n)
			if reason := r.Apply(bytes.Clone(b[:n]), &cut, &packet.Meta{}); reason != packet.Malformed {
				t.Errorf("%s cut to %d: %v, want Malformed", name, n, reason)
			}
		}
	}
}

func TestRewriteAllocs(t *testing.T) {
	for name, b := range firstPackets(ap("10.77.1.2:40000"), ap("203.0.113.1:8080"), []byte("payload")) {
		h, c := bound(t, b, "", "")
		bindAs(&c, ap("198.51.100.1:40001"), ap("10.88.0.9:80"))
		m := packet.Meta{}
		r := NewRewrite(&c, conntrack.Original)
		if n := testing.AllocsPerRun(100, func() {
			RewriteDst(b, &h, &m, &c)
			RewriteSrc(b, &h, &m, &c, netip.Addr{})
			r.Apply(b, &h, &m)
		}); n != 0 {
			t.Errorf("%s: %v allocations a packet", name, n)
		}
	}
}

// FuzzRewrite: whatever the packet, and whether its checksum was right or wrong, the incremental update differs from
// a recomputed sum exactly as before.
func FuzzRewrite(f *testing.F) {
	for _, e := range [][2]string{{"10.77.1.2:40000", "203.0.113.1:8080"}, {"[fd77::2]:40000", "[2001:db8:113::1]:8080"}} {
		for _, b := range firstPackets(ap(e[0]), ap(e[1]), []byte("seed")) {
			f.Add(b, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, uint16(1), uint16(2))
		}
	}
	f.Fuzz(func(t *testing.T, b, to []byte, srcID, dstID uint16) {
		h, reason := packet.Parse(b)
		if reason != packet.NotDropped || h.Fragment {
			return
		}
		b = b[:h.Len]
		var c conntrack.Conn
		p := conntrack.Packet{Bytes: b, H: &h, Meta: &packet.Meta{}}
		if conntrack.New(conntrack.DefaultConfig()).Track(0, second, &p, &c) != packet.NotDropped || c.Info != conntrack.InfoNew {
			return
		}
		var src, dst [16]byte
		copy(src[:], to)
		copy(dst[:], to[min(len(to), 7):])
		if h.Family == 4 {
			copy(src[:], []byte{10: 0xff, 11: 0xff})
			copy(dst[:], []byte{10: 0xff, 11: 0xff})
			clear(src[:10])
			clear(dst[:10])
		}
		bindAs(&c, netip.AddrPortFrom(netip.AddrFrom16(src), srcID), netip.AddrPortFrom(netip.AddrFrom16(dst), dstID))
		c.Tuples[1].Src, c.Tuples[1].Dst = dst, src
		before := sumError(b, &h)
		rewriteBoth(t, b, &h, &packet.Meta{}, &c)
		if after := sumError(b, &h); before != after {
			t.Errorf("% x: the sum was off by %04x and is by %04x", b, before, after)
		}
	})
}

// sumError returns how far a packet's transport checksum is from right: 0 is right, or that there is none.
func sumError(b []byte, h *packet.Headers) uint16 {
	off, pseudo := checksumOffset(h.Proto)
	l4 := b[h.L4:h.Len]
	if off == 0 {
		return 0
	}
	if h.Proto == packet.ProtoUDP || h.Proto == packet.ProtoUDPLite {
		if binary.BigEndian.Uint16(l4[6:]) == 0 {
			return 0
		}
	}
	var sum uint32
	add := func(b []byte) {
		for i, v := range b {
			sum += uint32(v) << (8 * (1 - i&1))
		}
	}
	if pseudo {
		add(h.Src(b))
		add(h.Dst(b))
	}
	add(l4)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	// The rest of the pseudo-header does not change: what matters is the sum modulo ffff.
	return uint16(sum % 0xffff)
}

func TestClampMSS(t *testing.T) {
	mss := []byte{2, 4, 0x05, 0xb4} // 1460
	odd := []byte{1, 2, 4, 0x05, 0xb4, 0, 0, 0}
	for name, tt := range map[string]struct {
		flags   uint8
		options []byte
		to      uint16
		want    []byte
	}{
		"lowered":               {packet.FlagSYN, mss, 1400, []byte{2, 4, 0x05, 0x78}},
		"SYN-ACK":               {packet.FlagSYN | packet.FlagACK, mss, 1400, []byte{2, 4, 0x05, 0x78}},
		"never raised":          {packet.FlagSYN, mss, 1461, mss},
		"equal":                 {packet.FlagSYN, mss, 1460, mss},
		"no SYN":                {packet.FlagACK, mss, 1400, mss},
		"at an odd offset":      {packet.FlagSYN, odd, 1400, []byte{1, 2, 4, 0x05, 0x78, 0, 0, 0}},
		"behind another option": {packet.FlagSYN, []byte{3, 3, 7, 1, 2, 4, 0x05, 0xb4}, 536, []byte{3, 3, 7, 1, 2, 4, 0x02, 0x18}},
		"absent stays absent":   {packet.FlagSYN, []byte{3, 3, 7, 1}, 1400, []byte{3, 3, 7, 1}},
		"behind the end":        {packet.FlagSYN, []byte{0, 2, 4, 0x05, 0xb4, 0, 0, 0}, 1400, []byte{0, 2, 4, 0x05, 0xb4, 0, 0, 0}},
		"no options":            {packet.FlagSYN, nil, 1400, nil},
		"zero length":           {packet.FlagSYN, []byte{3, 0, 2, 4}, 1400, []byte{3, 0, 2, 4}},
		"too long":              {packet.FlagSYN, []byte{2, 5, 0x05, 0xb4}, 1400, []byte{2, 5, 0x05, 0xb4}},
		"wrong length":          {packet.FlagSYN, []byte{2, 3, 0x05, 1}, 100, []byte{2, 3, 0x05, 1}},
	} {
		for _, e := range [][2]string{{"10.0.0.1:1", "10.0.0.2:2"}, {"[fd00::1]:1", "[fd00::2]:2"}} {
			build := testpkt.TCP{Src: ap(e[0]), Dst: ap(e[1]), Flags: tt.flags, Options: tt.options}
			b := build.Bytes()
			build.Options = tt.want
			want := build.Bytes()
			h, reason := packet.Parse(b)
			if reason != packet.NotDropped {
				t.Fatal(name, reason)
			}
			ClampMSS(b, &h, &packet.Meta{}, tt.to)
			if !bytes.Equal(b, want) {
				t.Errorf("%s: % x, want % x", name, b, want)
			}
			partial := build
			partial.Options = tt.options
			b = partial.Bytes()
			m := packet.Meta{}
			m.CsumStart, m.CsumOff = testpkt.MakePartial(b)
			field := packet.TCP(b[h.L4:]).Checksum()
			ClampMSS(b, &h, &m, tt.to)
			if got := packet.TCP(b[h.L4:]); got.Checksum() != field || !bytes.Equal(got.Options(), tt.want) {
				t.Errorf("%s, partial: checksum %04x options % x, want %04x % x", name, got.Checksum(), got.Options(), field, tt.want)
			}
		}
	}
}
