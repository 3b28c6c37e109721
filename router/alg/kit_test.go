package alg

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// reap gives ended connections to the kit, as a router does.
func (w *world) reap() {
	w.table.Step(0, w.now, 1000)
	var dead [8]conntrack.Dead
	for n := w.table.Reap(0, dead[:]); n > 0; n = w.table.Reap(0, dead[:]) {
		for i := range dead[:n] {
			w.kit.Destroy(w.now, &dead[i])
		}
	}
}

// say sends all that is left of the client's stream, and more.
func (w *world) say(more string) {
	e := w.ends[0]
	e.stream = append(e.stream, more...)
	w.data(0, e.sent, len(e.stream), packet.Meta{}, nil)
}

// TestDestroyOnce: whatever ends a connection, its helper is told exactly once.
func TestDestroyOnce(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"timeout": func(w *world) { w.now += conntrack.Time(10 * 24 * time.Hour) },
		"kill":    func(w *world) { w.table.Delete(w.now, w.conn.ID) },
		"reset": func(w *world) {
			w.raw(0, testpkt.TCP{Seq: w.ends[0].isn + 1 + uint32(w.ends[0].sent), Flags: packet.FlagRST}, packet.Meta{})
			w.now += conntrack.Time(time.Hour)
		},
		"shutdown":   func(w *world) { w.kit.Close(w.now) },
		"operator":   func(w *world) { w.kit.Detach(w.now, w.conn.ID); w.table.Delete(w.now, w.conn.ID) },
		"desync":     func(w *world) { w.say("STOP\n"); w.table.Delete(w.now, w.conn.ID) },
		"panic":      func(w *world) { w.say("DIE\n"); w.table.Delete(w.now, w.conn.ID) },
		"unregister": func(w *world) { w.kit.rules = nil; _ = w.kit.Unregister(w.now, "toy") },
		"FIN both": func(w *world) {
			for side, e := range w.ends {
				e.finAt = len(e.stream)
				w.settle(side, func(n int) int { return n })
			}
			w.now += conntrack.Time(time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, "")
			w.say("HELLO 1\n")
			s := w.toy.streams[0]
			states := 0
			s.onDestroy = func(m Master) { m.Logf("last words"); states++ }
			end(w)
			w.reap()
			w.kit.Close(w.now)
			w.reap()
			if s.destroyed != 1 || len(w.toy.streams) != 1 {
				t.Errorf("destroyed %d times, %d streams", s.destroyed, len(w.toy.streams))
			}
			if states != 1 || len(w.kit.states) != 0 {
				t.Errorf("%d last words, %d states", states, len(w.kit.states))
			}
		})
	}
}

// TestReset: RST is told once, for both directions, and what was held is forgotten.
func TestReset(t *testing.T) {
	w := open(t, "")
	w.say("HEL")
	w.raw(0, testpkt.TCP{Seq: w.ends[0].isn + 4, Flags: packet.FlagRST}, packet.Meta{})
	w.raw(0, testpkt.TCP{Seq: w.ends[0].isn + 4, Flags: packet.FlagRST}, packet.Meta{})
	if got := w.toy.streams[0].ends; len(got) != 1 || got[0] != "original true" || w.kit.held.Load() != 0 {
		t.Errorf("ends %q, %d bytes held", got, w.kit.held.Load())
	}
}

// TestPanic: the packet passes unchanged, the connection lives on, edits made before stay in force.
func TestPanic(t *testing.T) {
	w := open(t, "")
	w.say("HELLO 1\n")
	w.say("HELLO 2\nDIE\n")
	w.say("HELLO 3\n")
	w.ack(1, nil)
	want := "HELLO outside.example\nHELLO 2\nDIE\nHELLO 3\n"
	if got := string(w.ends[1].got); got != want || w.ends[0].acked != w.ends[0].sent {
		t.Errorf("got %q, want %q; %d acknowledged", got, want, w.ends[0].acked)
	}
	snap, _ := w.table.Lookup(w.now, w.conn.ID)
	if w.count(CountPanics) != 1 || w.count(CountDetached) != 1 || snap.Helper != 0 {
		t.Errorf("panics %d, detached %d, helper %d", w.count(CountPanics), w.count(CountDetached), snap.Helper)
	}
}

