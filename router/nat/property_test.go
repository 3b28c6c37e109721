package nat

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
	"pgregory.net/rapid"
)

// step is one event of random traffic.
type step struct {
	kind         uint8 // see world.step
	proto        uint8 // 0 UDP, 1 TCP, 2 echo, 3 ESP
	host, remote uint8
	port         uint16
	remotePort   uint16
	v6, evict    bool
}

const (
	stepOut     = iota // a host sends, the remote answers
	stepIn             // a remote sends to an outside address
	stepHairpin        // a host sends to an outside address
	stepWait           // time passes
	stepDelete         // connections are deleted, or evicted
	stepKinds
)

var drawStep = rapid.Custom(func(t *rapid.T) step {
	return step{
		kind:  rapid.Uint8Range(0, stepKinds-1).Draw(t, "kind"),
		proto: rapid.Uint8Range(0, 3).Draw(t, "proto"),
		host:  rapid.Uint8Range(2, 6).Draw(t, "host"), remote: rapid.Uint8Range(1, 4).Draw(t, "remote"),
		port:       rapid.SampledFrom([]uint16{1, 300, 700, 1024, 5000, 5001, 40000}).Draw(t, "port"),
		remotePort: rapid.SampledFrom([]uint16{53, 80, 5000}).Draw(t, "remotePort"),
		v6:         rapid.Bool().Draw(t, "v6"), evict: rapid.Bool().Draw(t, "evict"),
	}
})

var drawBehaviour = rapid.SampledFrom([]Behaviour{EndpointIndependent, AddressDependent, AddressAndPortDependent})

// drawConfig makes a set of rules that New accepts.
func drawConfig(t *rapid.T) Config {
	var rules []Rule
	use := func(name string, r Rule) {
		if rapid.Bool().Draw(t, name) {
			if r.Action == SNAT {
				r.Mapping, r.Filtering = drawBehaviour.Draw(t, "mapping"), drawBehaviour.Draw(t, "filtering")
			}
			rules = append(rules, r)
		}
	}
	use("exempt", Rule{Action: Accept, Out: "wan0", Destination: addrs("192.0.2.4"), Line: 1})
	use("netmap", Rule{Action: Netmap, Out: "wan0", Source: addrs("10.77.1.2"), To: addrs("198.51.100.200"), Line: 2})
	use("nptv6", Rule{Action: NPTv6, Out: "wan0", Source: addrs("fd77:0:0:2::/64"), To: addrs("2001:db8:2:2::/64"), Line: 3})
	use("forward", Rule{Action: DNAT, In: "wan0", Proto: packet.ProtoUDP, Ports: portList(5000, 5001), To: addrs("10.77.1.6"), ToPorts: portList(80, 81), Line: 4})
	use("redirect", Rule{Action: DNAT, In: "lan0", Destination: addrs("192.0.2.3"), To: addrs("192.0.2.1"), Line: 5})
	use("pool", Rule{Action: SNAT, Out: "wan0", Source: addrs("10.77.1.3", "10.77.1.4"), To: addrs("198.51.100.32/30"), Line: 6})
	narrow := Rule{Action: SNAT, Out: "wan0", Source: addrs("10.77.1.5"), To: addrs("198.51.100.40"), ToPorts: portList(6000, 6002), Line: 7}
	use("narrow", narrow)
	last := masquerade
	last.Mapping, last.Filtering = drawBehaviour.Draw(t, "mapping"), drawBehaviour.Draw(t, "filtering")
	cfg := testConfig(append(rules, last)...)
	d := &cfg.Defaults
	d.NoPortParity, d.PortRandom = rapid.Bool().Draw(t, "parity"), rapid.Bool().Draw(t, "random")
	d.PoolArbitrary, d.OverlapNever = rapid.Bool().Draw(t, "arbitrary"), rapid.Bool().Draw(t, "never")
	d.InboundRefresh = rapid.Bool().Draw(t, "refresh")
	d.PortsPerSource = rapid.SampledFrom([]int{0, 3}).Draw(t, "share")
	d.MaxMappings = rapid.SampledFrom([]int{0, 8}).Draw(t, "max")
	cfg.Seed[3] = rapid.Byte().Draw(t, "seed")
	return cfg
}

// TestLaws: whatever the rules and the traffic, what goes out and is answered comes back to its sender; no inside
// address is outside but by an accept rule; checksums are right; no two mappings share an outside endpoint unless
// overloading is on; every port is accounted for; the same input and seed give the same bytes.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		steps := rapid.SliceOfN(drawStep, 1, 60).Draw(t, "steps")
		first := runSteps(t, cfg, steps)
		if second := runSteps(t, cfg, steps); !bytes.Equal(first, second) {
			t.Fatal("the same packets, clock and seed gave other bytes")
		}
	})
}

