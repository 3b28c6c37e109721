package plain

import (
	"net/netip"
	"slices"
	"time"
)

// expectation is a connection that helpers await, and what becomes of it.
type expectation struct {
	master *conn
	proto  int
	from   netip.Addr     // not valid: anybody
	to     netip.AddrPort // as its first packet comes in

	source   netip.Addr     // leaves with this source address; not valid: as any connection
	leads    netip.AddrPort // where it goes
	holds    *mapping       // that stands for it, nil: none
	deadline time.Duration
	uses     int // connections that it lets in yet; 0: one
}

// await adds an expectation. The same again of one master is renewed; false: another one awaits the same packets.
func (r *Router) await(e *expectation, most int) bool {
	e.deadline = r.now + awaited
	for i, o := range r.awaits {
		if o.proto != e.proto || o.to != e.to || o.from.IsValid() && e.from.IsValid() && o.from != e.from {
			continue
		}
		if o.master != e.master || o.from != e.from {
			return false
		}
		r.awaits = slices.Delete(r.awaits, i, i+1)
		break
	}
	mine := func(o *expectation) bool { return o.master == e.master }
	count := 0
	for _, o := range r.awaits {
		if mine(o) {
			count++
		}
	}
	if count >= most { // the oldest gives way
		i := slices.IndexFunc(r.awaits, mine)
		r.awaits = slices.Delete(r.awaits, i, i+1)
	}
	r.awaits = append(r.awaits, e)
	return true
}

// awaited is how long a connection is awaited.
const awaited = 5 * time.Minute

// withdraw ends what a connection awaits.
func (r *Router) withdraw(master *conn) {
	r.awaits = slices.DeleteFunc(r.awaits, func(e *expectation) bool { return e.master == master })
}

// used ends an expectation that let in as many connections as it may.
func (r *Router) used(e *expectation) {
	if e != nil && e.uses > 1 {
		e.uses--
		return
	}
	r.awaits = slices.DeleteFunc(r.awaits, func(o *expectation) bool { return o == e })
}

// takes is the expectation of a first packet. Only a SYN begins a connection of TCP.
func (r *Router) takes(p *packet) *expectation {
	if p.proto == tcpIP && p.segment().kind != "SYN" {
		return nil
	}
	for _, e := range r.awaits {
		if e.proto == p.proto && e.to == p.pair.dst && (!e.from.IsValid() || e.from == p.pair.src.Addr()) {
			return e
		}
	}
	return nil
}

// follow makes a new connection the child of who announced it.
func (r *Router) follow(c *conn, e *expectation, in Side, p *packet, out [2][][]byte) {
	c.master, c.awaited, c.tuples[1].src, c.mappings[1] = e.master, e, e.leads, e.holds
	switch {
	case e.source.IsValid() && e.source != p.pair.src.Addr():
		r.sourceAt(c, e.source, "own", p, out)
	case !e.source.IsValid() && in == Inside && e.to.Addr() == r.public(e.to.Addr()): // as any hairpin
		r.source(c, p, out)
	}
}

// reserve returns the mapping by which an inside endpoint can be reached: that of a connection which came of an earlier
// announcement, if that is what was told to the other end, or a new one. Where the port was not shown, for some of the line
// left earlier or is lost, the router says which it is.
func (r *Router) reserve(master *conn, outside netip.Addr, inside netip.AddrPort, told uint16, shown bool) *mapping {
	if !shown {
		told = r.cfg.Chosen(master.tuples[0].src, outside, inside)
	}
	m := &mapping{proto: tcpIP, kind: "kept", inside: inside, outside: netip.AddrPortFrom(outside, told)}
	if o := r.mapped(func(o *mapping) bool { return *o == *m }); o != nil {
		return o
	}
	return m
}

// Awaited returns how many connections of TCP and UDP are awaited.
func (r *Router) Awaited() (n int) {
	r.expire()
	for _, e := range r.awaits {
		n += max(e.uses, 1)
	}
	return n
}
