package plain

import (
	"strings"
	"time"
)

// Flags of a segment.
const (
	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagACK = 16
)

// Times a connection lasts without a packet: RFC 5382, REQ-5 and RFC 7857, section 2 for TCP; RFC 4787, REQ-5 for UDP;
// RFC 5508, REQ-2 for ICMP.
const (
	transitory  = 4 * time.Minute
	established = 5 * 24 * time.Hour
	unanswered  = 2*time.Hour + 4*time.Minute // data that nobody acknowledged, or the same segment again and again
	udpLasts    = 5 * time.Minute
	icmpLasts   = time.Minute
)

// The states and what a segment does to them, a row for each kind of segment, a column for each state: none, SYN sent,
// SYN received, established, FIN wait, close wait, last ACK, time wait, close, second SYN sent. "--" is refused, "=="
// passes and changes nothing, "!!" ends one that an end has closed and begins another.
const states = "no SS SR ES FW CW LA TW CL S2"

var original = map[string]string{
	"SYN":     "SS SS == == == == == !! !! S2",
	"SYN+ACK": "-- -- SR -- -- -- -- -- -- SR",
	"FIN":     "-- -- FW FW LA LA LA TW CL --",
	"ACK":     "ES -- ES ES CW CW TW TW CL --",
	"RST":     "-- CL CL CL CL CL CL CL CL CL",
}

var reply = map[string]string{
	"SYN":     "-- S2 -- -- -- -- -- !! -- S2",
	"SYN+ACK": "-- SR == == == == == == == SR",
	"FIN":     "-- -- FW FW LA LA LA TW CL --",
	"ACK":     "-- == SR ES CW CW TW TW CL ==",
	"RST":     "-- CL CL CL CL CL CL CL CL CL",
}

var names = map[string]string{
	"SS": "SYN_SENT", "SR": "SYN_RECV", "ES": "ESTABLISHED", "FW": "FIN_WAIT", "CW": "CLOSE_WAIT", "LA": "LAST_ACK",
	"TW": "TIME_WAIT", "CL": "CLOSE", "S2": "SYN_SENT2",
}

// tcp is a TCP connection's state; of other protocols it is the zero value.
type tcp struct {
	state    string // as the commands name it, "" for other protocols
	short    string
	crossed  bool      // both have sent a SYN
	finished bool      // an end has sent a FIN
	end      [2]uint32 // what follows the last byte that a direction sent
	open     [2]bool   // bytes of a direction are not acknowledged
	acked    [2]uint32 // the highest acknowledgement of what a direction sent, 0: none
	joined   bool      // in the middle, so that no window is known
	ignored  bool      // the last segment passed, and was not believed
	doubted  bool      // the last segment was a reset that the receiver may challenge
	last     segment   // that was believed, with its direction
	lastBy   int
	repeats  int     // how often it came again
	asked    *uint32 // the last segment was a SYN that was ignored: what would acknowledge it
	askedBy  int     // its direction
	over     bool    // the last segment begins another connection
	tried    int     // direction+1 of the last segment, an end that was refused; 0: it was none
	torn     bool    // both ends have one
	settled  bool    // established, and answered
	gone     bool    // nothing is left
}

// kind is the row of a segment.
func kind(flags byte) string {
	switch {
	case flags&flagRST != 0:
		return "RST"
	case flags&flagSYN != 0 && flags&flagACK != 0:
		return "SYN+ACK"
	case flags&flagSYN != 0:
		return "SYN"
	case flags&flagFIN != 0:
		return "FIN"
	}
	return "ACK"
}

func cell(row string, state string) string {
	for i, s := range strings.Fields(states) {
		if s == state {
			return strings.Fields(row)[i]
		}
	}
	panic("plain: state " + state)
}

// segment is what a TCP packet says.
type segment struct {
	kind     string
	seq, ack uint32
	end      uint32
	hasACK   bool
}

func (p *packet) segment() segment {
	t := p.b[p.l.L4:]
	u32 := func(at int) uint32 {
		return uint32(t[at])<<24 | uint32(t[at+1])<<16 | uint32(t[at+2])<<8 | uint32(t[at+3])
	}
	s := segment{kind: kind(t[13]), seq: u32(4), ack: u32(8), hasACK: t[13]&flagACK != 0}
	s.end = s.seq + uint32(len(p.b)-p.l.Payload) + uint32(t[13]>>1&1) + uint32(t[13]&1)
	return s
}

// begin sets the state by a connection's first packet; false if it can't be one.
func (s *tcp) begin(p *packet) bool {
	if p.proto != tcpIP {
		return true
	}
	s.short = "no"
	return s.step(0, p)
}

