package pptp

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
)

// evil is a control connection between two ends that say whatever hurts.
type evil struct {
	*control
	messages int
}

// The hosts of evil, which have no part in the model's calls, and one that dials nobody.
const (
	evilInside  = "10.77.1.66"
	evilOutside = "198.51.100.66"
	third       = "198.51.100.99"
)

// attack takes an evil step, and checks that it brought nobody anything.
func (m *model) attack() {
	if m.evil == nil || m.evil.messages > 40 || !m.evil.Helped() {
		if m.evil != nil {
			m.w.remove(m.evil.ID)
		}
		from, to := evilInside, m.servers[m.rand.IntN(len(m.servers))].addr
		if door := doors[to]; door != "" {
			from, to = []string{evilInside, evilOutside}[m.rand.IntN(2)], door
		} else {
			to += ":1723"
		}
		m.port++
		m.evil = &evil{control: m.w.dial(fmt.Sprintf("%s:%d", from, m.port), to, nil)}
	}
	for range 1 + m.rand.IntN(4) {
		m.evil.messages++
		m.evil.feed(conntrack.Direction(m.rand.IntN(2)), m.badMessage())
	}
	m.w.wantGRE(third, router, uint16(m.rand.IntN(16)), "no-mapping")
	m.bounded()
}

// badMessage returns what no PPTP peer says, and what one says at the wrong time and about calls of others.
func (m *model) badMessage() []byte {
	id := uint16(m.rand.IntN(14))
	if c := m.anyCall(); c != nil && m.rand.IntN(2) == 0 {
		id = c.peer[m.rand.IntN(2)]
	}
	b := msg(1+kind(m.rand.IntN(15)), id, uint16(m.rand.IntN(14)), byte(1+m.rand.IntN(2)))
	switch m.rand.IntN(12) {
	case 0: // wrong cookie
		b[4+m.rand.IntN(4)]++
	case 1: // wrong length
		b[m.rand.IntN(2)]--
	case 2: // unknown type
		b[9] = byte(m.rand.IntN(256))
	case 3: // longer than the table
		n := m.rand.IntN(257 - len(b))
		b = append(b, make([]byte, n)...)
		b[0], b[1] = byte(len(b)>>8), byte(len(b))
	case 4: // longer than anything
		b[0], b[1] = byte(m.rand.IntN(256)), 255
	case 5: // never finished
		b = b[:1+m.rand.IntN(len(b)-1)]
	case 6: // no message at all
		for i := range b {
			b[i] = byte(m.rand.IntN(256))
		}
	case 7: // a management message
		b[3] = byte(m.rand.IntN(4))
	}
	return b
}

// bounded checks that each expectation is between the ends of its master's connection, and how many there are.
func (m *model) bounded() {
	own := map[conntrack.Handle]int{}
	for _, e := range m.w.Table.Expectations(m.w.Now, 0) {
		master, ok := m.w.Table.Lookup(m.w.Now, e.Master)
		between := func(t conntrack.Tuple) bool { return t.Src == e.Tuple.Src && t.Dst == e.Tuple.Dst }
		if !ok || !slices.ContainsFunc(master.Tuples[:], between) || e.Mask.Src != conntrack.MaskExact.Src {
			m.t.Fatalf("expectation %s of %s", e.Tuple, master.Tuples[0])
		}
		if own[e.Master]++; own[e.Master] > 2*defaults.maxCalls {
			m.t.Fatalf("%d expectations of %s", own[e.Master], master.Tuples[0])
		}
	}
}

