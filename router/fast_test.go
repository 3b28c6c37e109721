package router

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// traffic is random traffic that both ways are to treat alike: hosts that talk UDP and TCP over the router, with
// what the fast path must leave alone between it.
type trafficSource struct {
	rand *rand.Rand
	seq  map[netip.AddrPort]uint32 // next sequence number of an endpoint
}

// next returns a packet and the side that it comes in by.
func (s *trafficSource) next() (side string, b []byte) {
	hosts := [][2]netip.Addr{{client4, server4}, {client6, server6}, {other4, server4}}
	wan := map[bool]netip.Addr{true: wan4, false: wan6}
	h := hosts[s.rand.IntN(len(hosts))]
	sport, dport := uint16(5000+s.rand.IntN(3)), uint16(80)
	src, dst := port(h[0], sport), port(h[1], dport)
	side = "lan0"
	if s.rand.IntN(2) == 0 {
		side, src, dst = "wan0", port(h[1], dport), port(wan[h[0].Is4()], sport)
	}
	payload := pattern(s.rand.IntN(1500))
	ttl := uint8(64)
	if s.rand.IntN(20) == 0 {
		ttl = uint8(1 + s.rand.IntN(2))
	}
	if s.rand.IntN(2) == 0 {
		b = testpkt.UDP{Src: src, Dst: dst, Payload: payload, TTL: ttl, DF: s.rand.IntN(2) == 0, ID: uint16(s.rand.Uint32())}.Bytes()
	} else {
		b = s.segment(src, dst, payload, ttl)
	}
	if s.rand.IntN(30) == 0 {
		b[s.rand.IntN(len(b))] ^= 1
	}
	return side, b
}

func (s *trafficSource) segment(src, dst netip.AddrPort, payload []byte, ttl uint8) []byte {
	flags := []uint8{packet.FlagACK, packet.FlagACK, packet.FlagACK, packet.FlagACK | packet.FlagPSH, packet.FlagSYN,
		packet.FlagSYN | packet.FlagACK, packet.FlagACK | packet.FlagFIN, packet.FlagRST}[s.rand.IntN(8)]
	if flags&packet.FlagSYN != 0 {
		payload = nil
	}
	seq := s.seq[src]
	if s.rand.IntN(10) == 0 {
		seq += s.rand.Uint32N(200000) - 100000
	}
	s.seq[src] = seq + uint32(len(payload))
	return testpkt.TCP{Src: src, Dst: dst, Seq: seq, Ack: s.seq[dst], Flags: flags, Payload: payload, TTL: ttl, DF: true}.Bytes()
}

// TestFastAsSlow: with the fast path on and off the same packets give the same bytes, counters, drops and state.
func TestFastAsSlow(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			fast, slow := testConfig(), testConfig()
			slow.NoFastPath = true
			a, b := newNetwork(t, withForward(fast)), newNetwork(t, withForward(slow))
			source := trafficSource{rand.New(rand.NewPCG(seed, 1)), map[netip.AddrPort]uint32{}}
			for i := range 600 {
				side, sent := source.next()
				got, want := a.send(side, bytes.Clone(sent)), b.send(side, sent)
				if diff := differ(got, want); diff != "" {
					t.Fatalf("packet %d, % x by %s: %s", i, sent, side, diff)
				}
				if i%50 == 0 {
					a.tick(10 * time.Second)
					b.tick(10 * time.Second)
				}
			}
			compareState(t, a, b)
			if a.r.Status().Fast == 0 || b.r.Status().Fast != 0 {
				t.Errorf("%d and %d packets took the fast path", a.r.Status().Fast, b.r.Status().Fast)
			}
		})
	}
}

func compareState(t *testing.T, a, b *network) {
	t.Helper()
	fa, _ := a.r.Flows(FlowFilter{})
	fb, _ := b.r.Flows(FlowFilter{})
	if !reflect.DeepEqual(fa, fb) {
		t.Errorf("flows differ:\n%+v\n%+v", fa, fb)
	}
	sa, sb := a.r.Status(), b.r.Status()
	sa.Fast, sb.Fast = 0, 0
	if !reflect.DeepEqual(sa, sb) {
		t.Errorf("status differs:\n%+v\n%+v", sa, sb)
	}
}

func differ(got, want map[string][]tun.Frame) string {
	for _, name := range []string{"lan0", "wan0"} {
		if len(got[name]) != len(want[name]) {
			return fmt.Sprintf("%s: %d packets, want %d", name, len(got[name]), len(want[name]))
		}
		for i := range got[name] {
			if !bytes.Equal(got[name][i].Bytes(), want[name][i].Bytes()) || got[name][i].Meta != want[name][i].Meta {
				return fmt.Sprintf("%s:\n% x, want\n% x", name, got[name][i].Bytes(), want[name][i].Bytes())
			}
		}
	}
	return ""
}

// TestFastRefusesTheWrongSide: an established flow's packet that comes in by the wrong interface is not taken.
func TestFastRefusesTheWrongSide(t *testing.T) {
	n := hostileNetwork(t)
	sent := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: []byte("x")}.Bytes()
	n.dropped(n.send("wan0", sent), packet.ReversePath)
	n.one(n.send("lan0", sent), "wan0")
	if n.r.Status().Fast == 0 {
		t.Error("the right side did not take the fast path")
	}
}