// TestGivenUp: after a helper gives up, all passes as it is, held bytes too.
func TestGivenUp(t *testing.T) {
	w := open(t, "")
	w.say("HELLO 1\nHEL")
	w.say("LO 2\nSTOP\nHELLO 3\n")
	w.say("HELLO 4\n")
	w.settle(0, func(n int) int { return n })
	if got, want := string(w.ends[1].got), "HELLO outside.example\nHELLO outside.example\nSTOP\nHELLO 3\nHELLO 4\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if w.count(CountDesync) != 1 {
		t.Errorf("desync %d", w.count(CountDesync))
	}
}

// wrong is a helper whose results contradict themselves.
type wrong struct {
	*toyStream
	result Result
}

func (s *wrong) Stream(Master, conntrack.Direction, []byte) Result { return s.result }

func (s *wrong) New(Master, any) Stream { return s }

// TestWrongResults: a helper that contradicts itself is taken off, and nothing is lost.
func TestWrongResults(t *testing.T) {
	for name, r := range map[string]Result{
		"consumes too much":     {Consumed: 9},
		"consumes less than 0":  {Consumed: -1},
		"edit outside":          {Consumed: 2, Edits: []Edit{{Off: 1, Len: 2}}},
		"edit before":           {Consumed: 2, Edits: []Edit{{Off: -1, Len: 1}}},
		"edit of negative size": {Consumed: 2, Edits: []Edit{{Off: 1, Len: -1}}},
		"edits overlap":         {Consumed: 4, Edits: []Edit{{Off: 1, Len: 2}, {Off: 2, Len: 1}}},
		"edits in disorder":     {Consumed: 4, Edits: []Edit{{Off: 2, Len: 1}, {Off: 1, Len: 1}}},
		"edit of unconsumed":    {Edits: []Edit{{Off: 0, Len: 1}}},
		"insert into nothing":   {Consumed: 2, Edits: []Edit{{Off: 0, Len: 2}, {Off: 2, New: []byte("x")}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, "")
			w.say("x\n")
			w.state().stream = &wrong{w.toy.streams[0], r}
			w.say("abcd")
			if got := string(w.ends[1].got); got != "x\nabcd" || w.count(CountDesync) != 1 {
				t.Errorf("got %q, desync %d", got, w.count(CountDesync))
			}
		})
	}
}

// TestInsertions: an edit that replaces nothing stands beside a byte.
func TestInsertions(t *testing.T) {
	for name, tt := range map[string]struct {
		edits []Edit
		want  string
	}{
		"in front":              {[]Edit{{Off: 0, New: []byte("<")}}, "<abcd"},
		"inside":                {[]Edit{{Off: 2, New: []byte("-")}}, "ab-cd"},
		"at the end":            {[]Edit{{Off: 4, New: []byte(">")}}, "abcd>"},
		"before a replacement":  {[]Edit{{Off: 2, New: []byte("-")}, {Off: 2, Len: 1, New: []byte("C")}}, "ab-Cd"},
		"behind a replacement":  {[]Edit{{Off: 1, Len: 1, New: []byte("B")}, {Off: 2, New: []byte("-")}}, "aB-cd"},
		"several":               {[]Edit{{Off: 0, New: []byte("1")}, {Off: 1, New: []byte("2")}, {Off: 4, New: []byte("3")}}, "1a2bcd3"},
		"nothing":               {[]Edit{{Off: 2}}, "abcd"},
		"a replacement by same": {[]Edit{{Off: 1, Len: 2, New: []byte("bc")}}, "abcd"},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, "")
			w.say("x\n")
			w.state().stream = &wrong{w.toy.streams[0], Result{Consumed: 4, Edits: tt.edits}}
			w.say("abcd")
			if got := string(w.ends[1].got); got != "x\n"+tt.want || w.count(CountDesync) != 0 {
				t.Errorf("got %q, want %q; desync %d", got, tt.want, w.count(CountDesync))
			}
		})
	}
}

// TestManyEdits: more edits than the list holds wait until acknowledgements make room.
func TestManyEdits(t *testing.T) {
	w := open(t, strings.Repeat("HELLO 1\n", 500))
	w.ends[0].finAt = 4000
	w.data(0, 0, 4000, packet.Meta{GSO: packet.GSOTCPv4, SegSize: 100}, nil)
	w.settle(0, func(int) int { return 777 })
	w.want(1)
	if w.count(CountDesync) != 0 {
		t.Error("desync")
	}
}

