package conntrack

import (
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// TestUDPStream is docs/spec/conntrack.md, section 13.9.
func TestUDPStream(t *testing.T) {
	for name, tt := range map[string]struct {
		change       func(*Config)
		first, after time.Duration
	}{
		"linux": {linux, 30 * time.Second, 120 * time.Second},
		"rfc":   {nil, 5 * time.Minute, 5 * time.Minute},
	} {
		for proto, build := range map[string]func(src, dst netip.Addr, sport, dport uint16) []byte{
			"udp": func(s, d netip.Addr, sp, dp uint16) []byte { return udp(s, sp, d, dp) },
			"udplite": func(s, d netip.Addr, sp, dp uint16) []byte {
				return testpkt.UDPLite{Src: netip.AddrPortFrom(s, sp), Dst: netip.AddrPortFrom(d, dp), Payload: []byte("x")}.Bytes()
			},
		} {
			t.Run(name+"/"+proto, func(t *testing.T) {
				w := newWorld(t, tt.change)
				id := w.pass(build(hostA, hostB, 1000, 53)).ID
				w.want(InfoNew, Confirmed)
				w.timeout(id, tt.first)
				w.now += sec
				w.pass(build(hostB, hostA, 53, 1000))
				w.want(InfoEstablishedReply, SeenReply)
				w.timeout(id, tt.first)
				w.now += 2 * sec
				w.pass(build(hostA, hostB, 1000, 53))
				w.want(InfoEstablished, Assured)
				w.timeout(id, tt.after)
			})
		}
	}
}

func TestProtocolTimeouts(t *testing.T) {
	gre0 := func(s, d netip.Addr) []byte { return testpkt.GREv0{Src: s, Dst: d}.Bytes() }
	esp := func(s, d netip.Addr) []byte {
		return testpkt.Raw{Src: s, Dst: d, Proto: 50, Payload: []byte("spi!seq!")}.Bytes()
	}
	echo4 := func(s, d netip.Addr) []byte { return echo(s, d, 7, s == hostB) }
	echo6 := func(s, d netip.Addr) []byte { return echo(s, d, 7, s == hostB6) }
	for name, tt := range map[string]struct {
		build         func(s, d netip.Addr) []byte
		a, b          netip.Addr
		first, stream time.Duration
		assured       bool
	}{
		"icmp never assured":   {echo4, hostA, hostB, time.Minute, time.Minute, false},
		"icmpv6 never assured": {echo6, hostA6, hostB6, time.Minute, time.Minute, false},
		"gre":                  {gre0, hostA, hostB, 2 * time.Minute, 5 * time.Minute, true},
		"gre over IPv6":        {gre0, hostA6, hostB6, 2 * time.Minute, 5 * time.Minute, true},
		"esp, by address":      {esp, hostA, hostB, 10 * time.Minute, 10 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			id := w.pass(tt.build(tt.a, tt.b)).ID
			w.timeout(id, tt.first)
			w.now += 5 * sec
			w.pass(tt.build(tt.b, tt.a))
			w.want(InfoEstablishedReply, SeenReply)
			w.now += 5 * sec
			w.pass(tt.build(tt.a, tt.b))
			w.timeout(id, tt.stream)
			if got := w.c.Status&Assured != 0; got != tt.assured || w.c.Info != InfoEstablished {
				t.Errorf("assured %v, %v", got, w.c.Info)
			}
			if w.t.Len() != 1 {
				t.Errorf("%d connections", w.t.Len())
			}
		})
	}
}

