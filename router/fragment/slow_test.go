package fragment

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// slow is the Reassembler as the rules have it: a list of datagrams, each a list of fragments, looked through for every
// question.
type slow struct {
	all   []*slowDatagram // the oldest first
	stale int
}

type slowDatagram struct {
	part
	parts []part
	later int
	bad   packet.DropReason
}

// part is a fragment: of which datagram, and of its payload.
type part struct {
	family, dst, id int
	off             int
	data            string
	last            bool
}

func (p *part) sameHosts(q *part) bool { return p.family == q.family && p.dst == q.dst }
func (p *part) end() int               { return p.off + len(p.data) }

// add returns the payload of a complete datagram, or why the fragment is dropped.
func (m *slow) add(p part) (whole string, reason packet.DropReason) {
	if len(p.data) == 0 || !p.last && len(p.data)%8 != 0 {
		return "", packet.FragmentInvalid
	}
	d := m.find(p)
	if d.bad != packet.NotDropped {
		return "", d.bad
	}
	if slices.Contains(d.parts, p) {
		return "", packet.NotDropped
	}
	if p.family == 4 && p.off == 0 && slices.ContainsFunc(d.parts, func(q part) bool { return q.off == 0 }) {
		m.forget(d)
		m.stale++
		d = m.find(p)
	}
	if reason := d.refuses(p); reason != packet.NotDropped {
		d.bad = reason
		if p.family == 4 {
			m.forget(d)
		}
		return "", reason
	}
	d.parts = append(d.parts, p)
	if whole = d.whole(); whole != "" {
		m.overtake(d)
		m.forget(d)
	}
	return whole, packet.NotDropped
}

// find returns the datagram of p, a new one where there is none.
func (m *slow) find(p part) *slowDatagram {
	for _, d := range m.all {
		if d.sameHosts(&p) && d.id == p.id {
			return d
		}
	}
	d := &slowDatagram{part: p}
	m.all = append(m.all, d)
	return d
}

func (m *slow) forget(d *slowDatagram) {
	m.all = slices.DeleteFunc(m.all, func(e *slowDatagram) bool { return e == d })
}

// overtake counts a complete datagram for those that are older.
func (m *slow) overtake(done *slowDatagram) {
	for _, d := range slices.Clone(m.all) {
		if d == done {
			return
		}
		if d.sameHosts(&done.part) && d.family == 4 {
			if d.later++; d.later == 64 {
				m.forget(d)
				m.stale++
			}
		}
	}
}

// refuses says byte by byte whether p lies over another fragment, else whether the ends contradict each other.
func (d *slowDatagram) refuses(p part) packet.DropReason {
	have := map[int]bool{}
	for _, q := range d.parts {
		for i := q.off; i < q.end(); i++ {
			have[i] = true
		}
	}
	for i := p.off; i < p.end(); i++ {
		if have[i] {
			return packet.FragmentOverlap
		}
	}
	for _, q := range d.parts {
		if p.last && (q.last || q.end() > p.end()) || q.last && p.end() > q.end() {
			return packet.FragmentInvalid
		}
	}
	return packet.NotDropped
}

// whole returns the payload, "" while some of it is missing.
func (d *slowDatagram) whole() string {
	b, last := "", false
	for len(b) == 0 || !last {
		i := slices.IndexFunc(d.parts, func(q part) bool { return q.off == len(b) })
		if i < 0 {
			return ""
		}
		b, last = b+d.parts[i].data, d.parts[i].last
	}
	return b
}

// bytes makes the fragment.
func (p *part) bytes() []byte {
	if p.family == 6 {
		dst := peer6.Addr().As16()
		dst[15] += byte(p.dst)
		return testpkt.Raw{Src: host6.Addr(), Dst: netip.AddrFrom16(dst), Proto: 50, Payload: []byte(p.data),
			Ext: []testpkt.Ext{testpkt.FragHeader(p.off, !p.last, uint32(p.id))}}.Bytes()
	}
	dst := peer4.Addr().As4()
	dst[3] += byte(p.dst)
	b := packet.IPv4(testpkt.Raw{Src: host4.Addr(), Dst: netip.AddrFrom4(dst), Proto: 50, Payload: []byte(p.data), ID: uint16(p.id)}.Bytes())
	b.SetFragment(p.off, !p.last)
	b.UpdateChecksum()
	return b
}

