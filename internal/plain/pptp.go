package plain

import (
	"encoding/binary"
	"slices"
	"time"
)

// call is a call of PPTP (RFC 2637). Its ends are numbered by the direction that they send in.
type call struct {
	state    string // dialling, answered; ringing, accepted, connected; clearing; over
	pns      int    // which end is the network server
	serial   uint16
	ends     [2]callEnd
	deadline time.Duration // of a state that waits for the other end; 0: none
	late     *[2]pair      // an end has another ID since the session is not open: no GRE by it is awaited, and what was there stays
}

// callEnd is a call ID: as its end has it, and as the other knows it.
type callEnd struct {
	inner, outer uint16
	known        bool
	hidden       bool  // what the other end is to know it as was not shown yet, so nobody knows it
	choice       place // of what it is outside
	since        time.Duration
}

func (l *call) up() bool { return l.state == "answered" || l.state == "connected" }

// pptpKind is a kind of message: its size, and where call IDs stand in it. Offsets are from its first byte; 0: none.
type pptpKind struct {
	size, own, peer, result int
	from                    string // who sends it: pns or pac; "": either
}

// pptpKinds are the messages of RFC 2637, sections 2.1 to 2.15.
var pptpKinds = []pptpKind{
	1:  {size: 156},
	2:  {size: 156, result: 14},
	3:  {size: 16},
	4:  {size: 16},
	5:  {size: 16},
	6:  {size: 20},
	7:  {size: 168, own: 12, from: "pns"},
	8:  {size: 32, own: 12, peer: 14, result: 16, from: "pac"},
	9:  {size: 220, own: 12, from: "pac"},
	10: {size: 24, own: 12, peer: 14, result: 16, from: "pns"},
	11: {size: 28, peer: 12, from: "pac"},
	12: {size: 16, own: 12, from: "pns"},
	13: {size: 148, own: 12, from: "pac"},
	14: {size: 40, peer: 12, from: "pac"},
	15: {size: 24, peer: 12, from: "pns"},
}

// decides is how much of a message must be there before anything is done about it.
func (d pptpKind) decides() int {
	switch {
	case d.result != 0:
		return d.result + 1
	case d.size == 168 || d.size == 220: // a request: its serial number
		return 16
	case d.own+d.peer != 0:
		return 14
	}
	return 12
}

// pptpTalk is a control connection of PPTP as it is read.
type pptpTalk struct {
	k       *control
	x       *reading
	text    [2][]byte
	at      [2]int  // where the present message begins
	late    [2]bool // a part of it has left, so nothing comes of it
	fins    [2]bool
	session string // idle, opening, open, stopping, closed
	grace   time.Duration
	calls   []*call
	past    []pastCall
	now     time.Duration
}

// pastCall is a call ID that messages still coming may name.
type pastCall struct {
	dir   int
	end   callEnd
	until time.Duration
}

// readPPTP reads the log.
func (k *control) readPPTP() reading {
	x := reading{}
	t := &pptpTalk{k: k, x: &x, session: "idle"}
	for i, e := range k.log {
		k.newest = i == len(k.log)-1
		t.now = e.at
		switch e.kind {
		case "said":
			t.hear(e.dir, e.data)
		case "late":
			t.late[e.dir], x.free[e.dir] = true, len(t.text[e.dir])
		case "tick":
			t.tick()
		case "reset":
			t.close()
		case "fin":
			if t.fins[e.dir] = true; t.fins[1-e.dir] {
				t.close()
			}
		}
	}
	x.calls, x.past = t.calls, t.past
	return x
}

// hear reads the messages that have come far enough. The header is never changed; of the rest of one that may be, nothing
// leaves before it is decided.
func (t *pptpTalk) hear(dir int, data []byte) {
	t.text[dir] = append(t.text[dir], data...)
	for !t.x.off {
		b := t.text[dir][min(t.at[dir], len(t.text[dir])):]
		if len(b) < 12 {
			break
		}
		d, kind, size, ok := pptpHeader(b)
		if !ok {
			t.x.off = true
			break
		}
		if len(b) < d.decides() {
			if !t.late[dir] && (d.own != 0 && t.k.translated(dir) || d.peer != 0 && t.k.translated(1-dir)) {
				t.x.free[dir] = max(t.x.free[dir], t.at[dir]+12)
				return
			}
			break
		}
		if !t.late[dir] {
			t.message(dir, kind, d, b)
		}
		if t.k.newest {
			t.k.router.sweepCalls(t.k, t.calls)
		}
		t.at[dir] += size
		t.late[dir] = false
	}
	t.x.free[dir] = max(t.x.free[dir], len(t.text[dir]))
}

