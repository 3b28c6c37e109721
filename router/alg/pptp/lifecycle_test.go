package pptp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// Each thing that ends calls ends the right ones, and nothing of them is left.
func TestTeardown(t *testing.T) {
	stop := func(dir conntrack.Direction) func(w *world, c *control) {
		return func(_ *world, c *control) { c.feed(dir, msg(stopRequest, 0x100, 0, 0)) }
	}
	for name, tt := range map[string]struct {
		do          func(w *world, c *control)
		first, both bool          // which calls end: the one, or all
		after       time.Duration // not before
	}{
		"CDN":          {func(_ *world, c *control) { c.feed(conntrack.Reply, msg(disconnectNotify, 70, 0, 0)) }, true, false, 0},
		"CDN by PNS":   {func(_ *world, c *control) { c.feed(conntrack.Original, msg(disconnectNotify, 7, 0, 0)) }, false, false, 0},
		"CDN, unknown": {func(_ *world, c *control) { c.feed(conntrack.Reply, msg(disconnectNotify, 99, 0, 0)) }, false, false, 0},
		"CCRQ":         {func(_ *world, c *control) { c.feed(conntrack.Original, msg(clearRequest, 7, 0, 0)) }, true, false, 60 * time.Second},
		"StopRQ":       {stop(0), true, true, 2 * time.Second},
		"StopRQ back":  {stop(1), true, true, 2 * time.Second},
		"StopRP":       {func(_ *world, c *control) { c.feed(conntrack.Reply, msg(stopReply, 0x100, 0, 0)) }, true, true, 0},
		"RST":          {func(_ *world, c *control) { c.Reset(0) }, true, true, 0},
		"one FIN":      {func(_ *world, c *control) { c.Close(0) }, false, false, 0},
		"both FINs": {func(_ *world, c *control) {
			c.Close(0)
			c.Close(1)
		}, true, true, 0},
		"control connection gone": {func(w *world, c *control) {
			w.remove(c.ID)
		}, true, true, 0},
		"desync":        {func(_ *world, c *control) { c.feed(0, []byte("GET / HTTP/1.1")) }, false, false, 0},
		"refused again": {func(_ *world, c *control) { c.feed(1, msg(outgoingReply, 70, 7, 2)) }, true, false, 0},
		"start again":   {func(_ *world, c *control) { c.feed(0, msg(startRequest, 0x100, 0, 0)) }, false, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, used := range []bool{true, false} {
				w := newWorld(t, masquerade())
				c := w.dial(client+":1025", server+":1723", nil).start()
				c.up(7, 1, 70)
				c.up(8, 2, 71)
				if used {
					w.flows(client, server, 7, server, router, 7, false)
					w.flows(client, server, 8, server, router, 8, true)
				}
				tt.do(w, c)
				if tt.after > 0 {
					w.Advance(tt.after - time.Second)
					if used {
						w.wantGRE(server, router, 7, server+">"+client+":7")
					}
					w.Advance(time.Second)
				}
				want := func(dead bool, id uint16, alive string) {
					t.Helper()
					if dead {
						alive = packet.NoMapping.String()
					}
					w.wantGRE(server, router, id, alive)
				}
				want(tt.first, 7, server+">"+client+":7")
				want(tt.both, 8, server+">"+client+":8")
				if n := len(c.expectations()); tt.both && n != 0 {
					t.Errorf("%d expectations are left", n)
				}
				if n := len(w.spy.claims) + len(w.spy.names); tt.both && n != 0 {
					t.Errorf("%d claims and names are left", n)
				}
			}
		})
	}
}

// A call that is not answered in time, or is refused, gets nothing; its ID is translated in what comes late.
func TestUnanswered(t *testing.T) {
	for name, do := range map[string]func(w *world, c *control, id uint16){
		"late":                 func(w *world, _ *control, _ uint16) { w.Advance(60 * time.Second) },
		"refused":              func(_ *world, c *control, id uint16) { c.feed(1, msg(outgoingReply, 0, id, 4)) },
		"CDN with no ID known": func(_ *world, c *control, _ uint16) { c.feed(1, msg(disconnectNotify, 0, 0, 0)) },
	} {
		w := newWorld(t, masquerade())
		w.dial("10.77.1.3:1025", server+":1723", nil).start().ask(7, 1)
		c := w.dial(client+":1025", server+":1723", nil).start()
		id := c.ask(7, 1)
		do(w, c, id)
		c.swap(conntrack.Reply, msg(outgoingReply, 70, id, 1), msg(outgoingReply, 70, 7, 1))
		if n := len(c.expectations()); n != 0 || c.stream.live != 0 {
			t.Errorf("%s: %d expectations, counters %v", name, n, w.Kit.Counters()["pptp"])
		}
		w.Advance(40 * time.Second)
		b := msg(errorNotify, id, 0, 0)
		c.swap(conntrack.Reply, b, b)
	}
}