func TestWhatStartsNothing(t *testing.T) {
	icmp4 := func(typ uint8) []byte { return testpkt.ICMP{Src: hostA, Dst: hostB, Type: typ}.Bytes() }
	icmp6 := func(typ uint8) []byte { return testpkt.ICMP{Src: hostA6, Dst: hostB6, Type: typ}.Bytes() }
	want := map[uint8]packet.DropReason{}
	for _, typ := range []uint8{8, 13, 15, 17} {
		want[typ] = packet.NotDropped
	}
	for _, typ := range []uint8{3, 4, 5, 11, 12} {
		want[typ] = packet.Malformed // quotes nothing
	}
	for typ := range 256 {
		w := newWorld(t, nil)
		reason, listed := want[uint8(typ)]
		if !listed {
			reason = packet.NotTracked
		}
		if got := w.send(icmp4(uint8(typ))); got != reason {
			t.Errorf("ICMP type %d: %v, want %v", typ, got, reason)
		}
	}
	for typ := range 256 {
		w := newWorld(t, nil)
		reason := w.send(icmp6(uint8(typ)))
		untracked := reason == packet.NotDropped && w.c.Info == InfoUntracked && w.c.ID == 0
		switch {
		case typ < 128:
			if reason != packet.Malformed {
				t.Errorf("ICMPv6 type %d: %v", typ, reason)
			}
		case typ == 128 || typ == 139:
			if reason != packet.NotDropped || w.c.Info != InfoNew {
				t.Errorf("ICMPv6 type %d: %v", typ, reason)
			}
		case typ >= 130 && typ <= 137 || typ == 143:
			if !untracked || w.t.Len() != 0 {
				t.Errorf("ICMPv6 type %d: %v %v", typ, reason, w.c.Info)
			}
		default:
			if reason != packet.NotTracked {
				t.Errorf("ICMPv6 type %d: %v", typ, reason)
			}
		}
	}
	for family, proto := range map[uint8]uint8{4: packet.ProtoICMPv6, 6: packet.ProtoICMP} {
		var k key
		l4 := []byte{packet.ICMPEcho, 0, 0, 0, 0, 1, 0, 1}
		if _, reason := k.keyOf(udp(hostA6, 1, hostB6, 2), l4, family, proto); reason != packet.NotTracked {
			t.Errorf("ICMP of the other family: %v", reason)
		}
	}
}

func TestICMPQueryAnswers(t *testing.T) {
	for q, a := range map[uint8]uint8{8: 0, 13: 14, 15: 16, 17: 18} {
		w := newWorld(t, nil)
		w.nat = snat(natT, 4321)
		w.pass(testpkt.ICMP{Src: hostA, Dst: hostB, Type: q, Rest: 7 << 16}.Bytes())
		if out := w.c.Target(); out.SrcAddr() != natT || out.SrcID != 4321 || out.DstID != uint16(q)<<8 {
			t.Errorf("type %d leaves as %v", q, out)
		}
		w.pass(testpkt.ICMP{Src: hostB, Dst: natT, Type: a, Rest: 4321 << 16}.Bytes())
		w.want(InfoEstablishedReply, SeenReply)
		if in := w.c.Target(); in.DstAddr() != hostA || in.SrcID != 7 || in.DstID != uint16(a)<<8 {
			t.Errorf("type %d is answered as %v", q, in)
		}
		w.refused(testpkt.ICMP{Src: hostB, Dst: natT, Type: a, Rest: 99 << 16}.Bytes(), packet.NotTracked)
	}
}

func TestTupleInverse(t *testing.T) {
	for name, tt := range map[string]struct {
		in   Tuple
		text string
		inv  string
	}{
		"tcp": {tuple(hostA, 1000, hostB, 80, packet.ProtoTCP, 4),
			"tcp 10.77.0.2:1000->192.0.2.9:80", "tcp 192.0.2.9:80->10.77.0.2:1000"},
		"udp over IPv6": {tuple(hostA6, 1000, hostB6, 53, packet.ProtoUDP, 6),
			"udp [fd77::2]:1000->[2001:db8::9]:53", "udp [2001:db8::9]:53->[fd77::2]:1000"},
		"echo": {tuple(hostA, 7, hostB, 8<<8, packet.ProtoICMP, 4),
			"icmp 10.77.0.2->192.0.2.9 type=8 code=0 id=7", "icmp 192.0.2.9->10.77.0.2 type=0 code=0 id=7"},
		"enhanced gre": {tuple(hostA, 0x1111, hostB, 0x2222, packet.ProtoGRE, 4|GREv1),
			"gre 10.77.0.2->192.0.2.9 callid=4369->8738", "gre 192.0.2.9->10.77.0.2 callid=8738->4369"},
		"plain gre with a key": {tuple(hostA, 1, hostB, 2, packet.ProtoGRE, 4),
			"gre 10.77.0.2->192.0.2.9 key=0x10002", "gre 192.0.2.9->10.77.0.2 key=0x10002"},
		"esp":    {tuple(hostA, 0, hostB, 0, packet.ProtoESP, 4), "esp 10.77.0.2->192.0.2.9", "esp 192.0.2.9->10.77.0.2"},
		"number": {tuple(hostA, 0, hostB, 0, 200, 4), "200 10.77.0.2->192.0.2.9", "200 192.0.2.9->10.77.0.2"},
	} {
		inv, ok := tt.in.Inverse()
		if back, _ := inv.Inverse(); !ok || back != tt.in {
			t.Errorf("%s: inverse of inverse is %v", name, back)
		}
		if tt.in.String() != tt.text || inv.String() != tt.inv {
			t.Errorf("%s: %q, inverse %q", name, tt.in.String(), inv.String())
		}
	}
	if _, ok := tuple(hostA, 7, hostB, 9<<8, packet.ProtoICMP, 4).Inverse(); ok {
		t.Error("router advertisement has an inverse")
	}
}

