package pptp

import (
	"fmt"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// flows checks the data of a call both ways, the first packet from either end: ends as each sees the other.
func (w *world) flows(client, serverSeen string, id uint16, server, clientSeen string, peer uint16, back bool) {
	w.t.Helper()
	there := func() {
		w.t.Helper()
		own := w.calls[[2]string{server, clientSeen}][peer]
		w.wantGRE(client, serverSeen, own[0], fmt.Sprintf("%s>%s:%d", clientSeen, server, own[1]))
	}
	here := func() {
		w.t.Helper()
		w.wantGRE(server, clientSeen, peer, fmt.Sprintf("%s>%s:%d", serverSeen, client, id))
	}
	if back {
		here()
	}
	there()
	here()
	there()
}

// up connects a call: the client's ID, the server's, and what the other end sees of each. It notes them for flows.
func (c *control) up(id, serial, own uint16) (clientID, serverID uint16) {
	c.w.t.Helper()
	clientID = c.ask(id, serial)
	serverID, back := c.answer(own, clientID)
	if back != id {
		c.w.t.Errorf("the reply names call %d, want %d", back, id)
	}
	leaving := c.leaving(conntrack.Original)
	key := [2]string{leaving.DstAddr().String(), leaving.SrcAddr().String()}
	if c.w.calls[key] == nil {
		c.w.calls[key] = map[uint16][2]uint16{}
	}
	c.w.calls[key][clientID] = [2]uint16{serverID, own}
	return clientID, serverID
}

// A: two inside clients of one server, with equal call IDs and TCP ports, and a server that gives both the same.
func TestTwoClients(t *testing.T) {
	for _, serverFirst := range []bool{false, true} {
		w := newWorld(t, masquerade())
		ids := map[uint16]bool{}
		for _, host := range []string{client, "10.77.1.3"} {
			id, _ := w.dial(host+":40000", server+":1723", nil).start().up(1, 1, 0x10)
			if ids[id] || id == 0 {
				t.Errorf("call ID %d", id)
			}
			ids[id] = true
			w.flows(host, server, 1, server, router, id, serverFirst)
		}
		if !ids[1] {
			t.Error("the wanted ID was free and not kept")
		}
		for id := range ids { // H: a collision of TCP ports is no matter of call IDs
			if id == 40000 {
				t.Error("a port for a call ID")
			}
		}
	}
}

// variant is a way that a control connection is translated: who dials which address, who answers, and as whom he sees
// the one who dialled.
type variant struct{ from, to, server, seen string }

var variants = map[string]variant{
	"SNAT":    {client, server, server, router},
	"DNAT":    {server, router, "10.77.1.50", server},
	"hairpin": {client, router, "10.77.1.50", router},
}

// flows is world.flows: id is the client's own, peer what the server knows it by.
func (v variant) flows(w *world, id, peer uint16, back bool) {
	w.t.Helper()
	w.flows(v.from, v.to, id, v.server, v.seen, peer, back)
}

// silent checks that data of an ended call does not get through to a translated end: ids as the other ends know them.
func (v variant) silent(w *world, clientID, serverID uint16) {
	w.t.Helper()
	if v.seen == router {
		w.wantGRE(v.server, v.seen, clientID, packet.NoMapping.String())
	}
	if v.to == router {
		w.wantGRE(v.from, v.to, serverID, packet.NoMapping.String())
	}
}

// eachVariant runs a scenario in all variants, with a control connection that is open.
func eachVariant(t *testing.T, run func(t *testing.T, w *world, v variant, c *control)) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"))
			run(t, w, v, w.dial(v.from+":1025", v.to+":1723", nil).start())
		})
	}
}

// Several calls on one control connection, up together, cleared one by one.
func TestSeveralCalls(t *testing.T) {
	eachVariant(t, func(t *testing.T, w *world, v variant, c *control) {
		var ids [][2]uint16
		for i := range uint16(5) {
			id, own := c.up(100+i, i, 200+i)
			ids = append(ids, [2]uint16{id, own})
			v.flows(w, 100+i, id, i%2 == 0)
		}
		for i := range uint16(5) {
			c.swap(conntrack.Original, msg(clearRequest, 100+i, 0, 0), msg(clearRequest, ids[i][0], 0, 0))
			v.flows(w, 100+i, ids[i][0], i%2 == 0) // not yet
			c.swap(conntrack.Reply, msg(disconnectNotify, 200+i, 0x400, 0), msg(disconnectNotify, ids[i][1], 0x400, 0))
			v.silent(w, ids[i][0], ids[i][1])
			for j := i + 1; j < 5; j++ {
				v.flows(w, 100+j, ids[j][0], false)
			}
		}
	})
}

