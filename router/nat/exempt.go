package nat

import "github.com/natrouter/natrouter/router/conntrack"

// Exempt reports whether an accept rule is what leaves the connection's source as it is: only then may a private
// source pass an outside interface. in is -1 for what the router itself made. It is asked when a route is chosen,
// not for each packet.
func (n *NAT) Exempt(in, out int, c *conntrack.Conn) bool {
	f := sourceFlow(in, out, c)
	r := n.matchSource(&f)
	return r != nil && r.Action == Accept
}
