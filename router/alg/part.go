package alg

import (
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// scratch is memory for one packet's work.
type scratch struct {
	parse  []byte // what was left over, and what is new
	render []byte // an edited payload
	head   []byte // headers for what waited
	piece  []byte // a packet that is made
}

// part is the packet in hand, of TCP or UDP, and where it goes. All numbers are its sender's own.
type part struct {
	st   *state
	b    []byte
	h    *packet.Headers
	m    *packet.Meta
	dir  conntrack.Direction
	room int
	sink Sink

	hdr      packet.TCP
	payload  []byte
	seq, end uint32 // of the payload
	fin      bool
}

func (p *part) accept() (packet.Verdict, packet.DropReason) {
	return packet.Accept, packet.NotDropped
}

func (p *part) drop(reason packet.DropReason) (packet.Verdict, packet.DropReason) {
	p.st.helper.counters.add(CountDrops)
	return packet.Drop, reason
}

// handleTCP is the way of a segment.
func (p *part) handleTCP() (packet.Verdict, packet.DropReason) {
	p.hdr = packet.TCP(p.b[p.h.L4:p.h.Len])
	flags := p.hdr.Flags()
	if flags&packet.FlagSYN != 0 {
		p.b = trimSYN(p.b, p.h, p.m)
		p.hdr = packet.TCP(p.b[p.h.L4:p.h.Len])
		p.begin()
		return p.adjust()
	}
	p.payload = p.hdr.Payload()
	p.seq = p.hdr.Seq()
	p.end = p.seq + uint32(len(p.payload))
	p.fin = flags&packet.FlagFIN != 0
	if flags&packet.FlagACK != 0 {
		p.acknowledge()
	}
	if flags&packet.FlagRST != 0 {
		p.reset()
		return p.adjust()
	}
	f := &p.st.flows[p.dir]
	switch {
	case len(p.payload) == 0 && !p.fin:
		return p.pure(f)
	case f.done:
		f.discard(p.st, 0)
		return p.place(f, p.end)
	case !f.synced:
		f.adopt(p.st, p.dir, p.seq)
	}
	return p.read(f)
}

// begin takes the numbers of a SYN, or of a SYN-ACK those of both ends. A handshake may begin again with others.
func (p *part) begin() {
	if f := &p.st.flows[p.dir]; !f.began && !f.done {
		f.sync(p.hdr.Seq() + 1)
	}
	if f := &p.st.flows[1-p.dir]; p.hdr.Flags()&packet.FlagACK != 0 && !f.began && !f.done {
		f.sync(p.hdr.Ack())
	}
}

// acknowledge forgets edits that have arrived. Where more is acknowledged than was read, bytes went another way.
func (p *part) acknowledge() {
	st, from := p.st, 1-p.dir
	f, edits := &st.flows[from], &st.ext.Edits[from]
	ack := edits.Ack(p.hdr.Ack())
	if !f.done {
		if !f.synced {
			return
		}
		if after(ack, f.next) {
			st.desync("bytes went another way")
		} else if after(ack, f.released) {
			return // of what has not left: not to be believed
		}
		if !f.offered || !before(ack, f.acked) {
			f.offered, f.acked, f.window = true, ack, p.hdr.Window()
		}
	}
	if n := edits.Pending(); n > 0 {
		st.kit.table.AckEdits(st.ext, from, p.hdr.Ack())
		if edits.Pending() < n {
			f.floor, f.floored = ack, true
		}
	}
	if f.admit(st, from); f.blocked(st, from) {
		f.letGo(st, from)
	}
}

// reset ends both streams.
func (p *part) reset() {
	st := p.st
	ended := st.flows[0].done && st.flows[1].done
	for i := range st.flows {
		st.flows[i].open(st)
		st.flows[i].discard(st, 0)
	}
	if st.stream != nil && !st.detached && !ended {
		st.guard(func() { st.stream.End(st, p.dir, true) })
	}
}

// pure is a segment without bytes. While some are held it may not be ahead of them.
func (p *part) pure(f *flow) (packet.Verdict, packet.DropReason) {
	if f.synced && !f.done && f.released != f.next && after(p.seq, f.released) {
		p.setSeq(f.released)
	}
	return p.adjust()
}

// read gives a segment to the helper and sends what may leave, in order: what waited and lies before it, itself, and
// what waited for it.
func (p *part) read(f *flow) (packet.Verdict, packet.DropReason) {
	st := p.st
	if after(p.seq, f.next) {
		if !f.keep(st, p, p.seq) {
			return p.drop(packet.HelperDropped)
		}
		return packet.Stolen, packet.NotDropped
	}
	waited := len(f.held) > 0
	if after(p.end, f.next) {
		f.feed(st, p.dir, p.payload[f.next-p.seq:])
	}
	if p.fin && p.end == f.next && !f.done {
		f.finish(st, p.dir)
	}
	if waited {
		f.read(st, p.dir)
		f.send(p, p.seq, false)
	}
	return p.leave(f)
}

// leave sends the packet as far as it may, keeps the rest, and sends what waits behind it.
func (p *part) leave(f *flow) (packet.Verdict, packet.DropReason) {
	to, kept := p.end, true
	if !f.done {
		if to = most(p.seq, least(p.end, f.released)); to != p.end || p.fin {
			kept = f.keep(p.st, p, to)
		}
	}
	some := f.done || to != p.seq
	behind := f.ready()
	switch {
	case some && !behind:
		return p.place(f, to)
	case some:
		if reason := p.sendSelf(f, to); reason != packet.NotDropped {
			return p.drop(reason)
		}
	case !kept:
		return p.drop(packet.HelperDropped)
	}
	f.send(p, 0, true)
	if f.done {
		f.discard(p.st, 0)
	}
	return packet.Stolen, packet.NotDropped
}

// setSeq writes the sequence number, with the checksum.
func (p *part) setSeq(seq uint32) {
	var old [4]byte
	copy(old[:], p.hdr[4:8])
	p.hdr.SetSeq(seq)
	if !p.m.Partial() {
		p.hdr.SetChecksum(packet.Change(old[:], p.hdr[4:8]).Apply(p.hdr.Checksum()))
	}
}

// adjust maps the numbers of a segment whose bytes stay.
func (p *part) adjust() (packet.Verdict, packet.DropReason) {
	edits := &p.st.ext.Edits
	if edits[0].Empty() && edits[1].Empty() {
		return p.accept()
	}
	if reason := conntrack.AdjustTCP(p.hdr, p.dir, edits, p.m.Partial()); reason != packet.NotDropped {
		return p.drop(reason)
	}
	return p.accept()
}
