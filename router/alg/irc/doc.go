// Package irc is the helper for DCC in IRC (RFC 1459, RFC 2812): a client offers a file or a chat by a message that names
// an address and a port of its own, and whoever got the offer connects there, past the server. Behind NAT the helper
// writes the outside endpoint into the offer and announces the connection. The kit in package alg calls it; cmd wires
// it in.
//
// Nobody knows from where that connection will come, so an offer opens a port to everybody. Therefore an offer counts
// only where it can be nothing else: a whole line of the client's own, from its first byte to its last, in a stream
// that began as IRC, with the client's own address (CVE-2022-2663 was an offer found in the middle of other text).
// What the server sends is never read.
//
// # Limits
//
// The address must be that of the connection to the server; lines with a prefix or message tags, offers by NOTICE, and
// passive offers (port 0) are left alone. DCC RESUME and ACCEPT name the port again and are not translated: they work
// where the port could be kept. A peer that is itself inside sees the offering host's answers come from inside, so it
// must reach that host through the router.
package irc
