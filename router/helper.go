package router

import (
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// assignHook gives a new connection its helper.
type assignHook struct {
	kit *alg.Kit
}

func (*assignHook) Name() string { return "assign" }

func (a *assignHook) Handle(p *Packet) packet.Verdict {
	if p.Conn.ID == 0 {
		a.kit.Assign(&p.Conn)
	}
	return packet.Accept
}

// reassignHook looks again where a helper came by the server's port and NAT has changed that.
type reassignHook struct {
	kit *alg.Kit
}

func (*reassignHook) Name() string { return "reassign" }

func (a *reassignHook) Handle(p *Packet) packet.Verdict {
	if p.Conn.ID == 0 && p.Conn.Status&conntrack.DstNAT != 0 {
		a.kit.Reassign(&p.Conn)
	}
	return packet.Accept
}

// helperHook gives packets of connections with a helper to it, and adjusts the numbers of those that one has edited.
type helperHook struct {
	kit     *alg.Kit
	confirm *confirmHook
}

func (*helperHook) Name() string { return "helper" }

func (h *helperHook) Handle(p *Packet) packet.Verdict {
	if !alg.Wants(&p.Conn) {
		return packet.Accept
	}
	if p.fragmentSize == 0 && p.H.DF && p.largest() > p.out.mtu {
		return packet.Accept // too big as it came: the sender is told so, and the helper sees what he sends then
	}
	if h.kit.Early(&p.Conn) {
		if v := h.confirm.Handle(p); v != packet.Accept {
			return v
		}
	}
	in := alg.Packet{Bytes: p.Bytes, H: &p.H, Meta: &p.Meta, Room: p.out.mtu}
	v, reason := h.kit.Handle(p.now, &p.Conn, &in, p)
	p.Bytes, p.Reason = in.Bytes, reason
	return v
}

// Send implements [alg.Sink]: it sends a packet that the helper hook made, the way of p.
func (p *Packet) Send(b []byte, m packet.Meta) {
	buf := p.lane.spare.room(len(b))
	made := buf[headroom:][:copy(buf[headroom:], b)]
	h, reason := packet.Parse(made)
	if reason == packet.NotDropped {
		if nat.SharesSource(&p.Conn) {
			p.lane.router.nat.RewriteID(made, &h, &m)
		}
		switch {
		case len(made) <= p.out.mtu:
			p.lane.emit(p.out, buf, headroom, len(made), m)
		case h.DF:
			reason = packet.TooBig
		default:
			reason = p.lane.emitFragments(p.out, made, &h, p.out.mtu)
		}
	}
	if reason != packet.NotDropped {
		p.lane.drops[reason].Add(1)
	}
}
