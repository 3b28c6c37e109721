package router

import (
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// routeHook finds the egress interface and counts the hop. A connection that has a current route of its own goes
// by that; others go by what netstack said of their destination's route, or ask it: it stands at this place of the list.
type routeHook struct {
	fib *fib
}

func (*routeHook) Name() string { return "route" }

func (h *routeHook) Handle(p *Packet) packet.Verdict {
	if p.H.TTL <= 1 { // RFC 1812, section 5.3.1; RFC 4443, section 3.3
		return p.refuse(packet.TTLExceeded)
	}
	if reason := h.route(p); reason != packet.NotDropped {
		return p.refuse(reason)
	}
	packet.DecrementTTL(p.Bytes, &p.H)
	return packet.Accept
}

func (h *routeHook) route(p *Packet) packet.DropReason {
	r := p.lane.router
	if cached := &p.Conn.Route[p.Conn.Dir]; cached.Generation == r.generation && p.Conn.ErrorL3 == 0 {
		p.out, p.cached = r.interfaces[cached.Interface], true
		return packet.NotDropped
	}
	_, dst := addresses(p.Bytes, &p.H)
	to := addrOf(dst)
	route, nif := h.fib.match(to)
	if nif == nil {
		return packet.NoRoute
	}
	return p.lane.route(p, route, to)
}

// routeOut is the route that p takes, as a connection keeps it.
func (p *Packet) routeOut() conntrack.Route {
	return conntrack.Route{Generation: p.lane.router.generation, Interface: p.out.index, MTU: clampMTU(p.out.mtu)}
}

// snatHook decides the source of a new connection and rewrites that of every packet.
type snatHook struct {
	nat *nat.NAT
}

func (*snatHook) Name() string { return "snat" }

func (s *snatHook) Handle(p *Packet) packet.Verdict {
	if p.Conn.ID == 0 && p.Conn.Status&conntrack.SrcNATDone == 0 {
		if reason := s.nat.Source(p.now, p.inIndex(), int(p.out.index), &p.Conn); reason != packet.NotDropped {
			return p.refuse(reason)
		}
	}
	if reason := nat.RewriteSrc(p.Bytes, &p.H, &p.Meta, &p.Conn, p.out.primary(p.H.Family)); reason != packet.NotDropped {
		return p.refuse(reason)
	}
	if p.Conn.ErrorL3 == 0 && nat.SharesSource(&p.Conn) {
		s.nat.RewriteID(p.Bytes, &p.H, &p.Meta)
	}
	if p.out.side == Outside && !p.cached {
		src, _ := addresses(p.Bytes, &p.H)
		if from := addrOf(src); private(from) && !p.out.has(from) &&
			!s.nat.MayLeave(p.inIndex(), int(p.out.index), &p.Conn, from) {
			return p.refuse(packet.UntranslatedSource)
		}
	}
	return packet.Accept
}

// inIndex returns the index of the ingress interface, -1 for what the router itself made.
func (p *Packet) inIndex() int {
	if p.in == nil {
		return -1
	}
	return int(p.in.index)
}

var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

// private reports whether a source may appear outside by translation only: RFC 1918, RFC 6598, RFC 4193.
func private(a netip.Addr) bool { return a.IsPrivate() || sharedAddresses.Contains(a) }

// mssHook lowers the MSS of SYN and SYN-ACK to what both interfaces of the connection carry, and gives the sender of one
// that is quoted in an ICMP error his own back.
type mssHook struct {
	table *conntrack.Table
	clamp int // Config.MSSClamp
}

func (*mssHook) Name() string { return "mss" }

func (m *mssHook) Handle(p *Packet) packet.Verdict {
	switch {
	case m.clamp == MSSClampOff:
		return packet.Accept
	case p.Conn.ErrorL3 != 0:
		nat.UnclampQuote(p.Bytes, &p.H, &p.Meta, &p.Conn)
		return packet.Accept
	case p.H.Proto != packet.ProtoTCP || p.Bytes[p.H.L4+13]&packet.FlagSYN == 0:
		return packet.Accept
	}
	size := m.clamp
	if size == MSSClampAuto {
		size = p.out.mtu
		if p.in != nil {
			size = min(size, p.in.mtu)
		}
		size -= packet.TCPSize + packet.IPv4Size // RFC 6691; IPv6 below
		if p.H.Family == 6 {
			size -= packet.IPv6Size - packet.IPv4Size
		}
	}
	if size > 0 && size <= 0xffff {
		changed := nat.ClampMSS(p.Bytes, &p.H, &p.Meta, uint16(size))
		m.table.SetClamp(&p.Conn, packet.TCP(p.Bytes[p.H.L4:]).Seq(), changed)
	}
	return packet.Accept
}

// mtuHook decides how a packet fits its egress interface: as it is, fragmented, or not at all. netstack's own
// check is never reached.
type mtuHook struct{}

func (*mtuHook) Name() string { return "mtu" }

func (*mtuHook) Handle(p *Packet) packet.Verdict {
	mtu, size := p.out.mtu, p.largest()
	switch {
	case p.fragmentSize != 0 && size > p.fragmentSize:
		// Reassembled: never larger than its fragments were (RFC 8200, section 5; RFC 1191 for DF on fragments).
		if p.H.DF && p.fragmentSize > mtu {
			return p.refuse(packet.TooBig)
		}
		p.splitSize = min(p.fragmentSize, mtu)
	case size <= mtu:
	case p.H.DF:
		return p.refuse(packet.TooBig)
	default:
		p.splitSize = mtu
	}
	return packet.Accept
}

// confirmHook puts a new connection into the table, and gives a known one the route that its packet takes. Only here:
// what has a route of its own is not looked at again (the source in snat, everything on the fast path), so a packet
// that was refused must leave none.
type confirmHook struct {
	table *conntrack.Table
	nat   *nat.NAT
}

func (*confirmHook) Name() string { return "confirm" }

func (c *confirmHook) Handle(p *Packet) packet.Verdict {
	if p.Conn.ID != 0 {
		if p.in != nil && p.out != nil && !p.cached && p.Conn.ErrorL3 == 0 {
			c.table.SetRoute(p.Conn.ID, p.Conn.Dir, p.routeOut())
		}
		return packet.Accept
	}
	if p.out != nil {
		p.Conn.Route[p.Conn.Dir] = p.routeOut()
	}
	if reason := c.table.Confirm(p.lane.worker.index, p.now, &p.Conn); reason != packet.NotDropped {
		return p.refuse(reason)
	}
	c.nat.Confirmed(p.now, &p.Conn)
	return packet.Accept
}

// sendHook puts the packet into the batch of its egress interface.
type sendHook struct{}

func (*sendHook) Name() string { return "send" }

func (*sendHook) Handle(p *Packet) packet.Verdict {
	if p.splitSize == 0 {
		p.lane.emit(p.out, p.buf, p.off, len(p.Bytes), p.Meta)
		return packet.Accept
	}
	if p.Meta.GSO == packet.GSONone {
		if p.Meta.Partial() {
			packet.FinishChecksum(p.Bytes, &p.H, &p.Meta)
		}
		return p.refuse(p.lane.emitFragments(p.out, p.Bytes, &p.H, p.splitSize))
	}
	var reason packet.DropReason
	packet.Segment(p.Bytes, &p.H, &p.Meta, p.lane.spare.take()[headroom:], func(segment []byte) bool {
		h, r := packet.Parse(segment)
		if r == packet.NotDropped {
			r = p.lane.emitFragments(p.out, segment, &h, p.splitSize)
		}
		reason = r
		return r == packet.NotDropped
	})
	return p.refuse(reason)
}
