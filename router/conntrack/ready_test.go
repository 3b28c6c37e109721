package conntrack

import (
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
			reason, ok := w.t.TrackReady(0, w.now, &p, &tt.way, &w.c)
			if ok != tt.want || reason != packet.NotDropped {
				t.Fatal(reason, ok)
			}
			if !ok {
				return
			}
			twin.pass(b)
			if w.c != twin.c || w.snap(id) != twin.snap(id) {
				t.Fatalf("%+v\n%+v", w.c, twin.c)
			}
			if n := testing.AllocsPerRun(100, func() { w.t.TrackReady(0, w.now, &p, &tt.way, &w.c) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
	t.Run("unanswered", func(t *testing.T) {
		w := newWorld(t, nil)
		b := udp(hostA, 1, hostB, 2)
		h, _ := packet.Parse(b)
		p := Packet{Bytes: b, H: &h}
		routed(w, w.pass(b).ID)
		if _, ok := w.t.TrackReady(0, w.now, &p, &way, &w.c); ok {
			t.Fatal("taken")
		}
	})
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
