package conntrack

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// TestQuotedExtensions: an ICMPv6 error finds its connection behind the extension headers of the packet that it quotes
// (RFC 8200, section 4), and only there; cut anywhere before eight bytes of the transport header it is refused.
func TestQuotedExtensions(t *testing.T) {
	src, dst := netip.AddrPortFrom(hostA6, 5000), netip.AddrPortFrom(hostB6, 53)
	hop, route, option := testpkt.Ext{Type: extHopByHop, Data: make([]byte, 6)}, testpkt.Ext{Type: extRouting, Data: make([]byte, 22)},
		testpkt.Ext{Type: extDestination, Data: make([]byte, 14)}
	many := make([]testpkt.Ext, maxExtensions)
	for i := range many {
		many[i] = option
	}
	for name, tt := range map[string]struct {
		ext  []testpkt.Ext
		want packet.DropReason
	}{
		"none":                  {nil, packet.NotDropped},
		"hop by hop":            {[]testpkt.Ext{hop}, packet.NotDropped},
		"three":                 {[]testpkt.Ext{hop, route, option}, packet.NotDropped},
		"a first fragment":      {[]testpkt.Ext{testpkt.FragHeader(0, true, 7)}, packet.NotDropped},
		"a later fragment":      {[]testpkt.Ext{testpkt.FragHeader(8, false, 7)}, packet.UnknownICMPError},
		"more than anyone uses": {many, packet.UnsupportedHeader},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			id := w.pass(testpkt.UDP{Src: src, Dst: dst, Payload: []byte("q")}.Bytes()).ID
			quoted := testpkt.UDP{Src: src, Dst: dst, Payload: []byte("q"), Ext: tt.ext}.Bytes()
			send := func(quote []byte) packet.DropReason {
				return w.send(testpkt.ICMP{Src: router6, Dst: hostA6, Type: packet.ICMPv6Unreachable, Code: 3, Payload: quote}.Bytes())
			}
			if reason := send(quoted); reason != tt.want || reason == packet.NotDropped && (w.c.ID != id || w.c.Info != InfoRelatedReply) {
				t.Fatalf("got %v and %v of %x, want %v", reason, w.c.Info, w.c.ID, tt.want)
			}
			for n := range len(quoted) - 1 { // it has nine bytes of transport
				if send(quoted[:n]) == packet.NotDropped {
					t.Errorf("%d bytes of %d are enough", n, len(quoted))
				}
			}
			binary.BigEndian.PutUint16(quoted, 0x4500)
			if got := send(quoted); got == packet.NotDropped {
				t.Error("a quote of the other family is believed")
			}
		})
	}
}
