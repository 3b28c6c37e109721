package router

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/natrouter/natrouter/internal/plain"
	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/ftp"
	"github.com/natrouter/natrouter/router/alg/irc"
	"github.com/natrouter/natrouter/router/alg/pptp"
	"github.com/natrouter/natrouter/router/alg/tftp"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// This file runs the router beside internal/plain, a model of it that shares no code with it. Hosts of model_hosts_test.go
// talk through both; each packet must have the same fate, come out with the same bytes, and leave the same connections.
// A failure is made short by rapid and kept in testdata; -rapid.checks=N makes the run as long as one likes.

// The network of the model: hosts inside, and outside; the router's link outside carries less.
var (
	modelInside  = []netip.Addr{client4, other4, client6, addr("fd77::3")}
	modelOutside = []netip.Addr{server4, addr("198.51.100.8"), server6, addr("2001:db8:ffff::8")}
)

const modelWAN = 1400 // bytes, MTU

// TestModel runs random traffic of many hosts through the router and the model, with the fast path and without, with
// helpers and without.
func TestModel(t *testing.T) {
	if checks, seed := flag.Lookup("rapid.checks").Value, flag.Lookup("rapid.seed").Value; checks.String() == "100" && seed.String() == "0" {
		if err := seed.Set("1"); err != nil { // the short run is the same every time; make model is the random one
			t.Fatal(err)
		}
		defer func() { _ = seed.Set("0") }() // what it was
	}
	for i := range 4 {
		fast, helped := i%2 == 0, i >= 2
		t.Run(fmt.Sprintf("fast path %t helpers %t", fast, helped), func(t *testing.T) {
			var total modelCount
			rapid.Check(t, func(rt *rapid.T) { total.add(modelTraffic(t, rt, fast, helped)) })
			t.Logf("%+v", total)
			little := total.Out < total.Sent/3 || total.Compared == 0 || total.Closed == 0 || total.Errors == 0 || total.Supers == 0 ||
				helped && total.Sent > 50_000 && (total.Edits < 400 || total.Children < 300 || total.Calls < 100 || total.Data < 80)
			if total.Sent > 5000 && little {
				t.Errorf("too little came through to show anything: %+v", total)
			}
			if fast != (total.Fast > 0) {
				t.Errorf("%d packets took the fast path", total.Fast)
			}
		})
	}
}

// modelTraffic is one run. Dialogues need more of it to get anywhere.
func modelTraffic(t *testing.T, rt *rapid.T, fast, helped bool) modelCount {
	m := newModelRun(t, rt, fast, helped)
	defer m.close()
	least, most := 50, 400
	if helped {
		least, most = 1000, 6000
		m.advance(time.Second) // a helper takes time 0 for none
	}
	for range rapid.IntRange(least, most).Draw(rt, "steps") {
		m.step()
	}
	m.end()
	return m.count
}

// modelCount says what a run was made of.
type modelCount struct {
	Sent, Out int // packets
	Compared  int // connections, one by one
	Closed    int // TCP connections that ended in order
	Errors    int // ICMP errors that arrived
	Fast      uint64
	Fragments int
	Supers    int // packets that a device was to cut into segments

	Edits    uint64 // what helpers have changed: commands, replies, offers, messages
	Matched  uint64 // connections that came because they were announced
	Children int    // of them, those of TCP that arrived
	Calls    uint64 // of PPTP
	Data     int    // packets of calls that arrived
}

func (c *modelCount) add(d modelCount) {
	c.Sent, c.Out, c.Compared = c.Sent+d.Sent, c.Out+d.Out, c.Compared+d.Compared
	c.Closed, c.Errors, c.Fast = c.Closed+d.Closed, c.Errors+d.Errors, c.Fast+d.Fast
	c.Fragments, c.Supers, c.Edits, c.Matched = c.Fragments+d.Fragments, c.Supers+d.Supers, c.Edits+d.Edits, c.Matched+d.Matched
	c.Children, c.Calls, c.Data = c.Children+d.Children, c.Calls+d.Calls, c.Data+d.Data
}

// modelRun is one run: the router, the model, and the hosts that use them.
type modelRun struct {
	rt    *rapid.T
	once  *modelTB
	n     *network
	model *plain.Router
	hosts *modelHosts
	count modelCount
	caps  tun.Caps // of the devices

	expects   *conntrack.Subscription
	announced []conntrack.Event // what the last packet has made the router await

	helped bool
	trail  []string // what happened last, for the message of a failure
}

