package pptp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/natrouter/natrouter/router/conntrack"
)

// host is a PPTP peer of the model: it gives its calls IDs that are unique on it and small, so that hosts collide.
type host struct {
	addr string
	live map[uint16]*modelCall
}

// modelControl is a control connection of the model; ends are the hosts by the direction that they send in.
type modelControl struct {
	*control
	ends  [2]*host
	seen  [2]string // the address that an end sees the other at
	calls []*modelCall
}

// modelCall is a call as its two ends know it.
type modelCall struct {
	of   *modelControl
	pns  int
	id   [2]uint16 // an end's own
	peer [2]uint16 // what an end was told of the other's
}

// model is a router with clients and servers on both sides that call each other at random.
type model struct {
	t        *rapid.T
	w        *world
	rand     *rand.Rand
	clients  []*host
	servers  []*host
	controls []*modelControl
	evil     *evil
	port     uint16
	serial   uint16
}

// doors are the addresses that clients reach the servers by.
var doors = map[string]string{"10.77.1.50": router + ":1723", "10.77.1.51": router + ":1724"}

func newModel(t *rapid.T) *model {
	w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"), forward(1724, "10.77.1.51"))
	m := &model{t: t, w: w, rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), port: 1024}
	pick := func(kind string, from ...string) (list []*host) {
		for _, addr := range from[:rapid.IntRange(2, len(from)).Draw(t, kind)] {
			list = append(list, &host{addr, map[uint16]*modelCall{}})
		}
		return list
	}
	m.clients = pick("clients", "10.77.1.2", "198.51.100.2", "10.77.1.3", "198.51.100.3", "10.77.1.4", "10.77.1.5", "198.51.100.4", "198.51.100.5")
	m.servers = pick("servers", "10.77.1.50", "198.51.100.100", "10.77.1.51", "198.51.100.101")
	return m
}

// deliver sends a message, perhaps between others, in pieces, and returns what arrives of it.
func (m *model) deliver(c *modelControl, dir int, b []byte) []byte {
	var before, behind []byte
	if m.rand.IntN(3) == 0 {
		before = msg(echoRequest, 0, 1, 0)
	}
	if m.rand.IntN(3) == 0 {
		behind = msg(echoReply, 0, 1, 0)
	}
	all := slices.Concat(before, b, behind)
	var got []byte
	for len(all) > 0 {
		n := len(all)
		if m.rand.IntN(2) == 0 {
			n = 1 + m.rand.IntN(min(n, 24))
		}
		got = append(got, c.feed(conntrack.Direction(dir), all[:n])...)
		all = all[n:]
	}
	if len(got) != len(before)+len(b)+len(behind) || !bytes.HasPrefix(got, before) || !bytes.HasSuffix(got, behind) {
		m.t.Fatalf("what came with the message was changed: % x", got)
	}
	return got[len(before) : len(before)+len(b)]
}

func idAt(b []byte, at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }

// newID gives a call an ID of a host; false: it has too many.
func (m *model) newID(h *host, c *modelCall, end int) bool {
	for range 20 {
		id := uint16(m.rand.IntN(12))
		if h.live[id] == nil {
			h.live[id], c.id[end] = c, id
			return true
		}
	}
	return false
}

func (m *model) dial() {
	client, server := m.clients[m.rand.IntN(len(m.clients))], m.servers[m.rand.IntN(len(m.servers))]
	door := doors[server.addr]
	switch {
	case door == "" && client.addr[:3] != "10.":
		return // both outside
	case door == "":
		door = server.addr + ":1723"
	}
	m.port++
	c := &modelControl{control: m.w.dial(fmt.Sprintf("%s:%d", client.addr, m.port), door, nil), ends: [2]*host{client, server}}
	there, back := c.Tuples[0], c.Tuples[1]
	c.seen = [2]string{there.DstAddr().String(), back.DstAddr().String()}
	if m.rand.IntN(4) > 0 {
		c.start()
	}
	m.controls = append(m.controls, c)
}

// anyControl returns one of the control connections, or nil.
func (m *model) anyControl() *modelControl {
	if len(m.controls) == 0 {
		return nil
	}
	return m.controls[m.rand.IntN(len(m.controls))]
}

// anyCall returns one of the calls, or nil.
func (m *model) anyCall() *modelCall {
	c := m.anyControl()
	if c == nil || len(c.calls) == 0 {
		return nil
	}
	return c.calls[m.rand.IntN(len(c.calls))]
}

// call makes a call of either kind; the PNS is either end. again keeps an end's ID of a call that it has forgotten.
func (m *model) call(again *modelCall) {
	c := m.anyControl()
	if again != nil {
		c = again.of
	}
	if c == nil || len(c.calls) >= 8 {
		return
	}
	m.serial++
	from := m.rand.IntN(2)
	call := &modelCall{of: c, pns: m.rand.IntN(2)}
	if !m.newID(c.ends[1-from], call, 1-from) {
		return
	}
	if again != nil {
		m.drop(again)
		call.id[from], c.ends[from].live[again.id[from]] = again.id[from], call
	} else if !m.newID(c.ends[from], call, from) {
		delete(c.ends[1-from].live, call.id[1-from])
		return
	}
	request, reply := outgoingRequest, outgoingReply
	if call.pns != from {
		request, reply = incomingRequest, incomingReply
	}
	b := m.deliver(c, from, msg(request, call.id[from], m.serial, 0))
	call.peer[1-from] = idAt(b, 12)
	b = m.deliver(c, 1-from, msg(reply, call.id[1-from], call.peer[1-from], 1))
	call.peer[from] = idAt(b, 12)
	if got := idAt(b, 14); got != call.id[from] {
		m.t.Fatalf("the reply names call %d, want %d", got, call.id[from])
	}
	if call.pns != from {
		b = m.deliver(c, from, msg(incomingConnected, call.peer[from], 0, 0))
		if got := idAt(b, 12); got != call.id[1-from] {
			m.t.Fatalf("connected names call %d, want %d", got, call.id[1-from])
		}
	}
	c.calls = append(c.calls, call)
}

