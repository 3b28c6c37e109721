package alg

import (
	"strings"
	"testing"

	"github.com/natrouter/natrouter/router/packet"
)

// TestEditedDatagramLength: the length that an edited datagram says is its own, longer or shorter than before, so that its
// receiver gets all of it and no more (RFC 768).
func TestEditedDatagramLength(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, text := range []string{"nothing", "lan", "lan and lan", strings.Repeat("lan ", 300)} {
			w, _ := udpWorld(t)
			if v6 {
				w.useIPv6()
			}
			if reason := w.udp(0, text, packet.Meta{}); reason != packet.NotDropped {
				t.Fatal(reason)
			}
			want := strings.ReplaceAll(text, "lan", "outside")
			for _, b := range w.segments() {
				h, reason := packet.Parse(b)
				if reason != packet.NotDropped {
					t.Fatal(reason)
				}
				udp := packet.UDP(b[h.L4:h.Len])
				if got := string(udp.Payload()); udp.Length() != packet.UDPSize+len(want) || got != want {
					t.Errorf("length %d with %.40q, want %d with %.40q", udp.Length(), got, packet.UDPSize+len(want), want)
				}
			}
		}
	}
}
