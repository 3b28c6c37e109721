package router

import (
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/fragment"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// parseHook checks the headers once; what it lets through no hook below has to doubt.
type parseHook struct{}

func (*parseHook) Name() string { return "parse" }

func (*parseHook) Handle(p *Packet) packet.Verdict {
	if reason := p.H.Parse(p.Bytes); reason != packet.NotDropped {
		p.H = packet.Headers{}
		return p.refuse(reason)
	}
	p.Bytes = p.Bytes[:p.H.Len]
	return packet.Accept
}

// sourceHook refuses addresses that no router may forward (RFC 1812, section 5.3.7; RFC 6890; RFC 4291, section
// 2.5) and sources that are routed elsewhere (RFC 3704, strict reverse path).
type sourceHook struct {
	fib         *fib
	reversePath bool
}

func (*sourceHook) Name() string { return "source" }

func (s *sourceHook) Handle(p *Packet) packet.Verdict {
	src, dst := addresses(p.Bytes, &p.H)
	from, to := addrOf(src), addrOf(dst)
	if from == to || !maySend(from) || s.fib.broadcast(from) {
		return p.refuse(packet.BadAddress) // a broadcast is no source: RFC 1122, section 3.2.1.3
	}
	if reason := s.fib.refusesTo(to); reason != packet.NotDropped {
		return p.refuse(reason)
	}
	if from.IsLinkLocalUnicast() {
		return p.refuse(packet.ProhibitedForward) // RFC 3927, section 2.7; RFC 4291, section 2.5.6
	}
	if s.reversePath && s.fib.lookup(from) != p.in {
		return p.refuse(packet.ReversePath)
	}
	if s.fib.own[from] {
		return p.refuse(packet.BadAddress) // nobody but us has it: forged, or a loop
	}
	return packet.Accept
}

// defragHook holds fragments until their datagram is whole.
type defragHook struct {
	fragments *fragment.Reassembler
}

func (*defragHook) Name() string { return "defrag" }

func (d *defragHook) Handle(p *Packet) packet.Verdict {
	if !p.H.Fragment {
		return packet.Accept
	}
	buf := p.lane.spare.take()
	n, size, df, reason := d.fragments.Add(p.now, p.inIndex(), p.Bytes, &p.H, buf[headroom:])
	switch {
	case reason != packet.NotDropped:
		p.lane.spare.giveBack()
		return p.refuse(reason)
	case n == 0:
		p.lane.spare.giveBack()
		return packet.Stolen
	}
	p.buf, p.off, p.Bytes, p.Meta = buf, headroom, buf[headroom:headroom+n], packet.Meta{}
	if p.H, reason = packet.Parse(p.Bytes); reason != packet.NotDropped {
		return p.refuse(reason)
	}
	if p.fragmentSize = size; df {
		p.H.DF = true
	}
	return packet.Accept
}

// verifyHook checks transport checksums. What the kernel vouches for, or left unfinished, is not checked; what it
// left unfinished inside a tunnel is finished, since below only the outer headers are known.
type verifyHook struct{}

func (*verifyHook) Name() string { return "verify" }

func (*verifyHook) Handle(p *Packet) packet.Verdict {
	if reason := packet.VerifyTransport(p.Bytes, &p.H, &p.Meta); reason != packet.NotDropped {
		return p.refuse(reason)
	}
	if p.Meta.PartialInner(&p.H) {
		packet.FinishChecksum(p.Bytes, &p.H, &p.Meta)
	}
	return packet.Accept
}

// conntrackHook finds or makes the packet's connection and steps it.
type conntrackHook struct {
	table *conntrack.Table
}

func (*conntrackHook) Name() string { return "conntrack" }

func (c *conntrackHook) Handle(p *Packet) packet.Verdict {
	p.keepSnapshot()
	t := conntrack.Packet{Bytes: p.Bytes, H: &p.H, Meta: &p.Meta, Inbound: p.in != nil && p.in.side == Outside}
	if reason := c.table.Track(p.lane.worker.index, p.now, &t, &p.Conn); reason != packet.NotDropped {
		return p.refuse(reason)
	}
	p.tracked = true
	if p.Conn.Info == conntrack.InfoUntracked {
		return p.refuse(packet.ProhibitedForward)
	}
	return packet.Accept
}

// dnatHook decides the destination of a new connection and rewrites that of every packet.
type dnatHook struct {
	nat *nat.NAT
	own *ownAddresses
	fib *fib
}

func (*dnatHook) Name() string { return "dnat" }

func (d *dnatHook) Handle(p *Packet) packet.Verdict {
	if p.Conn.ID == 0 && p.Conn.Status&conntrack.DstNATDone == 0 {
		switch reason := d.nat.Destination(p.now, int(p.in.index), &p.Conn); {
		case reason == packet.NoMapping && d.own.has(p.Conn.Tuples[conntrack.Original].DstAddr()):
			p.noMatch = true // the input list decides, and gives this reason if it refuses
		case reason != packet.NotDropped:
			return p.refuse(reason)
		case p.Conn.Status&conntrack.DstNAT != 0: // a rule for a network leads to its broadcast address too
			if reason := d.fib.refusesTo(p.Conn.Tuples[conntrack.Reply].SrcAddr()); reason != packet.NotDropped {
				return p.refuse(reason)
			}
		}
	}
	if p.Conn.ErrorL3 != 0 {
		d.nat.RestoreID(p.Bytes, &p.H, &p.Meta, &p.Conn)
	}
	return p.refuse(nat.RewriteDst(p.Bytes, &p.H, &p.Meta, &p.Conn))
}

// localHook sends what is for the router itself down the input list.
type localHook struct {
	own   *ownAddresses
	input []stage
}

func (*localHook) Name() string { return "local" }

func (l *localHook) Handle(p *Packet) packet.Verdict {
	_, dst := addresses(p.Bytes, &p.H)
	if !l.own.has(addrOf(dst)) {
		return packet.Accept
	}
	p.lane.router.run(l.input, p)
	return packet.Stolen
}

// ownAddresses is the set of the router's own interface addresses. It is made once and then only read.
type ownAddresses struct {
	set map[netip.Addr]*netInterface
}

func (o *ownAddresses) has(a netip.Addr) bool { return o.set[a] != nil }
