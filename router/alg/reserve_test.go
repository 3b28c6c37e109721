package alg

import (
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

var outside = netip.MustParseAddr("203.0.113.1")

// reserving is a world whose connection has its helper's state and may reserve.
func reserving(t *testing.T) *world {
	t.Helper()
	w := open(t, "")
	w.say("x\n")
	var err error
	w.kit.nat, err = nat.New(nat.Config{Interfaces: []nat.Interface{
		{Name: "wan0", Outside: true, Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/24")}},
	}}, w.table)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// of is an endpoint of the host that reserves, another one of somebody else.
func of(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("10.77.1.2"), port)
}
func another(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("10.77.1.99"), port)
}

// TestReservations: what a connection holds is its own, and is given back with it.
func TestReservations(t *testing.T) {
	w := reserving(t)
	st := w.state()
	w.ask(func() {
		a, ok := st.Reserve(packet.ProtoUDP, outside, of(5007))
		if !ok || a != 5007 {
			t.Errorf("first: %d %v", a, ok)
		}
		if b, ok := st.Reserve(packet.ProtoUDP, outside, another(5007)); !ok || b == 5007 {
			t.Errorf("another's of the same number: %d %v", b, ok)
		}
		if c, ok := st.Reserve(packet.ProtoUDP, outside, of(5007)); !ok || c == 5007 {
			t.Errorf("second of the same: %d %v", c, ok)
		}
		st.Unreserve(packet.ProtoUDP, outside, 5007)
		st.Unreserve(packet.ProtoUDP, outside, 5007)
		st.Unreserve(packet.ProtoUDP, outside, 9999)
		if a, ok := st.Reserve(packet.ProtoUDP, outside, of(5007)); !ok || a != 5007 {
			t.Errorf("after giving back: %d %v", a, ok)
		}
		if _, ok := w.kit.nat.Reserve(w.now, packet.ProtoUDP, outside, another(6000)); !ok {
			t.Error("another's port")
		}
		st.Unreserve(packet.ProtoUDP, outside, 6000)
		if a, ok := st.Reserve(packet.ProtoUDP, outside, of(6000)); !ok || a == 6000 {
			t.Errorf("another's port was given back: %d %v", a, ok)
		}
	})
	w.table.Delete(w.now, st.id)
	w.reap()
	if a, ok := w.kit.nat.Reserve(w.now, packet.ProtoUDP, outside, another(5007)); !ok || a != 5007 {
		t.Errorf("after the connection: %d %v", a, ok)
	}
}

// TestCallIDsRest: a call ID is out of use for 30 s, beyond the end of the connection too.
func TestCallIDsRest(t *testing.T) {
	for name, end := range map[string]func(w *world, st *state){
		"given back":          func(w *world, st *state) { w.ask(func() { st.Unreserve(packet.ProtoGRE, outside, 7) }) },
		"end of a connection": func(w *world, st *state) { w.table.Delete(w.now, st.id); w.reap() },
	} {
		w := reserving(t)
		st := w.state()
		w.ask(func() {
			if a, ok := st.Reserve(packet.ProtoGRE, outside, of(7)); !ok || a != 7 {
				t.Errorf("%s: %d %v", name, a, ok)
			}
		})
		end(w, st)
		again := func() uint16 {
			a, _ := w.kit.nat.ReserveCallID(w.now, outside, st.peerOf(outside), 7)
			w.kit.nat.UnreserveCallID(w.now, outside, st.peerOf(outside), a)
			return a
		}
		if w.now += conntrack.Time(29 * time.Second); again() == 7 {
			t.Errorf("%s: used again after 29 s", name)
		}
		if w.now += conntrack.Time(2 * time.Second); again() != 7 {
			t.Errorf("%s: not free after 31 s", name)
		}
	}
}

// TestReserveBound: a connection holds as many call IDs as it may and no more.
func TestReserveBound(t *testing.T) {
	w := reserving(t)
	st := w.state()
	w.ask(func() {
		for i := range 65535 {
			if _, ok := st.Reserve(packet.ProtoGRE, outside, of(7)); !ok {
				t.Fatalf("call ID %d was refused", i)
			}
		}
		if id, ok := st.Reserve(packet.ProtoGRE, outside, of(7)); ok {
			t.Errorf("65536 call IDs: %d", id)
		}
		st.Unreserve(packet.ProtoGRE, outside, 500)
		if id, ok := st.Reserve(packet.ProtoGRE, outside, of(7)); !ok || id != 500 {
			t.Errorf("with all others taken, the one that rests is not given: %d, %v", id, ok)
		}
	})
	if n := w.count(CountReserveFailed); n != 1 {
		t.Errorf("%d failures", n)
	}
}

// TestKill: a helper ends what is its own or in its way between the hosts of its connection, and nothing else.
func TestKill(t *testing.T) {
	const client, server, third = "10.77.0.2", "198.51.100.7", "192.0.2.9"
	gre := func(src, dst string) []byte {
		return testpkt.GREv1{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), CallID: 5, HasSeq: true, Payload: []byte("x")}.Bytes()
	}
	udp := func(src, dst string) []byte {
		return testpkt.UDP{
			Src: netip.AddrPortFrom(netip.MustParseAddr(src), 4000), Dst: netip.AddrPortFrom(netip.MustParseAddr(dst), 5000),
		}.Bytes()
	}
	at := func(s string) [16]byte { return netip.MustParseAddr(s).As16() }
	for name, tt := range map[string]struct {
		b      []byte
		expect bool                            // of another master
		nat    func(c *conntrack.Conn)         // before it is confirmed
		own    func(w *world) conntrack.Handle // the connection to kill, if not that of b
		want   bool
	}{
		"GRE between the hosts":         {b: gre(client, server), want: true},
		"GRE the other way":             {b: gre(server, client), want: true},
		"GRE, masqueraded by itself":    {b: gre(client, server), nat: func(c *conntrack.Conn) { c.Tuples[1].Dst = at("203.0.113.9") }, want: true},
		"GRE of another client":         {b: gre("10.77.0.3", server)},
		"GRE of another server":         {b: gre(client, third)},
		"GRE, translated to a third":    {b: gre(server, client), nat: func(c *conntrack.Conn) { c.Tuples[1].Src = at(third) }},
		"GRE from a third to its guise": {b: gre(third, client), nat: func(c *conntrack.Conn) { c.Tuples[1].Dst = at(server) }},
		"no child, no GRE":              {b: udp(client, server)},
		"another master's child":        {b: udp(client, server), expect: true, want: true},
		"a child of other hosts":        {b: udp(third, server), expect: true},
		"itself":                        {own: func(w *world) conntrack.Handle { return w.state().id }},
		"nothing":                       {own: func(*world) conntrack.Handle { return 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, "")
			w.say("x\n")
			st := w.state()
			var id conntrack.Handle
			if tt.own != nil {
				id = tt.own(w)
			} else {
				id = w.other(tt.b, tt.expect, tt.nat)
			}
			w.ask(func() {
				if got := st.Kill(id); got != tt.want {
					t.Errorf("killed: %v", got)
				}
				if st.Kill(id) {
					t.Error("killed twice")
				}
			})
			if _, alive := w.table.Lookup(w.now, st.id); !alive {
				t.Error("the helper's own connection is gone")
			}
		})
	}
}

