package pptp

import "encoding/binary"

// The header of all messages (RFC 2637, section 2): offsets and sizes in bytes.
const (
	headerSize  = 12
	offType     = 2
	offCookie   = 4
	offKind     = 8
	cookie      = 0x1a2b3c4d
	typeControl = 1 // PPTP message type; 2, management, is defined as unused
	offID       = 12
	offSerial   = 14
	// maxSize bounds what a peer may append to a message: RFC 2637 knows no more than 220 bytes.
	maxSize = 256
	// maxNeed is the most that a decision takes of a message: up to the result of a call's reply.
	maxNeed = 17
)

// kind is the control message type (RFC 2637, section 2).
type kind uint8

// The kinds of messages, as numbered on the wire.
const (
	startRequest kind = 1 + iota
	startReply
	stopRequest
	stopReply
	echoRequest
	echoReply
	outgoingRequest
	outgoingReply
	incomingRequest
	incomingReply
	incomingConnected
	clearRequest
	disconnectNotify
	errorNotify
	setLink
	numKinds
)

// role is an end's part in a call.
type role uint8

const (
	either role = iota
	pns         // PPTP Network Server
	pac         // PPTP Access Concentrator
)

// message says where in a kind of message to find what matters here. Offsets are from the start of the message; 0:
// it has no such field.
type message struct {
	name   string
	size   int   // bytes, with the header
	sender role  // who sends it
	own    int   // offset of the sender's own call ID
	peer   int   // offset of the call ID that the receiver had given
	result int   // offset of the result code, where 1 is success
	good   event // of the call: what it means
	bad    event // with any other result
}

// messages are those of RFC 2637, sections 2.1 to 2.15: kind k is section 2.k.
var messages = [numKinds]message{
	startRequest:      {name: "Start-Control-Connection-Request", size: 156},
	startReply:        {name: "Start-Control-Connection-Reply", size: 156, result: 14},
	stopRequest:       {name: "Stop-Control-Connection-Request", size: 16},
	stopReply:         {name: "Stop-Control-Connection-Reply", size: 16},
	echoRequest:       {name: "Echo-Request", size: 16},
	echoReply:         {name: "Echo-Reply", size: 20},
	outgoingRequest:   {name: "Outgoing-Call-Request", size: 168, sender: pns, own: 12},
	outgoingReply:     {name: "Outgoing-Call-Reply", size: 32, sender: pac, own: 12, peer: 14, result: 16, good: answered, bad: unanswered},
	incomingRequest:   {name: "Incoming-Call-Request", size: 220, sender: pac, own: 12},
	incomingReply:     {name: "Incoming-Call-Reply", size: 24, sender: pns, own: 12, peer: 14, result: 16, good: accepted, bad: rejected},
	incomingConnected: {name: "Incoming-Call-Connected", size: 28, sender: pac, peer: 12, good: connected},
	clearRequest:      {name: "Call-Clear-Request", size: 16, sender: pns, own: 12, good: cleared},
	disconnectNotify:  {name: "Call-Disconnect-Notify", size: 148, sender: pac, own: 12, good: disconnected},
	errorNotify:       {name: "WAN-Error-Notify", size: 40, sender: pac, peer: 12},
	setLink:           {name: "Set-Link-Info", size: 24, sender: pns, peer: 12},
}

// need returns how many bytes of the message a decision takes.
func (d *message) need() int {
	switch {
	case d.result != 0:
		return d.result + 1
	case d.own != 0 && d.good == noEvent:
		return offSerial + 2 // a request: the serial number tells a repeat from a redial
	case d.own != 0 || d.peer != 0:
		return offID + 2
	}
	return headerSize
}

// headerOf reads a message's header. ok is false where it is none, or no length of this kind: the stream is not
// understood any more. A kind that is not in RFC 2637 comes back as 0.
func headerOf(b []byte) (k kind, length int, ok bool) {
	length = int(binary.BigEndian.Uint16(b))
	n := binary.BigEndian.Uint16(b[offKind:])
	if binary.BigEndian.Uint32(b[offCookie:]) != cookie || length < headerSize || length > maxSize {
		return 0, length, false
	}
	if binary.BigEndian.Uint16(b[offType:]) != typeControl || n == 0 || n >= uint16(numKinds) {
		return 0, length, true
	}
	return kind(n), length, length >= messages[n].size
}
