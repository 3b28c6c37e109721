// Package plain is a NAT router for tests: slow, plain and obviously right. It keeps lists and looks through all of
// them, computes every checksum anew, and knows no fast path, shard, lock or pool. It shares no code with the product
// but the reader of packets that tests use (internal/testpkt), so that what it and the router agree on was said twice.
//
// The one thing that it leaves to the router is chance: where a rule allows several outside ports or call IDs, it takes the
// one that the router chose and checks that the choice was allowed. And it does not say how bytes that a helper held are cut
// into segments when they leave.
package plain

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Side is where a packet comes in or goes out.
type Side int

// The sides.
const (
	Inside Side = iota
	Outside
)

// String names the side.
func (s Side) String() string { return [2]string{"inside", "outside"}[s] }

// Config is a router that translates all inside networks to its outside addresses, public or private, endpoint-independent in
// mapping and address-dependent in filtering, with port forwards and hairpinning.
type Config struct {
	Own      [2][]netip.Addr // its own addresses by side, one of each family
	Pool     []netip.Addr    // what stands for the inside, one of each family; empty: its own addresses outside
	Networks []netip.Prefix  // all that is inside
	MTU      [2]int          // bytes, by side
	Forwards []Forward
	Helps    []Help

	// Chosen is the outside port by which the router awaits a connection to an inside endpoint that the control connection
	// of a client has announced, the endpoint's own if it awaits none. It is asked where no packet shows it.
	Chosen func(client netip.AddrPort, outside netip.Addr, inside netip.AddrPort) uint16
}

// Forward sends what comes to a port of the outside address of a family to an inside host.
type Forward struct {
	Proto int
	Port  uint16
	To    netip.AddrPort
}

// Router is the model. One goroutine may use it.
type Router struct {
	cfg     Config
	now     time.Duration
	conns   []*conn
	waiting []*datagram
	awaits  []*expectation // oldest first
	idents  map[ident]uint16
}

// ident names an IPv4 datagram that left; idents says which identification its sender had given it.
type ident struct {
	src, dst netip.Addr
	proto    int
	id       uint16
}

// New returns a router at time 0 that knows of no connection.
func New(cfg Config) *Router { return &Router{cfg: cfg, idents: map[ident]uint16{}} }

// pair is what a packet carries: where from and where to. The port of an ICMP query's sender is its identifier, its
// receiver's port is 0.
type pair struct{ src, dst netip.AddrPort }

func (p pair) inverse() pair { return pair{p.dst, p.src} }

// conn is a connection: what its packets carry when they come in, by direction. The first packet had tuples[0].
type conn struct {
	proto    int
	tuples   [2]pair
	mappings [2]*mapping // that of the source, and of the destination
	begun    Side        // where the first packet came in
	hairpin  bool        // between two inside hosts
	clash    bool        // its answers would look like another's
	replied  bool
	deadline time.Duration
	tcp      tcp
	mss      [2]uint16 // of the last SYN that was let through, by direction; 0: it had none

	help    string   // "": none
	control *control // of TCP with a helper
	master  *conn    // that announced it
	awaited *expectation
	asks    asks // of TFTP
}

// leaves is what packets of a direction carry when they leave.
func (c *conn) leaves(dir int) pair { return c.tuples[1-dir].inverse() }

// mapping is an inside endpoint and the outside one that stands for it, while a connection uses it.
type mapping struct {
	proto           int
	kind            string // "": of what inside hosts begin; kept: of what they await; own: of what follows its master outside
	inside, outside netip.AddrPort
}

