package pptp

import (
	"fmt"
	"net/netip"
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
	c.t.Helper()
	clientID = c.ask(id, serial)
	serverID, back := c.answer(own, clientID)
	if back != id {
		c.t.Errorf("the reply names call %d, want %d", back, id)
	}
	leaving := c.Leaving(conntrack.Original)
	key := [2]string{leaving.DstAddr().String(), leaving.SrcAddr().String()}
	if c.calls[key] == nil {
		c.calls[key] = map[uint16][2]uint16{}
	}
	c.calls[key][clientID] = [2]uint16{serverID, own}
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

// Several calls on one control connection, up together, cleared one by one.
func TestSeveralCalls(t *testing.T) {
	w := newWorld(t, masquerade())
	c := w.dial(client+":1025", server+":1723", nil).start()
	var ids []uint16
	for i := range uint16(5) {
		id, _ := c.up(100+i, i, 200+i)
		ids = append(ids, id)
		w.flows(client, server, 100+i, server, router, id, i%2 == 0)
	}
	for i := range uint16(5) {
		c.swap(conntrack.Original, msg(clearRequest, 100+i, 0, 0), msg(clearRequest, ids[i], 0, 0))
		w.wantGRE(server, router, ids[i], fmt.Sprintf("%s>%s:%d", server, client, 100+i)) // not yet
		notify := msg(disconnectNotify, 200+i, 0x400, 0)
		c.swap(conntrack.Reply, notify, notify)
		w.wantGRE(server, router, ids[i], packet.NoMapping.String())
		for j := i + 1; j < 5; j++ {
			w.flows(client, server, 100+j, server, router, ids[j], false)
		}
	}
}

// B: the next call with the ID of the one before, after it was cleared, and without that.
func TestRedial(t *testing.T) {
	w := newWorld(t, masquerade())
	c := w.dial(client+":1025", server+":1723", nil).start()
	first, _ := c.up(7, 1, 70)
	w.flows(client, server, 7, server, router, first, false)
	c.feed(conntrack.Reply, msg(disconnectNotify, 70, 0, 0))
	second, _ := c.up(7, 2, 70)
	if second == first {
		t.Error("an ended call's ID is used at once: late data of it would come through")
	}
	w.wantGRE(server, router, first, packet.NoMapping.String())
	w.flows(client, server, 7, server, router, second, true)

	third, _ := c.up(8, 3, 71) // another one beside it
	w.flows(client, server, 8, server, router, third, false)
	w.flows(client, server, 7, server, router, second, false)

	fourth, _ := c.up(7, 4, 72) // the client has forgotten
	w.wantGRE(server, router, second, packet.NoMapping.String())
	w.flows(client, server, 7, server, router, fourth, false)
	w.flows(client, server, 8, server, router, third, false)
	if again := c.ask(7, 4); again != fourth { // a repeat
		t.Errorf("a repeated request got the ID %d, not %d", again, fourth)
	}
	w.flows(client, server, 7, server, router, fourth, false)
	w.advance(31 * time.Second)
	if got := c.ask(9, 9); got != 9 {
		t.Errorf("call ID %d", got)
	}
	if got, ok := w.nat.Reserve(w.now, packet.ProtoGRE, netip.MustParseAddr(router), first); !ok || got != first {
		t.Errorf("the first call's ID %d is still held: %d, %v", first, got, ok)
	}
}

// C: a client that was switched off dials again; the old control connection lives on in the table.
func TestRedialNewConnection(t *testing.T) {
	for _, strict := range []bool{false, true} {
		for _, used := range []bool{false, true} {
			w := newWorld(t, masquerade())
			w.strict = strict
			old := w.dial(client+":1025", server+":1723", nil).start()
			first, _ := old.up(7, 1, 70)
			if used {
				w.flows(client, server, 7, server, router, first, false)
			}
			c := w.dial(client+":1026", server+":1723", nil).start()
			second, _ := c.up(7, 1, 70)
			w.advance(8 * time.Second)
			w.flows(client, server, 7, server, router, second, true)
			old.finish()
			w.flows(client, server, 7, server, router, second, false)
			if n := len(old.Expectations()); n != 0 {
				t.Errorf("%d expectations of the old connection", n)
			}
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

// G: GRE comes before the message that connects its call. It is lost, and what it left behind is not in the way.
func TestEarlyGRE(t *testing.T) {
	w := newWorld(t, masquerade())
	c := w.dial(client+":1025", server+":1723", nil).start()
	id := c.ask(7, 1)
	w.wantGRE(server, router, id, packet.NoMapping.String())
	c.answer(70, id)
	w.wantGRE(server, router, id, server+">"+client+":7")

	w = newWorld(t, masquerade(), forward(1723, "10.77.1.50"))
	c = w.dial(server+":1025", router+":1723", nil).start()
	c.ask(7, 1)
	w.gre("10.77.1.50", server, 7)
	c.answer(70, 7)
	w.wantGRE(server, router, 70, server+">10.77.1.50:70")
	w.wantGRE("10.77.1.50", server, 7, router+">"+server+":7")
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

// A PAC that opened the control connection, and calls that it makes.
func TestPACDials(t *testing.T) {
	w := newWorld(t, masquerade())
	c := w.dial(client+":1025", server+":1723", nil).start()
	b := c.feed(conntrack.Original, msg(incomingRequest, 300, 1, 0))
	c.swap(conntrack.Reply, msg(incomingReply, 400, uint16(b[12])<<8|uint16(b[13]), 1), msg(incomingReply, 400, 300, 1))
	done := msg(incomingConnected, 400, 0, 0)
	c.swap(conntrack.Original, done, done)
	w.wantGRE(client, server, 400, router+">"+server+":400")
	w.wantGRE(server, router, 300, server+">"+client+":300")
	c.swap(conntrack.Reply, msg(clearRequest, 400, 0, 0), msg(clearRequest, 400, 0, 0))
	c.swap(conntrack.Original, msg(disconnectNotify, 300, 0, 0), msg(disconnectNotify, 300, 0, 0))
	w.wantGRE(server, router, 300, packet.NoMapping.String())
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
	if n := len(c.Expectations()); n != 2 || c.counts["unknown-id"] == 0 {
		t.Errorf("%d expectations, counters %v", n, c.counts)
	}
	w.flows(client, server, 7, server, router, id, true)
}

// More calls than a rule allows pass untranslated and get nothing.
func TestMaxCalls(t *testing.T) {
	w := newWorld(t, masquerade())
	h, err := w.helper.Configure(map[string]any{"max_calls": 3})
	if err != nil {
		t.Fatal(err)
	}
	c := w.dial(client+":1025", server+":1723", h).start()
	for id := range uint16(1000) {
		c.answer(id, c.ask(id, id))
	}
	if n := len(c.Expectations()); n != 6 || c.counts["calls-full"] != 997 {
		t.Errorf("%d expectations, counters %v", n, c.counts)
	}
	for id := range uint16(3) {
		c.feed(conntrack.Reply, msg(disconnectNotify, id, 0, 0))
	}
	for id := range uint16(1000) { // ended calls are remembered within bounds
		c.answer(id, c.ask(id, 2000+id))
		c.feed(conntrack.Reply, msg(disconnectNotify, id, 0, 0))
	}
	if s := c.stream.(*stream); len(s.past) > maxPast || len(s.held) > maxHeld || len(s.calls) > 6 || s.live != 0 {
		t.Errorf("%d past, %d held, %d calls, %d live", len(s.past), len(s.held), len(s.calls), s.live)
	}
	w.advance(31 * time.Second)
	if s := w.nat.Stats(); s.Mappings != 1 {
		t.Errorf("%d mappings are left", s.Mappings)
	}
}
