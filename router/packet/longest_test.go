package packet

import (
	"bytes"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// TestParseLongest: the longest packets are read, by both parsers, and what their length fields can't say is not there.
func TestParseLongest(t *testing.T) {
	for name, tt := range map[string]struct {
		b    []byte
		want int
	}{
		"IPv4":                {testpkt.UDP{Src: in4, Dst: out4, Payload: make([]byte, 65507)}.Bytes(), MaxIPv4},
		"IPv6":                {testpkt.UDP{Src: in6, Dst: out6, Payload: make([]byte, 65527)}.Bytes(), MaxIPv6},
		"IPv6, 65536":         {testpkt.UDP{Src: in6, Dst: out6, Payload: make([]byte, 65488)}.Bytes(), 65536},
		"IPv6, TCP":           {testpkt.TCP{Src: in6, Dst: out6, Flags: FlagACK, Payload: make([]byte, 65515)}.Bytes(), MaxIPv6},
		"IPv6, header":        {testpkt.UDP{Src: in6, Dst: out6, Payload: make([]byte, 65519), Ext: []testpkt.Ext{{Type: 60, Data: make([]byte, 6)}}}.Bytes(), MaxIPv6},
		"IPv6, bytes behind":  {append(testpkt.UDP{Src: in6, Dst: out6, Payload: make([]byte, 65527)}.Bytes(), 1), MaxIPv6},
		"IPv6, one byte less": {testpkt.UDP{Src: in6, Dst: out6, Payload: make([]byte, 65527)}.Bytes()[:MaxIPv6-1], 0},
	} {
		h, reason := Parse(tt.b)
		if tt.want == 0 {
			if reason != Malformed {
				t.Errorf("%s: %s, want %s", name, reason, Malformed)
			}
			continue
		}
		plainly(t, tt.b)
		if reason != NotDropped || int(h.Len) != tt.want || h.L4Len() != tt.want-int(h.L4) || h.PayloadLen() != tt.want-int(h.Payload) {
			t.Fatalf("%s: %s, %+v, want %d bytes", name, reason, h, tt.want)
		}
		b := bytes.Clone(tt.b[:h.Len])
		ComputeTransport(b, &h)
		if err := testpkt.Verify(b); err != nil || VerifyTransport(b, &h, &Meta{}) != NotDropped {
			t.Errorf("%s: the computed checksum is wrong: %v", name, err)
		}
	}
}