// A message that never ends is not kept, and one that stops within its IDs leaves after two seconds as it is: nothing
// comes of it, also where its rest follows. The next message is read again.
func TestEndlessMessage(t *testing.T) {
	w := newWorld(t, masquerade())
	c := w.dial(client+":1025", server+":1723", nil).start()
	whole := msg(outgoingRequest, 7, 1, 0)
	c.feed(0, whole[:100])
	w.Advance(10 * time.Minute)
	if !c.Helped() || w.count("held") != 0 {
		t.Errorf("helped: %v, %d held", c.Helped(), w.count("held"))
	}
	c.swap(0, whole[100:], whole[100:])
	w.dial("10.77.9.9:1000", server+":1723", nil).start().ask(8, 1) // so the ID 8 is not free
	calls := w.count("calls")
	next := msg(outgoingRequest, 8, 2, 0)
	c.swap(0, next[:13], next[:12])
	w.Advance(time.Second)
	if got := c.Heard(0); len(got) != c.Said(0)-1 || w.count("let-go") != 0 {
		t.Errorf("%d of %d bytes arrived after a second, let go %d", len(got), c.Said(0), w.count("let-go"))
	}
	w.Advance(time.Second)
	c.Settle(0, func(n int) int { return n })
	c.swap(0, next[13:], next[13:])
	if !c.Helped() || w.count("not-held") != 1 || w.count("calls") != calls {
		t.Errorf("helped: %v, %d not held, %d calls, want %d", c.Helped(), w.count("not-held"), w.count("calls"), calls)
	}
	got := c.feed(0, msg(outgoingRequest, 8, 3, 0))
	if w.count("calls") != calls+1 || len(got) != len(next) || got[12] == 0 && got[13] == 8 {
		t.Errorf("the next message: %d calls, want %d; % x", w.count("calls"), calls+1, got[12:14])
	}
}

// Thousands of calls, on one control connection and on many: each has its own ID, its data flows, and with the control
// connection all is gone. Of the IDs of others nobody can do anything.
func TestThousandsOfCalls(t *testing.T) {
	const many = 3000
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"))
			cfg := defaults
			cfg.maxCalls = many
			c := w.dial(v.from+":1025", v.to+":1723", cfg).start()
			seen := map[uint16]bool{}
			for id := range uint16(many) {
				outer, _ := c.up(id, id, id)
				if seen[outer] {
					t.Fatalf("two calls have the ID %d", outer)
				}
				seen[outer] = true
			}
			if n := len(c.expectations()); n != 2*many {
				t.Errorf("%d expectations", n)
			}
			for id := range uint16(many) {
				if id%100 == 0 {
					w.flows(v.from, v.to, id, v.server, v.seen, clientSees(w, v.server, v.seen, id), id%200 == 0)
				}
			}
			w.Advance(5 * time.Second)
			other := w.dial("198.51.100.66:1025", router+":1723", nil).start()
			for id := range uint16(many) { // answers to and ends of calls of others
				other.feed(1, msg(outgoingReply, id, id, 1))
				other.feed(1, msg(disconnectNotify, id, 0, 0))
			}
			if c.stream.live != many || len(other.expectations()) != 0 {
				t.Errorf("%d calls are left, %d expectations for others", c.stream.live, len(other.expectations()))
			}
			w.remove(c.ID)
			w.remove(other.ID)
			if n := len(w.Table.Expectations(w.Now, 0)); n != 0 || len(w.spy.claims)+len(w.spy.names) != 0 {
				t.Errorf("%d expectations, %d claims and %d names are left", n, len(w.spy.claims), len(w.spy.names))
			}
			w.Now += conntrack.Time(24 * time.Hour)
			w.Advance(time.Second)
			outside, peer := netip.MustParseAddr(router), netip.MustParseAddr(server)
			if _, ok := w.NAT.ReserveCallID(w.Now, outside, peer, 1); !ok || w.NAT.Stats().Quarantined != 0 {
				t.Errorf("%d call IDs rest", w.NAT.Stats().Quarantined)
			}
		})
	}
}

// clientSees returns the ID that the server knows a client's call by, which it itself calls id.
func clientSees(w *world, server, seen string, id uint16) uint16 {
	for outer, c := range w.calls[[2]string{server, seen}] {
		if c[1] == id {
			return outer
		}
	}
	return 0
}