// beside lets the Reassembler and the slow one have the same fragments.
type beside struct {
	*adder
	slow  slow
	fresh int // identification of the last datagram that came whole at once
}

func (c *beside) both(p part) {
	c.t.Helper()
	got := c.add(0, 1, p.bytes())
	whole, reason := c.slow.add(p)
	head := map[int]int{4: packet.IPv4Size, 6: packet.IPv6Size}[p.family]
	switch {
	case got.reason != reason || (got.n > 0) != (whole != ""):
		c.t.Fatalf("%+v: %+v, want %q, %v", p, got, whole, reason)
	case got.n > 0 && string(c.dst[head:got.n]) != whole:
		c.t.Fatalf("%+v: payload %q, want %q", p, c.dst[head:got.n], whole)
	case c.r.Len() != len(c.slow.all) || int(c.r.Stale()) != c.slow.stale:
		c.t.Fatalf("%+v: %d datagrams, %d stale, want %d and %d", p, c.r.Len(), c.r.Stale(), len(c.slow.all), c.slow.stale)
	}
}

// run reads four bytes a fragment: whose it is, where and how long, and its bytes. Now and then one is a number of whole
// datagrams between the same hosts.
func (c *beside) run(script []byte) {
	for ; len(script) >= 4; script = script[4:] {
		p := part{family: 4 + 2*int(script[0]&1), dst: int(script[0] >> 1 & 1), id: int(script[0] >> 2 & 3)}
		if script[0] >= 0xf0 {
			for range script[1] % 70 {
				c.fresh++
				p.id = 1000 + c.fresh
				p.off, p.data, p.last = 0, "12345678", false
				c.both(p)
				p.off, p.last = 8, true
				c.both(p)
			}
			continue
		}
		n := int(script[2]%4) * 8
		p.off, p.last = int(script[1]%6)*8, script[1]>>7 == 1
		if p.last && n > 0 {
			n -= int(script[2] >> 4 & 7)
		}
		if p.off == 0 && p.last {
			continue // no fragment
		}
		p.data = string(bytes.Repeat([]byte{'a' + script[3]%2}, n))
		c.both(p)
	}
}

// FuzzAdd feeds fragments of any offset, length and content, of datagrams whose identifications are used again.
func FuzzAdd(f *testing.F) {
	f.Add([]byte{0, 0, 2, 0, 0, 0x82, 1, 0})                                          // IPv4, whole
	f.Add([]byte{0, 0, 2, 0, 0, 0, 2, 1, 0, 0x82, 1, 0})                              // another first
	f.Add([]byte{0, 0, 2, 0, 0, 1, 2, 0, 0, 0, 2, 0, 0, 0x82, 1, 0})                  // an overlap, then whole
	f.Add([]byte{1, 0, 2, 0, 1, 1, 2, 0, 1, 0, 2, 0, 1, 0x82, 1, 0})                  // the same of IPv6
	f.Add([]byte{0, 0, 2, 0, 0xf0, 64, 0, 0, 0, 0x82, 1, 0})                          // overtaken
	f.Add([]byte{0, 0, 2, 0, 0xf0, 63, 0, 0, 0, 0x82, 1, 0})                          // not quite
	f.Add([]byte{0, 0, 2, 0, 0xf2, 69, 0, 0, 0, 0x82, 1, 0})                          // others are complete elsewhere
	f.Add([]byte{1, 0, 2, 0, 0xf1, 69, 0, 0, 1, 0x82, 1, 0})                          // IPv6 has more identifications
	f.Add([]byte{0, 0, 1, 0, 4, 0, 1, 0, 0xf0, 40, 0, 0, 8, 0, 1, 0, 0xf0, 40, 0, 0}) // two of three
	f.Fuzz(func(t *testing.T, script []byte) {
		(&beside{adder: newAdder(t, plenty)}).run(script[:min(len(script), 4000)])
	})
}

func TestAddBesideSlow(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	stale := 0
	for range 300 {
		script := make([]byte, 4*200)
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		c := &beside{adder: newAdder(t, plenty)}
		c.run(script)
		stale += c.slow.stale
		c.consistent()
	}
	if stale < 500 {
		t.Errorf("%d datagrams were stale: the scripts show little", stale)
	}
}