// A call that is asked for again may be answered later.
func TestAskedAgain(t *testing.T) {
	w := newWorld(t, masquerade())
	c := w.dial(client+":1025", server+":1723", nil).start()
	c.ask(7, 1)
	w.Advance(50 * time.Second)
	c.ask(7, 2)
	w.Advance(50 * time.Second)
	c.answer(70, 7)
	w.wantGRE(server, router, 7, server+">"+client+":7")
}

// Only one of two waiting calls is ended by a CDN without a known ID, and only if it is the only one.
func TestDisconnectOneOfTwo(t *testing.T) {
	w := newWorld(t, masquerade())
	c := w.dial(client+":1025", server+":1723", nil).start()
	c.ask(7, 1)
	c.ask(8, 2)
	c.feed(1, msg(disconnectNotify, 0, 0, 0))
	if w.count("calls-ended") != 0 {
		t.Error("a call was guessed")
	}
}

// The expectation that was not used goes with the next look; the child lives as long as configured.
func TestTimeouts(t *testing.T) {
	w := newWorld(t, masquerade())
	cfg, err := w.spy.Configure(map[string]any{"timeout": 20 * time.Minute, "stream_timeout": 3 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		config         any
		single, stream time.Duration
	}{{nil, 10 * time.Minute, 5 * time.Hour}, {cfg, 20 * time.Minute, 3 * time.Hour}} {
		c := w.dial(client+":1025", netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 1723).String(), tt.config).start()
		to := c.Tuples[0]
		id, _ := c.up(7, 1, 70)
		if n := len(c.expectations()); n != 2 {
			t.Fatalf("%d expectations", n)
		}
		child := func() conntrack.Snapshot {
			t.Helper()
			snap, ok := w.Table.Lookup(w.Now, w.Last.ID)
			if !ok {
				t.Fatal("no child")
			}
			return snap
		}
		w.gre(client, to.DstAddr().String(), 70)
		if s := child(); s.Deadline-w.Now != conntrack.Time(tt.single) || s.Status&conntrack.Expected == 0 || s.Master != c.ID {
			t.Errorf("child %+v lives %v", s, time.Duration(s.Deadline-w.Now))
		}
		w.Advance(time.Second)
		if n := len(c.expectations()); n != 0 {
			t.Errorf("%d expectations beside the child", n)
		}
		w.gre(to.DstAddr().String(), router, id)
		w.gre(client, to.DstAddr().String(), 70)
		if s := child(); s.Deadline-w.Now != conntrack.Time(tt.stream) || s.Status&conntrack.Assured == 0 {
			t.Errorf("child %+v lives %v", s, time.Duration(s.Deadline-w.Now))
		}
		if b := msg(outgoingReply, 70, id, 1); true { // a repeat makes nothing that is not missing
			c.feed(1, b)
			if n := len(c.expectations()); n != 0 {
				t.Errorf("%d expectations beside the child after a repeat", n)
			}
		}
	}
}

// A call lives as long as its control connection: GRE that begins late, or after its connection is over or was
// deleted, comes through.
func TestCallOutlivesGRE(t *testing.T) {
	w := newWorld(t, masquerade())
	cfg := settings{timeout: 30 * time.Second, stream: time.Minute, maxCalls: 4}
	c := w.dial(client+":1025", server+":1723", cfg).start()
	w.dial("10.77.1.3:1025", server+":1723", cfg).start().up(7, 1, 71)
	id, _ := c.up(7, 1, 70)
	w.Advance(20 * time.Minute)
	w.flows(client, server, 7, server, router, id, true)
	for range 3 {
		w.Advance(time.Minute - 500*time.Millisecond) // its end, and nobody has looked since
		w.Now += second
		w.flows(client, server, 7, server, router, id, true)
	}
	w.Advance(90 * time.Second)
	if n := len(c.expectations()); n != 2 {
		t.Errorf("%d expectations for a sleeping call", n)
	}
	w.flows(client, server, 7, server, router, id, false)
	w.remove(w.Last.ID)
	w.Advance(5 * time.Second)
	w.flows(client, server, 7, server, router, id, true)
}

