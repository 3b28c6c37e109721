package nat

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/natrouter/natrouter/router/packet"
)

// GRE call IDs come from their own pool.
func TestReserveCallID(t *testing.T) {
	w := newWorld(t, masquerade)
	outside := addr("203.0.113.1")
	ids := map[uint16]bool{}
	for range 100 {
		id, ok := w.nat.Reserve(w.now, packet.ProtoGRE, outside, netip.AddrPortFrom(outside, 7))
		if !ok || ids[id] || id == 0 {
			t.Fatalf("call ID %d, %v", id, ok)
		}
		ids[id] = true
	}
	if !ids[7] {
		t.Error("the ID that was wanted was free and not given")
	}
	if id, ok := w.nat.Reserve(w.now, packet.ProtoGRE, outside, netip.AddrPortFrom(outside, 0)); !ok || id == 0 {
		t.Errorf("for 0: %d, %v", id, ok)
	} else {
		w.nat.Unreserve(w.now, packet.ProtoGRE, outside, id)
	}
	wantEnds(t, w.pass(lan, udp("10.77.1.2:7", "198.51.100.7:53")), "203.0.113.1:7", "198.51.100.7:53")
	for id := range ids {
		w.nat.Unreserve(w.now, packet.ProtoGRE, outside, id)
		w.nat.Unreserve(w.now, packet.ProtoGRE, outside, id)
	}
	w.nat.Unreserve(w.now, packet.ProtoUDP, outside, 7) // a mapping's: not theirs to give back
	if s := w.nat.Stats(); s.Mappings != 1 {
		t.Errorf("%d mappings", s.Mappings)
	}
}

// Each peer of an outside address has call IDs of its own; those of any peer are nobody else's.
func TestCallIDPeers(t *testing.T) {
	n := newWorld(t, masquerade).nat
	outside, other := addr("203.0.113.1"), addr("203.0.113.2")
	peers := []netip.Addr{addr("198.51.100.7"), addr("198.51.100.8"), addr("2001:db8::7")}
	for _, p := range peers {
		if id, ok := n.ReserveCallID(0, outside, p, 7); !ok || id != 7 {
			t.Errorf("peer %s: %d, %v", p, id, ok)
		}
	}
	if id, ok := n.ReserveCallID(0, other, peers[0], 7); !ok || id != 7 {
		t.Errorf("another outside address: %d, %v", id, ok)
	}
	if id, ok := n.ReserveCallID(0, outside, peers[0], 7); !ok || id == 7 {
		t.Errorf("twice for a peer: %d, %v", id, ok)
	}
	if id, ok := n.ReserveCallID(0, outside, netip.Addr{}, 7); !ok || id == 7 {
		t.Errorf("any peer, and a call has it: %d, %v", id, ok)
	}
	if id, ok := n.ReserveCallID(0, outside, netip.Addr{}, 8); !ok || id != 8 {
		t.Errorf("any peer: %d, %v", id, ok)
	}
	if id, ok := n.ReserveCallID(0, outside, peers[0], 8); !ok || id == 8 {
		t.Errorf("a peer, and one of any has it: %d, %v", id, ok)
	}
	n.UnreserveCallID(0, outside, peers[0], 8) // not theirs
	n.UnreserveCallID(0, outside, netip.Addr{}, 7)
	if id, _ := n.ReserveCallID(100*second, outside, peers[1], 8); id == 8 {
		t.Error("another's reservation was given back")
	}
}

// A thousand IDs of any peer in a row are no end to those of one.
func TestCallIDsBesideThoseOfAny(t *testing.T) {
	n := newWorld(t, masquerade).nat
	outside := addr("203.0.113.1")
	for id := range uint16(10000) {
		n.ReserveCallID(0, outside, netip.Addr{}, 1+id)
	}
	for i := range 1000 {
		if id, ok := n.ReserveCallID(0, outside, addr("198.51.100.7"), 1+uint16(i)); !ok || id <= 10000 {
			t.Fatalf("call ID %d, %v", id, ok)
		}
	}
}

// Call IDs rest 30 s and are then forgotten with all that was kept of their peer, asked for or not.
func TestCallIDRest(t *testing.T) {
	n := newWorld(t, masquerade).nat
	outside := addr("203.0.113.1")
	peer := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}) }
	for i := range 1000 {
		n.ReserveCallID(0, outside, peer(i), 7)
		n.UnreserveCallID(0, outside, peer(i), 7)
	}
	if s := n.Stats(); s.Mappings != 0 || s.Quarantined != 1000 {
		t.Errorf("%d mappings, %d rest", s.Mappings, s.Quarantined)
	}
	if id, ok := n.ReserveCallID(29*second, outside, peer(0), 7); !ok || id == 7 {
		t.Errorf("used again before its time: %d, %v", id, ok)
	}
	if id, ok := n.ReserveCallID(30*second, outside, peer(1), 7); !ok || id != 7 {
		t.Errorf("not free in time: %d, %v", id, ok)
	}
	if s := n.Stats(); s.Quarantined != 0 || len(n.ports) != 2 || n.resting != nil {
		t.Errorf("%d rest, %d allocators", s.Quarantined, len(n.ports))
	}
}

// What rests is bounded by the number of mappings: the oldest give way.
func TestCallIDRestBound(t *testing.T) {
	w := newWorld(t, masquerade)
	n := w.nat
	n.max = 10
	outside := addr("203.0.113.1")
	for i := range 100 {
		peer := netip.AddrFrom4([4]byte{198, 18, 0, byte(i)})
		n.ReserveCallID(0, outside, peer, 7)
		n.UnreserveCallID(0, outside, peer, 7)
	}
	if s := n.Stats(); s.Quarantined != 10 || len(n.ports) != 10 || len(n.resting) != 10 {
		t.Errorf("%d rest, %d allocators", s.Quarantined, len(n.ports))
	}
}

// Reservations against a plain model: never one ID for two of a peer, nor before its rest is over.
func TestCallIDModel(t *testing.T) {
	type key struct {
		peer int
		id   uint16
	}
	test := t
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(test, masquerade)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		outside, peers := addr("203.0.113.1"), []netip.Addr{{}, addr("198.51.100.7"), addr("198.51.100.8")}
		live, until := map[key]bool{}, map[key]uint32{}
		clash := func(peer int, id uint16) bool {
			for k := range live {
				if k.id == id && (k.peer == peer || k.peer == 0 || peer == 0) {
					return true
				}
			}
			return until[key{peer, id}] > seconds(w.now)
		}
		for range 400 {
			w.now += second / 2
			peer := r.IntN(3)
			if r.IntN(3) > 0 {
				want := uint16(1 + r.IntN(20))
				id, ok := w.nat.ReserveCallID(w.now, outside, peers[peer], want)
				switch {
				case !ok || id == 0 || clash(peer, id):
					t.Fatalf("peer %d: %d, %v", peer, id, ok)
				case id != want && !clash(peer, want):
					t.Fatalf("peer %d got %d, %d was free", peer, id, want)
				}
				live[key{peer, id}] = true
				continue
			}
			k := key{peer, uint16(1 + r.IntN(20))}
			w.nat.UnreserveCallID(w.now, outside, peers[peer], k.id)
			if live[k] {
				delete(live, k)
				until[k] = seconds(w.now + callIDRest)
			}
		}
		if n := w.nat.Stats().Mappings; n != len(live) {
			t.Fatalf("%d mappings, want %d", n, len(live))
		}
		w.checkPorts(t)
	})
}