func tuple(src netip.Addr, sid uint16, dst netip.Addr, did uint16, proto, family uint8) Tuple {
	return Tuple{Src: src.As16(), Dst: dst.As16(), SrcID: sid, DstID: did, Proto: proto, Family: family}
}

func TestAccounting(t *testing.T) {
	w := newWorld(t, nil)
	b := seg{flags: "S", seq: 1000}.bytes()
	w.pass(b)
	id := w.c.ID
	w.pass(seg{reply: true, flags: "SA", seq: 5000, ack: 1001}.bytes())
	w.pass(seg{flags: "A", seq: 1001, ack: 5001}.bytes())
	w.refused(seg{flags: "A", seq: 0x70000000, ack: 5001}.bytes(), packet.TCPWindow)
	s := w.snap(id)
	if s.Packets != [2]uint64{2, 1} || s.Bytes != [2]uint64{80, 40} {
		t.Fatalf("packets %v, bytes %v", s.Packets, s.Bytes)
	}
	// A super-segment counts as the segments that it stands for, and takes the whole of its sequence space.
	big := seg{flags: "PA", seq: 1001, ack: 5001, n: 10000}.bytes()
	h, _ := packet.Parse(big)
	meta := packet.Meta{GSO: packet.GSOTCPv4, SegSize: 1448}
	if reason := w.t.Track(0, w.now, &Packet{Bytes: big, H: &h, Meta: &meta}, &w.c); reason != packet.NotDropped {
		t.Fatal(reason)
	}
	s = w.snap(id)
	if s.Packets[0] != 2+7 || s.Bytes[0] != 80+10000+7*40 {
		t.Fatalf("packets %v, bytes %v", s.Packets, s.Bytes)
	}
	if got := w.tcp().side[Original].end; got != 11001 {
		t.Fatalf("end %d", got)
	}
	w.now += 7 * sec
	w.t.Delete(w.now, id)
	if dead := w.reap(); len(dead) != 1 || dead[0].Start != 1000*sec || dead[0].Stop != w.now || dead[0].Packets[0] != 9 {
		t.Fatalf("reaped %+v", dead)
	}
}

func TestAccountingOff(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.NoAccounting = true })
	id := w.pass(udp(hostA, 1, hostB, 2)).ID
	w.pass(udp(hostB, 2, hostA, 1))
	if s := w.snap(id); s.Packets != [2]uint64{} || s.Bytes != [2]uint64{} {
		t.Fatalf("%v %v", s.Packets, s.Bytes)
	}
}

func TestTimeoutPolicies(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Policies = []TimeoutPolicy{
			{Proto: packet.ProtoUDP, Ports: []PortRange{{53, 53}}, Timeouts: Timeouts{UDP: 10 * time.Second}},
			{Destination: []AddrRange{{hostB, hostB}}, Timeouts: Timeouts{UDP: 20 * time.Second, ICMP: 25 * time.Second}},
			{Destination: []AddrRange{{hostB6, hostB6.Next()}}, Timeouts: Timeouts{UDP: 21 * time.Second}},
		}
	})
	for _, tt := range []struct {
		b    []byte
		want time.Duration
	}{
		{udp(hostA, 1, hostB, 53), 10 * time.Second},
		{udp(hostA, 1, hostB, 54), 20 * time.Second},
		{udp(hostA, 1, natT, 54), 5 * time.Minute},
		{echo(hostA, hostB, 1, false), 25 * time.Second},
		{udp(hostA6, 1, hostB6, 54), 21 * time.Second},
		{udp(hostA6, 1, router6, 54), 5 * time.Minute},
	} {
		w.timeout(w.pass(tt.b).ID, tt.want)
	}
}

