package packet

import (
	"bytes"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// superSegment makes a super-segment as a kernel hands it over, with a partial checksum.
func superSegment(b []byte, gso GSOType, size uint16) ([]byte, Meta) {
	start, off := testpkt.MakePartial(b)
	return b, Meta{GSO: gso, SegSize: size, CsumStart: start, CsumOff: off}
}

func segments(b []byte, m *Meta) [][]byte {
	var all [][]byte
	h := mustParse(b)
	Segment(b, &h, m, make([]byte, len(b)), func(seg []byte) bool {
		all = append(all, bytes.Clone(seg))
		clear(seg) // emit may change it
		return true
	})
	return all
}

func TestSegmentTCP(t *testing.T) {
	const flags = FlagACK | FlagPSH | FlagFIN | FlagCWR | FlagECE
	b, m := superSegment(testpkt.TCP{Src: in4, Dst: out4, Seq: 0xffffff00, Ack: 5, Flags: flags, Options: tcpOptions,
		Payload: text(2500), ID: 0xffff, DF: true, TOS: 2, IPOptions: recordRoute}.Bytes(), GSOTCPv4, 1000)
	before, meta := bytes.Clone(b), m
	got := segments(b, &m)
	if !bytes.Equal(b, before) || m != meta {
		t.Error("the super-segment was changed")
	}
	want := [][]byte{
		testpkt.TCP{Src: in4, Dst: out4, Seq: 0xffffff00, Ack: 5, Flags: FlagACK | FlagECE | FlagCWR, Options: tcpOptions,
			Payload: text(2500)[:1000], ID: 0xffff, DF: true, TOS: 2, IPOptions: recordRoute}.Bytes(),
		testpkt.TCP{Src: in4, Dst: out4, Seq: 0x2e8, Ack: 5, Flags: FlagACK | FlagECE, Options: tcpOptions,
			Payload: text(2500)[1000:2000], ID: 0, DF: true, TOS: 2, IPOptions: recordRoute}.Bytes(),
		testpkt.TCP{Src: in4, Dst: out4, Seq: 0x6d0, Ack: 5, Flags: FlagACK | FlagECE | FlagPSH | FlagFIN, Options: tcpOptions,
			Payload: text(2500)[2000:], ID: 1, DF: true, TOS: 2, IPOptions: recordRoute}.Bytes(),
	}
	if len(got) != len(want) {
		t.Fatalf("%d segments, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("segment %d:\n% x, want\n% x", i, got[i][:80], want[i][:80])
		}
	}
}

func TestSegmentUDP(t *testing.T) {
	ext := []testpkt.Ext{hopByHop, destination}
	b, m := superSegment(testpkt.UDP{Src: in6, Dst: out6, Payload: text(250), Ext: ext}.Bytes(), GSOUDP, 100)
	for i, seg := range segments(b, &m) {
		want := testpkt.UDP{Src: in6, Dst: out6, Payload: text(250)[100*i : min(100*i+100, 250)], Ext: ext}.Bytes()
		if !bytes.Equal(seg, want) {
			t.Errorf("segment %d: % x, want % x", i, seg, want)
		}
	}
}

// What can't be segmented comes out whole and finished.
func TestSegmentWhole(t *testing.T) {
	tcp := testpkt.TCP{Src: in4, Dst: out4, Payload: text(300)}.Bytes()
	for name, tt := range map[string]struct {
		gso  GSOType
		size uint16
	}{
		"no GSO":                       {GSONone, 0},
		"no segment size":              {GSOTCPv4, 0},
		"GSO of the other family":      {GSOTCPv6, 100},
		"GSO of another protocol":      {GSOUDP, 100},
		"a type that nobody knows":     {GSOType(9), 100},
		"segments as long as the data": {GSOTCPv4, 300},
	} {
		b, m := superSegment(bytes.Clone(tcp), tt.gso, tt.size)
		if got := segments(b, &m); len(got) != 1 || !bytes.Equal(got[0], tcp) {
			t.Errorf("%s: %d segments", name, len(got))
		}
	}
	syn := testpkt.TCP{Src: in6, Dst: out6, Flags: FlagSYN}.Bytes()
	b, m := superSegment(bytes.Clone(syn), GSOTCPv6, 100)
	if got := segments(b, &m); len(got) != 1 || !bytes.Equal(got[0], syn) {
		t.Errorf("without payload: %d segments", len(got))
	}
}

func TestSegmentStops(t *testing.T) {
	b, m := superSegment(testpkt.TCP{Src: in4, Dst: out4, Payload: text(300)}.Bytes(), GSOTCPv4, 100)
	h, n := mustParse(b), 0
	Segment(b, &h, &m, make([]byte, 140), func([]byte) bool { n++; return n < 2 })
	if n != 2 {
		t.Errorf("emit called %d times, want 2", n)
	}
}

// FuzzSegment: each segment is a right packet no longer than asked, and their payloads, by sequence number, are the
// original's.
func FuzzSegment(f *testing.F) {
	for _, b := range samples() {
		f.Add(b, uint16(100), uint8(GSOTCPv4))
		f.Add(b, uint16(7), uint8(GSOUDP))
	}
	f.Add(testpkt.TCP{Src: in6, Dst: out6, Payload: text(9000)}.Bytes(), uint16(1440), uint8(GSOTCPv6))
	f.Fuzz(func(t *testing.T, b []byte, size uint16, gso uint8) {
		h, reason := Parse(b)
		if reason != NotDropped {
			return
		}
		b = b[:h.Len]
		ComputeTransport(b, &h)
		if testpkt.Verify(b) != nil {
			return // GRE has a sum of its own, and DCCP may claim to cover more than there is
		}
		m := Meta{GSO: GSOType(gso), SegSize: size}
		if !m.segmentable(&h) {
			if got := segments(b, &m); len(got) != 1 || !bytes.Equal(got[0], b) {
				t.Fatalf("not segmentable, but %d segments", len(got))
			}
			return
		}
		var payload []byte
		for i, seg := range segments(b, &m) {
			checkSegment(t, b, seg, &h, &m, i, len(payload))
			payload = append(payload, seg[h.Payload:]...)
		}
		if !bytes.Equal(payload, b[h.Payload:]) {
			t.Errorf("payload % x, want % x", payload, b[h.Payload:])
		}
	})
}

func checkSegment(t *testing.T, b, seg []byte, h *Headers, m *Meta, i, off int) {
	t.Helper()
	if err := testpkt.Verify(seg); err != nil {
		t.Fatalf("segment %d: %v", i, err)
	}
	got := mustParse(seg)
	want := *h
	want.Len = uint32(len(seg))
	if h.Family == 4 {
		want.ID = uint32(uint16(int(h.ID) + i))
	}
	last := off+len(seg)-int(h.Payload) == int(h.Len)-int(h.Payload)
	if n := len(seg) - int(h.Payload); got != want || n > int(m.SegSize) || !last && n != int(m.SegSize) {
		t.Errorf("segment %d: %d bytes, %+v, want %+v", i, n, got, want)
	}
	if h.Proto == ProtoTCP {
		s, o := TCP(seg[h.L4:]), TCP(b[h.L4:])
		if s.Seq() != o.Seq()+uint32(off) || !bytes.Equal(s.Options(), o.Options()) {
			t.Errorf("segment %d: sequence number %d or options", i, s.Seq())
		}
		if s.Flags()&FlagFIN != 0 && !last || s.Flags()&FlagCWR != 0 && i > 0 || last && (s.Flags()^o.Flags())&^FlagCWR != 0 {
			t.Errorf("segment %d: flags %08b of %08b", i, s.Flags(), o.Flags())
		}
	}
}

func TestSegmentNoAlloc(t *testing.T) {
	b, m := superSegment(testpkt.TCP{Src: in4, Dst: out4, Payload: text(30000)}.Bytes(), GSOTCPv4, 1448)
	h, scratch, bytes := mustParse(b), make([]byte, 1500), 0
	emit := func(seg []byte) bool { bytes += len(seg); return true }
	if n := testing.AllocsPerRun(100, func() { Segment(b, &h, &m, scratch, emit) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSegment(b *testing.B) {
	for name, size := range map[string]uint16{"tcp64k-1448": 1448, "tcp64k-536": 536} {
		b.Run(name, func(b *testing.B) {
			p, m := superSegment(testpkt.TCP{Src: in4, Dst: out4, Payload: text(64000)}.Bytes(), GSOTCPv4, size)
			h, scratch, n := mustParse(p), make([]byte, 1500), 0
			b.SetBytes(64000)
			b.ReportAllocs()
			for b.Loop() {
				Segment(p, &h, &m, scratch, func(seg []byte) bool { n++; return true })
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/segment")
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"ipv4 data", "ipv6 udp", "ipv6 extensions"} {
		b.Run(name, func(b *testing.B) {
			p := samples()[name]
			b.ReportAllocs()
			for b.Loop() {
				if _, reason := Parse(p); reason != NotDropped {
					b.Fatal(reason)
				}
			}
		})
	}
}