// Without the start of the control connection its calls are helped as well; after a refused start they are not.
func TestSession(t *testing.T) {
	for name, tt := range map[string]struct {
		before []kind // from the client, then from the server
		result byte
		want   int
	}{
		"no start":         {nil, 0, 2},
		"started":          {[]kind{startRequest, startReply}, 1, 2},
		"refused":          {[]kind{startRequest, startReply}, 4, 0},
		"not yet answered": {[]kind{startRequest}, 0, 0},
	} {
		w := newWorld(t, masquerade())
		c := w.dial(client+":1025", server+":1723", nil)
		for dir, k := range tt.before {
			c.feed(conntrack.Direction(dir), msg(k, 0x100, 0, tt.result))
		}
		c.up(7, 1, 70)
		if n := len(c.expectations()); n != tt.want {
			t.Errorf("%s: %d expectations, want %d", name, n, tt.want)
		}
	}
}

// The PAC answers a call again with another ID of its own.
func TestAnsweredAnew(t *testing.T) {
	for _, rules := range []int{0, 1} {
		w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"))
		from, to, inside, seen := client, server, server, router
		if rules == 1 {
			from, to, inside, seen = server, router, "10.77.1.50", server
		}
		c := w.dial(from+":1025", to+":1723", nil).start()
		id, _ := c.up(7, 1, 70)
		w.flows(from, to, 7, inside, seen, id, false)
		delete(w.calls, [2]string{inside, seen})
		id, own := c.up(7, 1, 71)
		w.flows(from, to, 7, inside, seen, id, true)
		c.feed(1, msg(disconnectNotify, 71, 0, 0))
		if got := w.gre(from, to, own); rules == 1 && got != packet.NoMapping.String() {
			t.Errorf("after the end data went %s", got)
		}
		w.Advance(31 * time.Second)
		if again := w.dial(from+":1026", to+":1723", nil).start().ask(7, 1); again != 7 {
			t.Errorf("after the rest call ID 7 is still %d", again)
		}
	}
}

// All IDs of an address are taken: the call passes untranslated and gets nothing.
func TestNoCallID(t *testing.T) {
	w := newWorld(t, masquerade())
	w.reserveAll(0)
	c := w.dial(client+":1025", server+":1723", nil).start()
	c.up(7, 1, 70)
	if n := len(c.expectations()); n != 0 || w.count("no-call-id") == 0 {
		t.Errorf("%d expectations, counters %v", n, w.Kit.Counters()["pptp"])
	}
}

// Every cell of the tables: those of RFC 2637 are named, all others stay.
func TestTables(t *testing.T) {
	calls := map[callState]map[event]callState{
		outWait:  {answered: outUp, unanswered: ended, cleared: clearing, disconnected: ended, timedOut: ended},
		outUp:    {answered: outUp, unanswered: ended, cleared: clearing, disconnected: ended},
		inWait:   {accepted: inReply, rejected: ended, cleared: clearing, disconnected: ended, timedOut: ended},
		inReply:  {accepted: inReply, rejected: ended, connected: inUp, cleared: clearing, disconnected: ended, timedOut: ended},
		inUp:     {rejected: ended, connected: inUp, cleared: clearing, disconnected: ended},
		clearing: {answered: clearing, unanswered: ended, rejected: ended, disconnected: ended, timedOut: ended},
	}
	for s := range numCallStates {
		for e := range numEvents {
			want, ok := calls[s][e]
			if !ok {
				want = xx
			}
			if got := callNext[s][e]; got != want {
				t.Errorf("call %d, event %d: %d, want %d", s, e, got, want)
			}
		}
	}
	for s := range numSessions {
		for sig := range numSignals {
			next := sessionNext[s][sig]
			if s != closed && sig == sigEnd && next != closed {
				t.Errorf("session %d outlives its connection", s)
			}
			if next == open && s != idle && s != opening {
				t.Errorf("session %d opens by signal %d", s, sig)
			}
		}
	}
	for k := startRequest; k < numKinds; k++ {
		if d := &messages[k]; d.name == "" || d.need() > maxNeed || d.need() > d.size || d.size > maxSize {
			t.Errorf("message %d: %+v", k, d)
		}
	}
}

func TestConfigure(t *testing.T) {
	h := New()
	for name, options := range map[string]map[string]any{
		"unknown option":    {"speed": 1},
		"timeout too short": {"timeout": time.Millisecond},
		"timeout no time":   {"timeout": 10},
		"stream too short":  {"stream_timeout": -time.Hour},
		"no calls":          {"max_calls": 0},
		"too many calls":    {"max_calls": 65536},
		"calls no number":   {"max_calls": "64"},
	} {
		if got, err := h.Configure(options); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got, err := h.Configure(nil); err != nil || got != defaults {
		t.Errorf("defaults: %v, %v", got, err)
	}
	if s := h.Spec(); s.Name != "pptp" || s.Proto != packet.ProtoTCP || s.Port != 1723 || s.Classes[0].Limit != 128 ||
		s.Classes[0].Lifetime != 300*time.Second {
		t.Errorf("%+v", s)
	}
}