func newModelRun(t *testing.T, rt *rapid.T, fast, helped bool) *modelRun {
	cfg := testConfig()
	cfg.NoFastPath = !fast
	cfg.Interfaces[1].MTU = modelWAN
	cfg.ErrorRate = -1 // no limit
	all := plain.Config{
		Own:      [2][]netip.Addr{{lan4, lan6}, {wan4, wan6}},
		Networks: prefixes("10.77.0.0/16", "fd77::/16"),
		MTU:      [2]int{1500, modelWAN},
	}
	public := modelPublics[rapid.IntRange(0, len(modelPublics)-1).Draw(rt, "public")]
	if public != modelPublics[0] {
		all.Pool = public[:]
		cfg.NAT = []nat.Rule{{Action: nat.SNAT, Out: "wan0", To: []conntrack.AddrRange{host(public[0]), host(public[1])}}}
	}
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
		to := []netip.AddrPort{port(client4, 80), port(client6, 80)}
		all.Forwards = append(all.Forwards, plain.Forward{Proto: int(proto), Port: modelForwarded, To: to[0]},
			plain.Forward{Proto: int(proto), Port: modelForwarded, To: to[1]})
		cfg.NAT = append(cfg.NAT, modelForward(proto, public[0], to[0]), modelForward(proto, public[1], to[1]))
	}
	once := &modelTB{TB: t}
	if helped {
		modelHelp(&cfg, &all, public)
	}
	caps := []tun.Caps{{}, offload}[rapid.IntRange(0, 1).Draw(rt, "offload")]
	m := &modelRun{rt: rt, n: modelNetwork(once, cfg, caps), once: once, helped: helped, caps: caps}
	m.announced = make([]conntrack.Event, 0, 256)
	m.expects = m.n.r.table.Subscribe(cap(m.announced), conntrack.EventExpectNew)
	all.Chosen = m.chosen
	m.model = plain.New(all)
	m.hosts = newModelHosts(m.pick, public)
	m.hosts.helped = helped
	return m
}

// chosen is the outside port by which a connection is, or was, awaited that a client announced with its last packet.
func (m *modelRun) chosen(client netip.AddrPort, outside netip.Addr, inside netip.AddrPort) uint16 {
	for i := range m.announced {
		e := &m.announced[i].Expect
		master, ok := m.n.r.table.Lookup(m.n.r.now(), e.Master)
		to := netip.AddrFrom16(e.NAT.Dst.Addr).Unmap()
		if !e.NAT.Dst.HasAddr {
			to = master.Tuples[1-e.NAT.Dir].SrcAddr()
		}
		by := &master.Tuples[conntrack.Original]
		if ok && port(by.SrcAddr(), by.SrcID) == client && e.Tuple.DstAddr() == outside && port(to, e.NAT.Dst.Key) == inside {
			return e.Tuple.DstID
		}
	}
	return inside.Port()
}

