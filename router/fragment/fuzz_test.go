package fragment

import (
	"bytes"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// FuzzRoundTrip: a packet that Fragment cut comes out of the Reassembler as it was, whatever the order, with
// duplicates; every fragment is a right packet of the asked size.
func FuzzRoundTrip(f *testing.F) {
	f.Add(udp4(1000), uint16(100), []byte{3, 1, 4, 1, 5})
	f.Add(udp6(1000), uint16(100), []byte{})
	f.Add(testpkt.UDP{Src: host4, Dst: peer4, Payload: text(500), IPOptions: []byte{0x83, 7, 4, 1, 2, 3, 4, 7, 3, 4}}.Bytes(), uint16(60), []byte{9})
	f.Add(testpkt.UDP{Src: host6, Dst: peer6, Payload: text(500), Ext: []testpkt.Ext{
		{Type: 0, Data: text(6)}, {Type: 43, Data: text(6)}, {Type: 60, Data: text(14)}}}.Bytes(), uint16(200), []byte{2})
	f.Fuzz(func(t *testing.T, b []byte, size uint16, order []byte) {
		h, reason := packet.Parse(b)
		if reason != packet.NotDropped || h.Fragment || h.L4Len() == 0 || h.FragHdr != 0 {
			return
		}
		b = b[:h.Len]
		var frags [][]byte
		reason = packet.Fragment(b, &h, int(size), 77, make([]byte, max(int(size), len(b))), func(frag []byte) bool {
			frags = append(frags, bytes.Clone(frag))
			return true
		})
		if reason != packet.NotDropped || len(frags) < 2 || len(frags) > maxFragments {
			if reason == packet.NotDropped && len(frags) == 0 {
				t.Fatal("no fragment")
			}
			return
		}
		for i, x := range order { // swap by what the fuzzer says
			j, k := i%len(frags), int(x)%len(frags)
			frags[j], frags[k] = frags[k], frags[j]
		}
		reassemble(t, b, frags, int(size))
	})
}

func reassemble(t *testing.T, want []byte, frags [][]byte, size int) {
	t.Helper()
	a := newAdder(t, plenty)
	for i, frag := range frags {
		if err := testpkt.Verify(frag); err != nil || len(frag) > size {
			t.Fatalf("fragment % x: %v, size %d", frag, err, size)
		}
		got := a.add(0, 1, frag)
		if last := i == len(frags)-1; got.reason != packet.NotDropped || (got.n > 0) != last {
			t.Fatalf("fragment %d of %d: %+v", i, len(frags), got)
		}
		if got.n == 0 {
			a.add(0, 1, frag) // a duplicate changes nothing
			continue
		}
		if !bytes.Equal(a.dst[:got.n], want) {
			t.Errorf("got % x, want % x", a.dst[:got.n], want)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	for name, whole := range map[string][]byte{"ipv4": udp4(8000), "ipv6": udp6(8000)} {
		b.Run(name, func(b *testing.B) {
			a, frags := newAdder(b, plenty), testpkt.Fragments(whole, 1500, 1)
			b.SetBytes(int64(len(whole)))
			b.ReportAllocs()
			for b.Loop() {
				for _, f := range frags {
					a.add(0, 1, f)
				}
			}
		})
	}
}
