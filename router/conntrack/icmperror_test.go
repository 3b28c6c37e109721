package conntrack

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// natted is a UDP connection A:5000 → B:53 that leaves as T:6000.
func natted(t *testing.T) *world {
	w := newWorld(t, nil)
	w.nat = snat(natT, 6000)
	w.pass(udp(hostA, 5000, hostB, 53))
	return w
}

func TestICMPErrors(t *testing.T) {
	outside := udp(natT, 6000, hostB, 53) // as a router beyond us saw it
	inside := udp(hostB, 53, hostA, 5000) // an answer as A saw it
	badSum := append([]byte(nil), outside...)
	badSum[10] ^= 1
	later := append([]byte(nil), outside...)
	later[7] = 1
	fixIP(later)
	nested := icmpError(router, natT, 3, 3, outside)
	for name, tt := range map[string]struct {
		b    []byte
		want packet.DropReason
		dir  Direction
	}{
		"port unreachable from B":              {icmpError(hostB, natT, 3, 3, outside), ok, Reply},
		"time exceeded on the way":             {icmpError(router, natT, 11, 0, outside), ok, Reply},
		"source quench passes":                 {icmpError(router, natT, 4, 0, outside), ok, Reply},
		"only eight bytes quoted":              {icmpError(router, natT, 11, 0, outside[:28]), ok, Reply},
		"from inside":                          {icmpError(hostA, hostB, 3, 3, inside), ok, Original},
		"vector 10: not to the one who sent":   {icmpError(router, hostA2, 3, 4, outside), packet.ForgedICMPError, 0},
		"quotes the inside address":            {icmpError(router, natT, 3, 3, udp(hostA, 5000, hostB, 53)), packet.UnknownICMPError, 0},
		"RFC 5508 REQ-3: quoted header sum":    {icmpError(router, natT, 3, 3, badSum), packet.ForgedICMPError, 0},
		"quotes a later fragment":              {icmpError(router, natT, 3, 3, later), packet.UnknownICMPError, 0},
		"about an error":                       {icmpError(router, natT, 3, 3, nested), packet.ForgedICMPError, 0},
		"about nobody's packet":                {icmpError(router, natT, 3, 3, udp(natT, 1, hostB, 53)), packet.UnknownICMPError, 0},
		"seven bytes of transport":             {icmpError(router, natT, 3, 3, outside[:27]), packet.Malformed, 0},
		"quotes nothing":                       {icmpError(router, natT, 3, 3, nil), packet.Malformed, 0},
		"redirect of a translated connection":  {icmpError(router, natT, 5, 1, outside), packet.NATUnmappable, 0},
		"quotes IPv6":                          {icmpError(router, natT, 3, 3, udp(hostA6, 1, hostB6, 2)), packet.ForgedICMPError, 0},
		"quotes a router advertisement":        {icmpError(router, natT, 3, 3, testpkt.ICMP{Src: natT, Dst: hostB, Type: 9}.Bytes()), packet.UnknownICMPError, 0},
		"quotes a header longer than its data": {icmpError(router, natT, 3, 3, append([]byte{0x4f}, outside[1:28]...)), packet.Malformed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := natted(t)
			id := w.c.ID
			before := w.snap(id)
			reason := w.send(tt.b)
			if reason != tt.want {
				t.Fatalf("got %v, want %v", reason, tt.want)
			}
			if w.snap(id) != before {
				t.Fatal("the error changed its connection")
			}
			if reason != packet.NotDropped {
				return
			}
			want := [2]Info{InfoRelated, InfoRelatedReply}[tt.dir]
			if w.c.Info != want || w.c.Dir != tt.dir || w.c.ErrorL3 != 28 || w.c.ID != id {
				t.Fatalf("%+v", w.c)
			}
		})
	}
}

func fixIP(b []byte) {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^packet.Checksum(b[:20], 0))
}

func TestRedirectOfUntranslated(t *testing.T) {
	w := newWorld(t, nil)
	b := udp(hostA, 5000, hostB, 53)
	w.pass(b)
	w.pass(icmpError(router, hostA, 5, 1, b))
	w.want(InfoRelatedReply, Confirmed)
}

func TestICMPv6Errors(t *testing.T) {
	w := newWorld(t, nil)
	b := udp(hostA6, 5000, hostB6, 53)
	w.pass(b)
	w.pass(icmpError(router6, hostA6, 2, 0, b))
	w.want(InfoRelatedReply, Confirmed)
	if w.c.ErrorL3 != 48 {
		t.Errorf("ErrorL3 %d", w.c.ErrorL3)
	}
	ext := testpkt.UDP{Src: netip.AddrPortFrom(hostA6, 5000), Dst: netip.AddrPortFrom(hostB6, 53),
		Ext: []testpkt.Ext{{Type: 0, Data: make([]byte, 6)}, testpkt.FragHeader(0, true, 9)}}.Bytes()
	w.pass(icmpError(router6, hostA6, 1, 4, ext))
	later := testpkt.UDP{Src: netip.AddrPortFrom(hostA6, 5000), Dst: netip.AddrPortFrom(hostB6, 53),
		Ext: []testpkt.Ext{testpkt.FragHeader(8, true, 9)}}.Bytes()
	w.refused(icmpError(router6, hostA6, 1, 4, later), packet.UnknownICMPError)
	w.refused(icmpError(router6, hostB6, 1, 4, b), packet.ForgedICMPError)
	for n := range len(b) {
		if reason := w.send(icmpError(router6, hostA6, 1, 4, b[:n])); (reason == ok) != (n >= 48) {
			t.Errorf("%d bytes quoted: %v", n, reason)
		}
	}
}