// B: the next call with the ID of the one before, after it was cleared, and without that.
func TestRedial(t *testing.T) {
	eachVariant(t, func(t *testing.T, w *world, v variant, c *control) {
		first, firstOwn := c.up(7, 1, 70)
		v.flows(w, 7, first, false)
		c.feed(conntrack.Reply, msg(disconnectNotify, 70, 0, 0))
		v.silent(w, first, firstOwn)
		second, secondOwn := c.up(7, 2, 70)
		if v.seen == router && second == first || v.to == router && secondOwn == firstOwn {
			t.Error("an ended call's ID is used at once: late data of it would come through")
		}
		v.flows(w, 7, second, true)

		third, _ := c.up(8, 3, 71) // another one beside it
		v.flows(w, 8, third, false)
		v.flows(w, 7, second, false)

		fourth, _ := c.up(7, 4, 72) // the client has forgotten
		if v.seen == router {
			w.wantGRE(v.server, v.seen, second, packet.NoMapping.String())
		}
		v.flows(w, 7, fourth, false)
		v.flows(w, 8, third, false)
		if again := c.ask(7, 4); again != fourth { // a repeat
			t.Errorf("a repeated request got the ID %d, not %d", again, fourth)
		}
		v.flows(w, 7, fourth, false)
		w.Advance(31 * time.Second)
		if _, own := c.up(9, 9, 70); own != 70 {
			t.Errorf("call ID 70 is still %d", own)
		}
		if again := w.dial(v.from+":1026", v.to+":1723", nil).start().ask(first, 1); v.seen == router && again != first {
			t.Errorf("the first call's ID %d is still held: %d", first, again)
		}
	})
}

// C: a client that was switched off dials again; the old control connection lives on in the table. The new call has its
// GRE at once, also where the old one's still flows or is still awaited, and the old one's end does not touch it.
func TestRedialNewConnection(t *testing.T) {
	for name, v := range variants {
		for _, used := range []bool{false, true} {
			t.Run(fmt.Sprint(name, used), func(t *testing.T) {
				w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"))
				old := w.dial(v.from+":1025", v.to+":1723", nil).start()
				first, _ := old.up(7, 1, 70)
				if used {
					w.flows(v.from, v.to, 7, v.server, v.seen, first, false)
				}
				c := w.dial(v.from+":1026", v.to+":1723", nil).start()
				second, _ := c.up(7, 1, 70)
				w.flows(v.from, v.to, 7, v.server, v.seen, second, true)
				old.Reset(0)
				w.flows(v.from, v.to, 7, v.server, v.seen, second, false)
				if n := len(old.expectations()); n != 0 {
					t.Errorf("%d expectations of the old connection", n)
				}
				w.Advance(10 * time.Second)
				w.flows(v.from, v.to, 7, v.server, v.seen, second, true)
			})
		}
	}
}

// D: a server behind DNAT, external clients with equal IDs.
func TestInsideServer(t *testing.T) {
	w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"))
	for i, host := range []string{"198.51.100.7", "198.51.100.8", "198.51.100.9"} {
		id, own := w.dial(host+":1025", router+":1723", nil).start().up(5, 1, uint16(60+i))
		if id != 5 || own != uint16(60+i) {
			t.Errorf("IDs %d, %d: changed without need", id, own)
		}
		w.flows(host, router, 5, "10.77.1.50", host, 5, i == 1)
	}
}

// E: two inside servers share an outside address.
func TestTwoInsideServers(t *testing.T) {
	w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"), forward(1724, "10.77.1.51"))
	seen := map[uint16]bool{}
	for i, s := range []string{"10.77.1.50", "10.77.1.51"} {
		c := w.dial(fmt.Sprintf("%s:%d", server, 1025+i), fmt.Sprintf("%s:%d", router, 1723+i), nil).start()
		_, own := c.up(uint16(5+i), 1, 60)
		if seen[own] {
			t.Error("both servers have the same ID")
		}
		seen[own] = true
		w.flows(server, router, uint16(5+i), s, server, uint16(5+i), i == 0)
		link := msg(setLink, own, 0, 0)
		c.swap(conntrack.Original, link, msg(setLink, 60, 0, 0))
		c.swap(conntrack.Reply, msg(disconnectNotify, 60, 0, 0), msg(disconnectNotify, own, 0, 0))
		w.wantGRE(server, router, own, packet.NoMapping.String())
	}
}

// F: an inside client of an inside server by the outside address: both IDs are translated.
func TestHairpin(t *testing.T) {
	for _, serverFirst := range []bool{false, true} {
		w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"))
		c := w.dial(client+":1025", router+":1723", nil).start()
		id, own := c.up(5, 1, 5)
		if id == own {
			t.Errorf("both ends are %d at one address", id)
		}
		w.flows(client, router, 5, "10.77.1.50", router, id, serverFirst)
	}
}

// G: GRE comes before the message that connects its call, from either end. It may be lost, and what it left behind (a
// connection of its own, masqueraded by a rule) is not in the way, though more of it comes all the time.
func TestEarlyGRE(t *testing.T) {
	eachVariant(t, func(t *testing.T, w *world, v variant, c *control) {
		id := c.ask(7, 1)
		for range 3 {
			w.gre(v.server, v.seen, id) // the server knows the client's ID before the client knows its own
			w.gre(v.from, v.to, 70)
		}
		own, _ := c.answer(70, id)
		w.calls[[2]string{v.server, v.seen}] = map[uint16][2]uint16{id: {own, 70}}
		v.flows(w, 7, id, true)
		w.Advance(10 * time.Second)
		v.flows(w, 7, id, false)
	})
}

