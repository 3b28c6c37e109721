package router

import (
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// inputHook decides what may reach the router itself. Reasons: no-mapping for what nothing claims at an outside
// address, input-filtered else.
type inputHook struct {
	policy InputPolicy
}

func (*inputHook) Name() string { return "input" }

func (i *inputHook) Handle(p *Packet) packet.Verdict {
	_, dst := addresses(p.Bytes, &p.H)
	// A private address of ours is no outside host's business: its answer would show it outside.
	if hidden := p.in.side == Outside && private(addrOf(dst)) && !p.in.has(addrOf(dst)); !hidden && i.accepts(p) {
		return packet.Accept
	}
	if p.noMatch && p.in.side == Outside {
		return p.refuse(packet.NoMapping)
	}
	return p.refuse(packet.InputFiltered)
}

func (i *inputHook) accepts(p *Packet) bool {
	if p.Conn.Info != conntrack.InfoNew {
		return true // an answer to the router itself, or an error about one
	}
	switch i.policy {
	case InputPing:
		return echoRequest(p)
	case InputAccept:
		return echoRequest(p) || p.lane.router.local.stack.listens(p)
	}
	return false
}

// echoRequest looks at the type only where the protocol says that there is one: other packets may end before it.
func echoRequest(p *Packet) bool {
	return (p.H.Proto == packet.ProtoICMP && p.Bytes[p.H.L4] == packet.ICMPEcho) ||
		(p.H.Proto == packet.ProtoICMPv6 && p.Bytes[p.H.L4] == packet.ICMPv6Echo)
}

// deliverHook hands the packet to netstack.
type deliverHook struct{}

func (*deliverHook) Name() string { return "deliver" }

func (*deliverHook) Handle(p *Packet) packet.Verdict {
	if reason := p.lane.router.local.stack.deliver(p); reason != packet.NotDropped {
		return p.refuse(reason)
	}
	return packet.Accept
}

// ownErrorsHook keeps netstack from answering strangers outside: no RST and no ICMP error of its own goes there
// but for a connection that a socket here has answered before (RFC 5382, REQ-4; a protocol unreachable would end
// every PPTP call of the address). Inside hosts get them within the limit of all that the router answers.
type ownErrorsHook struct{}

func (*ownErrorsHook) Name() string { return "own-errors" }

func (*ownErrorsHook) Handle(p *Packet) packet.Verdict {
	reset := p.H.Proto == packet.ProtoTCP && p.Bytes[p.H.L4+13]&packet.FlagRST != 0
	if p.Conn.ErrorL3 == 0 && (!reset || p.Conn.Status&conntrack.Assured != 0) {
		return packet.Accept
	}
	if p.out.side == Outside {
		return p.refuse(packet.NoMapping)
	}
	_, to := addresses(p.Bytes, &p.H)
	if !p.lane.router.errors.allow(p.now, &asked{side: p.out.side, source: to}) {
		return p.refuse(packet.RateLimited)
	}
	return packet.Accept
}
