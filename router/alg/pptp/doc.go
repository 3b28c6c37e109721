// Package pptp is the helper for PPTP (RFC 2637): it reads the control connection, keeps the call IDs in it and in
// enhanced GRE unique behind a shared address, and announces the GRE of each call. The kit in package alg calls it;
// cmd wires it in.
//
// A call has two ends, the ones of the control connection, and each end has a call ID of its own. Rewriting needs no
// more than that: a message's field for the sender's own ID is translated as the sender's address is, its field for
// the peer's ID back as the receiver's is. Which end is the PNS and which the PAC follows from the messages of each
// call, never from who opened the TCP connection.
//
// # Limits
//
// Call IDs are reserved for an outside address and a peer: at most 65535 calls of the two are translated.
// GRE that overtakes the message that connects its call is dropped: PPP asks again. Calls that were set up before
// the helper saw the connection are not known. A message is understood up to 256 bytes.
package pptp