// Step gives the router one packet, and compares what it did with that: out is what has come out of each side, packets as they
// are on a wire, in order. Size is how many bytes each of the segments carries that the packet stands for, 0 if it stands for
// itself. An error says how they differ.
func (r *Router) Step(in Side, b []byte, size int, out [2][][]byte) error {
	r.expire()
	whole, largest := r.assemble(in, b)
	if whole == nil {
		return nothing(out)
	}
	p := parse(whole)
	p.size, p.longest = size, largest
	if largest == 0 {
		p.longest = p.wire()
	}
	if p.quote != nil {
		return r.icmpError(in, p, out)
	}
	c, dir := r.find(p.proto, p.pair)
	fresh := c == nil
	if fresh {
		if c = r.begin(in, p, out); c == nil {
			return r.refused(in, p, out)
		}
	} else if !c.track(r.now, dir, c.control.owned(dir, p)) {
		return r.reopen(in, p, c, out, b)
	}
	if c.clash && p.ttl > 1 && !r.tooBig(r.egress(c, dir), p) {
		return r.told(in, p, hostUnreachable(p), out)
	}
	if err := r.deliver(in, c, dir, p, fresh, out); err != nil {
		return err
	}
	if fresh && p.ttl > 1 && !r.tooBig(r.egress(c, dir), p) {
		r.conns = append(r.conns, c)
		r.used(c.awaited)
	}
	if c.tcp.gone {
		r.end(func(o *conn) bool { return o == c })
	}
	return nil
}

// end ends connections, and what they have announced. Of PPTP its calls end too.
func (r *Router) end(over func(*conn) bool) {
	r.conns = slices.DeleteFunc(r.conns, over)
	r.awaits = slices.DeleteFunc(r.awaits, func(e *expectation) bool { return e.deadline <= r.now || over(e.master) })
	r.conns = slices.DeleteFunc(r.conns, func(c *conn) bool { return c.proto == gre && c.master != nil && over(c.master) })
}

// refused is for a packet that may begin no connection: an inside host is told when the router itself has nothing there
// (RFC 1122, section 4.1.3.1), all else is silence.
func (r *Router) refused(in Side, p *packet, out [2][][]byte) error {
	dst := p.pair.dst.Addr()
	if in == Inside && p.proto == udp && dst == r.own(Outside, dst) {
		return r.told(in, p, portUnreachable(p), out)
	}
	return nothing(out)
}

// reopen is for a packet that the connection it belongs to does not take: either it is the first of a new one on the
// same ports, or nothing comes of it.
func (r *Router) reopen(in Side, p *packet, c *conn, out [2][][]byte, b []byte) error {
	if !c.tcp.over {
		return nothing(out)
	}
	r.end(func(o *conn) bool { return o == c })
	return r.Step(in, b, p.size, out)
}

// deliver checks that the packet came out as it must: translated, or as an error to its sender.
func (r *Router) deliver(in Side, c *conn, dir int, p *packet, fresh bool, out [2][][]byte) error {
	side := r.egress(c, dir)
	switch {
	case p.ttl <= 1:
		return r.told(in, p, timeExceeded(p), out)
	case r.tooBig(side, p):
		return r.told(in, p, packetTooBig(p, r.cfg.MTU[side]), out)
	}
	if c.help == "tftp" {
		r.tftp(c, dir, p)
	}
	if at, v := mssOf(p.b); at >= 0 {
		c.mss[dir] = v
	}
	mtu := min(r.cfg.MTU[in], r.cfg.MTU[side])
	if c.control != nil && !fresh {
		return c.control.pass(side, dir, p, mtu, out)
	}
	want := p.rewritten(c.leaves(dir))
	want = clampMSS(want, mtu)
	return r.only(side, want, p.size, out)
}

// egress is the side where packets of a direction leave.
func (r *Router) egress(c *conn, dir int) Side {
	if r.isInside(c.leaves(dir).dst.Addr()) {
		return Inside
	}
	return Outside
}

// tooBig reports whether a packet can't leave: IPv6 is not fragmented by routers unless it came in fragments that
// fit (RFC 8200, section 5), IPv4 not with DF (RFC 791).
func (r *Router) tooBig(side Side, p *packet) bool {
	return p.longest > r.cfg.MTU[side] && (p.six() || p.df)
}

