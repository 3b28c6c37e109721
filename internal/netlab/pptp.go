//go:build linux

package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// pptpPort is of the control connection (RFC 2637, section 2).
const pptpPort = 1723

// Control messages that the peers here use, numbered as on the wire: kind k is section 2.k of RFC 2637.
const (
	pptpStartRequest     = 1
	pptpStartReply       = 2
	pptpStopRequest      = 3
	pptpStopReply        = 4
	pptpOutgoingRequest  = 7
	pptpOutgoingReply    = 8
	pptpClearRequest     = 12
	pptpDisconnectNotify = 13
)

// pptpSize is how long they are, in bytes.
var pptpSize = map[uint16]int{
	pptpStartRequest: 156, pptpStartReply: 156, pptpStopRequest: 16, pptpStopReply: 16, pptpOutgoingRequest: 168,
	pptpOutgoingReply: 32, pptpClearRequest: 16, pptpDisconnectNotify: 148,
}

// Offsets in a control message (RFC 2637, section 2), and two constants of its header.
const (
	pptpOffType   = 2
	pptpOffCookie = 4
	pptpOffKind   = 8
	pptpOffID     = 12 // the sender's call ID, where there is one
	pptpOffPeerID = 14 // the receiver's, in a reply
	pptpControl   = 1
	pptpCookie    = 0x1a2b3c4d
)

// pptpConnected is the result of a call that was answered, and of a start that was accepted.
const pptpConnected = 1

// newPPTP is a message with all fields behind the header zero.
func newPPTP(kind uint16) []byte {
	b := make([]byte, pptpSize[kind])
	binary.BigEndian.PutUint16(b, uint16(len(b)))
	binary.BigEndian.PutUint16(b[pptpOffType:], pptpControl)
	binary.BigEndian.PutUint32(b[pptpOffCookie:], pptpCookie)
	binary.BigEndian.PutUint16(b[pptpOffKind:], kind)
	return b
}

// newPPTPStart is a request to begin, or its reply: version 1.0, both kinds of framing and of bearers.
func newPPTPStart(kind uint16) []byte {
	b := newPPTP(kind)
	binary.BigEndian.PutUint16(b[12:], 0x0100)
	if kind == pptpStartReply {
		b[14] = pptpConnected
	}
	binary.BigEndian.PutUint32(b[16:], 3)
	binary.BigEndian.PutUint32(b[20:], 3)
	copy(b[28:], "natrouter demo") // host name
	return b
}

// newPPTPCall is an Outgoing-Call-Request: any speed, bearer and framing, a window of 64 packets.
func newPPTPCall(id, serial uint16) []byte {
	b := newPPTP(pptpOutgoingRequest)
	binary.BigEndian.PutUint16(b[pptpOffID:], id)
	binary.BigEndian.PutUint16(b[14:], serial)
	binary.BigEndian.PutUint32(b[16:], 2400)      // bit/s, least
	binary.BigEndian.PutUint32(b[20:], 100000000) // and most
	binary.BigEndian.PutUint32(b[24:], 3)
	binary.BigEndian.PutUint32(b[28:], 3)
	binary.BigEndian.PutUint16(b[32:], 64)
	return b
}

// newPPTPAnswer is an Outgoing-Call-Reply: connected.
func newPPTPAnswer(own, peer uint16) []byte {
	b := newPPTP(pptpOutgoingReply)
	binary.BigEndian.PutUint16(b[pptpOffID:], own)
	binary.BigEndian.PutUint16(b[pptpOffPeerID:], peer)
	b[16] = pptpConnected
	binary.BigEndian.PutUint32(b[20:], 100000000) // bit/s
	binary.BigEndian.PutUint16(b[24:], 64)
	return b
}

// newPPTPWithID is a Call-Clear-Request or a Call-Disconnect-Notify: both carry the sender's own call ID.
func newPPTPWithID(kind, id uint16) []byte {
	b := newPPTP(kind)
	binary.BigEndian.PutUint16(b[pptpOffID:], id)
	if kind == pptpDisconnectNotify {
		b[14] = 4 // result: as the Call-Clear-Request asked
	}
	return b
}

// errNotPPTP says that what came on a control connection is no message that the peers here know.
var errNotPPTP = errors.New("not a PPTP message")

// readPPTP reads one message and its kind.
func readPPTP(r io.Reader) (kind uint16, b []byte, err error) {
	b = make([]byte, 12, 168)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, nil, err
	}
	kind = binary.BigEndian.Uint16(b[pptpOffKind:])
	n := int(binary.BigEndian.Uint16(b))
	if binary.BigEndian.Uint32(b[pptpOffCookie:]) != pptpCookie || binary.BigEndian.Uint16(b[pptpOffType:]) != pptpControl ||
		n != pptpSize[kind] {
		return 0, nil, fmt.Errorf("% x: %w", b, errNotPPTP)
	}
	b = append(b, make([]byte, n-len(b))...)
	_, err = io.ReadFull(r, b[12:])
	return kind, b, err
}

// Enhanced GRE (RFC 2637, section 4.1).
const (
	greKeySeq = 0x3001      // flags: key, sequence number; version 1
	greKeyAll = 0x3081      // with an acknowledgement number as well
	grePPP    = 0x880b      // protocol
	greData   = 12          // bytes of header with a sequence number
	greAck    = greData + 4 // and an acknowledgement
)

// gre is a packet of enhanced GRE with data. id is the receiver's call ID; ack is the last sequence number that came, if
// any has.
func gre(id uint16, seq uint32, ack *uint32, data []byte) []byte {
	flags := uint16(greKeySeq)
	if ack != nil {
		flags = greKeyAll
	}
	b := binary.BigEndian.AppendUint16(make([]byte, 0, greAck+len(data)), flags)
	b = binary.BigEndian.AppendUint16(b, grePPP)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint32(b, seq)
	if ack != nil {
		b = binary.BigEndian.AppendUint32(b, *ack)
	}
	return append(b, data...)
}

// readGRE returns what gre has packed; ok is false for all else.
func readGRE(b []byte) (id uint16, seq uint32, data []byte, ok bool) {
	if len(b) < greData || binary.BigEndian.Uint16(b[2:]) != grePPP {
		return 0, 0, nil, false
	}
	header := greData
	switch binary.BigEndian.Uint16(b) {
	case greKeySeq:
	case greKeyAll:
		header = greAck
	default:
		return 0, 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if len(b) != header+n {
		return 0, 0, nil, false
	}
	return binary.BigEndian.Uint16(b[6:]), binary.BigEndian.Uint32(b[8:]), b[header:], true
}

// greNetwork is what ListenPacket calls GRE.
const greNetwork = "ip:47"

// eachGRE gives each GRE packet that a socket gets to f until the socket is closed.
func eachGRE(c net.PacketConn, f func(from net.Addr, id uint16, seq uint32, data []byte)) {
	b := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		if id, seq, data, ok := readGRE(b[:n]); ok {
			f(from, id, seq, data)
		}
	}
}
