package ppp

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// deframe gives b to a deframer in pieces of a size.
func deframe(d *Deframer, b []byte, piece int) (frames [][]byte) {
	for part := range slices.Chunk(b, piece) {
		d.Push(part, func(f []byte) { frames = append(frames, bytes.Clone(f)) })
	}
	return frames
}

// lcpFrame is a Terminate-Request with ID 2, and lcpLine how it begins on the line, up to its FCS.
var (
	lcpFrame = []byte{0xff, 0x03, 0xc0, 0x21, 0x05, 0x02, 0x00, 0x04}
	lcpLine  = []byte{0x7e, 0xff, 0x7d, 0x23, 0xc0, 0x21, 0x7d, 0x25, 0x7d, 0x22, 0x7d, 0x20, 0x7d, 0x24}
)

// TestFCS has the check value of this CRC, 906e for the nine digits, and the law of RFC 1662, appendix C.2.
func TestFCS(t *testing.T) {
	digits := []byte("123456789")
	sum := ^fcs(initialFCS, digits)
	if sum != 0x906e {
		t.Errorf("FCS of %q is %04x, want 906e", digits, sum)
	}
	if got := fcs(initialFCS, append(digits, byte(sum), byte(sum>>8))); got != goodFCS {
		t.Errorf("FCS over a frame with its FCS is %04x, want %04x", got, goodFCS)
	}
}

func TestAppendFrame(t *testing.T) {
	got := AppendFrame(nil, lcpFrame)
	// The last two octets before the flag are the FCS, which TestFCS has checked.
	sum := ^fcs(initialFCS, lcpFrame)
	want := slices.Concat(lcpLine, appendEscaped(nil, []byte{byte(sum), byte(sum >> 8)}), []byte{0x7e})
	if !bytes.Equal(got, want) {
		t.Errorf("AppendFrame(% x) = % x, want % x", lcpFrame, got, want)
	}
	for _, octet := range got[1 : len(got)-1] {
		if octet < 0x20 || octet == flag {
			t.Errorf("octet %02x is in % x", octet, got)
		}
	}
}

func TestDeframer(t *testing.T) {
	line := AppendFrame(nil, lcpFrame)
	long := AppendFrame(nil, make([]byte, maxFrame))
	wrong := slices.Clone(line)
	wrong[5] ^= 1
	for name, tt := range map[string]struct {
		in   []byte
		want int // frames
	}{
		"one":                       {line, 1},
		"two":                       {slices.Concat(line, line), 2},
		"one flag between two":      {slices.Concat(line[:len(line)-1], line), 2},
		"noise before the flag":     {slices.Concat([]byte("CONNECT 115200\r\n"), line), 1},
		"no flag before":            {line[1:], 0},
		"no flag behind":            {line[:len(line)-1], 0},
		"FCS wrong":                 {wrong, 0},
		"aborted":                   {slices.Concat(line[:len(line)-1], []byte{escape}, line), 1},
		"too long":                  {slices.Concat(long, line), 1},
		"flags only":                {bytes.Repeat([]byte{flag}, 5), 0},
		"shorter than a FCS":        {[]byte{flag, 'a', flag, 'b', 'c', flag}, 0},
		"good one behind truncated": {slices.Concat(line[:6], line), 1},
	} {
		for _, piece := range []int{1, 3, len(tt.in)} {
			var d Deframer
			got := deframe(&d, tt.in, piece)
			if len(got) != tt.want {
				t.Errorf("%s, in pieces of %d: %d frames, want %d", name, piece, len(got), tt.want)
			}
			for _, f := range got {
				if !bytes.Equal(f, lcpFrame) {
					t.Errorf("%s: frame % x, want % x", name, f, lcpFrame)
				}
			}
		}
	}
	for n := range line {
		var d Deframer
		if got := deframe(&d, line[:n], len(line)); len(got) != 0 {
			t.Errorf("of %d of %d octets came % x", n, len(line), got)
		}
	}
}

// FuzzDeframer: whatever came before, a frame between flags comes out as it went in, at any cut; and what comes out of
// noise comes out of it cut elsewhere too.
func FuzzDeframer(f *testing.F) {
	f.Add([]byte("noise"), lcpFrame, uint8(1))
	f.Add(AppendFrame(nil, lcpFrame), []byte{0xff, 3, 0, 0x21, 0x7d, 0x7e, 0}, uint8(7))
	f.Add([]byte{flag, escape}, []byte{escape}, uint8(200))
	f.Fuzz(func(t *testing.T, noise, frame []byte, piece uint8) {
		if len(frame) == 0 || len(frame) > maxFrame-fcsSize {
			return
		}
		in := AppendFrame(append(slices.Clone(noise), flag), frame)
		var cut, whole Deframer
		got, want := deframe(&cut, in, int(piece)+1), deframe(&whole, in, len(in))
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Fatalf("in pieces of %d: % x, at once: % x", int(piece)+1, got, want)
		}
		if len(got) == 0 || !bytes.Equal(got[len(got)-1], frame) {
			t.Errorf("sent % x, got % x", frame, got)
		}
	})
}

// TestDeframerForgetsNothing sends frames of all sizes back to back.
func TestDeframerForgetsNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var line []byte
	var want [][]byte
	for n := 1; n < 600; n++ {
		f := make([]byte, n)
		for i := range f {
			f[i] = byte(r.Uint32())
		}
		want = append(want, f)
		line = AppendFrame(line, f)
	}
	var d Deframer
	if got := deframe(&d, line, 512); !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%d frames came of %d, or others", len(got), len(want))
	}
}
