package plain

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// icmpError is an error that the router itself sends.
type icmpError struct {
	typ, code uint8
	mtu       int        // 0: none
	from      netip.Addr // not valid: the router's on that side
}

// timeExceeded: RFC 1812, section 5.3.1; RFC 4443, section 3.3.
func timeExceeded(p *packet) icmpError {
	if p.six() {
		return icmpError{typ: 3}
	}
	return icmpError{typ: 11}
}

// packetTooBig: RFC 1191, section 4; RFC 4443, section 3.2.
func packetTooBig(p *packet, mtu int) icmpError {
	if p.six() {
		return icmpError{typ: 2, mtu: mtu}
	}
	return icmpError{typ: 3, code: 4, mtu: mtu}
}

// portUnreachable: RFC 792; RFC 4443, section 3.1, from the address that was asked for as section 2.2 (a) has it.
func portUnreachable(p *packet) icmpError {
	if p.six() {
		return icmpError{typ: 1, code: 4, from: p.pair.dst.Addr()}
	}
	return icmpError{typ: 3, code: 3}
}

// hostUnreachable is what RFC 6888, REQ-11, wants where there is no way to translate.
func hostUnreachable(p *packet) icmpError {
	if p.six() {
		return icmpError{typ: 1, code: 3}
	}
	return icmpError{typ: 3, code: 1}
}

// isError reports whether a packet, or a first fragment, is an ICMP error.
func isError(b []byte) bool {
	l, _ := testpkt.Parse(b)
	t := b[l.L4]
	return l.Proto == icmp6 && t < 128 || l.Proto == icmp && (t == 3 || t == 11 || t == 12)
}

// leastQuoted is what an error must quote: RFC 792 wants 8 bytes of the payload; RFC 1812, section 4.3.2.3, as much as
// gives 576 bytes; RFC 4443, section 2.4, as much as gives 1280.
func leastQuoted(p *packet) int {
	if p.six() {
		return min(len(p.b), 1280-48)
	}
	return min(len(p.b), 576-28)
}

// check compares an error that came out.
func (e icmpError) check(got []byte, from netip.Addr, p *packet) error {
	if err := testpkt.Verify(got); err != nil {
		return err
	}
	g := take(got)
	t := got[g.l.L4:]
	if g.quote == nil || t[0] != e.typ || t[1] != e.code {
		return fmt.Errorf("% x came out, want ICMP type %d code %d", got, e.typ, e.code)
	}
	mtu := int(binary.BigEndian.Uint32(t[4:]))
	if e.from.IsValid() {
		from = e.from
	}
	switch {
	case g.pair.src.Addr() != from || g.pair.dst.Addr() != p.pair.src.Addr():
		return fmt.Errorf("error from %s to %s, want %s to %s", g.pair.src, g.pair.dst, from, p.pair.src)
	case mtu != e.mtu:
		return fmt.Errorf("error tells %d, want MTU %d", mtu, e.mtu)
	case len(g.quote) < leastQuoted(p) || !bytes.HasPrefix(p.b, g.quote):
		return fmt.Errorf("error quotes\n% x, want\n% x", g.quote, p.b)
	}
	return nil
}

// icmpError checks an error that some host or router sent: it goes to the sender of the packet that it quotes, who must
// find there the packet as he sent it (RFC 5508, REQ-4 and REQ-5); it keeps nothing alive (REQ-6).
func (r *Router) icmpError(in Side, p *packet, out [2][][]byte) error {
	quoted := take(p.quote)
	c, dir := r.about(quoted)
	if c == nil || c.tuples[dir].dst.Addr() != p.pair.dst.Addr() {
		return nothing(out)
	}
	if c.proto == tcpIP && p.hard() && !c.tcp.joined && !c.tcp.underWay(1-dir, c.control.sentAs(1-dir, quoted.segment().seq)) {
		return nothing(out) // an attacker's, or too late to matter: RFC 5927, section 4.1
	}
	to := pair{p.pair.src, c.leaves(dir).dst}
	switch {
	case p.pair.src.Addr() == c.tuples[dir].src.Addr(), in == Inside && r.egress(c, dir) == Outside: // RFC 5508, REQ-5c
		to.src = c.leaves(dir).src
	}
	if p.ttl <= 1 {
		return nothing(out) // no error about an error: RFC 1812, section 4.3.2.7
	}
	want := bytes.Clone(p.b)
	setPair(want, to)
	inner := want[p.l.L4+8:]
	setPair(inner, c.tuples[1-dir])
	if got, err := join(out[r.egress(c, dir)], r.cfg.MTU[r.egress(c, dir)], 0); err == nil {
		c.control.quoted(inner, 1-dir, got)
		r.unnamed(p.quote, inner, got)
	}
	if at, left := mssOf(inner); at >= 0 && c.mss[1-dir] != 0 && !r.unknown(c, 1-dir, quoted, left, out) {
		binary.BigEndian.PutUint16(inner[at:], c.mss[1-dir])
	}
	sums(inner)
	decrementTTL(want)
	sums(want)
	return r.only(r.egress(c, dir), want, 0, out)
}

// unknown reports that a quoted SYN came out with the MSS that it left with, and need not be the one that the router
// remembers: much was sent behind it, or it was never seen.
func (r *Router) unknown(c *conn, dir int, quoted *packet, left uint16, out [2][][]byte) bool {
	got, err := join(out[r.egress(c, 1-dir)], r.cfg.MTU[r.egress(c, 1-dir)], 0)
	if err != nil || len(got) == 0 {
		return false
	}
	far := c.tcp.joined || c.tcp.end[dir]-(quoted.segment().seq+1) > 0xffff
	_, shown := mssOf(take(got).quote)
	return far && shown == left
}

// about is the connection of a quoted packet, and the direction of the error. Of enhanced GRE the quote names the call ID of
// the one who did not get it: if two connections fit, it can't be told which.
func (r *Router) about(quoted *packet) (c *conn, dir int) {
	if quoted.proto != gre {
		return r.find(quoted.proto, quoted.pair.inverse())
	}
	back, found := quoted.pair.inverse(), 0
	for _, o := range r.conns {
		for d, t := range o.tuples {
			if o.proto == gre && t.src == back.src && t.dst.Addr() == back.dst.Addr() {
				c, dir, found = o, d, found+1
			}
		}
	}
	if found != 1 {
		return nil, 0
	}
	return c, dir
}

// hard reports errors that a host may end a TCP connection for, or send smaller segments: RFC 1122, section 4.2.3.9; RFC
// 5461, section 2; RFC 5927, section 7.
func (p *packet) hard() bool {
	t := p.b[p.l.L4:]
	if p.six() {
		return t[0] == 2 || t[0] == 1 && (t[1] == 1 || t[1] == 4) || t[0] == 4 && t[1] == 1
	}
	return t[0] == 3 && t[1] >= 2 && t[1] <= 4
}