// TestTooManyEdits: beyond all bounds the helper is taken off; the connection goes on.
func TestTooManyEdits(t *testing.T) {
	w := open(t, strings.Repeat("HELLO 1\n", 4000))
	w.data(0, 0, 32000, packet.Meta{GSO: packet.GSOTCPv4, SegSize: 1000}, nil)
	w.settle(0, func(int) int { return 1000 })
	if w.count(CountDesync) != 1 || w.ends[0].acked != 32000 {
		t.Errorf("desync %d, acknowledged %d", w.count(CountDesync), w.ends[0].acked)
	}
}

// TestLongLine: what a helper never consumes is bounded.
func TestLongLine(t *testing.T) {
	w := open(t, "")
	w.say("x\n")
	w.state().stream = &wrong{w.toy.streams[0], Result{Hold: true}}
	w.ends[0].stream = append(w.ends[0].stream, strings.Repeat("y", 3*maxCarry)...)
	w.settle(0, func(int) int { return 1000 })
	if w.count(CountDesync) != 1 || w.kit.held.Load() != 0 {
		t.Errorf("desync %d, %d held", w.count(CountDesync), w.kit.held.Load())
	}
}

// TestAdoption: a connection that is older than the router is read from its next segment on, and the helper is told.
func TestAdoption(t *testing.T) {
	w := newWorld(t)
	a, b := w.ends[0], w.ends[1]
	a.stream, b.stream = []byte("LO 1\nHELLO 2\n"), []byte("HELLO 3\n")
	w.data(0, 0, 5, packet.Meta{}, nil)
	w.data(1, 0, 8, packet.Meta{}, nil)
	w.data(0, 5, 13, packet.Meta{}, nil)
	s := w.toy.streams[0]
	if s.adopted != [2]int{1, 1} {
		t.Errorf("adopted %v", s.adopted)
	}
	if got, want := string(b.got), "LO 1\nHELLO outside.example\n"; got != want {
		t.Errorf("server got %q, want %q", got, want)
	}
	if got, want := string(a.got), "HELLO outside.example\n"; got != want {
		t.Errorf("client got %q, want %q", got, want)
	}
}

// TestBypass: acknowledged bytes that the router never saw end the reading: it could only wait for ever.
func TestBypass(t *testing.T) {
	w := open(t, "HELLO 1\nHELLO 2\nHELLO 3\n")
	w.data(0, 0, 8, packet.Meta{}, nil)
	w.data(0, 16, 24, packet.Meta{}, nil)                                                                   // waits for the second line
	w.raw(1, testpkt.TCP{Seq: 5001, Ack: w.ends[0].isn + 1 + 22 + 8, Flags: packet.FlagACK}, packet.Meta{}) // which came another way
	w.data(0, 16, 24, packet.Meta{}, nil)
	if w.count(CountDesync) != 1 || len(w.out) != 1 {
		t.Errorf("desync %d, %d packets left", w.count(CountDesync), len(w.out))
	}
}

// TestSYNWithData: bytes in a SYN are not seen by any helper, so they come again (RFC 7413).
func TestSYNWithData(t *testing.T) {
	w := newWorld(t)
	w.ends[0].stream = []byte("HELLO 1\n")
	w.raw(0, testpkt.TCP{Seq: w.ends[0].isn, Flags: packet.FlagSYN, Payload: []byte("HELLO 1\n")}, packet.Meta{})
	for _, b := range w.segments() {
		if h, _ := packet.Parse(b); h.PayloadLen() != 0 {
			t.Errorf("a SYN left with %d bytes", h.PayloadLen())
		}
	}
	w.connect()
	w.settle(0, func(n int) int { return n })
	w.want(1)
}

// TestHostile: segments of all kinds with random numbers never make the kit panic, keep more than its bounds, or
// let an unedited line leave.
func TestHostile(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := open(t, "")
		w.say("HELLO 1\n")
		for range 200 {
			side := r.IntN(2)
			e, peer := w.ends[side], w.ends[1-side]
			spread := []uint32{10, 1000, 70000, 1 << 31}[r.IntN(4)]
			p := testpkt.TCP{
				Seq: e.isn + 1 + uint32(e.sent) + r.Uint32N(spread) - spread/2, Ack: peer.isn + 1 + r.Uint32N(spread) - spread/2,
				Flags:   []uint8{0x10, 0x18, 0x11, 0x10, 0x12, 0x02, 0x38}[r.IntN(7)],
				Payload: []byte(strings.Repeat("HELLO secret\n", r.IntN(90))), Win: uint16(r.Uint32()), Urgent: uint16(r.Uint32()),
			}
			w.raw(side, p, packet.Meta{})
			if n := w.kit.held.Load(); n > 2*maxHeldBytes {
				t.Fatalf("%d bytes held", n)
			}
			if r.IntN(10) == 0 {
				w.now += conntrack.Time(r.IntN(1e9))
				w.kit.Tick(w.now)
			}
		}
		w.kit.Close(w.now)
		if n := w.kit.held.Load(); n != 0 {
			t.Fatalf("%d bytes held after the end", n)
		}
	}
}