// drop forgets a call at both ends.
func (m *model) drop(c *modelCall) {
	for end, h := range c.of.ends {
		delete(h.live, c.id[end])
	}
	c.of.calls = slices.DeleteFunc(c.of.calls, func(x *modelCall) bool { return x == c })
}

// data sends packets of a call both ways.
func (m *model) data(c *modelCall) {
	order := []int{0, 1}
	if m.rand.IntN(2) == 0 {
		order = []int{1, 0}
	}
	for _, from := range order {
		a, b := c.of.ends[from], c.of.ends[1-from]
		m.w.wantGRE(a.addr, c.of.seen[from], c.peer[from], fmt.Sprintf("%s>%s:%d", c.of.seen[1-from], b.addr, c.id[1-from]))
	}
}

// messages about a call that is up name it rightly at the other end.
func (m *model) about(c *modelCall) {
	pac := 1 - c.pns
	if b := m.deliver(c.of, c.pns, msg(setLink, c.peer[c.pns], 0, 0)); idAt(b, 12) != c.id[pac] {
		m.t.Fatalf("Set-Link-Info names call %d, want %d", idAt(b, 12), c.id[pac])
	}
	if b := m.deliver(c.of, pac, msg(errorNotify, c.peer[pac], 0, 0)); idAt(b, 12) != c.id[c.pns] {
		m.t.Fatalf("WAN-Error-Notify names call %d, want %d", idAt(b, 12), c.id[c.pns])
	}
}

// hangUp clears a call; data from outside does not come through any more.
func (m *model) hangUp(c *modelCall) {
	pac := 1 - c.pns
	if m.rand.IntN(2) == 0 {
		if b := m.deliver(c.of, c.pns, msg(clearRequest, c.id[c.pns], 0, 0)); idAt(b, 12) != c.peer[pac] {
			m.t.Fatalf("Call-Clear-Request names call %d, want %d", idAt(b, 12), c.peer[pac])
		}
	}
	if b := m.deliver(c.of, pac, msg(disconnectNotify, c.id[pac], 0, 0)); idAt(b, 12) != c.peer[c.pns] {
		m.t.Fatalf("Call-Disconnect-Notify names call %d, want %d", idAt(b, 12), c.peer[c.pns])
	}
	m.drop(c)
	m.silent(c)
}

// silent checks that an ended call's data from outside is dropped.
func (m *model) silent(c *modelCall) {
	for from, h := range c.of.ends {
		if h.addr[:3] != "10." {
			m.w.wantGRE(h.addr, c.of.seen[from], c.peer[from], "no-mapping")
		}
	}
}

// close ends a control connection.
func (m *model) close(c *modelControl) {
	switch m.rand.IntN(3) {
	case 0:
		c.Reset(conntrack.Direction(m.rand.IntN(2)))
	case 1:
		c.Close(1)
		c.Close(0)
	default:
		m.w.remove(c.ID)
	}
	for _, call := range slices.Clone(c.calls) {
		m.drop(call)
		m.silent(call)
	}
	m.controls = slices.DeleteFunc(m.controls, func(x *modelControl) bool { return x == c })
	m.w.remove(c.ID)
}

// TestModel lets two to eight clients and two to four servers, inside and outside, call each other at random, while
// others say what no PPTP peer says: each packet of a call that is up arrives where it should, with the call ID that its
// receiver gave, and none of others. NATROUTER_LONG set: a million steps.
func TestModel(t *testing.T) {
	steps := 300
	if os.Getenv("NATROUTER_LONG") != "" {
		steps = 10000
	}
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range steps {
			m.step()
		}
		for len(m.controls) > 0 {
			m.close(m.controls[0])
		}
		if m.evil != nil {
			m.w.remove(m.evil.ID)
		}
		if n := len(m.w.spy.claims) + len(m.w.spy.names); n != 0 {
			t.Errorf("%d claims are left", n)
		}
		if n := len(m.w.Table.Expectations(m.w.Now, 0)); n != 0 {
			t.Errorf("%d expectations are left", n)
		}
		m.w.Now += conntrack.Time(24 * time.Hour)
		m.w.Advance(time.Second)
		if n := m.w.NAT.Stats().Mappings; n != 0 {
			t.Errorf("%d mappings are left", n)
		}
	})
}

func (m *model) step() {
	call := m.anyCall()
	switch n := m.rand.IntN(20); {
	case n < 2 && len(m.controls) < 16:
		m.dial()
	case n < 7:
		m.call(nil)
	case call == nil:
	case n < 13:
		m.data(call)
	case n < 15:
		m.about(call)
	case n == 15:
		m.hangUp(call)
	case n == 16:
		m.call(call)
	case n == 17:
		m.w.Advance(time.Duration(1+m.rand.IntN(5)) * time.Second)
	case n == 18 && m.rand.IntN(4) == 0:
		m.close(call.of)
	case n == 19:
		m.attack()
	}
}
