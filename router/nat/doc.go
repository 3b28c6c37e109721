// Package nat chooses the bindings of connections and applies them to packets: rules, pools, mappings, one
// allocator of outside ports, and the translation of addresses, ports, identifiers, call IDs and ICMP errors.
//
// A binding is decided once, on a connection's first packet: [NAT.Destination] before routing, [NAT.Source] after
// it. Both only edit the reply tuple of the [conntrack.Conn]; [RewriteDst] and [RewriteSrc] then apply what the
// tuples say to that packet and to all later ones, and never look at a rule. A [Rewrite] is the same work with
// its checksum arithmetic done beforehand.
//
// A mapping binds an inside endpoint to an outside one (RFC 4787, section 4). It lives as long as its connections
// and has no timer of its own. Helpers reserve outside endpoints beforehand: ports with [NAT.Reserve], call IDs, of which
// each peer of an outside address has its own, with [NAT.ReserveCallID].
//
// Standards: RFC 1624, 2637 (call IDs), 3022, 4787, 4884, 5382, 5508, 6056, 6296, 6864, 6888, 7857.
//
// Limits: a UDP-Lite, DCCP or SCTP checksum in the quote of an ICMP error is updated only where it is a sum over a
// pseudo-header (SCTP's CRC32c would need the whole packet). AH does not survive any translation. Remote ends of
// a mapping with address-dependent filtering are kept as keyed 64-bit hashes. A paired host whose outside address has
// no port left is refused while other addresses of its pool may have some (pooling = "arbitrary" lets it go on).
// Where ports are overloaded, packets of remote ends without a connection belong to nobody.
package nat