func runSteps(t *rapid.T, cfg Config, steps []step) (log []byte) {
	table := conntrack.New(conntrack.DefaultConfig())
	n, err := New(cfg, table)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, table: table, nat: n, now: 1000 * second, route: func(a netip.Addr) int {
		if a.IsPrivate() {
			return lan
		}
		return wan
	}}
	for i := range steps {
		log = append(log, w.step(t, &steps[i])...)
		w.checkPorts(t)
	}
	w.advance(3600 * second)
	w.advance(3600 * second)
	n.mu.Lock()
	n.sweep(w.now, 1<<20)
	n.mu.Unlock()
	if s := n.Stats(); s.Mappings != 0 || len(n.paired) != 0 || len(n.hosts) != 0 || n.mappings.remotes.used != 0 {
		t.Fatalf("left behind: %+v, %d pairings, %d hosts, %d remotes", s, len(n.paired), len(n.hosts), n.mappings.remotes.used)
	}
	return log
}

// step does one event and returns what left.
func (w *world) step(t *rapid.T, s *step) []byte {
	host, remote := fmt.Sprintf("10.77.1.%d", s.host), fmt.Sprintf("192.0.2.%d", s.remote)
	if s.v6 {
		host, remote = fmt.Sprintf("fd77:0:0:%d::1", s.host), fmt.Sprintf("2001:db8:9::%d", s.remote)
	}
	switch s.kind {
	case stepOut:
		return w.stepOut(t, s.packet(host, remote))
	case stepIn, stepHairpin:
		from, in := remote, wan
		if s.kind == stepHairpin {
			from, in = host, lan
		}
		out := w.outsideEndpoint(s)
		b, egress, reason := w.send(in, s.packetTo(from, out))
		if reason != packet.NotDropped {
			return []byte{byte(reason)}
		}
		w.checkPacket(t, b, egress)
		return b
	case stepWait:
		w.advance(conntrack.Time(s.port) % 400 * second)
	case stepDelete:
		w.deleteSome(s)
	}
	return nil
}

// outsideEndpoint is that of some mapping, or an address of ours without one.
func (w *world) outsideEndpoint(s *step) netip.AddrPort {
	e := ap("203.0.113.1:5000")
	if s.v6 {
		e = ap("[2001:db8:113::1]:5000")
	}
	skip := int(s.remote)
	w.nat.Walk(func(m *MappingInfo) bool {
		if m.Outside.Addr().Is6() == s.v6 {
			e = m.Outside
			skip--
		}
		return skip > 0
	})
	return e
}

func (s *step) packet(host, remote string) []byte {
	return s.build(netip.AddrPortFrom(addr(host), s.port), netip.AddrPortFrom(addr(remote), s.remotePort))
}

func (s *step) packetTo(from string, to netip.AddrPort) []byte {
	src := netip.AddrPortFrom(addr(from), s.remotePort)
	if s.proto == 2 {
		src = netip.AddrPortFrom(addr(from), to.Port())
	}
	return s.build(src, to)
}

func (s *step) build(src, dst netip.AddrPort) []byte {
	switch s.proto {
	case 0:
		return testpkt.UDP{Src: src, Dst: dst, Payload: []byte("question")}.Bytes()
	case 1:
		return testpkt.TCP{Src: src, Dst: dst, Seq: 1000, Flags: packet.FlagSYN}.Bytes()
	case 2:
		return testpkt.Echo{Src: src.Addr(), Dst: dst.Addr(), ID: src.Port()}.Bytes()
	}
	return testpkt.Raw{Src: src.Addr(), Dst: dst.Addr(), Proto: packet.ProtoESP, Payload: []byte{1, 2, 3, 4, 0, 0, 0, 1}}.Bytes()
}

// stepOut sends a packet and its answer.
func (w *world) stepOut(t *rapid.T, sent []byte) []byte {
	left, egress, reason := w.send(lan, sent)
	if reason != packet.NotDropped {
		return []byte{byte(reason)}
	}
	w.checkPacket(t, left, egress)
	back, _, reason := w.send(wan, mirror(left))
	if reason != packet.NotDropped {
		t.Fatalf("answer to % x, which left as % x: %v", sent, left, reason)
	}
	if want := mirror(sent); !bytes.Equal(back, want) {
		t.Fatalf("answer came back as % x, want % x", back, want)
	}
	return append(append(left, back...), w.stepError(t, left, back)...)
}

