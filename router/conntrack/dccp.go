package conntrack

import "github.com/natrouter/natrouter/router/packet"

// dccpStateID is the state of a DCCP connection as seen from between its ends (RFC 4340, section 8.4). The original
// end is the client.
type dccpStateID uint8

const (
	dccpNone dccpStateID = iota
	dccpRequest
	dccpRespond
	dccpPartOpen
	dccpOpen
	dccpCloseReq
	dccpClosing
	dccpTimeWait
	numDCCPStates

	dccpIgnore  // pass, no step
	dccpInvalid // no packet of this connection
)

var dccpStateNames = [numDCCPStates]string{
	"NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT",
}

func (s dccpStateID) String() string {
	if s < numDCCPStates {
		return dccpStateNames[s]
	}
	return "INVALID"
}

// Packet types (RFC 4340, section 5.1), which are the events.
const (
	dccpTypeRequest = iota
	dccpTypeResponse
	dccpTypeData
	dccpTypeAck
	dccpTypeDataAck
	dccpTypeCloseReq
	dccpTypeClose
	dccpTypeReset
	dccpTypeSync
	dccpTypeSyncAck
	numDCCPTypes
)

const (
	dx = dccpInvalid
	dg = dccpIgnore
	dq = dccpRequest
	ds = dccpRespond
	dp = dccpPartOpen
	do = dccpOpen
	dc = dccpCloseReq
	dl = dccpClosing
	dt = dccpTimeWait
)

// dccpNext is the state after a packet. dq from dt means reopen: the ports are used again, by either end.
var dccpNext = [2][numDCCPTypes][numDCCPStates]dccpStateID{
	Original: {
		//                 no  dq  ds  dp  do  dc  dl  dt
		dccpTypeRequest:  {dq, dq, dg, dg, dg, dg, dg, dq},
		dccpTypeResponse: {dx, dx, dx, dx, dx, dx, dx, dx}, // the server's
		dccpTypeData:     {dx, dx, dx, dg, do, dc, dl, dg}, // not in PARTOPEN: section 8.1.5
		dccpTypeAck:      {dx, dx, dp, dp, do, dc, dl, dg},
		dccpTypeDataAck:  {dx, dx, dp, dp, do, dc, dl, dg},
		dccpTypeCloseReq: {dx, dx, dx, dx, dx, dx, dx, dx}, // the server's
		dccpTypeClose:    {dx, dx, dl, dl, dl, dl, dl, dg},
		dccpTypeReset:    {dx, dt, dt, dt, dt, dt, dt, dg},
		dccpTypeSync:     {dx, dg, dg, dg, dg, dg, dg, dg},
		dccpTypeSyncAck:  {dx, dg, dg, dg, dg, dg, dg, dg},
	},
	Reply: {
		dccpTypeRequest:  {dx, dx, dx, dx, dx, dx, dx, dq},
		dccpTypeResponse: {dx, ds, ds, dg, dg, dg, dg, dg},
		dccpTypeData:     {dx, dx, dx, do, do, dc, dl, dg},
		dccpTypeAck:      {dx, dx, dg, do, do, dc, dl, dg},
		dccpTypeDataAck:  {dx, dx, dg, do, do, dc, dl, dg},
		dccpTypeCloseReq: {dx, dx, dx, dc, dc, dc, dg, dg},
		dccpTypeClose:    {dx, dx, dx, dl, dl, dl, dl, dg},
		dccpTypeReset:    {dx, dt, dt, dt, dt, dt, dt, dg},
		dccpTypeSync:     {dx, dg, dg, dg, dg, dg, dg, dg},
		dccpTypeSyncAck:  {dx, dg, dg, dg, dg, dg, dg, dg},
	},
}

// dccpState is all state of a tracked DCCP connection.
type dccpState struct {
	request uint64 // sequence number of the last Request, 48 bits
	state   dccpStateID
}

// dccpPacket is what the tracker reads of a packet.
type dccpPacket struct {
	typ      uint8
	seq, ack uint64 // 48 bits; with short numbers, and without an acknowledgement, 0
}

// Offsets in a header with long sequence numbers (RFC 4340, section 5.1).
const (
	dccpTypeAt   = 8
	dccpSeqAt    = 10
	dccpLongSize = 16
	dccpAckAt    = 18
	dccpAckEnd   = 24
)

func be48(b []byte) (n uint64) {
	for _, c := range b[:6] {
		n = n<<8 | uint64(c)
	}
	return n
}

// readDCCP checks the header as RFC 4340, section 8.5, step 1 asks.
func readDCCP(b []byte) (d dccpPacket, reason packet.DropReason) {
	d.typ = b[dccpTypeAt] >> 1 & 15
	long := b[dccpTypeAt]&1 != 0
	size := int(b[4]) * 4
	least := packet.DCCPSize
	if long {
		least = dccpLongSize
	}
	hasAck := d.typ != dccpTypeRequest && d.typ != dccpTypeData
	if hasAck {
		least += least - 8 // 4 or 8 bytes
	}
	switch {
	case d.typ >= numDCCPTypes || size < least || size > len(b):
		return d, packet.Malformed
	case !long && d.typ != dccpTypeData && d.typ != dccpTypeAck && d.typ != dccpTypeDataAck:
		return d, packet.Malformed // short numbers are for data and acknowledgements
	}
	if long {
		d.seq = be48(b[dccpSeqAt:])
		if hasAck {
			d.ack = be48(b[dccpAckAt:dccpAckEnd])
		}
	}
	return d, packet.NotDropped
}

// firstDCCP starts a connection with a Request; it is not picked up in its middle.
func firstDCCP(p *Packet, st *l4state, set *timeoutSet) packet.DropReason {
	d, reason := readDCCP(p.Bytes[p.H.L4:p.H.Len])
	switch {
	case reason != packet.NotDropped:
		return reason
	case d.typ != dccpTypeRequest:
		return packet.NotTracked
	}
	st.dccp = dccpState{request: d.seq, state: dccpRequest}
	st.timeout = set.dccp[dccpRequest]
	return packet.NotDropped
}

// step judges one packet and moves the state.
func (ds *dccpState) step(p *Packet, v *view) ruling {
	d, reason := readDCCP(p.Bytes[p.H.L4:p.H.Len])
	if reason != packet.NotDropped {
		return refuse(reason)
	}
	old := ds.state
	next := dccpNext[v.dir][d.typ][old]
	switch {
	case next == dccpInvalid:
		return refuse(packet.TCPState)
	case next == dccpIgnore:
		return ruling{outcome: held}
	case next == dccpRequest && old == dccpTimeWait:
		return ruling{outcome: reopened}
	case old == dccpRequest && v.dir == Reply && d.ack != ds.request:
		return refuse(packet.TCPState) // answers nothing that was sent: section 8.5, step 4
	}
	if d.typ == dccpTypeRequest {
		ds.request = d.seq
	}
	ds.state = next
	if d.typ == dccpTypeReset && v.status&SeenReply == 0 {
		return ruling{outcome: ended}
	}
	return ruling{
		outcome: accepted, timeout: v.set.dccp[next],
		notes: noteChanged.when(next != old) | noteAssured.when(next == dccpOpen) |
			noteLower.when(d.typ == dccpTypeReset && v.status&NoInboundRefresh != 0),
	}
}