// fate is what becomes of a segment.
type fate int

const (
	refused  fate = iota
	ignored       // passes, and nothing is learnt from it
	believed      // passes, and moves the state
)

// step moves the state by a segment that its host may have sent; false if the segment is refused.
func (s *tcp) step(dir int, p *packet) bool {
	g := p.segment()
	next, f := s.next(dir, g)
	if f == believed {
		f = s.judge(dir, g)
	}
	s.ignored = f == ignored
	if f != believed {
		return f == ignored
	}
	if s.doubted = g.kind == "RST" && s.doubts(dir, g); s.doubted {
		next = s.short
	}
	s.crossed = s.crossed || next == "S2"
	s.finished = s.finished || next == "FW"
	s.short, s.state, s.asked = next, names[next], nil
	s.note(dir, g)
	return true
}

// next looks a segment up in the tables. One that the tables ignore is remembered, as the answer to it may show that it
// was the router that was wrong.
func (s *tcp) next(dir int, g segment) (string, fate) {
	row := original
	if dir == 1 {
		row = reply
	}
	asked := s.asked != nil && s.askedBy != dir
	switch next := cell(row[g.kind], s.short); {
	case next == "--":
		return "", refused
	case next == "!!" && (s.finished || s.last.kind == "RST" && s.lastBy == dir): // RFC 9293, section 3.6.1
		s.over = true
		return "", refused
	case asked && g.kind == "SYN+ACK" && g.ack == *s.asked: // its ends agree
		s.reset(dir, g)
		return "SR", believed
	case s.short == "SR" && dir == 1 && g.kind == "ACK" && s.crossed: // simultaneous open: RFC 9293, figure 8
		return "ES", believed
	case next == "==", next == "!!", asked && g.kind == "ACK" && s.short == "LA": // the latter challenges the SYN: RFC 5961, section 4
		s.asked, s.last, s.lastBy, s.repeats, s.tried = nil, g, dir, 0, 0
		if g.kind == "SYN" {
			s.asked, s.askedBy = &g.end, dir
		}
		return "", ignored
	default:
		return next, believed
	}
}

// judge looks at the numbers of a segment that the tables let pass.
func (s *tcp) judge(dir int, g segment) fate {
	s.joined = s.joined || s.short == "no" && g.kind == "ACK"
	reset := g.kind == "RST"
	switch before, ahead := s.far(dir, g); {
	case reset && s.refuses(dir, g):
		return refused
	case reset && s.short == "SS" && dir == 1 && !g.hasACK: // who waits for an answer believes only one: RFC 9293, section 3.10.7.3
		return ignored
	case g.kind == "SYN+ACK" && s.short == "SS" && !ahead && g.ack != s.end[1-dir]: // answers an earlier SYN: the same section
		return ignored
	case s.joined, reset && closing(s.short): // no window is known, or none is asked
		return believed
	case ahead:
		s.tear(dir, g)
		return refused
	case before: // an old one, perhaps: the receiver knows (RFC 9293, section 3.10.7.4)
		return ignored
	}
	return believed
}

// tear notes an end, by FIN or RST, that is refused. If both ends have one, it is the router that has lost track.
func (s *tcp) tear(dir int, g segment) {
	ends := func(kind string) bool { return kind == "FIN" || kind == "RST" }
	switch other := 2 - dir; {
	case !ends(g.kind) || !s.settled:
	case s.tried == other, s.tried == 0 && s.lastBy != dir && ends(s.last.kind):
		s.torn = true
	default:
		s.tried = dir + 1
	}
}

// reset begins anew with a SYN that was ignored and the SYN+ACK that answers it.
func (s *tcp) reset(dir int, g segment) {
	*s = tcp{short: "SR", state: names["SR"]}
	s.end[1-dir], s.acked[1-dir] = g.ack, g.ack
}

// farOff is beyond any window that the hosts of these tests offer; what they send themselves is never so far off.
const farOff = 1 << 24

// far reports whether a segment is far from what was sent, or acknowledges what was not sent or long ago.
func (s *tcp) far(dir int, g segment) (before, ahead bool) {
	if s.end[dir] != 0 && g.kind != "SYN" && g.kind != "SYN+ACK" {
		d := int32(g.seq - s.end[dir])
		before, ahead = d < -farOff, d > farOff
	}
	unasked := s.short == "SS" && dir == 0 // acknowledges what nobody has sent: as the kernel, by its distance from 0
	if (s.end[1-dir] != 0 || unasked) && g.hasACK && !(g.kind == "RST" && g.ack == 0) {
		d := int32(g.ack - s.end[1-dir])
		before, ahead = before || d < -farOff, ahead || d > 0
	}
	return before, ahead
}

