package plain

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Help gives a helper to the connections whose first packet goes to a port. What helpers do is said here as a translation
// of whole streams: all that the two ends of a control connection have said is kept, in the order in which it came, and
// with each new piece it is read again from the first byte on. What comes of that is what must have left.
type Help struct {
	Name  string // ftp, irc, pptp or tftp
	Proto int
	Port  uint16
}

// control is a TCP connection with a helper.
type control struct {
	router  *Router
	conn    *conn
	name    string
	said    [2]speech // by direction
	log     []event   // what happened, of both directions
	reading reading   // of the log

	chosen map[place]choice // what was decided when the log was read the first time
	newest bool             // the last event of the log is being read: only that has consequences
	out    [][]byte         // what came out where this direction leaves
}

// event is something that a helper is told.
type event struct {
	kind string // said, late, fin, reset, joined, tick; late: what was waited for has not come
	dir  int
	at   time.Duration
	data []byte
}

// reading is what a helper makes of a log.
type reading struct {
	edits [2][]edit // of what each end said, in order
	free  [2]int    // from where on nothing leaves yet
	off   bool      // the helper has given up: all passes
	calls []*call   // of PPTP, that have not ended
	past  []pastCall
	hides []hide
}

// edit replaces bytes of a stream.
type edit struct {
	at, end int
	text    string
}

// place is where in a stream something stands that the router decided about.
type place struct{ dir, at int }

// hide is a place where something decided stands that was not shown yet.
type hide struct{ choice, at place }

// choice is what it decided.
type choice struct {
	number uint16  // outside port or call ID
	ok     bool    // it is in force; of a call ID: it was shown
	shown  [2]bool // of a call ID, by byte
}

// assign gives a new connection its helper: by the packet as it came in.
func (r *Router) assign(c *conn) {
	for _, h := range r.cfg.Helps {
		if c.master != nil || c.proto != h.Proto || c.tuples[0].dst.Port() != h.Port {
			continue
		}
		if c.help = h.Name; c.proto == tcpIP {
			c.control = &control{router: r, conn: c, name: h.Name, chosen: map[place]choice{}}
		}
	}
}

// ends are the addresses of an end: its own, and what the other end knows it by.
func (k *control) ends(dir int) (inner, outer netip.Addr) {
	return k.conn.tuples[dir].src.Addr(), k.conn.leaves(dir).src.Addr()
}

func (k *control) translated(dir int) bool {
	inner, outer := k.ends(dir)
	return inner != outer
}

// tell adds to the log and reads it again. Who has given up is told nothing.
func (k *control) tell(e event) {
	if k.reading.off {
		return
	}
	e.at = k.router.now
	k.log = append(k.log, e)
	switch k.name {
	case "ftp":
		k.reading = k.readFTP()
	case "irc":
		k.reading = k.readIRC()
	case "pptp":
		k.reading = k.readPPTP()
		if e.kind == "said" {
			k.reveal(e.dir)
		}
		k.router.sweepCalls(k, k.reading.calls)
	}
	if k.reading.off {
		k.said[0].ended, k.said[1].ended = true, true
	}
}

// once decides something the first time that the log is read to there, and remembers it.
func (k *control) once(at place, decide func() choice) choice {
	if k.newest {
		if _, known := k.chosen[at]; !known {
			k.chosen[at] = decide()
		}
	}
	return k.chosen[at]
}

// edit notes that text stands for what an end said; the same text is no edit.
func (x *reading) edit(dir, at int, old, text string) {
	if old != text {
		x.edits[dir] = append(x.edits[dir], edit{at, at + len(old), text})
	}
}

// image is where a byte of a stream has its place in the translated one. The first bytes of a replaced text stand for
// those of the new one, each for one, and the last for all that is left.
func (x *reading) image(dir, at int) int {
	shift := 0
	for _, e := range x.edits[dir] {
		switch {
		case at <= e.at:
			return at + shift
		case at < e.end:
			return e.at + shift + min(at-e.at, len(e.text))
		}
		shift += len(e.text) - (e.end - e.at)
	}
	return at + shift
}

// original is how much of a stream is acknowledged by who acknowledges that much of the translated one: of a replaced
// text the last byte only with all of the new one.
func (x *reading) original(dir, at int) int {
	shift := 0
	for _, e := range x.edits[dir] {
		switch into := at - (e.at + shift); {
		case into < 0:
			return at - shift
		case into < len(e.text):
			return e.at + min(into, e.end-e.at-1)
		}
		shift += len(e.text) - (e.end - e.at)
	}
	return at - shift
}

// bytesOf is what stands in the translated stream for the byte at a place.
func (x *reading) bytesOf(dir, at int, b byte) string {
	for _, e := range x.edits[dir] {
		switch into := at - e.at; {
		case at < e.at || at >= e.end:
		case at == e.end-1:
			return e.text[min(into, len(e.text)):]
		case into < len(e.text):
			return e.text[into : into+1]
		default:
			return ""
		}
	}
	return string([]byte{b})
}

// owned is a packet with the acknowledgement that its receiver will see: in the numbers of who is acknowledged. The rules
// of TCP are asked with those.
func (k *control) owned(dir int, p *packet) *packet {
	if k == nil || len(k.reading.edits[1-dir]) == 0 || p.b[p.l.L4+13]&flagACK == 0 {
		return p
	}
	b := append([]byte(nil), p.b...)
	o := &k.said[1-dir]
	at := k.reading.original(1-dir, o.place(binary.BigEndian.Uint32(b[p.l.L4+8:])))
	binary.BigEndian.PutUint32(b[p.l.L4+8:], o.begin+uint32(at))
	q := *p
	q.b = b
	return &q
}

// passes lets time pass for a control connection: who waits is not waited for longer than a sender takes to try again,
// and no helper holds bytes for longer either. Windows have no part in this: the hosts of these tests never close them.
func (k *control) passes() {
	for dir := range k.said {
		s := &k.said[dir]
		s.forget(k.router.now)
		if s.stuck && s.since+heldMost <= k.router.now {
			s.stuck = false
			k.tell(event{kind: "late", dir: dir})
		}
	}
	k.tell(event{kind: "tick"})
}

// giveUp takes the helper off.
func (k *control) giveUp() {
	k.reading.off = true
	k.said[0].ended, k.said[1].ended = true, true
	k.said[0].stuck, k.said[1].stuck = false, false
}