// modelNetwork is newNetwork with all helpers. Its devices cut segments for the router, or leave that to it.
func modelNetwork(t testing.TB, cfg Config, caps tun.Caps) *network {
	bare := cfg
	bare.Helpers = nil
	n := newNetwork(t, bare, func(c *tun.PairConfig) { c.A.Caps = caps })
	r, err := New(cfg, Options{
		Devices: n.near, Clock: n.clock, Seed: [32]byte{1}, Helpers: []alg.Helper{ftp.New(), irc.New(), pptp.New(), tftp.New()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, w := range r.workers {
			w.stack.close()
		}
	})
	n.r = r
	return n
}

// modelHelp gives helpers to both, and servers of FTP and TFTP inside to each family.
func modelHelp(cfg *Config, all *plain.Config, public modelPublic) {
	for _, to := range []netip.Addr{client4, client6} {
		all.Forwards = append(all.Forwards, plain.Forward{Proto: int(packet.ProtoTCP), Port: 21, To: port(to, 21)},
			plain.Forward{Proto: int(packet.ProtoUDP), Port: 69, To: port(to, 69)})
		cfg.NAT = append(cfg.NAT, modelForwardAt(packet.ProtoTCP, 21, public.of(to), port(to, 21)),
			modelForwardAt(packet.ProtoUDP, 69, public.of(to), port(to, 69)))
	}
	for _, h := range []plain.Help{{Name: "ftp", Proto: 6, Port: 21}, {Name: "irc", Proto: 6, Port: 6667}, {Name: "pptp", Proto: 6, Port: 1723}, {Name: "tftp", Proto: 17, Port: 69}} {
		all.Helps = append(all.Helps, h)
		cfg.Helpers = append(cfg.Helpers, HelperRule{
			Name: h.Name, Proto: uint8(h.Proto), Ports: []conntrack.PortRange{{First: h.Port, Last: h.Port}},
		})
	}
}

func modelForward(proto uint8, from netip.Addr, to netip.AddrPort) nat.Rule {
	return modelForwardAt(proto, modelForwarded, from, to)
}

func modelForwardAt(proto uint8, at uint16, from netip.Addr, to netip.AddrPort) nat.Rule {
	return nat.Rule{
		Action: nat.DNAT, Proto: proto, Destination: []conntrack.AddrRange{{First: from, Last: from}},
		Ports: []conntrack.PortRange{{First: at, Last: at}},
		To:    []conntrack.AddrRange{{First: to.Addr(), Last: to.Addr()}}, ToPorts: []conntrack.PortRange{{First: to.Port(), Last: to.Port()}},
	}
}

// modelTB is a test whose clean-up is not left to the end of all runs.
type modelTB struct {
	testing.TB
	cleanup []func()
}

func (t *modelTB) Cleanup(f func()) { t.cleanup = append(t.cleanup, f) }

func (m *modelRun) close() {
	for _, f := range m.once.cleanup {
		f()
	}
}

// pick chooses one of n: a small one rather than a large one, but with helpers each alike, or nobody would get beyond a
// greeting before minutes pass.
func (m *modelRun) pick(n int) int {
	if !m.helped {
		return rapid.IntRange(0, n-1).Draw(m.rt, "pick")
	}
	i := 0
	for range bits.Len(uint(n-1)) + 1 {
		if i *= 2; rapid.Bool().Draw(m.rt, "pick") {
			i++
		}
	}
	return i % n
}

// step lets one thing happen: a host sends, or time passes.
func (m *modelRun) step() {
	every := 40
	if m.helped {
		every = 200
	}
	switch m.pick(every) {
	case 0:
		m.advance(time.Duration(m.pick(20_000)) * time.Millisecond)
	case 1:
		m.advance(time.Duration(1+m.pick(6)) * time.Minute)
		m.hosts.grow()
		m.hosts.quiet()
		m.compare()
	default:
		for _, s := range m.hosts.next() {
			m.send(s)
		}
	}
}

// modelTrail is how much a failure tells of what went before.
const modelTrail = 30

func (m *modelRun) note(format string, args ...any) {
	if m.trail = append(m.trail, fmt.Sprintf(format, args...)); len(m.trail) > modelTrail {
		m.trail = m.trail[1:]
	}
}

func (m *modelRun) fail(format string, args ...any) {
	m.rt.Fatalf("packet %d: %s\ndrops %v\nbefore that:\n%s", m.count.Sent, fmt.Sprintf(format, args...), m.n.drops(),
		strings.Join(m.trail, "\n"))
}

// modelSummary is a packet in short.
func modelSummary(b []byte) string {
	l := layout(b)
	src, dst := modelEnds(l, b)
	s := fmt.Sprintf("%d %s > %s ttl %d len %d", l.Proto, src, dst, l.TTL, len(b))
	switch t := b[l.L4:]; {
	case l.Fragment():
		s = fmt.Sprintf("%d %s > %s fragment %d+%d more %t", l.Proto, src.Addr(), dst.Addr(), l.FragOff, len(b)-l.L4, l.More)
	case l.Proto == packet.ProtoTCP:
		s += fmt.Sprintf(" flags %#x seq %d ack %d data %d", t[13], binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:]), len(b)-l.Payload)
	case l.Proto == packet.ProtoICMP || l.Proto == packet.ProtoICMPv6:
		s += fmt.Sprintf(" type %d code %d", t[0], t[1])
	}
	return s
}

