package pptp

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
)

// eachRedial runs a scenario in all variants, with call 7 up on a control connection, and its GRE awaited or flowing.
func eachRedial(t *testing.T, run func(t *testing.T, w *world, v variant, old *control, id, own uint16)) {
	for name, v := range variants {
		for _, used := range []bool{false, true} {
			t.Run(fmt.Sprint(name, used), func(t *testing.T) {
				w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"))
				old := w.dial(v.from+":1025", v.to+":1723", nil).start()
				id, own := old.up(7, 1, 70)
				if used {
					v.flows(w, 7, id, false)
				}
				run(t, w, v, old, id, own)
			})
		}
	}
}

// again dials on a second control connection.
func (v variant) again(w *world) *control { return w.dial(v.from+":1026", v.to+":1723", nil) }

// superseded checks how many calls were, and that each control connection has so many.
func (w *world) superseded(times uint64, live map[*control]int) {
	w.t.Helper()
	if got := w.count("superseded"); got != times {
		w.t.Errorf("%d superseded, want %d", got, times)
	}
	for c, want := range live {
		if got := c.stream.live; got != want {
			w.t.Errorf("%s has %d calls, want %d", c.Tuples[0], got, want)
		}
	}
}

// A client that crashed makes a call with the same ID on a new control connection, and its server gives that another ID
// of its own. The old call is over with the request already: nothing of it comes to either end, its ID at the router
// is not used again before it has rested, and the end of the old connection changes nothing.
func TestRedialAfterCrash(t *testing.T) {
	eachRedial(t, func(t *testing.T, w *world, v variant, old *control, first, firstOwn uint16) {
		c := v.again(w).start()
		asked := c.ask(7, 1)
		v.silent(w, first, firstOwn)
		if n := len(old.expectations()); n != 0 {
			t.Errorf("%d expectations of the old call", n)
		}
		second, _ := c.up(7, 1, 71) // asks once more
		if second != asked || v.seen == router && second == first {
			t.Errorf("the new call's ID is %d, then %d, the old one's %d", asked, second, first)
		}
		v.flows(w, 7, second, true)
		v.silent(w, first, firstOwn)
		w.Advance(time.Duration(maxPause))
		w.superseded(1, map[*control]int{old: 0, c: 1})
		v.silent(w, first, firstOwn)
		v.flows(w, 7, second, false)
		if v.seen == router {
			other := w.dial("10.77.1.3:1025", v.to+":1723", nil).start()
			if id := other.ask(first, 1); id == first {
				t.Error("the old call's ID does not rest")
			}
			w.Advance(31 * time.Second)
			if id := other.ask(first, 2); id == first {
				t.Error("a waiting call's ID has changed")
			}
			if id := w.dial("10.77.1.4:1025", v.to+":1723", nil).start().ask(first, 1); id != first {
				t.Errorf("after its rest the old call's ID is %d", id)
			}
		}
		w.remove(old.ID)
		v.flows(w, 7, second, true)
		w.remove(c.ID)
		v.silent(w, second, 71)
	})
}

// The server is the one that crashed: the ID that it gives to a new call was an old one's.
func TestServerCrashed(t *testing.T) {
	eachRedial(t, func(t *testing.T, w *world, v variant, old *control, first, firstOwn uint16) {
		c := v.again(w).start()
		second, _ := c.up(8, 1, 70)
		v.silent(w, first, 0)
		if v.to == router {
			w.wantGRE(v.from, v.to, firstOwn, "no-mapping")
		}
		v.flows(w, 8, second, true)
		w.Advance(time.Duration(maxPause))
		w.superseded(1, map[*control]int{old: 0, c: 1})
		v.flows(w, 8, second, false)
	})
}

