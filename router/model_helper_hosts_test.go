package router

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// modelDialogue is a control connection of a protocol that has a helper, between two hosts of the model. What is said is
// cut into segments anywhere, and what is sent again is cut elsewhere.
type modelDialogue struct {
	kind string // ftp, irc, pptp
	ends [2]modelSpeaker
}

// modelSpeaker is one end. Places in its stream count from the SYN on: byte i of text is at i+1.
type modelSpeaker struct {
	local, remote netip.AddrPort // remote is not valid before the first segment arrived
	iss, got      uint32         // number of its SYN; next number to receive
	text          []byte         // all that it has to say so far
	una, nxt      int            // unacknowledged, next to send
	pieces        []int          // where those end that are under way
	ear           []byte         // what it has heard and not understood yet
	app           modelApp
	answered      bool // the other end has answered its SYN
	heardSYN      bool
	fin, heardFIN bool
	dead          bool
}

// modelApp is what an end does.
type modelApp interface {
	// hear reads what it understands at the beginning of s.ear, and returns how many bytes.
	hear(h *modelHosts, s *modelSpeaker) int
	// speak may say something, or do something else.
	speak(h *modelHosts, s *modelSpeaker)
}

const (
	modelDialogues = 3 // at once
	modelPieces    = 3 // segments of one end under way
)

// say adds to what it has to say, if it has not ended.
func (s *modelSpeaker) say(text string) {
	if !s.fin {
		s.text = append(s.text, text...)
	}
}

// done reports whether it has said all and everybody knows.
func (s *modelSpeaker) done() bool { return s.dead || s.fin && s.heardFIN && s.una == len(s.text)+2 }

// converse lets a dialogue begin or go on.
func (h *modelHosts) converse() {
	if len(h.dialogues) < modelDialogues && h.pick(6) == 0 || len(h.dialogues) == 0 {
		h.dial()
		return
	}
	i := h.pick(len(h.dialogues))
	d := h.dialogues[i]
	h.utter(&d.ends[h.pick(2)])
	if d.ends[0].dead || d.ends[1].dead || d.ends[0].done() && d.ends[1].done() {
		h.dialogues = slices.Delete(h.dialogues, i, i+1)
	}
}

// dial begins a dialogue: of an inside client with a server outside, or of any client with the FTP server inside.
func (h *modelHosts) dial() {
	kind := []string{"ftp", "ftp", "irc", "pptp", "pptp"}[h.pick(5)]
	from := h.oneOf(modelInside)
	at := map[string]uint16{"ftp": 21, "irc": 6667, "pptp": 1723}[kind]
	remote := port(h.oneOf(neighbours(modelOutside, from)), at)
	listening := remote
	if kind == "ftp" && h.pick(3) == 0 {
		from = h.oneOf(slices.Concat(modelOutside, neighbours(modelInside, client4)[1:], neighbours(modelInside, client6)[1:]))
		remote, listening = port(h.public.of(from), at), port(neighbours(modelInside, from)[0], at)
	}
	if pair := [2]netip.Addr{from, remote.Addr()}; kind == "pptp" {
		if slices.Contains(h.tunnels, pair) {
			return // RFC 2637, section 2: two hosts have one control connection
		}
		h.tunnels = append(h.tunnels, pair)
	}
	h.nextDialogue++
	iss := uint32(h.pick(16))<<28 | uint32(h.nextDialogue)<<16
	d := &modelDialogue{kind: kind, ends: [2]modelSpeaker{
		{local: port(from, 40000+h.nextDialogue), remote: remote, iss: iss}, {local: listening, iss: iss + 7<<24},
	}}
	h.newApps(d, listening.Addr())
	h.dialogues = append(h.dialogues, d)
	h.piece(&d.ends[0], 0, 1)
}

func (h *modelHosts) newApps(d *modelDialogue, server netip.Addr) {
	switch d.kind {
	case "ftp":
		d.ends[0].app, d.ends[1].app = &modelFTPClient{}, &modelFTPServer{}
	case "irc":
		d.ends[0].app, d.ends[1].app = &modelIRCClient{}, &modelIRCServer{}
	default:
		d.ends[0].app, d.ends[1].app = &modelPNS{peer: d.ends[0].remote.Addr()}, &modelPAC{peer: server}
	}
}

// utter lets an end do something that it may.
func (h *modelHosts) utter(s *modelSpeaker) {
	switch {
	case s.dead || !s.remote.IsValid():
	case !s.answered:
		h.piece(s, 0, 1)
	case s.una < s.nxt && h.pick(3) == 0: // again, cut elsewhere
		h.piece(s, s.una, s.una+1+h.pick(s.nxt-s.una))
	case h.pick(12) == 0:
		h.piece(s, s.nxt, s.nxt)
	case h.pick(150) == 0 && s.una == s.nxt:
		h.emit(s, s.nxt, packet.FlagRST, nil) // acknowledges nothing: whether a reset may is open
		s.dead = true
	case len(s.pieces) < modelPieces && s.nxt <= len(s.text):
		size := min(len(s.text)+1-s.nxt, 1000)
		if h.pick(2) == 0 {
			size = 1 + h.pick(size)
		}
		h.piece(s, s.nxt, s.nxt+size)
	case len(s.pieces) < modelPieces && s.fin && s.nxt == len(s.text)+1:
		h.piece(s, s.nxt, s.nxt+1)
	case !s.fin && s.nxt > len(s.text):
		if s.app.speak(h, s); h.pick(60) == 0 || s.heardFIN {
			s.fin = true
		}
	}
}

