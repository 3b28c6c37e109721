package pptp

// slow is a plain PPTP translator, written from RFC 2637 and without any of the code that it is compared with: it
// reads the whole stream anew whenever bytes come, keeps lists and compares words.
type slow struct {
	raw     [2][]byte
	done    [2]int // messages acted on
	lost    bool   // not understood any more
	change  [2]map[int]byte
	nat     [2]bool
	session string
	calls   []*slowCall
	gone    []*slowCall // ended, oldest first
	next    uint16      // outside ID
	opened  int         // times that GRE was to be expected
}

type slowCall struct {
	state  string
	pns    int
	serial int
	in     [2]int // IDs, -1: not known
	out    [2]int
}

func newSlow(nat [2]bool) *slow {
	return &slow{nat: nat, session: "idle", next: firstID, change: [2]map[int]byte{{}, {}}}
}

// at returns a number of two bytes.
func at(b []byte, i int) int { return int(b[i])<<8 | int(b[i+1]) }

// sizes are the lengths of RFC 2637's messages, and what of each must be there to act on it.
var sizes = map[int][2]int{
	1: {156, 12}, 2: {156, 15}, 3: {16, 12}, 4: {16, 12}, 5: {16, 12}, 6: {20, 12}, 7: {168, 16}, 8: {32, 17}, 9: {220, 16},
	10: {24, 17}, 11: {28, 14}, 12: {16, 14}, 13: {148, 14}, 14: {40, 14}, 15: {24, 14},
}

// arrive takes bytes.
func (s *slow) arrive(dir int, b []byte) {
	s.raw[dir] = append(s.raw[dir], b...)
	if !s.lost {
		s.read(dir)
	}
}

// read goes through all messages and acts on those that are new.
func (s *slow) read(dir int) {
	pos, all := 0, s.raw[dir]
	for n := 0; ; n++ {
		m := all[min(pos, len(all)):]
		if len(m) < 12 {
			return
		}
		size, typ := at(m, 0), at(m, 8)
		known := sizes[typ]
		if at(m, 2) != 1 || known[0] == 0 {
			typ, known = 0, [2]int{12, 12}
		}
		if at(m, 4) != 0x1a2b || at(m, 6) != 0x3c4d || size < known[0] || size > 256 {
			s.lost = true
			return
		}
		if len(m) < known[1] {
			return
		}
		if n == s.done[dir] {
			s.done[dir]++
			s.act(dir, typ, m, pos)
		}
		pos += size
	}
}

// out returns what must have left of a direction.
func (s *slow) out(dir int) []byte {
	b := append([]byte(nil), s.raw[dir]...)
	for i, c := range s.change[dir] {
		b[i] = c
	}
	if s.lost {
		return b
	}
	for pos := 0; len(b)-pos >= 12; pos += at(b, pos) {
		typ, need := at(b, pos+8), 0
		if at(b, pos+2) == 1 {
			need = sizes[typ][1]
		}
		own := s.nat[dir] && (typ >= 7 && typ <= 10 || typ == 12 || typ == 13)
		peer := s.nat[1-dir] && (typ == 8 || typ == 10 || typ == 11 || typ == 14 || typ == 15)
		if len(b)-pos < need && (own || peer) {
			return b[:pos+12]
		}
		if at(b, pos) == 0 {
			break
		}
	}
	return b
}

func (s *slow) act(dir, typ int, m []byte, pos int) {
	switch typ {
	case 1:
		if s.session == "idle" || s.session == "closed" {
			s.session = "opening"
		}
	case 2:
		switch {
		case (s.session == "idle" || s.session == "opening") && m[14] == 1:
			s.session = "open"
		case s.session == "idle" || s.session == "opening":
			s.close()
		}
	case 3:
		if s.session != "closed" {
			s.session = "stopping"
		}
	case 4:
		s.close()
	case 7:
		s.request(dir, dir, "out", at(m, 12), at(m, 14))
		s.write(dir, pos+12, s.toOut(dir, at(m, 12)))
	case 9:
		s.request(dir, 1-dir, "in", at(m, 12), at(m, 14))
		s.write(dir, pos+12, s.toOut(dir, at(m, 12)))
	case 8, 10:
		s.reply(dir, typ, at(m, 12), at(m, 14), m[16] == 1)
		s.write(dir, pos+12, s.toOut(dir, at(m, 12)))
		s.write(dir, pos+14, s.toIn(1-dir, at(m, 14)))
	case 11:
		c := s.live(1-dir, at(m, 12), true)
		if c != nil && c.pns != dir && (c.state == "in replied" || c.state == "in up") && s.session == "open" {
			c.state = "in up"
			s.opened++
		}
		s.write(dir, pos+12, s.toIn(1-dir, at(m, 12)))
	case 12:
		if c := s.live(dir, at(m, 12), false); c != nil && c.pns == dir {
			c.state = "clearing " + c.state
		}
		s.write(dir, pos+12, s.toOut(dir, at(m, 12)))
	case 13:
		s.disconnect(dir, at(m, 12))
		s.write(dir, pos+12, s.toOut(dir, at(m, 12)))
	case 14, 15:
		s.write(dir, pos+12, s.toIn(1-dir, at(m, 12)))
	}
}