// TestICMPErrorTCPSequence: an error that ends or cripples a connection must quote what is in flight (RFC 5927,
// section 4.1).
func TestICMPErrorTCPSequence(t *testing.T) {
	for name, tt := range map[string]struct {
		typ, code uint8
		quote     seg
		want      packet.DropReason
	}{
		"frag needed about data in flight":  {3, 4, ab("A", 1501, 5001, 0), ok},
		"at the left edge":                  {3, 4, ab("A", 1101, 5001, 0), ok},
		"at the right edge":                 {3, 4, ab("A", 2101, 5001, 0), ok},
		"frag needed about old data":        {3, 4, ab("A", 1100, 5001, 0), packet.ForgedICMPError},
		"frag needed about data never sent": {3, 4, ab("A", 2102, 5001, 0), packet.ForgedICMPError},
		"port unreachable, blind":           {3, 3, ab("A", 0x50000000, 5001, 0), packet.ForgedICMPError},
		"protocol unreachable, blind":       {3, 2, ab("A", 0x50000000, 5001, 0), packet.ForgedICMPError},
		"soft: host unreachable":            {3, 1, ab("A", 0x50000000, 5001, 0), ok},
		"soft: time exceeded":               {11, 0, ab("A", 0x50000000, 5001, 0), ok},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.handshake(nil)
			w.pass(ab("PA", 1001, 5001, 100).bytes())
			w.pass(ba("A", 5001, 1101, 0).bytes())
			w.pass(ab("PA", 1101, 5001, 1000).bytes())
			if reason := w.send(icmpError(router, hostA, tt.typ, tt.code, tt.quote.bytes()[:28])); reason != tt.want {
				t.Fatalf("got %v, want %v", reason, tt.want)
			}
		})
	}
}

// slowQuote finds the tuple that an error is about, plainly, with testpkt's reader. It is the oracle of
// FuzzICMPError: what Track takes from an error must be what this reads.
func slowQuote(b []byte) (tp Tuple, readable bool) {
	outer, err := testpkt.Parse(b)
	if err != nil || outer.FragOff > 0 {
		return tp, false
	}
	in := b[outer.L4+8 : outer.Len]
	off, proto := 0, 0
	switch {
	case outer.Family == 4 && len(in) >= 20 && in[0]>>4 == 4:
		off, proto = int(in[0]&15)*4, int(in[9])
		if off < 20 || len(in) < off || packet.Checksum(in[:off], 0) != 0xffff || int(in[6]&0x1f)+int(in[7]) != 0 ||
			int(in[2])<<8+int(in[3]) < off {
			return tp, false
		}
		tp.Src, tp.Dst, tp.Family = netip.AddrFrom4([4]byte(in[12:16])).As16(), netip.AddrFrom4([4]byte(in[16:20])).As16(), 4
	case outer.Family == 6 && len(in) >= 40 && in[0]>>4 == 6:
		if in[6] != 17 && in[6] != 6 {
			return tp, false // extension headers have tests of their own
		}
		off, proto = 40, int(in[6])
		tp.Src, tp.Dst, tp.Family = [16]byte(in[8:24]), [16]byte(in[24:40]), 6
	default:
		return tp, false
	}
	if proto != 17 && proto != 6 || len(in) < off+8 {
		return tp, false
	}
	tp.Proto = uint8(proto)
	tp.SrcID, tp.DstID = binary.BigEndian.Uint16(in[off:]), binary.BigEndian.Uint16(in[off+2:])
	return tp, true
}

func FuzzICMPError(f *testing.F) {
	q4, q6 := udp(natT, 6000, hostB, 53), udp(hostA6, 5000, hostB6, 53)
	f.Add(icmpError(router, natT, 3, 3, q4))
	f.Add(icmpError(router, natT, 11, 0, q4[:28]))
	f.Add(icmpError(router, natT, 3, 4, seg{flags: "A"}.bytes()))
	f.Add(icmpError(router6, hostA6, 2, 0, q6))
	f.Add(icmpError(router, natT, 3, 3, testpkt.GREv1{Src: natT, Dst: hostB, CallID: 7}.Bytes()))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, reason := packet.Parse(b)
		if reason != packet.NotDropped || h.FragOff != 0 || h.Proto != packet.ProtoICMP && h.Proto != packet.ProtoICMPv6 {
			return
		}
		if (h.Proto == packet.ProtoICMP) != (h.Family == 4) || !packet.ICMPTypeIsError(b[h.L4], h.Family) {
			return
		}
		b = b[:h.Len]
		q, reason := readQuote(b, &h)
		want, readable := slowQuote(b)
		if !readable {
			if reason == packet.NotDropped && (q.key.proto() == packet.ProtoUDP || q.key.proto() == packet.ProtoTCP) && h.Family == 4 {
				t.Fatalf("read %v from what the oracle refuses", q.key.tuple())
			}
			return
		}
		if reason != packet.NotDropped || q.key.tuple() != want {
			t.Fatalf("%v %v, oracle %v", reason, q.key.tuple(), want)
		}
	})
}
