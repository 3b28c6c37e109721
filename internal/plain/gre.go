package plain

import (
	"fmt"
	"net/netip"
	"time"
)

// Times that GRE lasts: by itself, and of calls of PPTP; that one end has sent, and both.
const (
	greLasts   = 2 * time.Minute
	greBoth    = 5 * time.Minute
	callLasts  = 10 * time.Minute
	callBoth   = 5 * time.Hour
	callIDRest = 30 * time.Second // that nobody else gets a call ID
)

// same reports whether a packet has a connection's endpoints. One of GRE names only its receiver's call ID.
func same(proto int, of, packet pair) bool {
	if proto == gre {
		return of.src.Addr() == packet.src.Addr() && of.dst == packet.dst
	}
	return of == packet
}

func (c *conn) greLasts() time.Duration {
	switch {
	case c.master != nil && c.replied:
		return callBoth
	case c.master != nil:
		return callLasts
	case c.replied:
		return greBoth
	}
	return greLasts
}

// ways are what the GRE packets of a call carry when they come in, by direction: each end names itself by its own call ID,
// the other by the one that it knows.
func (c *control) ways(l *call) (w [2]pair) {
	for dir := range w {
		t := c.conn.tuples[dir]
		w[dir] = pair{netip.AddrPortFrom(t.src.Addr(), l.ends[dir].inner), netip.AddrPortFrom(t.dst.Addr(), l.ends[1-dir].outer)}
	}
	return w
}

// callOf makes a new connection of GRE that of a call which is up, if it is one. Of a call that is up GRE is always awaited,
// from either end, while it has none.
func (r *Router) callOf(c *conn, p *packet) bool {
	for _, o := range r.conns {
		if o.control == nil {
			continue
		}
		for _, l := range o.control.reading.calls {
			ways := o.control.ways(l)
			for dir := range ways {
				if l.up() && l.late == nil && same(gre, ways[dir], p.pair) {
					c.master, c.tuples = o, [2]pair{ways[dir], ways[1-dir]}
					return true
				}
			}
		}
	}
	return false
}

// sweepCalls ends the GRE of a control connection's calls that are over, and what is in the way of those that are up.
func (r *Router) sweepCalls(k *control, calls []*call) {
	r.end(func(c *conn) bool {
		if c.proto != gre {
			return false
		}
		mine := c.master == k.conn
		for _, l := range calls {
			if !l.ends[0].known || !l.ends[1].known {
				continue
			}
			ways := k.ways(l)
			if l.late != nil {
				ways = *l.late
			}
			if mine && (c.tuples == ways || c.tuples == [2]pair{ways[1], ways[0]}) {
				return false
			}
			for dir := range ways {
				if !mine && l.up() && (same(gre, c.tuples[0], ways[dir]) || same(gre, c.tuples[1], ways[dir])) {
					return true
				}
			}
		}
		return mine
	})
}

// callIDs checks the choice of every call ID: behind one outside address no two calls with one peer share one (RFC 2637,
// section 2.7), nor does one have it that another had until just now, whose late data it would get.
func (r *Router) callIDs() error {
	seen := map[string]bool{}
	var of []*control
	for _, c := range r.conns {
		if c.control != nil && c.control.name == "pptp" {
			of = append(of, c.control)
		}
	}
	for _, k := range of {
		for _, l := range k.reading.calls {
			for dir, e := range l.ends {
				if !e.known || e.hidden || !k.translated(dir) {
					continue
				}
				name := k.callID(dir, e)
				if seen[name] || rests(of, name, e.since) {
					return fmt.Errorf("%s is another call's", name)
				}
				seen[name] = true
			}
		}
	}
	return nil
}

// callID names a call ID outside: it belongs to an outside address and its peer.
func (c *control) callID(dir int, e callEnd) string {
	_, outer := c.ends(dir)
	return fmt.Sprintf("call ID %d at %s of %s", e.outer, outer, c.conn.tuples[1-dir].src.Addr())
}

// rests reports whether a call ID was resting at a time. The router counts in seconds.
func rests(of []*control, name string, at time.Duration) bool {
	for _, k := range of {
		for _, p := range k.reading.past {
			if k.translated(p.dir) && k.callID(p.dir, p.end) == name && at >= p.until-callIDRest && at < p.until-time.Second {
				return true
			}
		}
	}
	return false
}
