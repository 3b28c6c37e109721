// Package fragment puts fragmented datagrams together again, before anything else looks at them: a later fragment
// has no ports, so no connection (RFC 4787, REQ-14).
//
// Standards: RFC 791, section 3.2; RFC 8200, section 4.5; RFC 5722 (overlaps); RFC 4963 (identifications of IPv4 that are
// used again); RFC 3168, section 5.3 (ECN).
//
// Limits. Fragments of one datagram must come in by one interface, so that nobody on another can mix his own into
// it. IPv4 overlaps are refused as IPv6 ones are, since what each receiver makes of them differs; but only IPv6
// refuses what comes after one too: an identification of IPv4 has 16 bits, and its next datagram must get through. Where
// that one comes while later fragments of the last still wait, the two may become one, which the transport checksum
// finds out. A fragment that comes again after its datagram was completed begins a new one, which times out or is
// overtaken.
//
// Memory is bounded three ways: in all, by source, and in fragments a datagram. When one is reached, the oldest
// datagrams go first, those of the same source where it is the source's share. Sources of IPv6 count by /64.
package fragment
