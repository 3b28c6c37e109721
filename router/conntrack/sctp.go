package conntrack

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/packet"
)

// sctpStateID is the state of an association as seen from between its ends (RFC 9260, section 4).
type sctpStateID uint8

const (
	sctpNone sctpStateID = iota
	sctpClosed
	sctpCookieWait
	sctpCookieEchoed
	sctpEstablished
	sctpShutdownSent // by the original end
	sctpShutdownRecd // by the reply end
	sctpShutdownAckSent
	sctpHeartbeatSent // a further path of an association that we don't know (RFC 9260, section 5.4)
	numSCTPStates

	sctpInvalid
)

var sctpStateNames = [numSCTPStates]string{
	"NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD",
	"SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT",
}

func (s sctpStateID) String() string {
	if s < numSCTPStates {
		return sctpStateNames[s]
	}
	return "INVALID"
}

// Chunk types (RFC 9260, section 3.2).
const (
	chunkData             = 0
	chunkInit             = 1
	chunkInitAck          = 2
	chunkHeartbeat        = 4
	chunkHeartbeatAck     = 5
	chunkAbort            = 6
	chunkShutdown         = 7
	chunkShutdownAck      = 8
	chunkCookieEcho       = 10
	chunkCookieAck        = 11
	chunkShutdownComplete = 14

	chunkHeader   = 4  // of a chunk's header, bytes
	chunkInitSize = 20 // of an INIT or INIT ACK without parameters
	chunkFlagT    = 1  // ABORT, SHUTDOWN COMPLETE: the tag is reflected (RFC 9260, section 8.5.1)
)

// sctpEvent is what a chunk does to the state.
type sctpEvent uint8

const (
	sevOther sctpEvent = iota // data, acknowledgements, what we don't know: no step
	sevInit
	sevInitAck
	sevCookieEcho
	sevCookieAck
	sevHeartbeat
	sevHeartbeatAck
	sevShutdown
	sevShutdownAck
	sevShutdownComplete
	sevAbort
	numSCTPEvents
)

var sctpEvents = [16]sctpEvent{
	chunkInit: sevInit, chunkInitAck: sevInitAck, chunkCookieEcho: sevCookieEcho, chunkCookieAck: sevCookieAck,
	chunkHeartbeat: sevHeartbeat, chunkHeartbeatAck: sevHeartbeatAck, chunkShutdown: sevShutdown,
	chunkShutdownAck: sevShutdownAck, chunkShutdownComplete: sevShutdownComplete, chunkAbort: sevAbort,
}

const (
	iv = sctpInvalid
	no = sctpNone
	cd = sctpClosed
	ck = sctpCookieWait
	ce = sctpCookieEchoed
	ae = sctpEstablished
	sd = sctpShutdownSent
	rd = sctpShutdownRecd
	sa = sctpShutdownAckSent
	hb = sctpHeartbeatSent
)

// sctpNext is the state after a chunk. An INIT of an association that is up is a restart (RFC 9260, section 5.2.2):
// it changes nothing before its COOKIE ECHO, see sctpState.chunk.
var sctpNext = [2][numSCTPEvents][numSCTPStates]sctpStateID{
	Original: {
		//                   no  cd  ck  ce  ae  sd  rd  sa  hb
		sevOther:            {iv, cd, ck, ce, ae, sd, rd, sa, hb},
		sevInit:             {ck, ck, ck, ce, ae, sd, rd, sa, ck},
		sevInitAck:          {iv, cd, ck, ce, ae, sd, rd, sa, iv}, // INITs crossed
		sevCookieEcho:       {iv, cd, ce, ce, ae, sd, rd, sa, iv},
		sevCookieAck:        {iv, cd, ck, ae, ae, sd, rd, sa, iv},
		sevHeartbeat:        {hb, cd, ck, ce, ae, sd, rd, sa, hb},
		sevHeartbeatAck:     {iv, cd, ck, ce, ae, sd, rd, sa, hb},
		sevShutdown:         {iv, cd, ck, ce, sd, sd, rd, sa, iv},
		sevShutdownAck:      {iv, cd, ck, ce, ae, sa, sa, sa, iv},
		sevShutdownComplete: {iv, cd, ck, ce, ae, sd, rd, cd, iv},
		sevAbort:            {iv, cd, cd, cd, cd, cd, cd, cd, cd},
	},
	Reply: {
		sevOther:            {iv, cd, ck, ce, ae, sd, rd, sa, hb},
		sevInit:             {iv, cd, ck, ce, ae, sd, rd, sa, iv}, // INITs crossed
		sevInitAck:          {iv, ck, ck, ce, ae, sd, rd, sa, iv},
		sevCookieEcho:       {iv, cd, ce, ce, ae, sd, rd, sa, iv},
		sevCookieAck:        {iv, cd, ck, ae, ae, sd, rd, sa, iv},
		sevHeartbeat:        {iv, cd, ck, ce, ae, sd, rd, sa, hb},
		sevHeartbeatAck:     {iv, cd, ck, ce, ae, sd, rd, sa, ae},
		sevShutdown:         {iv, cd, ck, ce, rd, sd, rd, sa, iv},
		sevShutdownAck:      {iv, cd, ck, ce, ae, sa, sa, sa, iv},
		sevShutdownComplete: {iv, cd, ck, ce, ae, sd, rd, cd, iv},
		sevAbort:            {iv, cd, cd, cd, cd, cd, cd, cd, cd},
	},
}

