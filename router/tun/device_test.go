package tun

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// TestFramePackets: a frame counts as the packets that it is on the wire, also where the payload is whole segments.
func TestFramePackets(t *testing.T) {
	for _, tt := range []struct {
		payload, size int
		want          int
	}{{0, 1000, 1}, {1, 1000, 1}, {1000, 1000, 1}, {1001, 1000, 2}, {4000, 1000, 4}, {4001, 1000, 5}} {
		for name, b := range map[string][]byte{
			"TCP": testpkt.TCP{Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:2"), Options: []byte{1, 1, 1, 0}, Payload: make([]byte, tt.payload)}.Bytes(),
			"UDP": testpkt.UDP{Src: netip.MustParseAddrPort("[fd00::1]:1"), Dst: netip.MustParseAddrPort("[fd00::2]:2"), Payload: make([]byte, tt.payload)}.Bytes(),
		} {
			t.Run(fmt.Sprint(name, tt.payload), func(t *testing.T) {
				f := Frame{Buf: b, Len: len(b), Meta: packet.Meta{GSO: packet.GSOTCPv4, SegSize: uint16(tt.size)}}
				if name == "UDP" {
					f.Meta.GSO = packet.GSOUDP
				}
				if got := f.Packets(); got != 1 {
					t.Errorf("%d packets without a partial checksum, which no device takes", got)
				}
				f.Meta.CsumStart, f.Meta.CsumOff = testpkt.MakePartial(b)
				if got := f.Packets(); got != tt.want {
					t.Errorf("%d packets, want %d", got, tt.want)
				}
				f.Meta.GSO = packet.GSONone
				if got := f.Packets(); got != 1 {
					t.Errorf("%d packets of one", got)
				}
			})
		}
	}
}
