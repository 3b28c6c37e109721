package conntrack

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"

	"github.com/natrouter/natrouter/router/packet"
)

// TestTrackReady: only packets about which nothing is left to decide are taken, and what becomes of those is what
// Track would have made of them.
func TestTrackReady(t *testing.T) {
	way := Way{Generation: 5, In: 1, Size: 1400}
	routed := func(w *world, id Handle) {
		w.t.SetRoute(id, Original, Route{5, 2, 1500})
		w.t.SetRoute(id, Reply, Route{5, 1, 1500})
	}
	for name, tt := range map[string]struct {
		prepare func(w *world, id Handle)
		way     Way
		want    bool
	}{
		"routed both ways":      {routed, way, true},
		"not routed":            {func(*world, Handle) {}, way, false},
		"an older generation":   {routed, Way{6, 1, 1400}, false},
		"by another interface":  {routed, Way{5, 9, 1400}, false},
		"larger than the route": {routed, Way{5, 1, 1501}, false},
		"helped": {func(w *world, id Handle) {
			routed(w, id)
			w.t.SetHelper(id, 1)
		}, way, false},
		"edited": {func(w *world, id Handle) {
			routed(w, id)
			if err := w.t.AddEdit(w.t.Ext(id), Reply, Edit{5001, 1, []byte("xy")}); err != nil {
				w.Fatal(err)
			}
		}, way, false},
		"ended": {func(w *world, id Handle) {
			routed(w, id)
			w.t.Delete(w.now, id)
		}, way, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, twin := newWorld(t, nil), newWorld(t, nil)
			b := seg{flags: "PA", seq: 1001, ack: 5001, n: 100}.bytes()
			h, _ := packet.Parse(b)
			p := Packet{Bytes: b, H: &h}
			id := w.handshake(nil)
			tt.prepare(w, id)
			tt.prepare(twin, twin.handshake(nil))
			var x Exit
			run := w.t.Run(0)
			reason, ok := run.TrackReady(w.now, &p, &tt.way, &x)
			run.Release()
			if ok != tt.want || reason != packet.NotDropped {
				t.Fatal(reason, ok)
			}
			if !ok {
				return
			}
			twin.pass(b)
			if want := exitOf(&twin.c); x != want || w.snap(id) != twin.snap(id) {
				t.Fatalf("%+v, want\n%+v", x, want)
			}
			if n := testing.AllocsPerRun(100, func() { run.TrackReady(w.now, &p, &tt.way, &x) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
			run.Release()
		})
	}
	t.Run("unanswered", func(t *testing.T) {
		w := newWorld(t, nil)
		b := udp(hostA, 1, hostB, 2)
		h, _ := packet.Parse(b)
		p := Packet{Bytes: b, H: &h}
		routed(w, w.pass(b).ID)
		run := w.t.Run(0)
		defer run.Release()
		if _, ok := run.TrackReady(w.now, &p, &way, new(Exit)); ok {
			t.Fatal("taken")
		}
	})
}

// exitOf is what TrackReady would have said of the packet that c is the copy of.
func exitOf(c *Conn) Exit {
	target := c.Target()
	k := target.key()
	at := SrcNAT
	if c.Dir == Reply {
		at = DstNAT
	}
	return Exit{
		Interface: c.Route[c.Dir].Interface, Source: c.Status&at != 0,
		IDs: uint32(target.SrcID)<<16 | uint32(target.DstID), Pair: k.pair, Src: k.src, Dst: k.dst,
	}
}

// TestExit: packets of both directions, translated, leave as their connection's copy says, also where the connection is
// another worker's.
func TestExit(t *testing.T) {
	natT6 := netip.MustParseAddr("2001:db8:113::1")
	for name, e := range map[string][3]netip.Addr{"IPv4": {hostA, hostB, natT}, "IPv6": {hostA6, hostB6, natT6}} {
		w := newWorld(t, func(c *Config) { c.Shards = 2 })
		w.nat = snat(e[2], 7000)
		there, back := udp(e[0], 1000, e[1], 53), udp(e[1], 53, e[2], 7000)
		w.pass(there)
		id := w.pass(back).ID
		w.t.SetRoute(id, Original, Route{5, 2, 1500})
		w.t.SetRoute(id, Reply, Route{5, 1, 1500})
		for in, b := range map[uint16][]byte{1: there, 2: back} {
			for shard := range 2 {
				h, _ := packet.Parse(b)
				var x Exit
				run := w.t.Run(shard)
				_, ok := run.TrackReady(w.now, &Packet{Bytes: b, H: &h}, &Way{Generation: 5, In: in, Size: len(b)}, &x)
				run.Release()
				if !ok {
					t.Fatalf("%s, by %d: not taken", name, in)
				}
				if want := exitOf(w.pass(b)); x != want || x.Source != (in == 1) {
					t.Errorf("%s, by %d: %+v, want\n%+v", name, in, x, want)
				}
			}
		}
	}
}

// TestRunTogether: workers that hold their shards for packets in a row, of one connection and of others, neither wait for
// each other for ever nor lose a count.
func TestRunTogether(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Shards = 3 })
	there, back := udp(hostA, 1000, hostB, 53), udp(hostB, 53, hostA, 1000)
	w.pass(there)
	id := w.pass(back).ID
	w.t.SetRoute(id, Original, Route{5, 2, 1500})
	w.t.SetRoute(id, Reply, Route{5, 1, 1500})
	before := w.snap(id).Packets[Original]
	const each = 1000
	var workers sync.WaitGroup
	for shard := range 3 {
		workers.Go(func() {
			b := bytes.Clone(there)
			h, _ := packet.Parse(b)
			p, way := Packet{Bytes: b, H: &h}, Way{Generation: 5, In: 1, Size: len(b)}
			run := w.t.Run(shard)
			defer run.Release()
			for i := range each {
				var x Exit
				if _, ok := run.TrackReady(w.now, &p, &way, &x); !ok {
					t.Error("not taken")
					return
				}
				if i%7 == 0 {
					run.Release()
					var c Conn
					w.t.Track(shard, w.now, &p, &c)
				}
			}
		})
	}
	workers.Wait()
	if got, want := w.snap(id).Packets[Original]-before, uint64(3*(each+(each+6)/7)); got != want {
		t.Errorf("%d packets counted, want %d", got, want)
	}
}

// TestWarm changes nothing, allocates nothing, and takes any packets.
func TestWarm(t *testing.T) {
	w := newWorld(t, nil)
	w.handshake(nil)
	w.pass(udp(hostA6, 1, hostB6, 2))
	var batch []*Packet
	for _, b := range [][]byte{
		seg{flags: "A", seq: 1001, ack: 5001}.bytes(), udp(hostA6, 1, hostB6, 2), udp(hostA, 9, hostB, 9),
		icmpError(router, hostA, 3, 3, nil), grev1(hostA, hostB, 9),
	} {
		h, _ := packet.Parse(b)
		batch = append(batch, &Packet{Bytes: b, H: &h})
	}
	for len(batch) < 3*warmBatch/2 {
		batch = append(batch, batch[len(batch)%5])
	}
	before := []Snapshot{}
	w.t.Walk(w.now, func(s *Snapshot) bool { before = append(before, *s); return true })
	if n := testing.AllocsPerRun(10, func() { w.t.Warm(0, batch) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	i := 0
	w.t.Walk(w.now, func(s *Snapshot) bool {
		if *s != before[i] {
			t.Errorf("changed: %+v", s)
		}
		i++
		return true
	})
}
