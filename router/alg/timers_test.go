package alg

import (
	"testing"

	"github.com/natrouter/natrouter/router/conntrack"
)

// TestTick: a helper is told of its time about once a second until it takes it back.
func TestTick(t *testing.T) {
	w := open(t, "")
	w.say("x\n")
	s, st := w.toy.streams[0], w.state()
	w.ask(func() { st.Wake(w.now + 5e9) })
	for range 4 * 8 {
		w.now += 250e6
		w.kit.Tick(w.now)
	}
	if s.ticks != 4 {
		t.Errorf("%d ticks in the three seconds after the time, want 4", s.ticks)
	}
	s.onTick = func(m Master) { m.Wake(0) }
	for range 20 {
		w.now += 1e9
		w.kit.Tick(w.now)
	}
	if s.ticks != 5 {
		t.Errorf("%d ticks, want one more", s.ticks)
	}
}

// TestTickNow: a helper that asks for the present moment, or for one that is over, again and again gets its turn at
// each tick and no more.
func TestTickNow(t *testing.T) {
	for _, at := range []conntrack.Time{-5e9, 0} {
		w := open(t, "")
		w.say("x\n")
		s, st := w.toy.streams[0], w.state()
		s.onTick = func(m Master) { m.Wake(m.Now() + at) }
		w.ask(func() { st.Wake(w.now) })
		for range 10 {
			w.now += 250e6
			w.kit.Tick(w.now)
		}
		if s.ticks != 10 {
			t.Errorf("%d ticks, want 10", s.ticks)
		}
	}
}