// pptpHeader reads a message's header (RFC 2637, section 2); ok is false where it is none. A peer may append to a message.
func pptpHeader(b []byte) (d pptpKind, kind, size int, ok bool) {
	size = int(binary.BigEndian.Uint16(b))
	kind = int(binary.BigEndian.Uint16(b[8:]))
	if binary.BigEndian.Uint32(b[4:]) != 0x1a2b3c4d || size < 12 || size > 256 {
		return d, kind, size, false
	}
	if binary.BigEndian.Uint16(b[2:]) != 1 || kind < 1 || kind >= len(pptpKinds) {
		return d, 0, size, true
	}
	return pptpKinds[kind], kind, size, size >= pptpKinds[kind].size
}

// message acts on a message, and translates its call IDs: that of its sender as his address is, the other back.
func (t *pptpTalk) message(dir, kind int, d pptpKind, b []byte) {
	good := d.result == 0 || b[d.result] == 1
	switch kind {
	case 1:
		t.step(map[string]string{"idle": "opening", "closed": "opening"})
	case 2:
		if good {
			t.step(map[string]string{"idle": "open", "opening": "open"})
		} else if t.session == "idle" || t.session == "opening" {
			t.close()
		}
	case 3:
		if t.session != "stopping" && t.session != "closed" { // those that it ends may still be named
			t.session, t.grace = "stopping", t.now+2*time.Second
		}
	case 4:
		t.close()
	case 7, 9:
		t.step(map[string]string{"idle": "open"})
		t.request(dir, kind, binary.BigEndian.Uint16(b[12:]), binary.BigEndian.Uint16(b[14:]))
	case 8, 10, 11, 12, 13:
		t.move(dir, kind, d, good, b)
	}
	if d.own != 0 {
		id := binary.BigEndian.Uint16(b[d.own:])
		if l := t.find(dir, id, false); l != nil && l.ends[dir].hidden {
			t.x.hides = append(t.x.hides, hide{l.ends[dir].choice, place{dir, t.at[dir] + d.own}})
		}
		if other, ok := t.lookup(dir, id, false); ok {
			t.x.edit(dir, t.at[dir]+d.own, word(id), word(other))
		}
	}
	if d.peer != 0 {
		id := binary.BigEndian.Uint16(b[d.peer:])
		if other, ok := t.lookup(1-dir, id, true); ok {
			t.x.edit(dir, t.at[dir]+d.peer, word(id), word(other))
		}
	}
}

func word(id uint16) string { return string([]byte{byte(id >> 8), byte(id)}) }

// step moves the session.
func (t *pptpTalk) step(next map[string]string) {
	if s := next[t.session]; s != "" {
		t.session = s
	}
}

// close ends the session and all calls.
func (t *pptpTalk) close() {
	if t.session == "closed" {
		return
	}
	t.session = "closed"
	for len(t.calls) > 0 {
		t.over(t.calls[0])
	}
}

// tick ends what has had its time.
func (t *pptpTalk) tick() {
	if t.session == "stopping" && t.grace <= t.now {
		t.close()
	}
	for _, l := range slices.Clone(t.calls) {
		if l.deadline != 0 && l.deadline <= t.now {
			t.over(l)
		}
	}
}

// find is the call in which an end has a call ID, as the end has it or (outer) as the other knows it.
func (t *pptpTalk) find(dir int, id uint16, outer bool) *call {
	for _, l := range t.calls {
		if e := l.ends[dir]; e.known && (outer && e.outer == id || !outer && e.inner == id) {
			return l
		}
	}
	return nil
}

// lookup translates a call ID of an end, also of a call that was over just now.
func (t *pptpTalk) lookup(dir int, id uint16, outer bool) (uint16, bool) {
	e, ok := callEnd{}, false
	if l := t.find(dir, id, outer); l != nil {
		e, ok = l.ends[dir], true
	}
	for i := len(t.past) - 1; i >= 0 && !ok; i-- {
		if p := t.past[i]; p.dir == dir && p.until > t.now && (outer && p.end.outer == id || !outer && p.end.inner == id) {
			e, ok = p.end, true
		}
	}
	if outer {
		return e.inner, ok
	}
	return e.outer, ok
}

// request is a message that asks for a call. The same ID with another serial number is another call, which takes the place
// of the one before.
func (t *pptpTalk) request(dir, kind int, id, serial uint16) {
	state, pns := "dialling", dir
	if kind == 9 {
		state, pns = "ringing", 1-dir
	}
	if l := t.find(dir, id, false); l != nil {
		if l.pns == pns && (l.state == state || l.serial == serial && l.state != "clearing") {
			if l.serial = serial; l.state == state {
				l.deadline = t.now + answerTime
			}
			return
		}
		t.over(l)
	}
	l := &call{state: state, pns: pns, serial: serial, deadline: t.now + answerTime}
	t.learn(l, dir, id)
	t.calls = append(t.calls, l)
}

// answerTime is how long a call waits for the other end.
const answerTime = time.Minute

