package irc

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// opened is an offer that waits for whoever got it.
type opened struct {
	inside, outside uint16 // ports
	id              conntrack.ExpectID
}

// read acts on a whole line, which begins at start in the bytes of this call (negative: before them).
func (s *stream) read(m alg.Master, line []byte, start int) {
	o, result := scan(line)
	if result != yes {
		return
	}
	m.Count("offers")
	addr, ok := parseAddr(o.addr.of(line))
	in, out := m.Arriving(conntrack.Original), m.Leaving(conntrack.Original)
	if !ok || addr != in.SrcAddr() && addr != out.SrcAddr() {
		m.Count("refused-address")
		return
	}
	if in.Src == out.Src && in.Dst != out.Dst { // a client outside, of a server behind a port forward
		m.Count("refused-outside")
		return
	}
	port, ok := parsePort(o.port.of(line))
	if !ok || port < privileged {
		m.Count("refused-port")
		return
	}
	text := appendAddr(nil, out.SrcAddr())
	if len(line)-(o.port.to-o.addr.from)+len(text)+1+maxPort > maxLine { // the server would cut it off
		m.Count("too-long")
		return
	}
	outside, ok := s.open(m, port)
	if !ok {
		m.Count("not-opened")
		return
	}
	s.edits = append(s.edits,
		alg.Edit{Off: start + o.addr.from, Len: o.addr.to - o.addr.from, New: text},
		alg.Edit{Off: start + o.port.from, Len: o.port.to - o.port.from, New: strconv.AppendUint(nil, uint64(outside), 10)})
}

// open makes an inside port of the client's reachable and returns its port outside. The same offer again is renewed.
// Above the limit of the class the oldest gives way.
func (s *stream) open(m alg.Master, port uint16) (outside uint16, ok bool) {
	i := slices.IndexFunc(s.opened, func(o opened) bool { return o.inside == port })
	if i < 0 {
		if outside, ok = reserve(m, port); !ok {
			return 0, false
		}
		s.opened = append(s.opened, opened{inside: port, outside: outside})
		i = len(s.opened) - 1
	}
	o := &s.opened[i]
	id, err := m.Expect(s.expectation(m, o))
	if err != nil {
		m.Logf("offer of port %d not opened: %v", port, err)
		s.close(m, i)
		return 0, false
	}
	o.id, outside = id, o.outside
	s.settle(m)
	return outside, true
}

// expectation returns what an offer awaits: a connection from anybody.
func (s *stream) expectation(m alg.Master, o *opened) conntrack.Expectation {
	in, out := m.Arriving(conntrack.Original), m.Leaving(conntrack.Original)
	t := conntrack.Tuple{Dst: out.Src, DstID: o.outside, Zone: in.Zone, Proto: packet.ProtoTCP, Family: in.Family}
	return conntrack.Expectation{
		Tuple: t, Limit: s.settings.maxDCC, Lifetime: conntrack.Time(s.settings.timeout),
		NAT: conntrack.ExpectNAT{Dst: conntrack.Manip{Addr: in.Src, Key: o.inside, HasAddr: true, HasKey: true}},
	}
}

// reserve takes an outside port where the client's address is translated; else its own is as good as any.
func reserve(m alg.Master, port uint16) (uint16, bool) {
	if in, out := m.Arriving(conntrack.Original), m.Leaving(conntrack.Original); in.Src != out.Src {
		return m.Reserve(packet.ProtoTCP, out.SrcAddr(), netip.AddrPortFrom(in.SrcAddr(), port))
	}
	return port, true
}

// close gives back the outside port of an offer. A connection that came of it holds it on.
func (s *stream) close(m alg.Master, i int) {
	if in, out := m.Arriving(conntrack.Original), m.Leaving(conntrack.Original); in.Src != out.Src {
		m.Unreserve(packet.ProtoTCP, out.SrcAddr(), s.opened[i].outside)
	}
	s.opened = slices.Delete(s.opened, i, i+1)
}

// settle closes the offers that nothing is awaited of any more, as they were taken, gave way, or are over, and asks to
// be called when the next one is.
func (s *stream) settle(m alg.Master) {
	var wake conntrack.Time
	waiting := m.Expectations()
	for i := 0; i < len(s.opened); {
		at := slices.IndexFunc(waiting, func(e conntrack.Expectation) bool { return e.ID == s.opened[i].id })
		if at < 0 {
			s.close(m, i)
			continue
		}
		if due := waiting[at].Deadline; wake == 0 || due < wake {
			wake = due
		}
		i++
	}
	m.Wake(wake)
}

// Tick implements [alg.Stream].
func (s *stream) Tick(m alg.Master) { s.settle(m) }