func (s *slow) write(dir, pos, id int) {
	if id >= 0 {
		s.change[dir][pos], s.change[dir][pos+1] = byte(id>>8), byte(id)
	}
}

func (s *slow) close() {
	if s.session != "closed" {
		s.session = "closed"
		for len(s.calls) > 0 {
			s.end(s.calls[0])
		}
	}
}

// live finds a call by an end's ID, as the end has it or (outside) the other end.
func (s *slow) live(end, id int, outside bool) *slowCall {
	for _, c := range s.calls {
		if !outside && c.in[end] == id || outside && c.out[end] == id {
			return c
		}
	}
	return nil
}

// toOut and toIn translate; -1: not known.
func (s *slow) toOut(end, id int) int {
	if c := s.live(end, id, false); c != nil {
		return c.out[end]
	}
	for i := len(s.gone) - 1; i >= 0; i-- {
		if s.gone[i].in[end] == id {
			return s.gone[i].out[end]
		}
	}
	return -1
}

func (s *slow) toIn(end, id int) int {
	if c := s.live(end, id, true); c != nil {
		return c.in[end]
	}
	for i := len(s.gone) - 1; i >= 0; i-- {
		if s.gone[i].out[end] == id {
			return s.gone[i].in[end]
		}
	}
	return -1
}

func (s *slow) end(c *slowCall) {
	for i, o := range s.calls {
		if o == c {
			s.calls = append(s.calls[:i:i], s.calls[i+1:]...)
			break
		}
	}
	s.remember(*c)
}

func (s *slow) remember(c slowCall) {
	if s.gone = append(s.gone, &c); len(s.gone) > 64 {
		s.gone = s.gone[1:]
	}
}

func (s *slow) request(dir, pns int, kind string, id, serial int) {
	if s.session == "idle" {
		s.session = "open"
	}
	if c := s.live(dir, id, false); c != nil {
		switch {
		case c.pns == pns && c.state == kind+" wait":
			c.serial = serial
			return
		case c.pns == pns && c.serial == serial && c.state[0] != 'c':
			return
		}
		s.end(c)
	}
	if len(s.calls) >= 64 {
		return
	}
	c := &slowCall{state: kind + " wait", pns: pns, serial: serial, in: [2]int{-1, -1}, out: [2]int{-1, -1}}
	s.give(c, dir, id)
	s.calls = append(s.calls, c)
}

// give notes an end's ID.
func (s *slow) give(c *slowCall, end, id int) {
	if c.in[end] == id {
		return
	}
	out := id
	if s.nat[end] {
		out = int(s.next)
		s.next++
	}
	if o := s.live(end, id, false); o != nil {
		s.end(o)
	}
	if c.in[end] >= 0 {
		old := slowCall{in: [2]int{-1, -1}, out: [2]int{-1, -1}}
		old.in[end], old.out[end] = c.in[end], c.out[end]
		s.remember(old)
	}
	c.in[end], c.out[end] = id, out
}

func (s *slow) reply(dir, typ, own, peer int, good bool) {
	c := s.live(1-dir, peer, true)
	if c == nil || (c.pns == dir) != (typ == 10) {
		return
	}
	clearing := c.state[0] == 'c'
	switch {
	case typ == 8 && good && (c.state == "out wait" || c.state == "out up"):
		s.give(c, dir, own)
		if s.session == "open" {
			c.state = "out up"
			s.opened++
		}
	case typ == 8 && good && clearing:
		s.give(c, dir, own)
	case typ == 8 && !good && (c.state == "out wait" || c.state == "out up" || clearing),
		typ == 10 && !good && (c.state == "in wait" || c.state == "in replied" || c.state == "in up" || clearing):
		s.end(c)
	case typ == 10 && good && (c.state == "in wait" || c.state == "in replied"):
		s.give(c, dir, own)
		c.state = "in replied"
	}
}

func (s *slow) disconnect(dir, id int) {
	c := s.live(dir, id, false)
	if c == nil {
		n := 0
		for _, o := range s.calls {
			if o.state == "out wait" && o.pns != dir {
				c, n = o, n+1
			}
		}
		if n != 1 {
			return
		}
	}
	if c.pns != dir {
		s.end(c)
	}
}