// sctpState is all state of a tracked association, of the path between two addresses.
type sctpState struct {
	tag      [2]uint32 // that packets of a direction carry (RFC 9260, section 8.5); 0: not known yet
	restart  [2]uint32 // the same of a restart under way
	restarts Direction // who sent its INIT
	state    sctpStateID
}

// sctpChunks calls f for each chunk until it returns a reason. Lengths must fit (RFC 9260, section 3.2).
func sctpChunks(b []byte, f func(typ, flags uint8, chunk []byte, alone bool) packet.DropReason) packet.DropReason {
	if len(b) == 0 {
		return packet.Malformed // a packet holds a chunk at least
	}
	for first := true; len(b) > 0; first = false {
		if len(b) < chunkHeader {
			return packet.Malformed
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < chunkHeader || n > len(b) {
			return packet.Malformed
		}
		next := min((n+3)&^3, len(b))
		if reason := f(b[0], b[1], b[:n], first && next == len(b)); reason != packet.NotDropped {
			return reason
		}
		b = b[next:]
	}
	return packet.NotDropped
}

// firstSCTP starts an association with an INIT, or a further path with a HEARTBEAT.
func firstSCTP(p *Packet, st *l4state, set *timeoutSet) packet.DropReason {
	reason := st.sctp.packet(p, Original)
	switch reason {
	case packet.NotDropped:
		st.timeout = set.sctp[st.sctp.state]
	case packet.TCPState:
		return packet.NotTracked
	}
	return reason
}

// step judges one packet. A packet with one bad chunk changes nothing.
func (ss *sctpState) step(p *Packet, v *view) ruling {
	next := *ss
	if reason := next.packet(p, v.dir); reason != packet.NotDropped {
		return refuse(reason)
	}
	old := ss.state
	*ss = next
	return ruling{
		outcome: accepted, timeout: v.set.sctp[next.state],
		notes: noteChanged.when(next.state != old) | noteAssured.when(next.state == sctpEstablished &&
			old != sctpEstablished && (v.dir == Reply || v.status&SeenReply != 0)),
	}
}

// packet takes the chunks of one packet.
func (ss *sctpState) packet(p *Packet, dir Direction) packet.DropReason {
	l4 := p.Bytes[p.H.L4:p.H.Len]
	tag := binary.BigEndian.Uint32(l4[4:])
	return sctpChunks(l4[packet.SCTPSize:], func(typ, flags uint8, chunk []byte, alone bool) packet.DropReason {
		ev := sevOther
		if int(typ) < len(sctpEvents) {
			ev = sctpEvents[typ]
		}
		if (ev == sevInit || ev == sevInitAck || ev == sevShutdownComplete) && !alone {
			return packet.Malformed // never bundled: RFC 9260, section 6.10
		}
		next := sctpNext[dir][ev][ss.state]
		if next == sctpInvalid {
			return packet.TCPState
		}
		if reason := ss.chunk(ev, tag, flags, chunk, dir); reason != packet.NotDropped {
			return reason
		}
		if ev != sevCookieEcho || ss.state != sctpCookieEchoed {
			ss.state = next
		}
		return packet.NotDropped
	})
}

// chunk checks the verification tag of a chunk's packet (RFC 9260, section 8.5.1) and learns the tags that INIT and
// INIT ACK announce.
func (ss *sctpState) chunk(ev sctpEvent, tag uint32, flags uint8, chunk []byte, dir Direction) packet.DropReason {
	known := ss.tag[dir]
	switch ev {
	case sevInit, sevInitAck:
		return ss.init(ev, tag, chunk, dir)
	case sevAbort, sevShutdownComplete:
		if flags&chunkFlagT != 0 && tag == ss.tag[1-dir] || tag == known {
			return packet.NotDropped
		}
		return packet.SCTPTag
	case sevCookieEcho:
		if r := ss.restart[dir]; r != 0 && tag == r && dir == ss.restarts {
			ss.tag, ss.restart = ss.restart, [2]uint32{} // the restart is real
			ss.state = sctpCookieEchoed
			return packet.NotDropped
		}
	case sevHeartbeat, sevHeartbeatAck:
		if known == 0 && (ss.state == sctpNone || ss.state == sctpHeartbeatSent) && tag != 0 {
			ss.tag[dir] = tag
			return packet.NotDropped
		}
	}
	if tag != known || known == 0 {
		return packet.SCTPTag
	}
	return packet.NotDropped
}

// init takes an INIT, whose packet carries tag 0, or an INIT ACK, whose packet carries what the INIT announced.
func (ss *sctpState) init(ev sctpEvent, tag uint32, chunk []byte, dir Direction) packet.DropReason {
	if len(chunk) < chunkInitSize {
		return packet.Malformed
	}
	announced := binary.BigEndian.Uint32(chunk[4:])
	if announced == 0 {
		return packet.SCTPTag // RFC 9260, section 3.3.2
	}
	if ev == sevInit && tag != 0 {
		return packet.SCTPTag
	}
	switch ss.state {
	case sctpNone, sctpClosed, sctpCookieWait, sctpHeartbeatSent:
		if ev == sevInitAck && tag != ss.tag[dir] {
			return packet.SCTPTag
		}
		if ev == sevInit && dir == Original {
			ss.tag = [2]uint32{}
		}
		ss.tag[1-dir] = announced
		return packet.NotDropped
	}
	switch {
	case ev == sevInit:
		ss.restart, ss.restarts = [2]uint32{}, dir
		ss.restart[1-dir] = announced
	case tag == ss.restart[dir] && tag != 0 && dir != ss.restarts:
		ss.restart[1-dir] = announced
	case tag != ss.tag[dir]: // sent again
		return packet.SCTPTag
	}
	return packet.NotDropped
}