// advance lets time pass, not just up to where a connection ends: its very moment is a second or so.
func (m *modelRun) advance(d time.Duration) {
	near := func(c plain.Connection) bool { return (c.Ends - d).Abs() <= modelSlack }
	for all := m.model.Connections(); slices.ContainsFunc(all, near); {
		d += modelSlack
	}
	m.note("%s pass", d)
	m.n.tick(d)
	m.listen()
	if err := m.model.Advance(d, m.sides(m.n.collect())); err != nil {
		m.fail("%v", err)
	}
}

// send puts one packet into both, and gives what came out to the hosts.
func (m *modelRun) send(s modelPacket) {
	m.count.Sent++
	m.note("%s: %s", s.from, modelSummary(s.b))
	if s.size > 0 {
		m.count.Supers++
		m.note("    in segments of %d", s.size)
	}
	sides := m.sides(m.n.sendFrames(modelSide[s.from], s.frame()))
	m.listen()
	if err := m.model.Step(s.from, s.b, s.size, sides); err != nil {
		m.fail("% x: %v\nthe model has\n%s%s", s.b, err, modelLines(m.model.Connections()), m.model.Dialogues())
	}
	if err := m.model.Allowed(); err != nil {
		m.fail("% x: %v", s.b, err)
	}
	for side, all := range sides {
		m.count.Out += len(all)
		for _, b := range all {
			m.note("    to %s: %s", plain.Side(side), modelSummary(b))
			m.hosts.deliver(plain.Side(side), b)
		}
	}
}

// listen takes note of what the router has begun to await.
func (m *modelRun) listen() {
	n, lost := m.expects.Read(m.announced[:cap(m.announced)])
	if m.announced = m.announced[:n]; lost > 0 {
		m.fail("%d connections were announced at once", uint64(n)+lost)
	}
}

var modelSide = [2]string{"lan0", "wan0"}

// sides are the packets that came out, as they are on the wire.
func (m *modelRun) sides(out map[string][]tun.Frame) (all [2][][]byte) {
	for side, name := range modelSide {
		for i := range out[name] {
			b, err := m.cut(&out[name][i])
			if err != nil {
				m.fail("%s: %v", name, err)
			}
			all[side] = append(all[side], b...)
		}
	}
	return all
}

// cut does what is left to a frame's device.
func (m *modelRun) cut(f *tun.Frame) ([][]byte, error) {
	if f.Meta.GSO != packet.GSONone || !f.Meta.Partial() || !m.caps.Checksum {
		return cutSlow(f)
	}
	b := bytes.Clone(f.Bytes())
	finish(b)
	return [][]byte{b}, unfinished(f)
}

// end looks whether all that is left ends in time.
func (m *modelRun) end() {
	m.compare()
	m.count.Fast = m.n.r.Status().Fast
	for name, c := range m.n.r.Status().Helpers {
		m.count.Edits, m.count.Matched = m.count.Edits+c[alg.CountEdits], m.count.Matched+c[alg.CountMatched]
		if name == "pptp" {
			m.count.Calls += c["calls"]
		}
	}
	m.count.Children, m.count.Data = m.hosts.children, m.hosts.data
	m.count.Closed, m.count.Errors, m.count.Fragments = m.hosts.closed, m.hosts.errors, m.hosts.fragments
	for range 2 {
		m.advance(5 * time.Minute)
		m.compare()
	}
	m.advance(6 * 24 * time.Hour)
	m.compare()
	if left := m.n.r.Status(); left.Flows != 0 || left.Mappings != 0 {
		m.fail("after days %d connections and %d mappings are left", left.Flows, left.Mappings)
	}
}

// modelSlack is how far the two may differ in when a connection ends: the table's clock is coarse.
const modelSlack = 2 * time.Second