func (r *Router) isInside(a netip.Addr) bool {
	return slices.ContainsFunc(r.cfg.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// own is the router's address of a side, in the family of a.
func (r *Router) own(s Side, a netip.Addr) netip.Addr {
	i := slices.IndexFunc(r.cfg.Own[s], func(o netip.Addr) bool { return o.Is4() == a.Is4() })
	return r.cfg.Own[s][i]
}

// public is the address, in the family of a, that stands for the inside.
func (r *Router) public(a netip.Addr) netip.Addr {
	if i := slices.IndexFunc(r.cfg.Pool, func(o netip.Addr) bool { return o.Is4() == a.Is4() }); i >= 0 {
		return r.cfg.Pool[i]
	}
	return r.own(Outside, a)
}

// only wants one packet, that came out of a side whole, in fragments that fit, or in segments of a size.
func (r *Router) only(side Side, want []byte, size int, out [2][][]byte) error {
	if len(out[1-side]) > 0 {
		return fmt.Errorf("%d packets came out of the %s", len(out[1-side]), 1-side)
	}
	got, err := join(out[side], r.cfg.MTU[side], size)
	if err != nil {
		return fmt.Errorf("%s: %w", side, err)
	}
	r.named(want, out[side])
	want = withID(want, got)
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s:\n% x, want\n% x", side, got, want)
	}
	return nil
}

func nothing(out [2][][]byte) error {
	for side, all := range out {
		if len(all) > 0 {
			return fmt.Errorf("% x came out of the %s, want nothing", all[0], Side(side))
		}
	}
	return nil
}

// told wants an ICMP error to the sender of p: from the router's address on that side, quoting as much as fits.
func (r *Router) told(in Side, p *packet, e icmpError, out [2][][]byte) error {
	if len(out[1-in]) > 0 || len(out[in]) != 1 {
		return fmt.Errorf("%d and %d packets came out, want an ICMP error", len(out[0]), len(out[1]))
	}
	p = p.first()
	from := r.own(in, p.pair.src.Addr())
	if p.six() && e.typ == 1 && e.code == 4 {
		from = p.pair.dst.Addr() // the address that was asked: RFC 4443, section 2.2 (a)
	}
	return e.check(out[in][0], from, p)
}

// Advance lets time pass. out is what has come out of each side because of it: the sender of a datagram whose first
// fragment waited in vain is told (RFC 792; RFC 4443, section 3.3).
func (r *Router) Advance(d time.Duration, out [2][][]byte) error {
	r.now += d
	due := r.expire()
	for _, c := range slices.Clone(r.conns) {
		if c.control != nil {
			c.control.passes()
		}
	}
	for side := range 2 {
		for _, b := range out[side] {
			i := slices.IndexFunc(due, func(d *datagram) bool { return int(d.in) == side && r.tells(d, b) })
			if i < 0 {
				return fmt.Errorf("% x came out of the %s as time passed, want nothing", b, Side(side))
			}
			due = slices.Delete(due, i, i+1)
		}
	}
	if len(due) > 0 {
		return fmt.Errorf("nobody was told that % x waited in vain", due[0].parts[0])
	}
	return nil
}

// tells reports whether b is the error about an incomplete datagram.
func (r *Router) tells(d *datagram, b []byte) bool {
	p := takeFragment(d.first())
	e := icmpError{typ: 11, code: 1}
	if p.six() {
		e.typ = 3
	}
	return e.check(b, r.own(d.in, p.pair.src.Addr()), p) == nil
}

// expire ends what has had its time, and returns the datagrams whose sender is told.
func (r *Router) expire() (due []*datagram) {
	r.end(func(c *conn) bool { return c.deadline <= r.now })
	r.waiting = slices.DeleteFunc(r.waiting, func(d *datagram) bool {
		if d.deadline <= r.now && d.first() != nil && !isError(d.first()) { // none about an error: RFC 1122, section 3.2.2
			due = append(due, d)
		}
		return d.deadline <= r.now
	})
	return due
}