// J: IPv6, translated and not.
func TestIPv6(t *testing.T) {
	w := newWorld(t, masquerade())
	const server, outside = "2001:db8:1::7", "2001:db8:113::1"
	ids := map[uint16]bool{}
	for _, host := range []string{"fd77::2", "fd77::3"} {
		id, _ := w.dial("["+host+"]:1025", "["+server+"]:1723", nil).start().up(1, 1, 16)
		if ids[id] {
			t.Error("one ID for two")
		}
		ids[id] = true
		w.flows(host, server, 1, server, outside, id, host == "fd77::3")
	}
	w = newWorld(t)
	c := w.dial("[fd77::2]:1025", "["+server+"]:1723", nil).start()
	if id, own := c.up(0, 1, 0); id != 0 || own != 0 { // 0 is a legal ID
		t.Errorf("IDs %d, %d without NAT", id, own)
	}
	w.flows("fd77::2", server, 0, server, "fd77::2", 0, false)
}

// A PAC that opened the control connection, and calls that it makes: the roles follow the messages.
func TestPACDials(t *testing.T) {
	eachVariant(t, func(t *testing.T, w *world, v variant, c *control) {
		dialler := idAt(c.feed(conntrack.Original, msg(incomingRequest, 300, 1, 0)), 12)
		b := c.feed(conntrack.Reply, msg(incomingReply, 400, dialler, 1))
		answerer := idAt(b, 12)
		if idAt(b, 14) != 300 {
			t.Errorf("the reply names call %d", idAt(b, 14))
		}
		done := c.feed(conntrack.Original, msg(incomingConnected, answerer, 0, 0))
		if idAt(done, 12) != 400 {
			t.Errorf("connected names call %d", idAt(done, 12))
		}
		there, back := fmt.Sprintf("%s>%s:400", v.seen, v.server), fmt.Sprintf("%s>%s:300", v.to, v.from)
		w.wantGRE(v.from, v.to, answerer, there)
		w.wantGRE(v.server, v.seen, dialler, back)
		c.swap(conntrack.Original, msg(errorNotify, answerer, 0, 0), msg(errorNotify, 400, 0, 0))
		c.swap(conntrack.Reply, msg(setLink, dialler, 0, 0), msg(setLink, 300, 0, 0))
		c.swap(conntrack.Reply, msg(clearRequest, 400, 0, 0), msg(clearRequest, answerer, 0, 0))
		c.swap(conntrack.Original, msg(disconnectNotify, 300, 0, 0), msg(disconnectNotify, dialler, 0, 0))
		v.silent(w, dialler, answerer)
	})
}

// What nobody dialled gets nothing, and third hosts get nothing.
func TestUnknownCalls(t *testing.T) {
	w := newWorld(t, masquerade())
	c := w.dial(client+":1025", server+":1723", nil).start()
	id, _ := c.up(7, 1, 70)
	w.wantGRE("198.51.100.8", router, id, packet.NoMapping.String())
	w.wantGRE(server, router, id+1, packet.NoMapping.String())
	for _, k := range []kind{outgoingReply, incomingConnected, errorNotify, disconnectNotify, setLink} {
		b := msg(k, 999, 998, 1)
		c.swap(conntrack.Reply, b, b)
	}
	if n := len(c.expectations()); n != 2 || w.count("unknown-id") == 0 {
		t.Errorf("%d expectations, counters %v", n, w.Kit.Counters()["pptp"])
	}
	w.flows(client, server, 7, server, router, id, true)
}

// More calls than a rule allows pass untranslated and get nothing.
func TestMaxCalls(t *testing.T) {
	w := newWorld(t, masquerade())
	h, err := w.spy.Configure(map[string]any{"max_calls": 3})
	if err != nil {
		t.Fatal(err)
	}
	c := w.dial(client+":1025", server+":1723", h).start()
	for id := range uint16(1000) {
		c.answer(id, c.ask(id, id))
	}
	if n := len(c.expectations()); n != 6 || w.count("calls-full") != 997 {
		t.Errorf("%d expectations, counters %v", n, w.Kit.Counters()["pptp"])
	}
	for id := range uint16(3) {
		c.feed(conntrack.Reply, msg(disconnectNotify, id, 0, 0))
	}
	for id := range uint16(1000) { // ended calls are remembered within bounds
		c.answer(id, c.ask(id, 2000+id))
		c.feed(conntrack.Reply, msg(disconnectNotify, id, 0, 0))
	}
	if s := c.stream; len(s.past) > maxPast || len(s.calls) > 6 || s.live != 0 {
		t.Errorf("%d past, %d calls, %d live", len(s.past), len(s.calls), s.live)
	}
	w.Advance(31 * time.Second)
	if s := w.NAT.Stats(); s.Mappings != 1 {
		t.Errorf("%d mappings are left", s.Mappings)
	}
}
