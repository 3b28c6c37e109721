package conntrack

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// race tracks a packet twice before either is confirmed, as two workers do, and returns both copies.
func (w *world) race(b []byte, first, second func(*Conn)) (c, d Conn, reason packet.DropReason) {
	w.Helper()
	for _, x := range []*Conn{&c, &d} {
		if reason := w.track(b); reason != packet.NotDropped {
			w.Fatal(reason)
		}
		*x = w.c
	}
	first(&c)
	second(&d)
	if reason := w.t.Confirm(0, w.now, &c); reason != packet.NotDropped {
		w.Fatal(reason)
	}
	return c, d, w.t.Confirm(0, w.now, &d)
}

func TestClash(t *testing.T) {
	gre := testpkt.GREv0{Src: hostA, Dst: hostB}.Bytes()
	plain := func(c *Conn) { c.Status |= SrcNATDone | DstNATDone }
	none := func(*Conn) {}
	mapped := func(port uint16) func(c *Conn) {
		return func(c *Conn) {
			snat(natT, port)(c)
			c.Mapping[0] = uint32(port)
		}
	}
	for name, tt := range map[string]struct {
		b             []byte
		first, second func(*Conn)
		reason        packet.DropReason
		merged, only  bool
	}{
		"udp, no NAT":             {udp(hostA, 1, hostB, 2), none, none, ok, true, false},
		"udp, null bindings":      {udp(hostA, 1, hostB, 2), plain, plain, ok, true, false},
		"udp, the same binding":   {udp(hostA, 1, hostB, 2), mapped(7), mapped(7), ok, true, false},
		"udp, another binding":    {udp(hostA, 1, hostB, 2), mapped(7), mapped(8), ok, false, true},
		"gre":                     {gre, plain, plain, ok, true, false},
		"tcp":                     {seg{flags: "S"}.bytes(), none, none, packet.Clash, false, false},
		"tcp, another binding":    {seg{flags: "S"}.bytes(), mapped(7), mapped(8), packet.Clash, false, false},
		"icmp":                    {echo(hostA, hostB, 1, false), none, none, packet.Clash, false, false},
		"udp over IPv6, the same": {udp(hostA6, 1, hostB6, 2), plain, plain, ok, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			c, d, reason := w.race(tt.b, tt.first, tt.second)
			lost := uint32(0)
			if tt.merged {
				lost = c.Mapping[0]
			}
			if reason != tt.reason || d.Merged != tt.merged || d.Lost[0] != lost || tt.merged && d.ID != c.ID {
				t.Fatalf("%v %+v", reason, d)
			}
			if n := w.snap(c.ID).Packets[0]; tt.merged && n != 2 {
				t.Errorf("the winner has %d packets", n)
			}
			if !tt.only {
				return
			}
			if d.ID == c.ID || d.Status&NATClash == 0 || w.t.Len() != 2 {
				t.Fatalf("%+v, %d connections", d, w.t.Len())
			}
			// Its answer finds it, once; its own packets find the winner.
			w.pass(udp(hostB, 2, natT, 8))
			if w.want(InfoEstablishedReply, NATClash); w.c.ID != d.ID || w.t.Len() != 1 {
				t.Fatalf("%+v", w.c)
			}
			if w.pass(tt.b); w.c.ID != c.ID {
				t.Fatalf("%+v", w.c)
			}
		})
	}
	t.Run("nobody answers a reply-only entry", func(t *testing.T) {
		w := newWorld(t, nil)
		w.race(udp(hostA, 1, hostB, 2), mapped(7), mapped(8))
		w.now += sec + 1<<tickShift
		if dead := w.reap(); len(dead) != 1 || dead[0].Mapping[0] != 8 {
			t.Fatalf("%+v", dead)
		}
	})
	t.Run("the reply tuple of another is taken", func(t *testing.T) {
		w := newWorld(t, nil)
		w.nat = snat(natT, 7)
		w.pass(udp(hostA, 1, hostB, 2))
		w.refused(udp(hostA2, 1, hostB, 2), packet.Clash)
	})
}

func TestConfirmLeavesAlone(t *testing.T) {
	w := newWorld(t, nil)
	w.pass(udp(hostA, 1, hostB, 2))
	before := w.c
	if reason := w.t.Confirm(0, w.now, &w.c); reason != ok || w.c != before {
		t.Fatal("confirmed twice")
	}
	w.track(testpkt.ICMP{Src: hostA6, Dst: hostB6, Type: 135}.Bytes())
	if reason := w.t.Confirm(0, w.now, &w.c); reason != ok || w.t.Len() != 1 {
		t.Fatal("confirmed neighbour discovery")
	}
	// A dropped first packet leaves nothing.
	w.track(udp(hostA, 9, hostB, 9))
	if w.t.Len() != 1 || w.c.ID != 0 {
		t.Fatal("unconfirmed, but there")
	}
	w.refused(testpkt.ICMP{Src: hostB, Dst: hostA, Type: 0}.Bytes(), packet.NotTracked)
}

