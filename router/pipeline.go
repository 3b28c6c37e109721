package router

import "github.com/natrouter/natrouter/router/packet"

// This file is the way of one packet, top to bottom.
//
//	TUN ── batch read (worker.go) ──▶ fast ───────── established ─────────▶ batch write ── TUN
//	                                    │ all else
//	                                    ▼
//	                                  transit: parse … route … send ──────▶ batch write ── TUN
//	                                    │ ours (local)
//	                                    ▼
//	                                  input ──▶ netstack ──▶ output ──────▶ batch write ── TUN
//
// transit, input and output are lists of hooks in their order; run walks one of them. What a hook decides, and
// why a packet was dropped, stands in the Packet; whoever is told of a drop is in drop.

// A Hook is one stage of the pipeline. Goroutines may call Handle at once, but never two for one p.
type Hook interface {
	Name() string                    // its one name in config, logs and metrics
	Handle(p *Packet) packet.Verdict // may rewrite p; keeps neither p nor its bytes, unless it returns Stolen; on Drop it has set p.Reason
}

// named is what a drop tells of its place: a Hook, or the fast path before the lists.
type named interface{ Name() string }

// stage is a hook's place in a list, and the reason for that place.
type stage struct {
	hook Hook
	why  string
}

// pipeline holds the three lists. It is made once by newPipeline and then only read.
type pipeline struct {
	fast    *fastHook // before transit: takes what needs nothing of it
	transit []stage   // what a device brought
	input   []stage   // what the local stage found to be for the router itself
	output  []stage   // what netstack made
}

// newPipeline is the order of all hooks; each sees the packet as those above left it.
func newPipeline(r *Router) *pipeline {
	var (
		parse    = &parseHook{}
		verify   = &verifyHook{}
		track    = &conntrackHook{table: r.table}
		snat     = &snatHook{nat: r.nat}
		mss      = &mssHook{table: r.table, clamp: r.cfg.MSSClamp}
		mtu      = &mtuHook{}
		confirm  = &confirmHook{table: r.table, nat: r.nat}
		send     = &sendHook{}
		sources  = &sourceHook{fib: r.fib, reversePath: !r.cfg.Filter.NoReversePath}
		fragment = &defragHook{fragments: r.fragments}
	)
	p := &pipeline{fast: &fastHook{nat: r.nat, enabled: !r.cfg.NoFastPath && r.filter.onlyOnNew}}
	p.input = []stage{
		{&inputHook{policy: r.cfg.Filter.Input}, "what the router's own addresses answer"},
		{confirm, "a refused packet leaves no state; the answer must find its connection"},
		{&deliverHook{}, "to netstack's internal NIC"},
	}
	p.transit = []stage{
		{parse, "all below read checked headers only"},
		{sources, "forged and martian sources cost nothing: no fragment memory, no state"},
		{fragment, "a later fragment has no ports, so no tuple"},
		{verify, "a wrong checksum must not move a connection's state"},
		{track, "those below need the packet's connection"},
		{&assignHook{kit: r.kit}, "a rule names a connection as its first packet does, before nat"},
		{&dnatHook{nat: r.nat, own: r.own, fib: r.fib}, "before routing: the route is that of the true destination"},
		{&reassignHook{kit: r.kit}, "auto_helper goes by the server's true port"},
		{&localHook{own: r.own, input: p.input}, "after dnat: only now it is known whether the packet is for us"},
		{&routeHook{fib: r.fib}, "netstack's decision, or the connection's own of before; and the hop count"},
		{&filterHook{filter: r.filter}, "sees both interfaces and the true destination"},
		{snat, "after routing: masquerade takes the egress interface's address"},
		{&helperHook{kit: r.kit, confirm: confirm}, "after both, because it writes the outside endpoint into the payload; then it adjusts the numbers"},
		{mss, "both MTUs are known"},
		{mtu, "after all that changes the size; too big is our ICMP error and no state"},
		{confirm, "last but sending: a packet dropped above leaves no state"},
		{send, "into the egress interface's batch, fragmented again where it must be"},
	}
	p.output = []stage{
		{parse, "netstack's packets are read as any other"},
		{fragment, "netstack cuts what is larger than the MTU: as above, and sent in fragments again"},
		{track, "answers join their connection, what the router starts gets one"},
		{&ownErrorsHook{}, "needs the connection: which answers must stay silent outside"},
		{snat, "joins the way of transit packets"},
		{mss, "both MTUs are known"},
		{mtu, "a too big one is told to netstack"},
		{confirm, "as above"},
		{send, "as above"},
	}
	return p
}

// run walks a packet through a list. A packet that a hook neither dropped nor stole has been sent by the last one.
func (r *Router) run(list []stage, p *Packet) {
	for i := range list {
		switch list[i].hook.Handle(p) {
		case packet.Accept:
			continue
		case packet.Stolen:
			return
		default:
			r.drop(p, list[i].hook)
			return
		}
	}
}

// drop counts a refused packet under its reason, gives back what its connection had reserved, and answers the
// sender where the reason has an answer.
func (r *Router) drop(p *Packet, at named) {
	if p.Reason == packet.NotDropped {
		p.Reason = packet.Unspecified
	}
	p.lane.drops[p.Reason].Add(1)
	if p.Conn.ID == 0 && p.tracked {
		r.nat.Abandon(p.now, &p.Conn)
	}
	r.logDrop(p, at)
	r.answer(p)
}
