package conntrack

import "github.com/natrouter/natrouter/router/packet"

// Time is the time that all rooms share. Here it must not be negative.
type Time = packet.Time

// Handle names a confirmed connection: its shard, slot and the slot's generation, so that a stale handle finds
// nothing rather than the slot's next tenant. The zero Handle names none.
type Handle uint64

// Info says how a packet belongs to its connection (ctinfo of the field).
type Info uint8

// The zero value is InfoInvalid: a packet without a decision has no connection.
const (
	InfoInvalid          Info = iota
	InfoNew                   // original direction, no reply seen
	InfoRelated               // original direction of an expected connection before its reply; or an ICMP error, original direction
	InfoEstablished           // original direction, reply seen
	InfoEstablishedReply      // reply direction
	InfoRelatedReply          // ICMP error, reply direction
	InfoUntracked             // neighbour discovery and MLD: no connection, never forwarded
)

var infoNames = [...]string{"INVALID", "NEW", "RELATED", "ESTABLISHED", "ESTABLISHED_REPLY", "RELATED_REPLY", "UNTRACKED"}

// String returns the field's word, "ESTABLISHED_REPLY".
func (i Info) String() string {
	if int(i) < len(infoNames) {
		return infoNames[i]
	}
	return "?"
}

// Status bits of a connection.
type Status uint32

// The bits, as in netfilter's words.
const (
	Expected         Status = 1 << iota // created by an expectation
	SeenReply                           // a packet in reply direction was accepted
	Assured                             // exempt from early drop
	Confirmed                           // in the table; NAT is frozen
	SrcNAT                              // the source is rewritten
	DstNAT                              // the destination is rewritten
	SrcNATDone                          // the source binding is decided, also where it changes nothing
	DstNATDone                          // the destination binding is decided
	SeqAdjust                           // has an edit list: sequence numbers are adjusted
	FixedTimeout                        // the deadline is never refreshed
	HelperSet                           // helper attached, or refused, by a rule: not looked up again
	NATClash                            // reply-only entry of a lost race (spec: clash resolution)
	NoInboundRefresh                    // packets of the direction inwards do not move the deadline (RFC 4787 REQ-6)
	OutboundIsReply                     // with NoInboundRefresh: the inside host is at the reply end
)

// Route is where packets of one direction leave, as decided for the first one. The zero Route is none.
type Route struct {
	Generation uint32 // current while equal to the router's; 0 never is
	Interface  uint16 // the router's index of the egress interface
	MTU        uint16 // bytes; the interface's own
}

// Conn is one packet's copy of its connection: what the stages after tracking need, so that they hold no lock.
// While unconfirmed (ID 0) the packet owns it, NAT may edit Tuples[Reply], and dropping the packet leaves nothing
// behind. It has no pointers and is reused from packet to packet.
type Conn struct {
	ID      Handle // 0 while unconfirmed
	Tuples  [2]Tuple
	Status  Status
	Info    Info
	Dir     Direction // of this packet
	Helper  uint8     // small id of the helper, 0: none
	Merged  bool      // Confirm lost a race and made c the winner's copy: give back what Lost holds
	Mark    uint32
	Mapping [2]uint32 // NAT's handles: [0] of the source binding, [1] of the destination binding; 0: none
	Route   [2]Route  // by direction
	Master  Handle    // of an expected connection
	ErrorL3 uint16    // ICMP error: offset of the quoted IP header from the start of the packet, 0 otherwise

	// ErrorClamp, of an ICMP error about TCP, is what clamping the MSS changed in the checksum of the last SYN that went
	// in the quoted direction, as [Table.SetClamp] was told; 0: nothing. It holds where ErrorL3 is not 0.
	ErrorClamp packet.Delta

	Lost [2]uint32 // with Merged: the mappings that the loser had reserved
	NAT  ExpectNAT // first packet of an expected connection: what its expectation says of its bindings; zero otherwise

	extra bool    // Merged, Lost or NAT may be set
	state l4state // unconfirmed: the tracker's state, moved into the table by Confirm
}

// Target returns the tuple that this packet carries when it leaves: the inverse of the other direction's.
func (c *Conn) Target() Tuple { return c.Tuples[1-c.Dir].inverse() }

// l4state is what a tracker knows of a connection that is not in the table yet.
type l4state struct {
	tcp      tcpState
	sctp     sctpState
	dccp     dccpState
	timeout  Time    // from Confirm on
	count    counter // the packet itself
	timeouts uint16  // which set
	inbound  bool
	expect   ExpectID // that let it in, 0: none
}

// begin makes c the unconfirmed connection of a first packet.
func (c *Conn) begin(tuple, inverse *Tuple) {
	*c = Conn{Tuples: [2]Tuple{*tuple, *inverse}, Info: InfoNew}
}

// refuse makes c the answer for a packet without a connection.
func (c *Conn) refuse(reason packet.DropReason) packet.DropReason {
	c.ID, c.Status, c.Info, c.ErrorL3 = 0, 0, InfoInvalid, 0
	return reason
}
