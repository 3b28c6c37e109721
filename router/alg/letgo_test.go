package alg

import (
	"encoding/binary"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// TestHeldTooLong: copies of what is held go after two seconds and come again; by then the helper has let go, and what it
// held leaves as it is. What follows is read again.
func TestHeldTooLong(t *testing.T) {
	w := open(t, "")
	w.say("HEL")
	w.now += maxHold - 2e6
	w.kit.Tick(w.now)
	if w.ends[1].next != 0 || w.kit.held.Load() != 3 || w.count(CountLetGo) != 0 {
		t.Fatalf("%d arrived, %d held, let go %d", w.ends[1].next, w.kit.held.Load(), w.count(CountLetGo))
	}
	w.now += 2e6
	w.kit.Tick(w.now)
	if w.kit.held.Load() != 0 || w.count(CountLetGo) != 1 {
		t.Errorf("%d bytes held after the time, let go %d", w.kit.held.Load(), w.count(CountLetGo))
	}
	w.data(0, 0, 3, packet.Meta{}, nil)
	if got := string(w.ends[1].got); got != "HEL" {
		t.Errorf("after the time %q left", got)
	}
	w.say("LO 1\nHELLO 2\n")
	if got, want := string(w.ends[1].got), "HELLO 1\nHELLO outside.example\n"; got != want || w.count(CountDesync) != 0 {
		t.Errorf("got %q, want %q; desync %d", got, want, w.count(CountDesync))
	}
	w.want(1)
}

// TestHeldAnew: the time runs from where the helper holds: who goes on, line by line, is never let go.
func TestHeldAnew(t *testing.T) {
	w := open(t, "")
	w.say("HEL")
	for range 10 {
		w.now += maxHold - 100e6
		w.kit.Tick(w.now)
		w.say("LO 1\nHEL")
	}
	w.say("LO 1\n")
	if w.want(1); w.count(CountLetGo) != 0 {
		t.Errorf("let go %d times", w.count(CountLetGo))
	}
}

// stubborn is a toy that can't let go.
type stubborn struct{ toyMethods }

// toyMethods is a Stream by another name, for one that has a method of the old one is none.
type toyMethods = interface{ Stream }

// TestNoYielder: a helper that can't go on is taken off, and the connection goes on without it.
func TestNoYielder(t *testing.T) {
	w := open(t, "")
	w.say("x\n")
	w.state().stream = &stubborn{w.toy.streams[0]}
	w.say("HEL")
	w.now += maxHold
	w.kit.Tick(w.now)
	w.data(0, w.ends[0].acked, w.ends[0].sent, packet.Meta{}, nil)
	w.say("LO 1\n")
	if got := string(w.ends[1].got); got != "x\nHELLO 1\n" || w.count(CountDesync) != 1 {
		t.Errorf("got %q, desync %d", got, w.count(CountDesync))
	}
}

// TestLetGoPanics: a helper that panics then is taken off.
func TestLetGoPanics(t *testing.T) {
	w := open(t, "")
	w.say("x\n")
	w.state().stream = &dying{w.toy.streams[0]}
	w.say("HEL")
	w.now += maxHold
	w.kit.Tick(w.now)
	w.data(0, w.ends[0].acked, w.ends[0].sent, packet.Meta{}, nil)
	if got := string(w.ends[1].got); got != "x\nHEL" || w.count(CountPanics) != 1 {
		t.Errorf("got %q, panics %d", got, w.count(CountPanics))
	}
}

// dying panics when it is to let go.
type dying struct{ toyMethods }

// LetGo implements Yielder.
func (*dying) LetGo(Master, conntrack.Direction) { panic("as told") }

// TestFullForTooLong: who has edits that find no room for a minute is taken off.
func TestFullForTooLong(t *testing.T) {
	w := open(t, "")
	for range 200 {
		w.ends[0].stream = append(w.ends[0].stream, "HELLO 1\n"...)
	}
	w.data(0, 0, len(w.ends[0].stream), packet.Meta{}, nil)
	w.now += 60e9 - 2e6
	w.kit.Tick(w.now)
	if w.count(CountDesync) != 0 || w.count(CountLetGo) != 0 {
		t.Errorf("desync %d, let go %d before the time", w.count(CountDesync), w.count(CountLetGo))
	}
	w.now += 2e6
	if w.kit.Tick(w.now); w.count(CountDesync) != 1 {
		t.Errorf("desync %d", w.count(CountDesync))
	}
}

// TestWindow: where the receiver's window has no room for the rest of what is held, no rest can come, so it leaves. It is
// the window that the receiver told last, scaled, from what it has acknowledged; a closed one may open again.
func TestWindow(t *testing.T) {
	const line = "HELLO 1\n"
	for name, tt := range map[string]struct {
		win    int  // bytes, as announced before the line
		scaled bool // both ends scale, by 7 bits
		acked  bool // what came before is acknowledged
		later  int  // as announced when the line is there, 0: not
		whole  bool // the sender sends the whole line if it may
		letGo  bool
	}{
		"no room":              {win: 5, acked: true, letGo: true},
		"just no room":         {win: 6, acked: true, letGo: true},
		"room for a byte more": {win: 7, acked: true},
		"much room":            {win: 500, acked: true},
		"closed":               {win: 0, acked: true},
		"scaled":               {win: 5, scaled: true, acked: true},
		"scaled, no room":      {win: 0, scaled: true, acked: true},
		"not acknowledged":     {win: 6},
		"acknowledged later":   {win: 500, acked: true, later: 6, letGo: true},
		"widened later":        {win: 500, acked: true, later: 600},
		"a whole line":         {win: 8, acked: true, whole: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.ends[0], w.ends[1]
			w.unscaled = !tt.scaled
			w.connect()
			offer := func(win, ack int) {
				p := testpkt.TCP{Src: b.addr, Dst: a.addr, Seq: b.isn + 1, Ack: a.isn + 1 + uint32(ack), Flags: packet.FlagACK}.Bytes()
				h, _ := packet.Parse(p)
				binary.BigEndian.PutUint16(p[int(h.L4)+14:], uint16(win))
				packet.ComputeTransport(p, &h)
				w.packet(p, packet.Meta{})
			}
			a.stream = []byte("x\n" + line)
			w.data(0, 0, 2, packet.Meta{}, nil)
			acked := 0
			if tt.acked {
				acked = 2
			}
			offer(tt.win, acked)
			to := 2 + 6
			if tt.whole {
				to = len(a.stream)
			}
			w.data(0, 2, to, packet.Meta{}, nil)
			if tt.later > 0 {
				offer(tt.later, 2)
				w.data(0, 2, to, packet.Meta{}, nil)
			}
			want := "x\n"
			switch {
			case tt.whole:
				want = "x\nHELLO outside.example\n"
			case tt.letGo:
				want = "x\nHELLO "
			}
			if got := string(b.got); got != want || (w.count(CountLetGo) == 1) != tt.letGo {
				t.Errorf("got %q, want %q; let go %d", got, want, w.count(CountLetGo))
			}
			w.data(0, 2, len(a.stream), packet.Meta{}, nil)
			w.want(1)
		})
	}
}

