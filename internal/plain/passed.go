package plain

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// pass checks what came of a segment of a control connection: the bytes of the translated stream at their places, no
// others, and all that the helper lets go.
func (k *control) pass(side Side, dir int, p *packet, mtu int, out [2][][]byte) error {
	if len(out[1-side]) > 0 {
		return fmt.Errorf("%d packets came out of the %s", len(out[1-side]), 1-side)
	}
	got, err := packets(out[side], k.router.cfg.MTU[side])
	if err != nil {
		return err
	}
	k.out = got
	k.reveal(dir)
	g, data := p.segment(), p.b[p.l.Payload:p.l.Len]
	switch g.kind {
	case "SYN", "SYN+ACK":
		k.syn(dir, g)
	default:
		if g.hasACK {
			k.acknowledged(1-dir, g.ack)
		}
	}
	switch s := &k.said[dir]; {
	case g.kind == "RST":
		k.reset(dir)
	case g.kind != "SYN" && g.kind != "SYN+ACK" && (len(data) > 0 || g.kind == "FIN"):
		if !s.known && !s.ended {
			s.known, s.begin = true, g.seq
			k.tell(event{kind: "joined", dir: dir})
		}
		leaves := k.hear(dir, piece{s.place(g.seq), bytes.Clone(data), g.kind == "FIN", k.router.now})
		return k.checkBytes(dir, p, got, leaves)
	}
	if len(got) != 1 {
		return fmt.Errorf("%d packets came out for one without bytes", len(got))
	}
	return k.checkHeader(dir, p, got[0], nil, mtu)
}

// packets puts the fragments of each packet that came out together.
func packets(out [][]byte, mtu int) (all [][]byte, err error) {
	var parts [][]byte
	for _, b := range out {
		if err := testpkt.Verify(b); err != nil {
			return nil, fmt.Errorf("% x: %w", b, err)
		}
		if len(b) > mtu {
			return nil, fmt.Errorf("a packet of %d bytes", len(b))
		}
		if l, _ := testpkt.Parse(b); !l.Fragment() {
			all = append(all, b)
			continue
		}
		parts = append(parts, b)
		if whole, err := paste(parts); err == nil {
			all, parts = append(all, whole), nil
		}
	}
	if len(parts) > 0 {
		return nil, errors.New("a fragment is missing")
	}
	return all, nil
}

// wanted are bytes by their places in the translated stream, and where the FIN stands, -1: there is none.
func (k *control) wanted(dir int, leaves []piece) (want map[int]byte, fin int) {
	want, fin = map[int]byte{}, -1
	for _, w := range leaves {
		for i, b := range w.data {
			text := k.reading.bytesOf(dir, w.at+i, b)
			for j := range len(text) {
				want[k.reading.image(dir, w.at+i)+j] = text[j]
			}
		}
		if w.fin {
			fin = k.reading.image(dir, w.end())
		}
	}
	return want, fin
}

// checkBytes compares the segments that came out with the pieces that leave.
func (k *control) checkBytes(dir int, p *packet, got [][]byte, leaves []piece) error {
	want, fin := k.wanted(dir, leaves)
	arrived := k.reading.image(dir, k.said[dir].acked)
	seen, ended := map[int]bool{}, false
	for _, b := range got {
		g := take(b)
		at, data := k.said[dir].place(g.segment().seq), b[g.l.Payload:g.l.Len]
		for i, c := range data {
			if w, ok := want[at+i]; !ok || w != c {
				return fmt.Errorf("%q left at %d; of what both ends said that is not there", data, at)
			}
			seen[at+i] = true
		}
		end := g.segment().kind == "FIN"
		if end && at+len(data) != fin {
			return fmt.Errorf("a FIN left at %d, want it at %d", at+len(data), fin)
		}
		if ended = ended || end; len(data) == 0 && !end && at > arrived {
			return fmt.Errorf("a segment without bytes left at %d", at)
		}
		if err := k.checkHeader(dir, p, b, data, 0); err != nil {
			return err
		}
	}
	for at := range want {
		if !seen[at] && at >= arrived {
			return fmt.Errorf("byte %d did not leave", at)
		}
	}
	switch {
	case fin >= arrived && fin >= 0 && !ended:
		return fmt.Errorf("the FIN at %d did not leave", fin)
	case len(leaves) > 0 && len(got) == 0:
		return errors.New("nothing came out of what was acknowledged already, so nobody will say that it was")
	}
	return nil
}

