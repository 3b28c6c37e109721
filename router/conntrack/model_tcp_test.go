package conntrack

import "strings"

// modelTCP is the slow plain tracker of one TCP connection: docs/spec/conntrack.md, section 4, line by line, with its
// words and without a thought for speed. It shares the table of TestTCPTableIsTheSpecs and nothing else with the
// tracker.
type modelTCP struct {
	state, from               string // from: before the last segment that was believed
	end, maxend, maxwin, mack [2]uint32
	scale                     [2]uint
	wscale, sackPerm, unack   [2]bool
	maxack, liberal           [2]bool
	closeInit                 bool
	simOpen, challenge        bool
	lastEvent                 string
	lastDir                   int
	lastSeq, lastAck, lastEnd uint32
	lastWin                   uint32
	lastScale                 uint
	lastWscale, lastSack      bool
	retrans                   int
}

// modelSeg is a segment as the model reads it.
type modelSeg struct {
	event         string
	ack           bool
	seq, end, an  uint32
	sack          uint32
	win           uint32
	wscale        int // -1: absent
	sackPermitted bool
}

// lt and le compare sequence numbers.
func lt(a, b uint32) bool { return a != b && b-a < 1<<31 }
func le(a, b uint32) bool { return a == b || lt(a, b) }

// modelAnswer is what the model says of a segment.
type modelAnswer struct {
	verdict string // accept, hold, doubt, drop, delete, reopen
	reason  string // of drop: window, state, reset
	timeout string // of accept: a state's name, MAXRETRANS, UNACK
	cut     bool   // of drop: the deadline is cut to UNACK
}

func (m *modelTCP) cell(dir int, event, state string) string {
	row := [2]string{"o ", "r "}[dir] + event
	col := strings.Index("NOSSSRESFWCWLATWCLS2", state) / 2
	return strings.TrimSuffix(strings.Fields(specNext[row])[col], "*")
}

// start is the first segment of a connection; false: it starts none.
func (m *modelTCP) start(g modelSeg) bool {
	*m = modelTCP{state: "NO"}
	m.end[0], m.maxend[0], m.maxwin[0] = g.end, g.end, max(g.win, 1)
	switch m.cell(0, g.event, "NO") {
	case "SS":
		m.offer(0, g)
	case "ES":
		m.maxend[0] += m.maxwin[0]
		m.sackPerm, m.liberal = [2]bool{true, true}, [2]bool{true, true}
	default:
		return false
	}
	return true
}

func (m *modelTCP) offer(d int, g modelSeg) {
	m.wscale[d], m.scale[d], m.sackPerm[d] = g.wscale >= 0, uint(max(g.wscale, 0)), g.sackPermitted
}

// segment judges one. seen and assured are the connection's bits before it.
func (m *modelTCP) segment(d int, g modelSeg, seen, assured bool) modelAnswer {
	old := m.state
	next := m.cell(d, g.event, old)
	if next == "IV" {
		return modelAnswer{verdict: "drop", reason: "state"}
	}
	if next == "SS" && (old == "TW" || old == "CL") {
		if m.closeInit || m.lastEvent == "RST" && m.lastDir == d {
			return modelAnswer{verdict: "reopen"}
		}
		next = "IG"
	}
	if old == "LA" && g.event == "ACK" && m.challenge && m.lastEvent == "SYN" && m.lastDir != d {
		m.challenge = false
		return modelAnswer{verdict: "hold"}
	}
	if next == "S2" {
		m.simOpen = true
	}
	if m.simOpen && d == 1 && old == "SR" && (g.event == "ACK" || g.event == "SYNACK" && !m.agrees(d, g)) {
		next = "ES"
	}
	if next == "IG" {
		if !m.agrees(d, g) {
			return m.remember(d, g)
		}
		m.resync(d)
		old, next = "SS", "SR"
	}
	check := true
	if g.event == "RST" {
		var answer *modelAnswer
		next, check, answer = m.rst(d, g, old, next, seen, assured)
		if answer != nil {
			return *answer
		}
	}
	if check {
		if a := m.inWindow(d, g, assured); a != nil {
			return *a
		}
	}
	return m.move(d, g, old, next, seen)
}

