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

// FuzzAdd feeds pieces of any offset and length; a plain model, a map of bytes, says what must come out.
func FuzzAdd(f *testing.F) {
	f.Add([]byte{0, 2, 1, 2, 1, 0})
	f.Add([]byte{2, 1, 0, 0, 2, 1})
	f.Add([]byte{0, 2, 1, 1, 2, 1, 3, 1, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		a := newAdder(t, plenty)
		var m model
		for ; len(script) >= 3; script = script[3:] {
			off, n, more := int(script[0]%8)*8, int(script[1]%4)*8, script[2]&1 == 1
			if !more && n > 0 {
				n -= int(script[2] >> 1 % 8)
			}
			if off == 0 && !more {
				continue // no fragment
			}
			got := a.add(0, 1, piece4(off, n, more))
			done, dropped := m.add(off, n, more)
			if (got.n > 0) != done || (got.reason != packet.NotDropped) != dropped {
				t.Fatalf("off %d, %d bytes, more %v: %+v, model: done %v, dropped %v", off, n, more, got, done, dropped)
			}
			if done {
				if want := text(m.end); !bytes.Equal(a.dst[20:got.n], want) {
					t.Fatalf("payload % x, want % x", a.dst[20:got.n], want)
				}
				m = model{}
			}
		}
	})
}

// model is a datagram as sets of what was seen.
type model struct {
	have map[int]bool    // bytes that are there
	seen map[[3]int]bool // off, length, 1 for the last
	end  int             // 0: not known
	bad  bool
}

func (m *model) add(off, n int, more bool) (done, dropped bool) {
	if n == 0 {
		return false, true
	}
	id := [3]int{off, n, 0}
	if !more {
		id[2] = 1
	}
	if m.have == nil {
		m.have, m.seen = map[int]bool{}, map[[3]int]bool{}
	}
	if !m.bad && m.seen[id] {
		return false, false
	}
	for i := off; i < off+n; i++ {
		m.bad = m.bad || m.have[i]
		m.have[i] = true
	}
	m.seen[id] = true
	if !more {
		m.bad = m.bad || m.end != 0
		m.end = off + n
	}
	for i := range m.have {
		m.bad = m.bad || m.end != 0 && i >= m.end
	}
	return !m.bad && m.end != 0 && len(m.have) == m.end, m.bad
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