// TestInboundRefresh: RFC 4787 REQ-6, RFC 7857 sections 7 and 8.
func TestInboundRefresh(t *testing.T) {
	for name, status := range map[string]Status{
		"inside at the original end": NoInboundRefresh,
		"inside at the reply end":    NoInboundRefresh | OutboundIsReply,
		"both refresh":               0,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.nat = func(c *Conn) { c.Status |= status }
			id := w.pass(udp(hostA, 1, hostB, 2)).ID
			start := w.snap(id).Deadline
			w.now += 10 * sec
			w.pass(udp(hostB, 2, hostA, 1))
			if moved := w.snap(id).Deadline != start; moved != (status != NoInboundRefresh) {
				t.Errorf("a reply moved the deadline: %v", moved)
			}
			start = w.snap(id).Deadline
			w.now += 10 * sec
			w.pass(udp(hostA, 1, hostB, 2))
			if moved := w.snap(id).Deadline != start; moved != (status&OutboundIsReply == 0) {
				t.Errorf("an original packet moved the deadline: %v", moved)
			}
		})
	}
	t.Run("a RST from inside only cuts", func(t *testing.T) {
		w := newWorld(t, nil)
		w.nat = func(c *Conn) { c.Status |= NoInboundRefresh }
		id := w.handshake(nil)
		w.now += 5*24*3600*sec - 60*sec // a minute is left
		w.pass(seg{flags: "RA", seq: 1001, ack: 5001}.bytes())
		w.timeout(id, time.Minute)
	})
}

func TestExpiryIsExact(t *testing.T) {
	w := newWorld(t, nil)
	id := w.pass(udp(hostA, 1, hostB, 2)).ID
	w.now += 5*60*sec - 1
	if _, ok := w.t.Lookup(w.now, id); !ok {
		t.Fatal("gone too early")
	}
	w.now++
	if _, ok := w.t.Lookup(w.now, id); ok {
		t.Fatal("still shown")
	}
	w.t.Walk(w.now, func(s *Snapshot) bool { t.Errorf("walked over %v", s.Tuples[0]); return true })
	// Without any Step: a packet makes a new connection.
	if again := w.pass(udp(hostB, 2, hostA, 1)); again.Info != InfoNew || again.ID == id {
		t.Fatalf("%v %x", again.Info, again.ID)
	}
	dead := w.reap()
	if len(dead) != 1 || dead[0].ID != id || dead[0].Stop != w.now || dead[0].Evicted {
		t.Fatalf("%+v", dead)
	}
}

func TestStaleHandles(t *testing.T) {
	w := newWorld(t, nil)
	id := w.pass(udp(hostA, 1, hostB, 2)).ID
	w.t.SetRoute(id, Reply, Route{Generation: 3, Interface: 2, MTU: 1400})
	w.t.SetMark(id, 0xbeef)
	w.pass(udp(hostB, 2, hostA, 1))
	if w.c.Route[Reply] != (Route{3, 2, 1400}) || w.c.Mark != 0xbeef {
		t.Fatalf("%+v", w.c)
	}
	if !w.t.Delete(w.now, id) || w.t.Delete(w.now, id) {
		t.Fatal("deleted not exactly once")
	}
	w.reap()
	other := w.pass(udp(hostA, 3, hostB, 4)).ID
	if other.slot() != id.slot() || other == id {
		t.Fatalf("%x then %x: the slot is to be used again, under another name", id, other)
	}
	for _, h := range []Handle{id, 0, 1 << 24 * 77, ^Handle(0)} {
		w.t.SetRoute(h, Original, Route{Generation: 9})
		if w.t.SetMark(h, 1) || w.t.SetHelper(h, 1) || w.t.Delete(w.now, h) || w.t.Ext(h) != nil {
			t.Fatalf("handle %x is good", h)
		}
	}
	if s := w.snap(other); s.Mark != 0 {
		t.Fatalf("the slot kept its last tenant's mark: %+v", s)
	}
}