// TestPass is what a second inside host gets that speaks a portless protocol to the same peer.
func TestPass(t *testing.T) {
	rules := []PassRule{
		{Proto: packet.ProtoESP, Destination: []AddrRange{{hostB, hostB}}, Newest: true},
		{Proto: packet.ProtoESP},
		{Proto: packet.ProtoGRE, Source: []AddrRange{{hostA, hostA}}, Newest: true},
	}
	esp := func(s, d netip.Addr) []byte {
		return testpkt.Raw{Src: s, Dst: d, Proto: 50, Payload: []byte("12345678")}.Bytes()
	}
	gre := func(s, d netip.Addr) []byte { return testpkt.GREv0{Src: s, Dst: d}.Bytes() }
	for name, tt := range map[string]struct {
		first, second []byte
		newest        bool
	}{
		"newest by destination": {esp(hostA, hostB), esp(hostA2, hostB), true},
		"second rule refuses":   {esp(hostA, router), esp(hostA2, router), false},
		"newest by source":      {gre(hostA2, hostB), gre(hostA, hostB), true},
		"no rule refuses":       {gre(hostA, hostB), gre(hostA2, hostB), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.Pass = rules })
			w.nat = snat(natT, 0)
			first := w.pass(tt.first).ID
			reason := w.send(tt.second)
			_, alive := w.t.Lookup(w.now, first)
			if tt.newest && (reason != ok || alive) || !tt.newest && (reason != packet.PassConflict || !alive) {
				t.Fatalf("%v, first alive %v", reason, alive)
			}
		})
	}
}

// TestWorkers has several workers see the first packets of the same flows at once: exactly one entry each, no packet
// lost, and the counters add up.
func TestWorkers(t *testing.T) {
	const workers, flows, rounds = 4, 200, 3
	w := newWorld(t, func(c *Config) { c.Shards = workers })
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			var c Conn
			for range rounds {
				for i := range flows {
					b := udp(hostA, uint16(i), hostB, 53)
					if n%2 == 1 && i%3 == 0 {
						b = udp(hostB, 53, hostA, uint16(i)) // either end may come first
					}
					h, _ := packet.Parse(b)
					if reason := w.t.Track(n, w.now, &Packet{Bytes: b, H: &h}, &c); reason != ok {
						t.Errorf("Track: %v", reason)
					}
					// Two ends that begin at once make two connections of each other's tuples: the later one loses.
					if reason := w.t.Confirm(n, w.now, &c); reason != ok && !(reason == packet.Clash && i%3 == 0) {
						t.Errorf("Confirm: %v", reason)
					}
				}
				w.t.Step(n, w.now, 10)
			}
		})
	}
	wg.Wait()
	if w.t.Len() != flows {
		t.Fatalf("%d connections of %d flows", w.t.Len(), flows)
	}
	total := uint64(0)
	w.t.Walk(w.now, func(s *Snapshot) bool { total += s.Packets[0] + s.Packets[1]; return true })
	if clashes := uint64(workers*flows*rounds) - total; clashes > workers*flows/3 {
		t.Errorf("%d packets lost", clashes)
	}
	w.recount()
}

// TestWorkersChurn lets workers open, talk, delete and reap at once, for the race detector.
func TestWorkersChurn(t *testing.T) {
	const workers = 3
	w := newWorld(t, func(c *Config) { c.Shards, c.Max, c.MaxPerSource = workers, 300, 200 })
	sub := w.t.Subscribe(64)
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			var c Conn
			dead := make([]Dead, 32)
			for i := range 3000 {
				now := w.now + Time(i)*sec
				b := udp(hostA, uint16(i*7%500), hostB, uint16(n%2))
				h, _ := packet.Parse(b)
				if w.t.Track(n, now, &Packet{Bytes: b, H: &h}, &c) == ok && w.t.Confirm(n, now, &c) == ok {
					w.t.SetRoute(c.ID, Reply, Route{1, 2, 1500})
					w.t.SetMark(c.ID, uint32(i))
					if i%5 == 0 {
						w.t.Ext(c.ID)
						_, _ = w.t.Expect(now, Expectation{Master: c.ID, Tuple: tuple(hostB, 1, natT, uint16(i), 6, 4), Lifetime: 3 * sec})
					}
					if i%11 == 0 {
						w.t.Delete(now, c.ID)
					}
				}
				w.t.Step(n, now, 16)
				w.t.Reap(n, dead)
				if i%500 == 0 {
					w.t.Walk(now, func(*Snapshot) bool { return true })
					w.t.Expectations(now, 0)
				}
			}
		})
	}
	wg.Wait()
	sub.Close()
	w.recount()
}

