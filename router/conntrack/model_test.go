package conntrack

import (
	"flag"
	"net/netip"
	"slices"
	"strings"

	"time"

	"github.com/natrouter/natrouter/router/packet"
)

var modelSteps = flag.Int("model-steps", 40_000, "steps of TestModel; the long mode is 1000000")

// model is the slow plain tracker: a list of connections that is searched from end to end.
type model struct {
	cfg    Config
	conns  []*modelConn
	serial int
	ended  int
}

type modelConn struct {
	id              int
	orig, reply     string // tuples in words
	target          [2]string
	proto           uint8
	source          netip.Addr
	tcp             modelTCP
	seen, assured   bool
	start, deadline Time
	packets, bytes  [2]uint64
}

// modelPacket is a packet as the generator made it, with all that the model needs in plain.
type modelPacket struct {
	bytes  []byte
	tuple  string
	inv    string
	proto  uint8
	source netip.Addr
	tcp    modelSeg
	starts bool // ICMP: a question
}

// modelResult is what both trackers must agree about.
type modelResult struct {
	reason          string
	info            string
	dir             int
	target          string
	seen, assured   bool
	state           string
	deadline        Time
	packets0, conns int
}

func (m *model) find(tuple string) (*modelConn, int) {
	for _, c := range m.conns {
		if c.orig == tuple {
			return c, 0
		}
		if c.reply == tuple {
			return c, 1
		}
	}
	return nil, 0
}

func (m *model) sweep(now Time) {
	m.conns = slices.DeleteFunc(m.conns, func(c *modelConn) bool {
		if c.deadline <= now {
			m.ended++
		}
		return c.deadline <= now
	})
}

func (m *model) remove(c *modelConn) {
	m.conns = slices.DeleteFunc(m.conns, func(o *modelConn) bool { return o == c })
	m.ended++
}

func (m *model) timeout(name string) Time {
	t := &m.cfg.Timeouts
	all := map[string]time.Duration{
		"SS": t.TCPSynSent, "S2": t.TCPSynSent, "SR": t.TCPSynRecv, "ES": t.TCPEstablished, "FW": t.TCPFinWait,
		"CW": t.TCPCloseWait, "LA": t.TCPLastAck, "TW": t.TCPTimeWait, "CL": t.TCPClose,
		"MAXRETRANS": t.TCPMaxRetrans, "UNACK": t.TCPUnacknowledged,
	}
	least := time.Duration(1 << 62)
	for _, n := range strings.Fields(name) { // always the smallest of those named
		least = min(least, all[n])
	}
	return Time(least)
}

// packet is Track and Confirm. nat gives the reply tuple and the one in which the first packet leaves.
func (m *model) packet(now Time, p *modelPacket, nat func() (reply, leaves string)) modelResult {
	m.sweep(now)
	c, dir := m.find(p.tuple)
	if c == nil {
		return m.create(now, p, nat)
	}
	var left Time
	answer := modelAnswer{verdict: "accept"}
	switch p.proto {
	case packet.ProtoTCP:
		answer = c.tcp.segment(dir, p.tcp, c.seen, c.assured)
		left = now + m.timeout(answer.timeout)
	case packet.ProtoUDP:
		left = now + Time(m.cfg.Timeouts.UDP)
		if c.seen && now-c.start > 2*sec {
			left = now + Time(m.cfg.Timeouts.UDPStream)
			c.assured = true
		}
	case packet.ProtoICMP:
		left = now + Time(m.cfg.Timeouts.ICMP)
	default:
		left = now + Time(m.cfg.Timeouts.Generic)
	}
	switch answer.verdict {
	case "drop":
		if cut := now + m.timeout("UNACK"); answer.cut {
			c.deadline = min(c.deadline, cut)
		}
		return modelResult{reason: map[string]string{"window": "tcp-window", "state": "tcp-state", "reset": "tcp-reset"}[answer.reason]}
	case "reopen":
		m.remove(c)
		return m.packet(now, p, nat)
	case "accept":
		c.deadline = left
	}
	info := [2]string{"NEW", "ESTABLISHED_REPLY"}[dir]
	if dir == 0 && c.seen {
		info = "ESTABLISHED"
	}
	if p.proto == packet.ProtoTCP && c.seen && answer.verdict == "accept" && c.tcp.state == "ES" &&
		(c.tcp.from == "SR" || c.tcp.from == "ES") {
		c.assured = true
	}
	c.seen = c.seen || dir == 1 && answer.verdict != "doubt"
	c.packets[dir]++
	c.bytes[dir] += uint64(len(p.bytes))
	res := m.result(c, info, dir)
	if answer.verdict == "delete" {
		m.remove(c)
		res.deadline, res.conns = 0, len(m.conns)
	}
	return res
}