// closing reports states in which a reset can't do harm any more.
func closing(state string) bool { return strings.Contains("FW CW LA TW CL", state) }

// refuses reports whether a reset can't come from the peer: it is before what he knows to have arrived (RFC 5961,
// section 3.2).
func (s *tcp) refuses(dir int, g segment) bool {
	return !closing(s.short) && s.acked[dir] != 0 && int32(g.seq-s.acked[dir]) < 0 && s.last.kind != "SYN"
}

// doubts reports whether a reset is not quite where the peer is: who gets it challenges it (RFC 5961, section 3.2), so
// that the connection may go on.
func (s *tcp) doubts(dir int, g segment) bool {
	follows := s.lastBy == dir && s.last.kind == "ACK" && g.seq == s.last.end
	return s.short == "ES" && s.acked[dir] != 0 && g.seq != s.acked[dir] && !follows
}

// note remembers what was sent and what was acknowledged.
func (s *tcp) note(dir int, g segment) {
	between := s.tried == 2-dir // the other end said something
	s.tried = 0
	if g == s.last && dir == s.lastBy && g.kind == "ACK" && !between {
		s.repeats++
	} else {
		s.last, s.lastBy, s.repeats = g, dir, 0
	}
	switch {
	case g.kind == "RST": // says nothing that is to be believed: RFC 5961, section 3
		return
	case s.end[dir] == 0:
		if s.end[dir] = g.end; g.hasACK && g.ack == s.end[1-dir]+1 {
			s.end[1-dir]++ // answers a keep-alive, or a FIN that was sent before the router looked
		}
	case int32(g.end-s.end[dir]) > 0:
		s.end[dir], s.open[dir] = g.end, true
	}
	if g.hasACK && g.ack == s.end[1-dir] {
		s.open[1-dir] = false
	}
	if g.hasACK && g.ack != 0 && (s.acked[1-dir] == 0 || int32(g.ack-s.acked[1-dir]) > 0) {
		s.acked[1-dir] = g.ack
	}
}

// underWay reports whether a byte that a direction sent may still be on its way: sent, and not acknowledged.
func (s *tcp) underWay(dir int, seq uint32) bool {
	return s.end[dir] != 0 && int32(seq-s.end[dir]) <= 0 && (s.acked[dir] == 0 || int32(seq-s.acked[dir]) >= 0)
}

// track moves a connection by a packet of a direction; false if it is refused.
func (c *conn) track(now time.Duration, dir int, p *packet) bool {
	was := c.tcp.short
	if p.proto == tcpIP && !c.tcp.step(dir, p) {
		if c.tcp.torn {
			c.deadline, c.tcp.torn = min(c.deadline, now+unanswered), false
		}
		return false
	}
	c.tcp.settled = c.tcp.settled || c.replied && c.tcp.short == "ES"
	rst := p.proto == tcpIP && p.segment().kind == "RST"
	if !c.replied && rst && !c.tcp.ignored {
		c.tcp.gone = true // refused at its first segment: nothing to keep
	}
	again := was == "SS" && dir == 0 && p.proto == tcpIP && p.segment().kind == "SYN" && !c.replied
	ends := now + c.timeout()
	c.replied = c.replied || dir == 1 && !(rst && c.tcp.ignored) // a blind reset is no answer
	switch {
	case again || c.tcp.ignored: // a SYN sent again keeps nothing alive, nor what may be an attacker's
	case ends > c.deadline && c.dynamic() && (dir == c.inward() || rst):
	default:
		c.deadline = ends
	}
	return true
}

// dynamic reports whether only packets that an inside host sends refresh the connection (RFC 4787, REQ-6). Between two
// inside hosts all do, and so they do where the connection was announced.
func (c *conn) dynamic() bool {
	return (c.mappings[0] != nil || c.mappings[1] != nil) && !c.hairpin && c.master == nil
}

// inward is the direction of packets to the inside host that the mapping is for.
func (c *conn) inward() int {
	if c.mappings[0] != nil {
		return 1
	}
	return 0
}

func (c *conn) timeout() time.Duration {
	switch {
	case c.proto == udp:
		return udpLasts
	case c.proto == gre:
		return c.greLasts()
	case c.proto != tcpIP:
		return icmpLasts
	case c.tcp.short != "ES" || c.tcp.doubted:
		return transitory
	case c.tcp.open[0] || c.tcp.open[1] || !c.replied || c.tcp.repeats >= 3:
		return unanswered
	}
	return established
}
