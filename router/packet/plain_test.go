package packet

import "testing"

// plainly holds ParsePlain to its promise: what it takes is what Parse finds, and no common packet is left out.
func plainly(t *testing.T, b []byte) (taken bool) {
	t.Helper()
	var plain Headers
	taken = plain.ParsePlain(b)
	h, reason := Parse(b)
	common := reason == NotDropped && !h.Options && !h.Fragment && h.FragHdr == 0 &&
		(h.Proto == ProtoTCP || h.Proto == ProtoUDP)
	if taken != common {
		t.Errorf("% x: taken %v, but Parse says %v, %+v", b, taken, reason, h)
	}
	if taken && plain != h {
		t.Errorf("% x:\n%+v, want\n%+v", b, plain, h)
	}
	return taken
}

func TestParsePlain(t *testing.T) {
	taken := 0
	for name, b := range samples() {
		t.Run(name, func(t *testing.T) {
			if plainly(t, b) {
				taken++
			}
			for n := range b {
				plainly(t, b[:n])
			}
			for i := range min(len(b), 80) { // damage to each byte of the headers
				for bit := range 8 {
					damaged := append([]byte(nil), b...)
					damaged[i] ^= 1 << bit
					plainly(t, damaged)
				}
			}
		})
	}
	if taken < 2 {
		t.Errorf("%d samples were plain", taken)
	}
}

func FuzzParsePlain(f *testing.F) {
	for _, b := range samples() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { plainly(t, b) })
}

func BenchmarkParsePlain(b *testing.B) {
	for _, name := range []string{"ipv4 udp", "ipv4 data", "ipv6 udp", "ipv6 data"} {
		sent := samples()[name]
		var h Headers
		b.Run(name+"/plain", func(b *testing.B) {
			for b.Loop() {
				h.ParsePlain(sent)
			}
		})
		b.Run(name+"/whole", func(b *testing.B) {
			for b.Loop() {
				h.Parse(sent)
			}
		})
	}
}
