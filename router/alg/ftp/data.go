package ftp

import (
	"net/netip"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// data is the data connection that is awaited, and how many more may be announced.
type data struct {
	id       conntrack.ExpectID // 0: none
	command  uint32             // number of the command that announced it, 0: a reply did
	taken    bool               // something positive was replied since: a refusal is about something else
	outside  netip.Addr         // with port: what is reserved for it; not valid: nothing
	port     uint16
	tokens   int64          // announcements that may come at once
	refilled conntrack.Time // when tokens were last counted; 0: never
}

// allow takes a token.
func (d *data) allow(now conntrack.Time) bool {
	if d.refilled == 0 {
		d.tokens, d.refilled = burst, max(now, 1)
	}
	const interval = second / rate
	n := (now - d.refilled) / interval
	d.refilled += n * interval
	if d.tokens = min(burst, d.tokens+int64(n)); d.tokens == 0 {
		return false
	}
	d.tokens--
	return true
}

// refuse counts and tells why an announced connection is not let in. What was read leaves as it came.
func (s *stream) refuse(m alg.Master, why string) {
	m.Count(why)
	m.Logf("data connection refused: %s", why)
}

// withdraw takes back what is awaited.
func (s *stream) withdraw(m alg.Master) {
	d := &s.data
	if d.id != 0 {
		m.Unexpect(d.id)
		m.Wake(0)
		d.id = 0
	}
	if d.outside.IsValid() {
		m.Unreserve(packet.ProtoTCP, d.outside, d.port)
		d.outside = netip.Addr{}
	}
}

// announce awaits the data connection to an endpoint that the end which sends in dir has named, in the line that begins
// at b[at:], and puts into the line what the other end must find there. It takes the place of the one before (RFC 959,
// section 4.1.2), also where it is refused: the end that is to connect does not want that one any more.
func (s *stream) announce(m alg.Master, dir conntrack.Direction, e *endpoint, at int) {
	s.withdraw(m)
	own := &s.ends[dir]
	s.data.taken = false
	switch {
	case e.form == portOnly:
		e.addr = own.outer
	case dir == conntrack.Reply && e.addr.IsUnspecified(): // the speaker, as clients take it
		e.addr = own.inner
	}
	third := e.addr != own.inner && e.addr != own.outer
	if why := s.forbids(m, dir, e, third); why != "" {
		s.refuse(m, why)
		return
	}
	outside, port := own.outer, e.port
	switch {
	case third:
		outside = e.addr
	case own.translated():
		if l := &s.lines[dir]; l.late || e.at < l.passed {
			s.refuse(m, "not-held")
			return
		}
		var ok bool
		if port, ok = m.Reserve(packet.ProtoTCP, outside, netip.AddrPortFrom(own.inner, e.port)); !ok {
			s.refuse(m, "no-port")
			return
		}
		s.data.outside, s.data.port = outside, port
	}
	if !s.expect(m, dir, e, conntrack.Tuple{Dst: outside.As16(), DstID: port}, third) {
		s.withdraw(m)
		return
	}
	if !third && (port != e.port || e.addr != outside) {
		s.edits = append(s.edits, alg.Edit{Off: at + e.at, Len: e.end - e.at, New: e.text(outside, port)})
	}
}

// forbids says why a data connection to an endpoint is not let in, the name of a counter; empty: it is. third says that
// the address is neither end's: FTP bounce (RFC 2577, section 3), unless the rule lists it.
func (s *stream) forbids(m alg.Master, dir conntrack.Direction, e *endpoint, third bool) (why string) {
	cfg := s.settings
	switch {
	case e.addr.Is4() != s.ends[dir].inner.Is4():
		return "other-family"
	case third && !inAddresses(cfg.loose, e.addr):
		return "foreign-address"
	case int(e.port) < cfg.minPort:
		return "low-port"
	case inPorts(cfg.denied, e.port):
		return "denied-port"
	case dir == conntrack.Reply && len(cfg.dataPorts) > 0 && !inPorts(cfg.dataPorts, e.port):
		return "data-port"
	case !s.data.allow(m.Now()):
		return "too-many"
	}
	return ""
}

// expect awaits a connection from the end that sends in the other direction to, which is an endpoint as it is known to
// that end. It is translated as what that end sends on the control connection is; where a port was reserved for the
// endpoint, it leads to the endpoint's own.
func (s *stream) expect(m alg.Master, dir conntrack.Direction, e *endpoint, to conntrack.Tuple, third bool) bool {
	x := conntrack.Expectation{
		Tuple: m.Arriving(1 - dir),
		Mask:  conntrack.MaskAnyPort,
		NAT:   conntrack.ExpectNAT{Follow: true, Dir: 1 - dir},
	}
	x.Tuple.Dst, x.Tuple.DstID, x.Tuple.SrcID = to.Dst, to.DstID, 0
	x.NAT.Dst.Key, x.NAT.Dst.HasKey = e.port, true
	if third {
		x.NAT.Dst.Addr, x.NAT.Dst.HasAddr = to.Dst, true
	}
	if dir == conntrack.Original && s.settings.strict20 {
		x.Tuple.SrcID, x.Mask = activePort, conntrack.MaskExact
	}
	id, err := m.Expect(x)
	if err != nil {
		return false
	}
	s.data.id = id
	m.Wake(m.Now() + conntrack.Time(lifetime))
	return true
}