// learn notes the call ID of an end. It is another one outside where the end is: the one that came out in this message.
func (t *pptpTalk) learn(l *call, dir int, id uint16) {
	old := t.find(dir, id, false)
	if old == l {
		return
	}
	if old != nil {
		t.over(old)
	}
	if l.ends[dir].known {
		t.rest(dir, l.ends[dir])
	}
	l.ends[dir] = callEnd{inner: id, outer: id, known: true, since: t.now}
	if !t.k.translated(dir) {
		return
	}
	e := &l.ends[dir]
	e.choice = place{dir, t.at[dir] + 12}
	c := t.k.once(e.choice, func() choice { return choice{number: id} })
	e.outer, e.hidden = c.number, !c.ok
}

// reveal notes what came out where call IDs stand that were not shown yet: the bytes may have been lost when the message was
// read, and are sent again, or stand in another message.
func (k *control) reveal(dir int) {
	news := false
	for _, h := range k.reading.hides {
		c := k.chosen[h.choice]
		for i := range 2 {
			b := k.cameOut(dir, h.at.at+i) // no edit of PPTP moves another
			if h.at.dir != dir || c.shown[i] || len(b) == 0 {
				continue
			}
			shift := 8 * (1 - i)
			c.number = c.number&^(0xff<<shift) | uint16(b[0])<<shift
			c.shown[i], news = true, true
		}
		c.ok = c.shown == [2]bool{true, true}
		k.chosen[h.choice] = c
	}
	if news {
		k.reading = k.readPPTP()
	}
}

func (t *pptpTalk) rest(dir int, e callEnd) {
	t.past = append(t.past, pastCall{dir, e, t.now + callIDRest})
}

// over ends a call.
func (t *pptpTalk) over(l *call) {
	for dir, e := range l.ends {
		if e.known {
			t.rest(dir, e)
		}
	}
	t.calls = slices.DeleteFunc(t.calls, func(o *call) bool { return o == l })
}

// named is the call that a message is about: it names the call by its sender's ID or, in an answer, by the other's. nil:
// none, or it is not its sender's to say.
func (t *pptpTalk) named(dir, kind int, d pptpKind, b []byte) *call {
	l := t.find(dir, binary.BigEndian.Uint16(b[12:]), false)
	if d.peer != 0 {
		l = t.find(1-dir, binary.BigEndian.Uint16(b[d.peer:]), true)
	}
	if l == nil && kind == 13 {
		l = t.onlyDialling(1 - dir)
	}
	if l == nil || (l.pns == dir) != (d.from == "pns") {
		return nil
	}
	return l
}

// move is a message about a call that is there.
func (t *pptpTalk) move(dir, kind int, d pptpKind, good bool, b []byte) {
	l := t.named(dir, kind, d, b)
	if l == nil {
		return
	}
	own := binary.BigEndian.Uint16(b[12:])
	switch kind {
	case 8: // Outgoing-Call-Reply
		t.outgoingReply(l, dir, own, good)
	case 10: // Incoming-Call-Reply
		t.incomingReply(l, dir, own, good)
	case 11: // Incoming-Call-Connected
		if l.state == "accepted" || l.state == "connected" {
			t.connect(l, "connected")
		}
	case 12: // Call-Clear-Request
		if l.state != "clearing" {
			l.state, l.deadline = "clearing", t.now+answerTime
		}
	case 13: // Call-Disconnect-Notify
		t.over(l)
	}
}

func (l *call) outgoing() bool { return l.state == "dialling" || l.state == "answered" }

func (t *pptpTalk) outgoingReply(l *call, dir int, own uint16, good bool) {
	switch clearing := l.state == "clearing"; {
	case !l.outgoing() && !clearing:
	case !good:
		t.over(l)
	default:
		if ways := t.k.ways(l); l.late == nil && t.session != "open" && l.ends[dir].inner != own {
			l.late = &ways
		}
		t.learn(l, dir, own)
		if !clearing { // else the two crossed
			t.connect(l, "answered")
		}
	}
}

func (t *pptpTalk) incomingReply(l *call, dir int, own uint16, good bool) {
	switch {
	case !good && !l.outgoing():
		t.over(l)
	case good && (l.state == "ringing" || l.state == "accepted"):
		t.learn(l, dir, own)
		if l.state != "accepted" {
			l.state, l.deadline = "accepted", t.now+answerTime
		}
	}
}

// connect: GRE may flow from now on, in a session that is open.
func (t *pptpTalk) connect(l *call, state string) {
	if t.session == "open" {
		l.state, l.deadline = state, 0
	}
}

// onlyDialling is the call that an access concentrator disconnects which has not yet told its ID of it: the only one that
// waits for it.
func (t *pptpTalk) onlyDialling(pns int) (only *call) {
	for _, l := range t.calls {
		if l.state == "dialling" && l.pns == pns {
			if only != nil {
				return nil
			}
			only = l
		}
	}
	return only
}