// other makes a connection beside the world's: with expect, as the child of a third one.
func (w *world) other(b []byte, expect bool, change func(c *conntrack.Conn)) conntrack.Handle {
	w.t.Helper()
	pass := func(b []byte, change func(c *conntrack.Conn)) conntrack.Conn {
		var c conntrack.Conn
		h, _ := packet.Parse(b)
		if reason := w.table.Track(0, w.now, &conntrack.Packet{Bytes: b, H: &h, Meta: &packet.Meta{}}, &c); reason != packet.NotDropped {
			w.t.Fatalf("%v", reason)
		}
		if change != nil {
			change(&c)
		}
		if reason := w.table.Confirm(0, w.now, &c); reason != packet.NotDropped {
			w.t.Fatalf("%v", reason)
		}
		return c
	}
	if expect {
		master := testpkt.UDP{Src: netip.MustParseAddrPort("10.77.0.2:1"), Dst: netip.MustParseAddrPort("198.51.100.7:2")}.Bytes()
		h, _ := packet.Parse(b)
		src, dst := h.Src(b), h.Dst(b)
		e := conntrack.Expectation{
			Master: pass(master, nil).ID, Mask: conntrack.MaskAnyPort,
			Tuple: conntrack.Tuple{
				Src: packet.Addr(src).As16(), Dst: packet.Addr(dst).As16(), DstID: 5000, Proto: packet.ProtoUDP, Family: 4,
			},
		}
		if _, err := w.table.Expect(w.now, e); err != nil {
			w.t.Fatalf("%v", err)
		}
	}
	return pass(b, change).ID
}

// TestUnexpect: a helper takes back what its connection expects, and what another connection of the same helper expects
// between the same two addresses; nothing else.
func TestUnexpect(t *testing.T) {
	const client, server, third = "10.77.0.2", "198.51.100.7", "192.0.2.9"
	for name, tt := range map[string]struct {
		port uint16 // of the master's server: 7007 is helped; 0: the connection itself
		src  string
		any  bool // from any address
		want bool
	}{
		"its own":                    {src: third, any: true, want: true},
		"another's in its way":       {port: 7007, src: server, want: true},
		"another's of a third host":  {port: 7007, src: third},
		"another's of any host":      {port: 7007, src: server, any: true},
		"another's without a helper": {port: 80, src: server},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, "")
			w.say("x\n")
			st, own := w.state(), w.conn
			master := own.ID
			if tt.port != 0 {
				from, to := netip.AddrPortFrom(netip.MustParseAddr(client), 40001), netip.AddrPortFrom(netip.MustParseAddr(server), tt.port)
				w.packet(testpkt.TCP{Src: from, Dst: to, Seq: 1, Flags: packet.FlagSYN}.Bytes(), packet.Meta{})
				w.packet(testpkt.TCP{Src: to, Dst: from, Seq: 1, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK}.Bytes(), packet.Meta{})
				master, w.conn = w.conn.ID, own
			}
			e := conntrack.Expectation{Master: master, Mask: conntrack.MaskAnyPort, Tuple: tuple(packet.ProtoUDP, tt.src+":0", client+":5000")}
			if tt.any {
				e.Mask = conntrack.Mask{}
			}
			id, err := w.table.Expect(w.now, e)
			if err != nil {
				t.Fatal(err)
			}
			w.ask(func() {
				if got := st.Unexpect(id); got != tt.want {
					t.Errorf("taken back: %v", got)
				}
				if st.Unexpect(id) {
					t.Error("taken back twice")
				}
			})
			if _, waits := w.table.Expectation(w.now, id); waits == tt.want {
				t.Errorf("waits: %v", waits)
			}
		})
	}
}
