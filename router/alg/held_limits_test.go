package alg

import (
	"bytes"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// TestHeldLimits: segments that come before their turn wait, up to a number and to a number of bytes; the others are
// dropped, for their sender sends them again. What is there already costs nothing. When the gap is filled all that
// waited leaves.
func TestHeldLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		size, fit int // bytes of a segment, and how many of them wait
	}{
		"segments": {10, maxHeldSegments},
		"bytes":    {3000, maxHeldBytes / 3000},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.connect()
			w.room = 65535
			line := append(bytes.Repeat([]byte("x"), tt.size-1), '\n')
			send := func(i int) packet.DropReason {
				return w.raw(0, testpkt.TCP{Seq: w.ends[0].isn + 1 + uint32(i*tt.size), Ack: w.ends[1].isn + 1, Flags: packet.FlagACK, Payload: line}, packet.Meta{})
			}
			for i := 1; i <= tt.fit; i++ {
				for range 2 {
					if reason := send(i); reason != packet.NotDropped || len(w.out) != 0 {
						t.Fatalf("segment %d before its turn: %v, %d packets left", i, reason, len(w.out))
					}
				}
			}
			if reason := send(tt.fit + 1); reason != packet.HelperDropped {
				t.Errorf("one more: %v, want %v", reason, packet.HelperDropped)
			}
			if got, want := w.kit.held.Load(), int64(tt.fit*tt.size); got != want {
				t.Errorf("%d bytes wait, want %d", got, want)
			}
			if reason := send(0); reason != packet.NotDropped {
				t.Fatal(reason)
			}
			left := 0
			for _, f := range w.out {
				h, reason := packet.Parse(f.b)
				if reason != packet.NotDropped {
					t.Fatal(reason)
				}
				left += int(h.PayloadLen())
			}
			if want := (tt.fit + 1) * tt.size; left != want || w.kit.held.Load() != 0 {
				t.Errorf("%d bytes left, want %d; %d wait still", left, want, w.kit.held.Load())
			}
		})
	}
}