// checkHeader compares a segment that came out with the one in hand: all but its bytes and the end, which are another
// matter, is that of the segment, in the other end's numbers.
func (k *control) checkHeader(dir int, p *packet, got, data []byte, mtu int) error {
	g := take(got).segment()
	if err := k.checkNumbers(dir, p, g, data != nil); err != nil {
		return err
	}
	want := append(bytes.Clone(p.b[:p.l.Payload]), data...)
	t := want[p.l.L4:]
	binary.BigEndian.PutUint32(t[4:], g.seq)
	binary.BigEndian.PutUint32(t[8:], g.ack)
	t[13] = t[13]&^lastOnly | take(got).b[take(got).l.L4+13]&lastOnly
	if p.six() {
		binary.BigEndian.PutUint16(want[4:], uint16(len(want)-40))
	} else {
		binary.BigEndian.PutUint16(want[2:], uint16(len(want)))
		copy(want[4:6], got[4:6]) // a packet that was made anew may have its own identification
		sumIP(want)
	}
	setPair(want, k.conn.leaves(dir))
	decrementTTL(want)
	sums(want)
	if mtu > 0 {
		want = clampMSS(want, mtu)
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("% x came out, want\n% x", got, want)
	}
	return nil
}

// checkNumbers compares sequence number and acknowledgement. What lies below what was acknowledged already nobody looks
// at, so it need not be exact; checkBytes looks at the sequence numbers of bytes.
func (k *control) checkNumbers(dir int, p *packet, g segment, bytes bool) error {
	own, s, o := p.segment(), &k.said[dir], &k.said[1-dir]
	if at := s.place(own.seq); !bytes {
		if s.known && !s.ended && own.kind == "ACK" && k.reading.free[dir] < len(s.bytes) {
			at = min(at, k.reading.free[dir]) // not ahead of what is held
		}
		want := s.begin + uint32(k.reading.image(dir, at))
		if !s.known {
			want = own.seq
		}
		if g.seq != want && !(at < s.acked && s.place(g.seq) <= k.reading.image(dir, s.acked)) {
			return fmt.Errorf("sequence number %d left as %d, want %d", own.seq, g.seq, want)
		}
	}
	want := own.ack
	at := k.reading.original(1-dir, o.place(own.ack))
	if own.hasACK && o.known {
		want = o.begin + uint32(at)
	}
	if g.ack != want && !(at < o.acked && o.place(g.ack) <= o.acked) {
		return fmt.Errorf("acknowledgement %d left as %d, want %d", own.ack, g.ack, want)
	}
	return nil
}

// cameOut returns the bytes that came out from a place of the translated stream on.
func (k *control) cameOut(dir, at int) (b []byte) {
	have := map[int]byte{}
	for _, o := range k.out {
		p := take(o)
		from := k.said[dir].place(p.segment().seq)
		for i, c := range o[p.l.Payload:p.l.Len] {
			have[from+i] = c
		}
	}
	for ; ; at++ {
		c, ok := have[at]
		if !ok {
			return b
		}
		b = append(b, c)
	}
}

// sentAs is the sequence number that the sender gave to what is at a number outside.
func (k *control) sentAs(dir int, seq uint32) uint32 {
	if k == nil || len(k.reading.edits[dir]) == 0 {
		return seq
	}
	s := &k.said[dir]
	return s.begin + uint32(k.reading.original(dir, s.place(seq)))
}

// quoted gives the segment in an ICMP error the numbers that its sender used; got is what came out.
func (k *control) quoted(inner []byte, dir int, got []byte) {
	if k == nil || len(k.reading.edits[0])+len(k.reading.edits[1]) == 0 {
		return
	}
	p := take(inner)
	s, o := &k.said[dir], &k.said[1-dir]
	g := p.segment()
	seq := k.reading.original(dir, s.place(g.seq))
	ack := k.reading.image(1-dir, o.place(g.ack))
	q := take(take(got).quote).segment()
	if at := s.place(q.seq); seq < s.acked && at <= s.acked { // as in checkNumbers
		seq = at
	}
	if at := o.place(q.ack); o.place(g.ack) < o.acked && at <= k.reading.image(1-dir, o.acked) {
		ack = at
	}
	binary.BigEndian.PutUint32(inner[p.l.L4+4:], s.begin+uint32(seq))
	if g.hasACK {
		binary.BigEndian.PutUint32(inner[p.l.L4+8:], o.begin+uint32(ack))
	}
}

// String tells of a control connection what a reader of a failure must know.
func (k *control) String() string {
	s := fmt.Sprintf("%s %v: ", k.name, k.conn.tuples[0])
	for _, e := range k.log {
		if e.kind != "tick" {
			s += fmt.Sprintf("\n    %s %d %q", e.kind, e.dir, e.data)
		}
	}
	for _, l := range k.reading.calls {
		s += fmt.Sprintf("\n    %+v", *l)
	}
	return fmt.Sprintf("%s\n    edits %v, free to %v, off %t", s, k.reading.edits, k.reading.free, k.reading.off)
}

// Dialogues tells what was said on control connections.
func (r *Router) Dialogues() (s string) {
	for _, c := range r.conns {
		if c.control != nil {
			s += c.control.String() + "\n"
		}
	}
	return s
}