// agrees: a SYN-ACK that answers the SYN which was ignored just before.
func (m *modelTCP) agrees(d int, g modelSeg) bool {
	return g.event == "SYNACK" && m.lastEvent == "SYN" && m.lastDir != d && g.an == m.lastEnd
}

func (m *modelTCP) resync(d int) {
	o := 1 - d
	m.end[o], m.maxend[o], m.maxwin[o], m.mack[o] = m.lastEnd, m.lastEnd, max(m.lastWin, 1), 0
	m.scale[o], m.wscale[o], m.sackPerm[o] = m.lastScale, m.lastWscale, m.lastSack
	m.scale[d], m.wscale[d], m.sackPerm[d] = 0, false, false
	m.end[d], m.maxend[d], m.maxwin[d], m.mack[d] = 0, 0, 0, 0
	m.unack, m.maxack, m.liberal = [2]bool{}, [2]bool{}, [2]bool{}
	m.closeInit, m.simOpen, m.challenge = false, false, false
	m.state = "SS"
}

func (m *modelTCP) remember(d int, g modelSeg) modelAnswer {
	m.lastEvent, m.lastDir, m.lastSeq, m.lastEnd, m.lastWin = g.event, d, g.seq, g.end, g.win
	if g.event == "SYN" && d == 0 {
		m.lastWscale, m.lastScale, m.lastSack = g.wscale >= 0, uint(max(g.wscale, 0)), g.sackPermitted
		m.challenge, m.simOpen = m.state == "LA", false
	}
	if m.state == "SS" && g.event == "ACK" && d == 1 {
		m.lastAck = g.an
	}
	return modelAnswer{verdict: "hold"}
}

func (m *modelTCP) rst(d int, g modelSeg, old, next string, seen, assured bool) (string, bool, *modelAnswer) {
	switch {
	case old == "SS" && d == 1 && !g.ack:
		return "", false, &modelAnswer{verdict: "doubt"}
	case strings.Contains("FWCWLATWCL", old):
		return next, false, nil
	}
	if m.maxack[1-d] && m.lastEvent != "SYN" {
		if g.seq == 0 && old != "ES" {
			return next, true, nil
		}
		if lt(g.seq, m.mack[1-d]) {
			return "", false, &modelAnswer{verdict: "drop", reason: "reset"}
		}
		exact := g.seq == m.mack[1-d] || m.lastEvent == "ACK" && m.lastDir == d && g.seq == m.lastEnd
		if old == "ES" && !exact {
			next = old
		}
	}
	unbelieved := seen && m.lastEvent == "SYN" || !assured && m.lastEvent == "ACK"
	if g.ack && g.an == m.lastEnd && unbelieved {
		return next, false, nil
	}
	if old == "SS" && m.lastEvent == "ACK" && m.lastDir == 1 && d == 0 && g.seq == m.lastAck {
		return next, false, nil
	}
	return next, true, nil
}