// stepError sends an error about an answer by a router inside: outside it is the router's own, and quotes the answer
// as the remote sent it.
func (w *world) stepError(t *rapid.T, left, back []byte) []byte {
	h, _ := packet.Parse(back)
	e := testpkt.ICMP{Src: addr("10.77.9.9"), Dst: packet.Addr(h.Src(back)), Type: 11, Payload: back}
	if h.Family == 6 {
		e.Src, e.Type = addr("fd77::9:9"), 3
	}
	if !SharesSource(&conntrack.Conn{Status: w.conn.Status}) {
		return nil // exempt: the error would be, too
	}
	got, egress, reason := w.send(lan, e.Bytes())
	if reason != packet.NotDropped {
		t.Fatalf("error about % x: %v", back, reason)
	}
	w.checkPacket(t, got, egress)
	gh, _ := packet.Parse(got)
	if quote, want := got[gh.L4+8:], mirror(left); !bytes.Equal(quote, want) {
		t.Fatalf("the error quotes % x, the remote sent % x", quote, want)
	}
	return got
}

// mirror returns the answer to a packet, with the same bytes where nothing else is said.
func mirror(b []byte) []byte {
	h, _ := packet.Parse(b)
	src, dst := ends(b)
	switch h.Proto {
	case packet.ProtoUDP:
		return testpkt.UDP{Src: dst, Dst: src, Payload: []byte("answer")}.Bytes()
	case packet.ProtoTCP:
		return testpkt.TCP{Src: dst, Dst: src, Seq: 5000, Ack: 1001, Flags: packet.FlagSYN | packet.FlagACK}.Bytes()
	case packet.ProtoICMP, packet.ProtoICMPv6:
		return testpkt.Echo{Src: dst.Addr(), Dst: src.Addr(), ID: src.Port(), Reply: true}.Bytes()
	}
	return testpkt.Raw{Src: dst.Addr(), Dst: src.Addr(), Proto: h.Proto, Payload: []byte{9, 9, 9, 9, 0, 0, 0, 1}}.Bytes()
}

func (w *world) checkPacket(t *rapid.T, b []byte, egress int) {
	if err := testpkt.Verify(b); err != nil {
		t.Fatalf("left as % x: %v", b, err)
	}
	src, dst := ends(b)
	untouched := w.conn.Tuples[w.conn.Dir].Src == w.conn.Tuples[1-w.conn.Dir].Dst
	exempt := untouched && w.nat.MayLeave(lan, egress, &w.conn, src.Addr())
	if egress == wan && (src.Addr().IsPrivate() || dst.Addr().IsPrivate()) && !exempt {
		t.Fatalf("inside address outside: %v > %v", src, dst)
	}
}

// deleteSome ends connections before their time; evicted ones leave their mappings for a while.
func (w *world) deleteSome(s *step) {
	var ids []conntrack.Handle
	deadlines := map[conntrack.Handle]conntrack.Time{}
	w.table.Walk(w.now, func(c *conntrack.Snapshot) bool {
		ids = append(ids, c.ID)
		deadlines[c.ID] = c.Deadline
		return len(ids) < int(s.host)
	})
	for _, id := range ids {
		w.table.Delete(w.now, id)
	}
	var dead [64]conntrack.Dead
	for {
		n := w.table.Reap(0, dead[:])
		if n == 0 {
			return
		}
		for i := range dead[:n] {
			d := &dead[i]
			if deadline, ours := deadlines[d.ID]; ours && s.evict {
				d.Evicted, d.Deadline = true, deadline
			}
			w.nat.Release(w.now, d)
		}
	}
}

// checkPorts checks that no outside endpoint has two mappings that may not share it, and that each allocator's
// taken ports are those of mappings, static rules and quarantine.
func (w *world) checkPorts(t *rapid.T) {
	n := w.nat
	n.mu.Lock()
	defer n.mu.Unlock()
	type endpoint struct {
		key  allocator
		port uint16
	}
	holders := map[endpoint][]*mapping{}
	for slot := range uint32(len(n.mappings.pages) << slabBits) {
		if m := n.mappings.at(slot); m.proto != 0 {
			e := endpoint{m.allocator(), m.outsidePort}
			holders[e] = append(holders[e], m)
		}
	}
	taken := map[allocator]int{}
	for e, ms := range holders {
		taken[e.key]++
		for i, m := range ms {
			for _, o := range ms[:i] {
				overload := m.mapping() == AddressAndPortDependent && o.mapping() == AddressAndPortDependent && !n.defaults.OverlapNever
				if !overload || (m.remote == o.remote && m.remotePort == o.remotePort) {
					t.Fatalf("%+v and %+v share an outside endpoint", *m, *o)
				}
			}
		}
		if p := n.ports[e.key]; p == nil || !p.taken(e.port) {
			t.Fatalf("the port of %+v is free", *ms[0])
		}
	}
	for k, p := range n.ports {
		if p.used != taken[k]+p.static+len(p.quarantine) {
			t.Fatalf("%d ports are taken: %d by mappings, %d by rules, %d rest", p.used, taken[k], p.static, len(p.quarantine))
		}
	}
}