// The helper reads the old connection no more, or its call is being cleared: that keeps nothing.
func TestRedialAfter(t *testing.T) {
	for name, before := range map[string]func(old *control){
		"desync": func(old *control) { old.feed(conntrack.Original, []byte("GET / HTTP/1.1")) },
		"clear":  func(old *control) { old.feed(conntrack.Original, msg(clearRequest, 7, 0, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			eachRedial(t, func(_ *testing.T, w *world, v variant, old *control, first, firstOwn uint16) {
				before(old)
				second, _ := v.again(w).start().up(7, 2, 71)
				v.silent(w, first, firstOwn)
				v.flows(w, 7, second, true)
				w.remove(old.ID)
				v.flows(w, 7, second, true)
			})
		})
	}
}

// An old call that waits for its answer is superseded as well: the answer opens nothing.
func TestRedialUnanswered(t *testing.T) {
	eachVariant(t, func(t *testing.T, w *world, v variant, old *control) {
		first := old.ask(7, 1)
		c := v.again(w).start()
		second, _ := c.up(7, 1, 71)
		old.answer(70, first)
		if n := len(old.expectations()); n != 0 {
			t.Errorf("%d expectations of the old call", n)
		}
		v.flows(w, 7, second, true)
		w.superseded(1, map[*control]int{old: 0, c: 1})
	})
}

// The old connection was not dead after all and asks again, with the same serial number even: the last request counts.
func TestRedialBack(t *testing.T) {
	eachRedial(t, func(_ *testing.T, w *world, v variant, old *control, first, firstOwn uint16) {
		c := v.again(w).start()
		second, secondOwn := c.up(7, 1, 71)
		third, _ := old.up(7, 1, 72)
		v.silent(w, first, firstOwn)
		v.silent(w, second, secondOwn)
		v.flows(w, 7, third, false)
		w.Advance(time.Duration(maxPause))
		w.superseded(2, map[*control]int{old: 1, c: 0})
		v.flows(w, 7, third, true)
	})
}

// Another control connection of the same two hosts is no reason to end calls: RFC 2637, section 2.2 lets the server
// refuse it, and what it says then or before that is nothing to go by. Nor is an ID that another peer's call has.
func TestNotSuperseded(t *testing.T) {
	for name, do := range map[string]func(w *world, v variant){
		"another ID": func(w *world, v variant) {
			id, _ := v.again(w).start().up(8, 1, 71)
			v.flows(w, 8, id, true)
		},
		"refused": func(w *world, v variant) {
			c := v.again(w)
			c.feed(conntrack.Original, msg(startRequest, 0x100, 0, 0))
			c.feed(conntrack.Reply, msg(startReply, 0x100, 0, 3))
			c.ask(7, 1)
		},
		"refused later": func(w *world, v variant) {
			c := v.again(w)
			c.feed(conntrack.Original, msg(startRequest, 0x100, 0, 0))
			c.ask(7, 1)
			c.feed(conntrack.Reply, msg(startReply, 0x100, 0, 3))
		},
		"another server": func(w *world, v variant) {
			if v.to == router { // behind the same address, by another port
				w.dial(v.from+":1026", router+":1724", nil).start().ask(7, 1)
			} else {
				w.dial(v.from+":1026", "198.51.100.8:1723", nil).start().ask(7, 1)
			}
		},
		"another client": func(w *world, v variant) {
			w.dial(map[string]string{client: "10.77.1.3", server: "198.51.100.8"}[v.from]+":1026", v.to+":1723", nil).start().ask(7, 1)
		},
	} {
		for kind, v := range variants {
			t.Run(name+" "+kind, func(t *testing.T) {
				w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"), forward(1724, "10.77.1.51"))
				old := w.dial(v.from+":1025", v.to+":1723", nil).start()
				id, _ := old.up(7, 1, 70)
				v.flows(w, 7, id, true)
				do(w, v)
				v.flows(w, 7, id, true)
				w.Advance(time.Duration(maxPause))
				w.superseded(0, map[*control]int{old: 1})
				v.flows(w, 7, id, false)
			})
		}
	}
}

// A request that comes in one flight with the start of its session supersedes when the session is open.
func TestRedialInOneFlight(t *testing.T) {
	eachRedial(t, func(_ *testing.T, w *world, v variant, _ *control, first, firstOwn uint16) {
		c := v.again(w)
		c.feed(conntrack.Original, append(msg(startRequest, 0x100, 0, 0), msg(outgoingRequest, 7, 1, 0)...))
		v.flows(w, 7, first, false)
		c.feed(conntrack.Reply, msg(startReply, 0x100, 0, 1))
		second, _ := c.up(7, 1, 71)
		v.silent(w, first, firstOwn)
		v.flows(w, 7, second, true)
	})
}

// Control connections on several workers give and take one ID and its GRE: in the end one has it whole, or nobody.
func TestHelperAtOnce(t *testing.T) {
	h := New().(*helper)
	n := name{end: conntrack.Tuple{SrcID: 7}}
	last := make([]*call, 4)
	var all sync.WaitGroup
	for i := range last {
		all.Go(func() {
			for round := range uint16(1000) {
				c := new(call)
				tuples := [2]conntrack.Tuple{{DstID: 70}, {DstID: round % 3}}
				h.name(c, n)
				h.claim(c, tuples)
				h.expecting(c, tuples[0], 1)
				if h.lost(c) && h.claimed(c, tuples) { // once lost, always lost
					t.Error("a lost call has its GRE")
				}
				if last[i] = c; round < 999 {
					h.unclaim(c, tuples)
					h.unname(c, n)
				}
			}
		})
	}
	all.Wait()
	owner := h.names[n]
	for _, c := range last {
		if h.lost(c) == (c == owner) {
			t.Errorf("lost: %v, the owner: %v", h.lost(c), c == owner)
		}
		for _, had := range h.claims {
			if had.call != owner {
				t.Error("a lost call has kept GRE")
			}
		}
	}
}