// piece sends a part of the stream, between two places.
func (h *modelHosts) piece(s *modelSpeaker, from, to int) {
	flags, data := uint8(packet.FlagACK), []byte(nil)
	switch {
	case from == 0:
		flags = packet.FlagSYN
		if to = 1; s.heardSYN {
			flags |= packet.FlagACK
		}
	case from == to:
	case to > len(s.text)+1:
		flags |= packet.FlagFIN
		data = s.text[from-1:]
	default:
		data = s.text[from-1 : to-1]
		if to == len(s.text)+1 {
			flags |= packet.FlagPSH
		}
	}
	if to > s.nxt {
		s.nxt, s.pieces = to, append(s.pieces, to)
	}
	h.emit(s, from, flags, data)
}

func (h *modelHosts) emit(s *modelSpeaker, at int, flags uint8, data []byte) {
	h.ipID++
	g := testpkt.TCP{Src: s.local, Dst: s.remote, Seq: s.iss + uint32(at), Flags: flags, Payload: data, DF: true, ID: h.ipID}
	if flags&packet.FlagSYN != 0 {
		g.Options = modelMSS(s.local.Addr())
	}
	if flags&packet.FlagACK != 0 {
		g.Ack = s.got
	}
	h.offer(s.local.Addr(), g.Bytes(), []int{1400, 1400, 1400, 40, 9}[h.pick(5)])
}

// listened is a segment that arrived at its host; false: it is of no dialogue.
func (h *modelHosts) listened(src, dst netip.AddrPort, t []byte, header int) bool {
	seq, ack := binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:])
	for _, d := range h.dialogues {
		for i := range d.ends {
			s := &d.ends[i]
			switch {
			case s.local != dst || s.remote.IsValid() && s.remote != src:
				continue
			case !s.remote.IsValid() && (t[13]&packet.FlagSYN == 0 || seq != d.ends[0].iss):
				continue // the SYN of another dialogue
			}
			if !s.dead {
				h.listen(s, src, seq, ack, t[13], t[header:])
			}
			return true
		}
	}
	return false
}

// listen is what an end does with a segment.
func (h *modelHosts) listen(s *modelSpeaker, src netip.AddrPort, seq, ack uint32, flags uint8, data []byte) {
	if at := int(int32(ack - s.iss)); flags&packet.FlagACK != 0 && at > s.una && at <= len(s.text)+2 {
		if !s.answered {
			h.forgetSYN(s.local)
		}
		s.una, s.nxt, s.answered = at, max(s.nxt, at), true
		s.pieces = slices.DeleteFunc(s.pieces, func(end int) bool { return end <= at })
	}
	skip := int(int32(s.got - seq))
	switch {
	case flags&packet.FlagRST != 0:
		s.dead = s.dead || seq == s.got
	case flags&packet.FlagSYN != 0 && !s.heardSYN:
		s.heardSYN, s.got, s.remote = true, seq+1, src
		if !s.answered {
			h.piece(s, 0, 1)
		}
	case flags&packet.FlagSYN != 0 || !s.heardSYN || skip < 0 || skip > len(data) || s.heardFIN:
	default:
		s.got += uint32(len(data)-skip) + uint32(flags&1)
		s.heardFIN = flags&packet.FlagFIN != 0
		s.ear = append(s.ear, data[skip:]...)
		for n := s.app.hear(h, s); n > 0; n = s.app.hear(h, s) {
			s.ear = s.ear[n:]
		}
	}
}

// forgetSYN: a copy of a SYN that comes when the connection is established, and then one of its answer, make the router take
// the numbers of the handshake for those of the connection, so that it refuses what comes behind a lost segment until the
// client speaks again. Ordinary connections have such copies; here they would hide too much.
func (h *modelHosts) forgetSYN(of netip.AddrPort) {
	h.flying = slices.DeleteFunc(h.flying, func(p modelPacket) bool {
		l := layout(p.b)
		src, _ := modelEnds(l, p.b)
		return l.Proto == packet.ProtoTCP && !l.Fragment() && src == of && p.b[l.L4+13]&(packet.FlagSYN|packet.FlagACK) == packet.FlagSYN
	})
}

// quiet is for when minutes have passed: what was under way of dialogues has arrived or is lost, and is sent again from the
// first byte that is not acknowledged. Who has begun to close is forgotten, and so is a tunnel that has something under way: the
// router may have held it for too long and given up, and nobody says how long calls are awaited then.
func (h *modelHosts) quiet() {
	own := []uint16{21, 1723, 6667}
	h.flying = slices.DeleteFunc(h.flying, func(p modelPacket) bool {
		l := layout(p.b)
		src, dst := modelEnds(l, p.b)
		if l.Proto != packet.ProtoTCP {
			return l.Proto == packet.ProtoGRE
		}
		return l.Fragment() || slices.Contains(own, src.Port()) || slices.Contains(own, dst.Port())
	})
	for _, d := range h.dialogues {
		for i := range d.ends {
			if s := &d.ends[i]; s.answered {
				s.nxt, s.pieces = s.una, nil
			}
		}
	}
	h.dialogues = slices.DeleteFunc(h.dialogues, func(d *modelDialogue) bool {
		a, b := &d.ends[0], &d.ends[1]
		return a.fin || b.fin || !a.answered || !b.answered || d.kind == "pptp" && (a.una <= len(a.text) || b.una <= len(b.text))
	})
}