// TestWindowUnknown: of a connection that was joined in the middle nobody knows how its windows are scaled, so only the
// time ends the waiting.
func TestWindowUnknown(t *testing.T) {
	w := newWorld(t)
	a, b := w.ends[0], w.ends[1]
	a.stream, b.stream = []byte("x\nHELLO 1\n"), []byte("y\n")
	w.data(0, 0, 2, packet.Meta{}, nil)
	w.data(1, 0, 2, packet.Meta{}, nil)
	w.raw(1, testpkt.TCP{Seq: b.isn + 1 + 2, Ack: a.isn + 1 + 2, Flags: packet.FlagACK, Win: 3}, packet.Meta{})
	w.data(0, 2, 5, packet.Meta{}, nil)
	if got := string(b.got); got != "x\n" || w.count(CountLetGo) != 0 || w.count(CountHeld) != 1 {
		t.Errorf("got %q, let go %d, held %d", got, w.count(CountLetGo), w.count(CountHeld))
	}
	w.now += maxHold
	w.kit.Tick(w.now)
	w.data(0, 2, 5, packet.Meta{}, nil)
	if got := string(b.got); got != "x\nHEL" || w.count(CountLetGo) != 1 {
		t.Errorf("after the time: got %q, let go %d", got, w.count(CountLetGo))
	}
}
