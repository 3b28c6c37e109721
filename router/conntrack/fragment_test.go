package conntrack

import (
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// TestFragmentsHaveNoConnection: a later fragment has no ports. Its bytes are never taken for some: whoever does not
// reassemble gets it refused, also where they look like those of a connection.
func TestFragmentsHaveNoConnection(t *testing.T) {
	for _, e := range [][2]netip.Addr{{hostA, hostB}, {hostA6, hostB6}} {
		w := newWorld(t, nil)
		src, dst := netip.AddrPortFrom(e[0], 5000), netip.AddrPortFrom(e[1], 53)
		first := w.pass(testpkt.UDP{Src: src, Dst: dst, Payload: []byte("q")}.Bytes()).ID
		looksLike := testpkt.UDP{Src: src, Dst: dst, Payload: make([]byte, 40)}.Bytes()
		payload := append(make([]byte, 24), looksLike[len(looksLike)-48:]...) // so the second fragment begins with ports
		fragments := testpkt.Fragments(testpkt.UDP{Src: src, Dst: dst, Payload: payload}.Bytes(), len(looksLike)-48+32, 9)
		if len(fragments) < 2 {
			t.Fatalf("%d fragments", len(fragments))
		}
		for _, b := range fragments[1:] {
			w.refused(b, packet.FragmentInvalid)
		}
		if s := w.snap(first); s.Packets[Original] != 1 {
			t.Errorf("%d packets are counted, want 1", s.Packets[Original])
		}
		if n := w.t.Len(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	}
}
