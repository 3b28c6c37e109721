package nat

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// endpointOf draws from few addresses and ports, so that many changes are none, and some are by words of all ones.
func endpointOf(r *rand.Rand, v6 bool) netip.AddrPort {
	ports := []uint16{1, 80, 5000, 0xffff, 0xff00, 0x00ff}
	a := netip.AddrFrom4([4]byte{10, byte(r.IntN(2)) * 255, 255, byte(1 + r.IntN(2))})
	if v6 {
		b := netip.MustParseAddr("fd00::ffff:0:0:1").As16()
		b[3], b[15] = byte(r.IntN(2))*255, byte(1+r.IntN(2))
		a = netip.AddrFrom16(b)
	}
	return netip.AddrPortFrom(a, ports[r.IntN(len(ports))])
}

// forwardCase is a packet and the translation of its connection.
func forwardCase(t *testing.T, r *rand.Rand) ([]byte, packet.Headers, packet.Meta, conntrack.Conn) {
	t.Helper()
	v6 := r.IntN(3) == 0
	src, dst := endpointOf(r, v6), endpointOf(r, v6)
	id, ttl, df := uint16(r.Uint32()), uint8(2+r.IntN(254)), r.IntN(2) == 0
	payload := make([]byte, r.IntN(40))
	for i := range payload {
		payload[i] = byte(r.IntN(2)) * 255
	}
	var b []byte
	switch r.IntN(3) {
	case 0:
		b = testpkt.TCP{Src: src, Dst: dst, Flags: packet.FlagACK, Payload: payload, ID: id, TTL: ttl, DF: df}.Bytes()
	case 1:
		b = testpkt.UDP{Src: src, Dst: dst, Payload: payload, ID: id, TTL: ttl, DF: df, NoChecksum: !v6 && r.IntN(4) == 0}.Bytes()
	default:
		b = testpkt.GREv1{Src: src.Addr(), Dst: dst.Addr(), CallID: dst.Port(), HasSeq: true, Payload: payload}.Bytes()
	}
	h, c := bound(t, b, "", "")
	if to := endpointOf(r, v6); r.IntN(4) != 0 {
		a := to.Addr().As16()
		setSource(&c, &a, to.Port())
	}
	if to := endpointOf(r, v6); r.IntN(2) == 0 {
		a := to.Addr().As16()
		setDestination(&c, &a, to.Port())
	}
	var m packet.Meta
	none := h.Proto == packet.ProtoUDP && packet.UDP(b[h.L4:]).Checksum() == 0
	if h.Proto != packet.ProtoGRE && !none && r.IntN(2) == 0 {
		off, _ := checksumOffset(h.Proto)
		m.CsumStart, m.CsumOff = h.L4, uint16(off)
		sum := packet.PseudoHeader(h.Src(b), h.Dst(b), h.Proto, int(h.L4Len()))
		binary.BigEndian.PutUint16(b[h.L4+uint16(off):], sum)
	}
	return b, h, m, c
}

// TestForward: byte for byte what the parts do that it stands for.
func TestForward(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	w, twin := newWorld(t, masquerade), newWorld(t, masquerade)
	sources, same := 0, 0
	for range 5000 {
		b, h, m, c := forwardCase(t, r)
		want, was := bytes.Clone(b), bytes.Clone(b)
		rewrite := NewRewrite(&c, conntrack.Original)
		if reason := rewrite.Apply(want, &h, &m); reason != packet.NotDropped {
			t.Fatal(reason)
		}
		if SharesSource(&c) {
			sources++
			twin.nat.RewriteID(want, &h, &m)
		}
		if rewrite.Empty() {
			same++
		}
		packet.DecrementTTL(want, &h)

		target := c.Target()
		x := conntrack.Exit{Source: SharesSource(&c), IDs: uint32(target.SrcID)<<16 | uint32(target.DstID),
			Pair: uint64(binary.BigEndian.Uint32(target.Src[12:]))<<32 | uint64(binary.BigEndian.Uint32(target.Dst[12:])),
			Src:  target.Src, Dst: target.Dst}
		w.nat.Forward(b, &h, &m, &x)
		if !bytes.Equal(b, want) {
			t.Fatalf("% x, %+v:\n% x, want\n% x", was, m, b, want)
		}
	}
	if sources < 1000 || same < 100 {
		t.Errorf("%d packets got a source, %d stayed the same: the test has lost its point", sources, same)
	}
}

func TestForwardAllocs(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	w := newWorld(t, masquerade)
	for range 50 {
		b, h, m, c := forwardCase(t, r)
		target := c.Target()
		x := conntrack.Exit{Source: true, IDs: uint32(target.SrcID)<<16 | uint32(target.DstID)}
		if n := testing.AllocsPerRun(10, func() { w.nat.Forward(b, &h, &m, &x) }); n != 0 {
			t.Errorf("%v allocations a packet", n)
		}
	}
}