// inWindow returns nil for a segment that is accepted.
func (m *modelTCP) inWindow(d int, g modelSeg, assured bool) *modelAnswer {
	s, r := d, 1-d
	known := *m
	syn := strings.HasPrefix(g.event, "SYN")
	ack, sack := g.an, g.an
	if m.sackPerm[r] && lt(ack, g.sack) {
		sack = g.sack
	}
	switch {
	case m.maxwin[s] == 0 && syn:
		m.first(s, r, g)
		if g.event == "SYN" {
			return nil
		}
	case m.maxwin[s] == 0:
		m.end[s] = g.end
		m.maxwin[s] = max(g.win<<m.scale[s], 1)
		m.maxend[s] = g.end + m.maxwin[s]
		if m.maxwin[r] == 0 {
			m.end[r], m.maxend[r] = sack, sack
		} else if sack == m.end[r]+1 {
			m.end[r]++
		}
	case syn && lt(m.end[s], g.end) && (m.state == "SS" && d == 0 || m.state == "SR" && d == 1):
		m.first(s, r, g)
	}
	seq, end := g.seq, g.end
	if !g.ack || g.event == "RST" && ack == 0 {
		ack, sack = m.end[r], m.end[r]
	}
	if g.event == "RST" && seq == 0 && m.state == "SS" {
		seq, end = m.end[s], m.end[s]
	}
	one := le(seq, m.maxend[s])
	two := m.maxwin[r] == 0 || le(m.end[s]-m.maxwin[r], end)
	three := le(sack, m.end[r])
	four := le(m.end[r]-max(m.maxwin[s], 66000), sack)
	liberal := m.liberal[s] || m.liberal[r]
	if !one && two && three && four && le(seq, m.end[s]) && end-m.maxend[s]+1 <= m.maxwin[r] {
		m.end[s] = end
		if !liberal {
			return &modelAnswer{verdict: "hold"}
		}
	} else if !(one && two && three && four) && !liberal {
		if known.maxwin[s] == 0 || syn {
			*m = known // nothing is begun with numbers that are not believed
		}
		if one && three {
			return &modelAnswer{verdict: "hold"}
		}
		return m.out(d, g, assured)
	}
	if g.event != "RST" {
		m.update(s, r, g, syn, ack, sack, end)
	}
	return nil
}

func (m *modelTCP) first(s, r int, g modelSeg) {
	m.end[s], m.maxend[s], m.maxwin[s] = g.end, g.end, max(g.win, 1)
	m.offer(s, g)
	if m.maxwin[r] != 0 && !(m.wscale[s] && m.wscale[r]) {
		m.scale = [2]uint{}
	}
}

func (m *modelTCP) out(d int, g modelSeg, assured bool) *modelAnswer {
	a := &modelAnswer{verdict: "drop", reason: "window"}
	if g.event != "FIN" && g.event != "RST" || !assured {
		return a
	}
	if m.lastDir != d && (m.lastEvent == "FIN" || m.lastEvent == "RST") {
		a.cut = true
	} else {
		m.lastEvent, m.lastDir = g.event, d
	}
	return a
}

func (m *modelTCP) update(s, r int, g modelSeg, syn bool, ack, sack, end uint32) {
	win := g.win
	if !syn {
		win <<= m.scale[s]
	}
	m.maxwin[s] = max(m.maxwin[s], win+(sack-ack))
	if lt(m.end[s], end) {
		m.end[s], m.unack[s] = end, true
	}
	if g.ack && (!m.maxack[s] || lt(m.mack[s], ack)) {
		m.mack[s], m.maxack[s] = ack, true
	}
	if m.maxwin[r] != 0 && lt(m.maxend[s], end) {
		m.maxwin[r] += end - m.maxend[s]
	}
	if le(m.maxend[r], sack+win) {
		m.maxend[r] = sack + win
		if win == 0 {
			m.maxend[r]++
		}
	}
	if ack == m.end[r] {
		m.unack[r] = false
	}
	if g.event == "ACK" {
		if m.lastDir == s && m.lastSeq == g.seq && m.lastAck == ack && m.lastEnd == end && m.lastWin == g.win {
			m.retrans++
		} else {
			m.lastDir, m.lastSeq, m.lastAck, m.lastEnd, m.lastWin, m.retrans = s, g.seq, ack, end, g.win, 0
		}
	}
}

func (m *modelTCP) move(d int, g modelSeg, old, next string, seen bool) modelAnswer {
	m.lastEvent, m.lastDir, m.from, m.state = g.event, d, old, next
	if next == "FW" && old != "FW" {
		m.closeInit = true
	}
	a := modelAnswer{verdict: "accept", timeout: next}
	switch {
	case m.retrans >= 3:
		a.timeout += " MAXRETRANS"
	case g.event == "RST":
		a.timeout = "CL"
	case m.unack[0] || m.unack[1]:
		a.timeout += " UNACK"
	case m.lastWin == 0:
		a.timeout += " MAXRETRANS"
	}
	if !seen {
		switch {
		case g.event == "RST":
			a.verdict = "delete"
		case g.event == "SYN" && old == "SS" && d == 0:
			a.verdict = "hold"
		case next == "ES":
			a.timeout += " UNACK"
		}
	}
	return a
}