// recount compares every counter and list of the table with a count of what is there.
func (w *world) recount() {
	w.Helper()
	live, unreplied, items := 0, 0, 0
	sources := map[[16]byte]int32{}
	masters := map[Handle]bool{}
	for _, s := range w.t.shards {
		s.mu.Lock()
		parked, dead, free := 0, 0, 0
		for slot := uint32(1); slot <= s.used; slot++ {
			e := s.entry(slot)
			switch {
			case e.status&Confirmed == 0:
				free++
				continue
			case e.flags&flagDying != 0:
				dead++
				continue
			}
			live++
			parked++
			masters[s.handle(slot, e)] = true
			if e.flags&flagUnreplied != 0 {
				unreplied++
			}
			if (e.flags&flagUnreplied != 0) != (e.status&SeenReply == 0) {
				w.Errorf("%v: in the queue of unreplied %v, status %b", s.tuple(e, Original), e.flags&flagUnreplied != 0, e.status)
			}
			if e.flags&flagCounted != 0 {
				sources[s.tuple(e, Original).Src]++
			}
			for dir := range Direction(2) {
				if dir == Original && e.flags&flagReplyOnly != 0 {
					continue
				}
				items++
				k := s.key(e, dir)
				self := k == s.key(e, 1-dir) // from a host to itself: found as the original direction
				if at, d, found := s.find(0, &k, k.hash(&w.t.secret)); found == nil || at != slot || d != dir && !self {
					w.Errorf("%v is not in the index", s.tuple(e, dir))
				}
			}
		}
		s.checkLists(w, parked, dead, free)
		items -= s.index.items
		s.mu.Unlock()
	}
	if live != w.t.Len() || unreplied != w.t.Unreplied() || items != 0 {
		w.Errorf("counted %d connections, %d unreplied, %d items too many; the table says %d, %d",
			live, unreplied, items, w.t.Len(), w.t.Unreplied())
	}
	if w.t.sources.n != nil {
		if len(sources) != len(w.t.sources.n) {
			w.Errorf("%d sources, the table has %d", len(sources), len(w.t.sources.n))
		}
		for addr, n := range sources {
			if w.t.sources.n[addr] != n {
				w.Errorf("%v: %d connections, the table says %d", netip.AddrFrom16(addr), n, w.t.sources.n[addr])
			}
		}
	}
	for _, e := range w.t.Expectations(0, 0) {
		if !masters[e.Master] {
			w.Errorf("expectation %d of a master that is gone", e.ID)
		}
	}
}

// checkLists walks a shard's lists. s.mu is held.
func (s *shard) checkLists(w *world, parked, dead, free int) {
	w.Helper()
	n := 0
	for list, slot := range s.wheel.heads {
		for prev := headBit | uint32(list); slot != 0; n++ {
			e := s.entry(slot)
			if e.prev != prev {
				w.Errorf("list %d: slot %d has prev %x, want %x", list, slot, e.prev, prev)
			}
			if int64(e.park) > max(int64(e.deadline)>>tickShift, s.wheel.cursor[0]) {
				w.Errorf("slot %d is parked behind its deadline", slot)
			}
			prev, slot = slot, e.next
		}
	}
	if n != parked || s.wheel.count != parked {
		w.Errorf("%d entries in the wheel, which counts %d, of %d", n, s.wheel.count, parked)
	}
	n = 0
	for slot := s.dead.newer; slot != 0; slot = s.link(slot).newer {
		n++
	}
	if n != dead || s.numDead != dead {
		w.Errorf("%d ended, the shard says %d, of %d", n, s.numDead, dead)
	}
	n = 0
	for slot := s.free; slot != 0; slot = s.link(slot).older {
		n++
	}
	if n != free {
		w.Errorf("%d free slots listed of %d", n, free)
	}
	waiting := 0
	for slot := uint32(1); slot <= s.used; slot++ {
		if e := s.entry(slot); e.flags&flagUnreplied != 0 && e.status&Expected == 0 {
			waiting++
		}
	}
	start := Time(0)
	for slot := s.unreplied.newer; slot != 0; slot = s.link(slot).newer {
		waiting--
		if e := s.entry(slot); e.start < start {
			w.Errorf("the queue of unreplied is out of order at slot %d", slot)
		} else {
			start = e.start
		}
	}
	if waiting != 0 {
		w.Errorf("%d more are unanswered and may be evicted than the queue has", waiting)
	}
}
