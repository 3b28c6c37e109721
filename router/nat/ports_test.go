package nat

import (
	"testing"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
	"pgregory.net/rapid"
)

// find against a plain map: it gives the first free port of the parity from the start on, around the end.
func TestPortsFind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p ports
		model := map[uint16]bool{}
		base := rapid.SampledFrom([]uint16{0, 100, 1024, 65300}).Draw(t, "base")
		near := rapid.Uint16Range(base, base+200)
		for range rapid.IntRange(0, 200).Draw(t, "taken") {
			if port := near.Draw(t, "port"); !model[port] {
				p.take(port)
				model[port] = true
			} else if rapid.Bool().Draw(t, "free") {
				p.free(port)
				delete(model, port)
			}
		}
		if p.used != len(model) {
			t.Fatalf("%d ports are used, want %d", p.used, len(model))
		}
		a, b, s := near.Draw(t, "first"), near.Draw(t, "last"), uint16(0)
		r := conntrack.PortRange{First: min(a, b), Last: max(a, b)}
		s = rapid.Uint16Range(r.First, r.Last).Draw(t, "start")
		parity := rapid.SampledFrom([]uint64{anyParity, even, odd}).Draw(t, "parity")
		want, found := slowFind(model, r, s, parity)
		if got, ok := p.find(r, s, parity); ok != found || (ok && got != want) {
			t.Fatalf("find(%v, %d, %x) = %d, %v, want %d, %v", r, s, parity, got, ok, want, found)
		}
	})
}

func slowFind(taken map[uint16]bool, r conntrack.PortRange, start uint16, parity uint64) (uint16, bool) {
	size := int(r.Last-r.First) + 1
	for i := range size {
		port := r.First + uint16((int(start-r.First)+i)%size)
		if !taken[port] && parity>>(port&63)&1 != 0 {
			return port, true
		}
	}
	return 0, false
}

// The last free port is found, whatever its parity, and then none.
func TestPortsExhaustive(t *testing.T) {
	n, err := New(testConfig(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint16{50000, 50001, 300, 700} {
		p := new(ports)
		seen := map[uint16]bool{}
		for {
			port, ok := n.choose(p, &request{proto: packet.ProtoUDP, want: want})
			if !ok {
				break
			}
			if seen[port] {
				t.Fatalf("port %d twice", port)
			}
			seen[port] = true
		}
		size := 65536 - 1024 // a small class that is full goes on in the large one
		switch want {
		case 300:
			size += 511
		case 700:
			size += 424
		}
		if len(seen) != size {
			t.Errorf("want %d: %d ports, want %d", want, len(seen), size)
		}
		for _, again := range []uint16{50003, 1024, 65535} { // and one that is given back is found again
			p.free(again)
			if port, ok := n.choose(p, &request{proto: packet.ProtoUDP, want: want}); !ok || port != again {
				t.Errorf("want %d: got %d, %v, want %d", want, port, ok, again)
			}
		}
	}
}

// port_choice = "random": not the inside port, not the neighbour of the last one (RFC 6056, section 2).
func TestPortsRandom(t *testing.T) {
	cfg := testConfig()
	cfg.Defaults.PortRandom = true
	n, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := new(ports)
	kept, neighbours, last := 0, 0, uint16(0)
	for i := range 1000 {
		port, _ := n.choose(p, &request{proto: packet.ProtoTCP, want: uint16(2000 + i)})
		if int(port) == 2000+i {
			kept++
		}
		if port == last+1 {
			neighbours++
		}
		last = port
	}
	if kept > 5 || neighbours > 5 {
		t.Errorf("%d of 1000 kept, %d neighbours", kept, neighbours)
	}
}

// The indexes against a map, with hashes that collide.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex(0)
		model := map[indexEntry]bool{}
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			e := indexEntry{rapid.Uint32Range(0, 40).Draw(t, "hash") * 0x01000193, rapid.Uint32Range(1, 30).Draw(t, "slot")}
			if model[e] {
				x.remove(e.hash, e.slot-1)
				delete(model, e)
			} else {
				x.add(e.hash, e.slot-1)
				model[e] = true
			}
			x.remove(e.hash, 77) // not there
		}
		found := map[indexEntry]bool{}
		for e := range model {
			for i := x.home(e.hash); x.entries[i].slot != 0; i = x.next(i) {
				if x.entries[i] == e {
					found[e] = true
				}
			}
		}
		if len(found) != len(model) || x.used != len(model) {
			t.Fatalf("%d entries are found and %d counted, want %d", len(found), x.used, len(model))
		}
	})
}

func TestRemotes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRemotes(0)
		model := map[uint64]int{}
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			h := rapid.Uint64Range(0, 120).Draw(t, "hash")
			if rapid.Bool().Draw(t, "add") {
				r.add(h)
				model[remoteKey(h)]++
			} else {
				r.remove(h)
				if k := remoteKey(h); model[k] > 1 {
					model[k]--
				} else {
					delete(model, k)
				}
			}
		}
		for h := range uint64(121) {
			if r.has(h) != (model[remoteKey(h)] > 0) {
				t.Fatalf("has(%d) is %v", h, r.has(h))
			}
		}
		if r.used != len(model) {
			t.Fatalf("%d entries, want %d", r.used, len(model))
		}
	})
}
