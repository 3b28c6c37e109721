package conntrack

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// slowTuple is the tuple of a packet by testpkt's reader and the table of docs/spec/conntrack.md, section 2.
func slowTuple(b []byte) (t Tuple, ok bool) {
	l, err := testpkt.Parse(b)
	if err != nil || l.FragOff > 0 {
		return t, false
	}
	src, _ := netip.AddrFromSlice(l.Src)
	dst, _ := netip.AddrFromSlice(l.Dst)
	t = Tuple{Src: src.As16(), Dst: dst.As16(), Proto: uint8(l.Proto), Family: uint8(l.Family)}
	l4 := b[l.L4:l.Len]
	word := func(at int) uint16 { return binary.BigEndian.Uint16(l4[at:]) }
	switch l.Proto {
	case 6, 17, 33, 132, 136:
		t.SrcID, t.DstID = word(0), word(2)
	case 1, 58:
		queries := map[int]string{4: "\x00\x08\x0d\x0e\x0f\x10\x11\x12", 6: "\x80\x81\x8b\x8c"}[l.Family]
		if (l.Proto == 1) != (l.Family == 4) {
			return t, false
		}
		for _, q := range []byte(queries) {
			ok = ok || q == l4[0]
		}
		t.SrcID, t.DstID = word(4), word(0)
		return t, ok
	case 47:
		return slowGRE(t, l4)
	}
	return t, true
}

func slowGRE(t Tuple, l4 []byte) (Tuple, bool) {
	at := 4
	if l4[0]>>7&1 == 1 || l4[0]>>6&1 == 1 {
		at = 8
	}
	key := l4[0]>>5&1 == 1
	switch l4[1] % 8 {
	case 0:
		if key && len(l4) >= at+4 {
			t.SrcID, t.DstID = binary.BigEndian.Uint16(l4[at:]), binary.BigEndian.Uint16(l4[at+2:])
		}
		return t, true
	case 1:
		if !key || at != 4 || l4[2] != 0x88 || l4[3] != 0x0b || len(l4) < 8 {
			return t, false
		}
		t.Family |= GREv1
		t.DstID = binary.BigEndian.Uint16(l4[6:])
		return t, true
	}
	return t, false
}

// FuzzTrack gives any bytes to the table. What is tracked has the tuple that the oracle reads; what has no tuple is
// not tracked; and the table counts right afterwards.
func FuzzTrack(f *testing.F) {
	for _, b := range [][]byte{
		seg{flags: "S", seq: 1, opts: synOpts}.bytes(), seg{flags: "A", opts: sackBlock(9)}.bytes(),
		udp(hostA, 1, hostB, 2), udp(hostA6, 1, hostB6, 2), echo(hostA, hostB, 7, false), echo(hostA6, hostB6, 7, false),
		grev1(hostA, hostB, 9), testpkt.GREv0{Src: hostA, Dst: hostB, HasChecksum: true, HasKey: true, Key: 77}.Bytes(),
		testpkt.SCTP{Src: tcpA, Dst: tcpB, Chunks: initChunk(chunkInit, 5)}.Bytes(),
		dccpLine{typ: dccpTypeRequest}.bytes(),
		testpkt.Raw{Src: hostA, Dst: hostB, Proto: 50, Payload: []byte("12345678")}.Bytes(),
		icmpError(router, hostA, 3, 3, udp(hostA, 1, hostB, 2)),
	} {
		f.Add(b, b[:len(b)-1])
		f.Add(b, udp(hostB, 2, hostA, 1))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		w := newWorld(t, func(c *Config) { c.Max = 100 })
		for _, b := range [][]byte{first, second, first} {
			before := w.t.Len()
			reason := w.send(b)
			tp, has := slowTuple(b)
			if reason == packet.NotDropped && w.c.ID != 0 && w.c.ErrorL3 == 0 {
				got := w.c.Tuples[w.c.Dir]
				if got.IsGREv1() {
					got.SrcID = 0
				}
				if plainGRE := got.Proto == 47 && !got.IsGREv1() && w.c.Dir == Reply; plainGRE {
					got.SrcID, got.DstID, tp.SrcID, tp.DstID = 0, 0, 0, 0 // found by its addresses
				}
				if !has || got != tp {
					t.Fatalf("tracked as %v, the oracle reads %v %v", got, tp, has)
				}
			}
			if !has && w.t.Len() > before {
				t.Fatal("a connection of a packet without a tuple")
			}
			w.now += sec
		}
		w.recount()
	})
}