func TestTaken(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Shards = 2 })
	w.nat = snat(natT, 5000)
	id := w.pass(udp(hostA, 1, hostB, 2)).ID
	in := tuple(hostB, 2, natT, 5000, packet.ProtoUDP, 4)
	out := tuple(hostA, 1, hostB, 2, packet.ProtoUDP, 4)
	free := tuple(hostB, 2, natT, 5001, packet.ProtoUDP, 4)
	if !w.t.Taken(&in, 0) || !w.t.Taken(&out, 0) || w.t.Taken(&free, 0) || w.t.Taken(&in, id) {
		t.Fatal("Taken")
	}
	if s, dir, ok := w.t.Find(w.now, &in); !ok || dir != Reply || s.ID != id {
		t.Fatal("Find", s, dir, ok)
	}
}

func TestTrackKnown(t *testing.T) {
	w := newWorld(t, nil)
	id := w.handshake(nil)
	b := seg{flags: "PA", seq: 1001, ack: 5001, n: 100}.bytes()
	h, _ := packet.Parse(b)
	p := Packet{Bytes: b, H: &h}
	var c, d Conn
	twin := newWorld(t, nil)
	twin.handshake(nil)
	if reason, ok := w.t.TrackKnown(w.now, id, Original, &p, &c); !ok || reason != packet.NotDropped {
		t.Fatal(reason, ok)
	}
	if reason := twin.t.Track(0, w.now, &p, &d); reason != packet.NotDropped || c != d {
		t.Fatalf("%v\n%+v\n%+v", reason, c, d)
	}
	if w.snap(id) != twin.snap(id) {
		t.Fatalf("%+v\n%+v", w.snap(id), twin.snap(id))
	}
	w.t.Delete(w.now, id)
	if _, ok := w.t.TrackKnown(w.now, id, Original, &p, &c); ok {
		t.Fatal("ended, but known")
	}
}

func TestTrackAllocatesNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.handshake(synOpts)
	w.pass(udp(hostA, 1, hostB, 2))
	w.pass(udp(hostA6, 1, hostB6, 2))
	w.pass(echo(hostA, hostB, 1, false))
	sack := []byte{1, 1, 5, 10, 0, 0, 19, 137, 0, 0, 19, 138}
	quoted := udp(hostA, 1, hostB, 2)
	for name, b := range map[string][]byte{
		"tcp":           seg{flags: "A", seq: 1001, ack: 5001}.bytes(),
		"tcp with SACK": seg{flags: "A", seq: 1001, ack: 5001, opts: sack}.bytes(),
		"udp":           udp(hostB, 2, hostA, 1),
		"udp IPv6":      udp(hostB6, 2, hostA6, 1),
		"echo":          echo(hostB, hostA, 1, true),
		"error":         icmpError(router, hostA, 3, 1, quoted),
		"new, dropped":  udp(hostA, 77, hostB, 2),
		"refused":       seg{flags: "A", seq: 0x70000000, ack: 5001}.bytes(),
	} {
		h, _ := packet.Parse(b)
		p := Packet{Bytes: b, H: &h}
		if n := testing.AllocsPerRun(100, func() { w.t.Track(0, w.now, &p, &w.c) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	// The whole life of a flow costs no allocation either, once the slab is there.
	b := udp(hostA, 78, hostB, 2)
	h, _ := packet.Parse(b)
	p := Packet{Bytes: b, H: &h}
	dead := make([]Dead, 8)
	if n := testing.AllocsPerRun(100, func() {
		w.t.Track(0, w.now, &p, &w.c)
		w.t.Confirm(0, w.now, &w.c)
		w.t.Delete(w.now, w.c.ID)
		w.t.Step(0, w.now, 8)
		w.t.Reap(0, dead)
	}); n != 0 {
		t.Errorf("flow: %v allocations", n)
	}
}