func (m *model) result(c *modelConn, info string, dir int) modelResult {
	r := modelResult{
		info: info, dir: dir, target: c.target[dir], seen: c.seen, assured: c.assured, deadline: c.deadline,
		packets0: int(c.packets[0]), conns: len(m.conns),
	}
	if c.proto == packet.ProtoTCP {
		r.state = tcpStateNames[specStates[c.tcp.state]]
	}
	return r
}

func (m *model) create(now Time, p *modelPacket, nat func() (reply, leaves string)) modelResult {
	if m.count(p.source) >= m.cfg.MaxPerSource {
		return modelResult{reason: "source-limit"}
	}
	unreplied := 0
	for _, c := range m.conns {
		if !c.seen {
			unreplied++
		}
	}
	if len(m.conns) >= m.cfg.Max && unreplied == 0 {
		return modelResult{reason: "table-full"}
	}
	m.serial++
	c := &modelConn{id: m.serial, orig: p.tuple, proto: p.proto, source: p.source, start: now}
	switch p.proto {
	case packet.ProtoTCP:
		if !c.tcp.start(p.tcp) {
			return modelResult{reason: "not-tracked"}
		}
		a := c.tcp.segment(0, p.tcp, false, false)
		c.deadline = now + m.timeout(a.timeout)
	case packet.ProtoUDP:
		c.deadline = now + Time(m.cfg.Timeouts.UDP)
	case packet.ProtoICMP:
		if !p.starts {
			return modelResult{reason: "not-tracked"}
		}
		c.deadline = now + Time(m.cfg.Timeouts.ICMP)
	default:
		c.deadline = now + Time(m.cfg.Timeouts.Generic)
	}
	c.reply, c.target[0] = nat()
	c.target[1] = p.inv
	if other, _ := m.find(c.reply); other != nil {
		if p.proto == packet.ProtoESP {
			return modelResult{reason: "pass-conflict"}
		}
		return modelResult{reason: "clash"}
	}
	for len(m.conns) >= m.cfg.Max || unreplied >= m.cfg.MaxUnreplied {
		victim := m.victim(p.source)
		if victim == nil {
			return modelResult{reason: "table-full"}
		}
		m.remove(victim)
		unreplied--
	}
	c.packets[0], c.bytes[0] = 1, uint64(len(p.bytes))
	m.conns = append(m.conns, c)
	return m.result(c, "NEW", 0)
}

func (m *model) count(source netip.Addr) (n int) {
	for _, c := range m.conns {
		if c.source == source {
			n++
		}
	}
	return n
}

// victim: of the eight oldest without an answer, the oldest of the source that has most of them.
func (m *model) victim(newcomer netip.Addr) *modelConn {
	var oldest []*modelConn
	for _, c := range m.conns { // in the order of their start
		if !c.seen && len(oldest) < 8 {
			oldest = append(oldest, c)
		}
	}
	votes := map[netip.Addr]float64{newcomer: 0.5}
	for _, c := range oldest {
		votes[c.source]++
	}
	var best *modelConn
	for _, c := range oldest {
		if best == nil || votes[c.source] > votes[best.source] {
			best = c
		}
	}
	return best
}