// TestNoAllocations: an established helper connection's packets, without edits, with old ones, and acknowledgements.
func TestNoAllocations(t *testing.T) {
	for _, before := range []string{"x\n", "HELLO 1\n"} {
		w := open(t, "")
		w.say(before)
		w.ack(1, nil)
		seq := w.ends[0].isn + 1 + uint32(len(before))
		p := testpkt.TCP{
			Src: w.ends[0].addr, Dst: w.ends[1].addr, Seq: seq, Ack: w.ends[1].isn + 1, Flags: packet.FlagACK, Payload: []byte("0123456789abcdef\nxyz"),
		}.Bytes()
		back := testpkt.TCP{Src: w.ends[1].addr, Dst: w.ends[0].addr, Seq: w.ends[1].isn + 1, Ack: seq, Flags: packet.FlagACK}.Bytes()
		buf := make([]byte, 2000)
		w.toy.streams[0].read[0] = make([]byte, 0, 1<<20)
		st := w.state()
		c := w.conn
		var h packet.Headers
		var m packet.Meta
		n := testing.AllocsPerRun(500, func() {
			for dir, pkt := range [][]byte{p, back} {
				b := buf[:copy(buf, pkt)]
				h, _ = packet.Parse(b)
				c.Dir = conntrack.Direction(dir)
				if dir == 0 {
					packet.TCP(b[h.L4:]).SetSeq(st.flows[0].next)
				}
				if v, _ := w.kit.Handle(w.now, &c, &Packet{b, &h, &m, 1500}, w); v != packet.Accept {
					t.Fatal(v)
				}
			}
		})
		if n != 0 {
			t.Errorf("after %q: %v allocations for two packets", before, n)
		}
	}
}

// TestLatePacket: a packet that was tracked before its connection ended and is handled after leaves nothing behind,
// whether the connection's helper had seen others before or not.
func TestLatePacket(t *testing.T) {
	for _, seen := range []bool{true, false} {
		w := newWorld(t)
		w.connect()
		if seen {
			w.say("x\n")
		}
		x, c := w.table.Ext(w.conn.ID), w.conn
		if !seen {
			x.Helper = nil // as if the handshake had not passed the kit
			clear(w.kit.states)
		}
		w.kit.destroy(w.now, x) // the table has it still: as if it had given Ext out before the end
		before := len(w.toy.streams)
		pkt := testpkt.TCP{
			Src: w.ends[0].addr, Dst: w.ends[1].addr, Seq: w.ends[0].isn + 50, Ack: w.ends[1].isn + 1, Flags: packet.FlagACK, Payload: []byte("HEL"),
		}.Bytes()
		h, _ := packet.Parse(pkt)
		var m packet.Meta
		if v, reason := w.kit.Handle(w.now, &c, &Packet{pkt, &h, &m, 1500}, w); v != packet.Accept {
			t.Errorf("%v: %v", v, reason)
		}
		if n := len(w.toy.streams) - before; n != 0 || len(w.kit.states) != 0 || w.kit.held.Load() != 0 {
			t.Errorf("seen %v: %d streams made, %d states, %d bytes held", seen, n, len(w.kit.states), w.kit.held.Load())
		}
	}
}

// ask calls f as a helper does.
func (w *world) ask(f func()) {
	st := w.state()
	st.ext.Mu.Lock()
	defer st.ext.Mu.Unlock()
	st.now = w.now
	f()
	st.schedule()
}

