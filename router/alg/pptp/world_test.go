package pptp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// world is a router without I/O that helps every TCP connection with PPTP.
type world struct {
	*algtest.World
	t     algtest.T
	spy   *spy
	calls map[[2]string]map[uint16][2]uint16 // see control.up
}

// spy is the helper, and what it last gave to a connection.
type spy struct {
	*helper
	config any // of the next connection; nil: of the rule
	last   *stream
}

func (s *spy) New(m alg.Master, config any) alg.Stream {
	if s.config != nil {
		config = s.config
	}
	s.last = s.helper.New(m, config).(*stream)
	return s.last
}

func masquerade() nat.Rule { return algtest.Masquerade() }

// forward leads a port of the outside address to an inside server.
func forward(port uint16, server string) nat.Rule {
	return algtest.Forward(packet.ProtoTCP, netip.AddrPortFrom(netip.MustParseAddr(router), port),
		netip.AddrPortFrom(netip.MustParseAddr(server), 1723))
}

func newWorld(t algtest.T, rules ...nat.Rule) *world {
	t.Helper()
	s := &spy{helper: New().(*helper)}
	tracker := conntrack.DefaultConfig()
	tracker.MaxExpect = 1 << 14 // for thousands of calls that wait at once
	w := algtest.New(t, algtest.Config{
		Helpers: []alg.Helper{s}, Rules: []alg.Rule{{Name: "pptp", Proto: packet.ProtoTCP}}, NAT: rules, Tracker: &tracker,
	})
	return &world{World: w, t: t, spy: s, calls: map[[2]string]map[uint16][2]uint16{}}
}

// count returns one of the helper's counters, of all its connections.
func (w *world) count(name string) uint64 { return w.Count("pptp", name) }

// reserveAll takes all call IDs at the router for the server, but one.
func (w *world) reserveAll(but int) {
	for id := range 65535 {
		if id+1 != but {
			w.NAT.ReserveCallID(w.Now, netip.MustParseAddr(router), netip.MustParseAddr(server), uint16(id+1))
		}
	}
}

// gre sends a data packet and returns where it went.
func (w *world) gre(src, dst string, id uint16) string {
	w.t.Helper()
	out, reason := w.Send(testpkt.GREv1{
		Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), CallID: id, HasSeq: true, Seq: 7, Payload: []byte("hi"),
	}.Bytes(), packet.Meta{})
	if reason != packet.NotDropped {
		return reason.String()
	}
	b := out[0].Bytes
	h, _ := packet.Parse(b)
	g, err := packet.ParseGREv1(b[h.L4:])
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	return fmt.Sprintf("%s>%s:%d", packet.Addr(h.Src(b)), packet.Addr(h.Dst(b)), g.CallID())
}

// wantGRE is gre with what is expected of it.
func (w *world) wantGRE(src, dst string, id uint16, want string) {
	w.t.Helper()
	if got := w.gre(src, dst, id); got != want {
		w.t.Errorf("GRE %s>%s:%d went %s, want %s", src, dst, id, got, want)
	}
}

// remove ends a connection as an operator does.
func (w *world) remove(id conntrack.Handle) {
	w.Table.Delete(w.Now, id)
	w.Advance(time.Millisecond)
}

// control is a control connection.
type control struct {
	*algtest.Conn
	w      *world
	stream *stream
}

// dial opens a control connection from client to server. config: instead of the rule's, nil: that.
func (w *world) dial(client, server string, config any) *control {
	w.t.Helper()
	w.spy.config, w.spy.last = config, nil
	c := &control{Conn: w.Dial(client, server), w: w}
	if c.stream = w.spy.last; c.stream == nil {
		w.t.Fatalf("no helper for %s>%s", client, server)
	}
	return c
}

// feed sends bytes in a segment and returns what arrives because of them.
func (c *control) feed(dir conntrack.Direction, b []byte) []byte {
	c.w.t.Helper()
	return []byte(c.Say(dir, string(b)))
}

// swap is feed, checked against what must arrive.
func (c *control) swap(dir conntrack.Direction, in, want []byte) {
	c.w.t.Helper()
	if got := c.feed(dir, in); !bytes.Equal(got, want) {
		c.w.t.Errorf("%s: % x\nleft as % x\n   want % x", dir, in, got, want)
	}
}

// leaving is alg.Master.Leaving.
func (c *control) leaving(dir conntrack.Direction) conntrack.Tuple {
	t, _ := c.Tuples[1-dir].Inverse()
	return t
}

// expectations returns those of the connection; each names its two ends and nobody else.
func (c *control) expectations() []conntrack.Expectation {
	c.w.t.Helper()
	list := c.w.Table.Expectations(c.w.Now, c.ID)
	for _, e := range list {
		own := func(t conntrack.Tuple) bool { return t.Src == e.Tuple.Src && t.Dst == e.Tuple.Dst }
		if !slices.ContainsFunc(c.Tuples[:], own) || e.Mask.Src != conntrack.MaskExact.Src {
			c.w.t.Fatalf("expectation %s of %s", e.Tuple, c.Tuples[0])
		}
	}
	return list
}

// Messages.

// msg makes a message with its call IDs at 12 and 14 and, where it has one, its result at 16 or 14.
func msg(k kind, first, second uint16, result byte) []byte {
	b := make([]byte, messages[k].size)
	binary.BigEndian.PutUint16(b, uint16(len(b)))
	b[3] = 1
	binary.BigEndian.PutUint32(b[4:], 0x1a2b3c4d)
	b[9] = byte(k)
	binary.BigEndian.PutUint16(b[12:], first)
	binary.BigEndian.PutUint16(b[14:], second)
	switch k {
	case outgoingReply, incomingReply:
		b[16] = result
	case startReply:
		b[14] = result
	}
	return b
}

// start takes a control connection through its Start messages.
func (c *control) start() *control {
	c.w.t.Helper()
	for dir, b := range [][]byte{msg(startRequest, 0x100, 0, 0), msg(startReply, 0x100, 0, 1)} {
		c.swap(conntrack.Direction(dir), b, b)
	}
	return c
}

// ask sends an Outgoing-Call-Request and returns the call ID that leaves; answer is the same for its reply, whose own
// and peer's call IDs leave.
func (c *control) ask(id, serial uint16) uint16 {
	c.w.t.Helper()
	return binary.BigEndian.Uint16(c.feed(conntrack.Original, msg(outgoingRequest, id, serial, 0))[12:])
}

func (c *control) answer(id, peer uint16) (own, other uint16) {
	c.w.t.Helper()
	b := c.feed(conntrack.Reply, msg(outgoingReply, id, peer, 1))
	return binary.BigEndian.Uint16(b[12:]), binary.BigEndian.Uint16(b[14:])
}
