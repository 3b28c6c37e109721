package nat

import "github.com/natrouter/natrouter/router/conntrack"

// DecidedDestination returns the line of the rule that a connection's first packet met in the DST position, 0 where it met
// none. in is its ingress interface. It is for messages.
func (n *NAT) DecidedDestination(in int, c *conntrack.Conn) (line int) {
	f := n.destinationFlow(in, &c.Tuples[conntrack.Original])
	if r := n.matchDestination(&f); r != nil {
		line = r.Line
	}
	return line
}

// DecidedSource is DecidedDestination for the SRC position; out is the egress interface.
func (n *NAT) DecidedSource(in, out int, c *conntrack.Conn) (line int) {
	f := sourceFlow(in, out, c)
	if r := n.matchSource(&f); r != nil {
		line = r.Line
	}
	return line
}