// TestExpectations: made by the helper, counted by what becomes of them.
func TestExpectations(t *testing.T) {
	w := open(t, "")
	w.say("OPEN 1000\nOPEN 1001\nOPEN 1002\n")
	w.kit.Tick(w.now)
	all := w.table.Expectations(w.now, 0)
	if len(all) != 2 || all[0].Tuple.DstID != 1001 || all[0].Master != w.conn.ID || all[0].Deadline == 0 {
		t.Fatalf("expectations %+v, want the last two", all)
	}
	child := testpkt.TCP{
		Src: netip.AddrPortFrom(all[0].Tuple.SrcAddr(), 5), Dst: netip.AddrPortFrom(all[0].Tuple.DstAddr(), 1001), Flags: packet.FlagSYN, Seq: 1,
	}.Bytes()
	h, _ := packet.Parse(child)
	var c conntrack.Conn
	w.table.Track(0, w.now, &conntrack.Packet{Bytes: child, H: &h}, &c)
	w.kit.Assign(&c)
	if c.Status&conntrack.Expected == 0 || c.Helper != 0 || w.kit.MasterHelper(c.Master) != "toy" {
		t.Errorf("child %+v", c)
	}
	if reason := w.table.Confirm(0, w.now, &c); reason != packet.NotDropped {
		t.Fatal(reason)
	}
	w.kit.Tick(w.now)
	w.now += 11e9
	w.table.Step(0, w.now, 100)
	w.kit.Tick(w.now)
	got := fmt.Sprint(w.count(CountCreated), w.count(CountMatched), w.count(CountExpired))
	if got != "3 1 1" {
		t.Errorf("created, matched, expired %s", got)
	}
}

// TestHeldHeaders: what waited leaves with the newest acknowledgement, and with its own urgent pointer and push.
func TestHeldHeaders(t *testing.T) {
	w := open(t, "HELLO 1\n")
	seq := w.ends[0].isn + 1
	w.raw(0, testpkt.TCP{Seq: seq, Ack: 5001, Flags: packet.FlagACK | packet.FlagURG, Urgent: 2, Payload: []byte("HEL")}, packet.Meta{})
	if len(w.out) != 0 {
		t.Fatalf("%d packets left", len(w.out))
	}
	w.raw(1, testpkt.TCP{Seq: 5001, Ack: seq, Flags: packet.FlagACK, Payload: []byte("hi\n")}, packet.Meta{})
	w.raw(0, testpkt.TCP{Seq: seq + 3, Ack: 5004, Flags: packet.FlagACK | packet.FlagPSH, Payload: []byte("LO 1\n")}, packet.Meta{})
	all := w.segments()
	if len(all) != 2 {
		t.Fatalf("%d packets left, want 2", len(all))
	}
	for i, want := range []struct {
		seq     uint32
		flags   uint8
		payload string
	}{
		{seq, packet.FlagACK | packet.FlagURG, "HEL"},
		{seq + 3, packet.FlagACK | packet.FlagPSH, "LO outside.example\n"},
	} {
		h, _ := packet.Parse(all[i])
		hdr := packet.TCP(all[i][h.L4:])
		if hdr.Seq() != want.seq || hdr.Ack() != 5004 || hdr.Flags() != want.flags || string(hdr.Payload()) != want.payload {
			t.Errorf("segment %d: seq %d, ack %d, flags %x, %q", i, hdr.Seq(), hdr.Ack(), hdr.Flags(), hdr.Payload())
		}
	}
}

// TestHeldUrgent: the urgent pointer counts from the first byte of the segment that had it, and names the same byte when only
// the end of that segment waited (RFC 9293, section 3.1).
func TestHeldUrgent(t *testing.T) {
	w := open(t, "HELLO 1\n")
	seq := w.ends[0].isn + 1
	w.raw(0, testpkt.TCP{Seq: seq, Ack: 5001, Flags: packet.FlagACK | packet.FlagURG, Urgent: 4, Payload: []byte("x\nHEL")}, packet.Meta{})
	if n := len(w.segments()); n != 1 {
		t.Fatalf("%d packets left before the line was whole, want 1", n)
	}
	w.raw(0, testpkt.TCP{Seq: seq + 5, Ack: 5001, Flags: packet.FlagACK, Payload: []byte("LO 1\n")}, packet.Meta{})
	for _, b := range w.segments() {
		h, _ := packet.Parse(b)
		hdr := packet.TCP(b[h.L4:])
		if string(hdr.Payload()) != "HEL" {
			continue
		}
		if at := hdr.Seq() + uint32(binary.BigEndian.Uint16(hdr[18:])); at != seq+4 || hdr.Flags()&packet.FlagURG == 0 {
			t.Errorf("byte %d is urgent, want 4", at-seq)
		}
		return
	}
	t.Error("what waited did not leave")
}