// compare wants the same connections in both.
func (m *modelRun) compare() {
	flows, err := m.n.r.Flows(FlowFilter{})
	if err != nil {
		m.rt.Fatal(err)
	}
	var got []plain.Connection
	for i := range flows {
		got = append(got, plainConnection(&flows[i]))
	}
	want := m.model.Connections()
	name := func(c plain.Connection) string { return fmt.Sprint(c.Proto, c.Original, c.Reply, c.TCP) }
	order := func(a, b plain.Connection) int { return cmp.Compare(name(a), name(b)) }
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	same := slices.EqualFunc(got, want, func(a, b plain.Connection) bool {
		return name(a) == name(b) && (a.Ends-b.Ends).Abs() <= modelSlack
	})
	if !same {
		m.fail("the router has\n%sthe model has\n%s%s", modelLines(got), modelLines(want), m.model.Dialogues())
	}
	m.count.Compared += len(got)
	awaited := 0
	for _, e := range m.n.r.table.Expectations(m.n.r.now(), 0) {
		if e.Tuple.Proto != packet.ProtoGRE { // that of a call is always awaited while it has none
			awaited += max(e.Uses, 1)
		}
	}
	if want := m.model.Awaited(); awaited != want {
		m.fail("the router awaits %d connections, the model %d\n%s", awaited, want, m.model.Dialogues())
	}
}

func modelLines(all []plain.Connection) string {
	var b bytes.Buffer
	for _, c := range all {
		fmt.Fprintf(&b, "  %d %v %v %s %s\n", c.Proto, c.Original, c.Reply, c.TCP, c.Ends.Round(time.Millisecond))
	}
	return b.String()
}

func plainConnection(f *Flow) plain.Connection {
	proto := map[string]int{"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "gre": 47}[f.Proto]
	return plain.Connection{
		Proto: proto, Original: plainEnds(&f.Original), Reply: plainEnds(&f.Reply), TCP: f.State,
		Ends: time.Duration(math.Round(f.Timeout * float64(time.Second))),
	}
}

// plainEnds are a direction's ends as the model writes them: an ICMP query's identifier is its sender's port.
func plainEnds(t *FlowTuple) [2]netip.AddrPort {
	src, dst := addr(t.Source), addr(t.Destination)
	if t.ICMPID != nil {
		if *t.ICMPType == 0 || *t.ICMPType == 129 {
			return [2]netip.AddrPort{port(src, 0), port(dst, *t.ICMPID)}
		}
		return [2]netip.AddrPort{port(src, *t.ICMPID), port(dst, 0)}
	}
	if t.SourcePort == nil { // GRE with no call ID
		return [2]netip.AddrPort{port(src, 0), port(dst, 0)}
	}
	return [2]netip.AddrPort{port(src, *t.SourcePort), port(dst, *t.DestinationPort)}
}

// modelPacket is a packet on its way to the router.
type modelPacket struct {
	from plain.Side
	b    []byte
	size int // bytes of each segment where the sender's device is to cut it; 0: it is one packet
}

// frame is the packet as the sender's device hands it over.
func (p *modelPacket) frame() tun.Frame {
	if p.size == 0 {
		return frame(p.b, packet.Meta{})
	}
	l := layout(p.b)
	m := packet.Meta{GSO: packet.GSOUDP, SegSize: uint16(p.size)}
	switch {
	case l.Proto == packet.ProtoTCP && l.Family == 4:
		m.GSO = packet.GSOTCPv4
	case l.Proto == packet.ProtoTCP:
		m.GSO = packet.GSOTCPv6
	}
	b := bytes.Clone(p.b)
	m.CsumStart, m.CsumOff = testpkt.MakePartial(b)
	return frame(b, m)
}

// sideOf is where a host is.
func sideOf(a netip.Addr) plain.Side {
	if slices.Contains(modelInside, a) {
		return plain.Inside
	}
	return plain.Outside
}

// neighbours are the addresses of one family on a side.
func neighbours(all []netip.Addr, like netip.Addr) (same []netip.Addr) {
	for _, a := range all {
		if a.Is4() == like.Is4() {
			same = append(same, a)
		}
	}
	return same
}

// modelPublic is the address of each family that stands for the inside: the router's own outside, or another, and then a
// public or a private one.
type modelPublic [2]netip.Addr

var modelPublics = []modelPublic{
	{wan4, wan6}, {pool4, addr("2001:db8:113::50")}, {addr("172.20.9.4"), addr("fd12:34::4")}, {addr("100.70.0.1"), addr("fdff:9::1")},
}

func (p modelPublic) of(like netip.Addr) netip.Addr {
	if like.Is4() {
		return p[0]
	}
	return p[1]
}

// layout reads a packet that must be right.
func layout(b []byte) testpkt.Layout {
	l, err := testpkt.Parse(b)
	if err != nil {
		panic(err)
	}
	return l
}
