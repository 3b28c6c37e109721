package router

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// TestLongEcho: the router's own host answers echo requests up to the longest, in fragments that fit its interface,
// also where netstack cuts to more than that (its least MTU is 1280). All but the first fragment were dropped once.
func TestLongEcho(t *testing.T) {
	for _, tt := range []struct {
		client, router netip.Addr
		kind           uint8
		mtu, size      int
	}{
		{client4, lan4, 8, 1500, 65507},
		{client4, lan4, 8, 1500, 1473},
		{client4, lan4, 8, 576, 3000},
		{client6, lan6, 128, 1500, 65527},
		{client6, lan6, 128, 1280, 1233},
	} {
		cfg := testConfig()
		cfg.Interfaces[0].MTU = tt.mtu
		n := newNetwork(t, cfg, func(p *tun.PairConfig) { p.Depth = 4096 })
		whole := testpkt.ICMP{Src: tt.client, Dst: tt.router, Type: tt.kind, Rest: 7<<16 | 1, IPID: 5, Payload: pattern(tt.size)}.Bytes()
		frames := n.send("lan0", cut(t, whole, tt.mtu)...)["lan0"]
		for i := range frames {
			if frames[i].Len > tt.mtu {
				t.Errorf("%s: a packet of %d bytes, the MTU is %d", tt.client, frames[i].Len, tt.mtu)
			}
		}
		got := putTogether(t, frames)
		if len(frames) < 2 || len(got) != len(whole) || !bytes.Equal(got[len(got)-tt.size:], pattern(tt.size)) {
			t.Errorf("%s: %d bytes came back of %d, or other ones; drops %v", tt.client, len(got), len(whole), n.drops())
		}
		if n.r.fragments.Len() != 0 {
			t.Errorf("%d datagrams are left", n.r.fragments.Len())
		}
	}
}

// TestOwnFragmentTimeout: what netstack began and did not finish is counted, and nobody is told.
func TestOwnFragmentTimeout(t *testing.T) {
	n := newNetwork(t, testConfig())
	first := cut(t, testpkt.UDP{Src: port(lan4, 5000), Dst: port(client4, 53), Payload: pattern(3000)}.Bytes(), 1500)[0]
	h, _ := packet.Parse(first)
	if _, _, _, reason := n.r.fragments.Add(n.r.now(), -1, first, &h, make([]byte, bufferSize)); reason != packet.NotDropped {
		t.Fatal(reason)
	}
	n.tick(31e9)
	n.dropped(n.collect(), packet.FragmentTimeout)
}
