package conntrack

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/packet"
)

// Track finds or makes the connection of a packet, steps its state machine, counts it and moves its deadline.
// It fills *c (all of it). ICMP errors come back as InfoRelated or InfoRelatedReply with c.ErrorL3 set and change
// nothing. With a reason other than NotDropped, c.Info is InfoInvalid and the packet must be dropped.
func (t *Table) Track(shard int, now Time, p *Packet, c *Conn) packet.DropReason {
	h := p.H
	if h.FragOff != 0 {
		return c.refuse(packet.FragmentInvalid) // not reassembled: it has no transport header
	}
	var k key
	class, reason := k.keyOf(p.Bytes, p.Bytes[h.L4:h.Len], h.Family, h.Proto)
	switch {
	case reason != packet.NotDropped:
		return c.refuse(reason)
	case class == classUntracked:
		*c = Conn{Info: InfoUntracked}
		return packet.NotDropped
	case class == classError:
		return t.trackError(shard, now, p, c)
	}
	hash := k.hash(&t.secret)
	for {
		s, slot, dir, e := t.lookup(shard, now, &k, hash)
		if s == nil {
			s, slot, dir, e = t.lookupGRE(now, &k, Reply)
		}
		if s == nil {
			return t.create(now, p, &k, c)
		}
		reason, again := s.pass(now, slot, dir, e, p, c)
		s.unlock()
		if !again {
			return reason
		}
	}
}

// TrackKnown is Track for a packet whose connection and direction the caller knows already, from a table of its
// own: it spares the lookup and does all else. ok is false, and nothing done, when the connection has ended.
func (t *Table) TrackKnown(now Time, id Handle, dir Direction, p *Packet, c *Conn) (reason packet.DropReason, ok bool) {
	if id.shard() >= len(t.shards) {
		return packet.NotDropped, false
	}
	s := t.shards[id.shard()]
	s.mu.Lock()
	e := s.live(id)
	if e == nil || e.deadline <= now || uint8(e.kind) != p.H.Proto {
		s.unlock()
		return packet.NotDropped, false
	}
	reason, again := s.pass(now, id.slot(), dir, e, p, c)
	s.unlock()
	return reason, !again
}

// lookup finds a key in the worker's own shard, or else in the others. A hit's shard is locked.
func (t *Table) lookup(own int, now Time, k *key, hash uint64) (*shard, uint32, Direction, *entry) {
	for i := range t.shards {
		s := t.shards[(own+i)%len(t.shards)]
		s.mu.Lock()
		if slot, dir, e := s.find(now, k, hash); e != nil {
			return s, slot, dir, e
		}
		s.unlock()
	}
	return nil, 0, 0, nil
}

// pass judges a packet of a confirmed connection and copies the connection out. again: the connection gave way to
// a new one, look up once more.
func (s *shard) pass(now Time, slot uint32, dir Direction, e *entry, p *Packet, c *Conn) (reason packet.DropReason, again bool) {
	info := infoOf(dir, e.status)
	r := s.step(now, slot, dir, e, p)
	switch r.outcome {
	case refused:
		return c.refuse(r.reason), false
	case reopened:
		s.end(now, slot, e, 0)
		return packet.NotDropped, true
	}
	s.copyOut(slot, e, c)
	c.Dir, c.Info = dir, info
	if r.outcome == ended || e.flags&flagReplyOnly != 0 {
		s.end(now, slot, e, 0)
	}
	return packet.NotDropped, false
}

// step lets the tracker judge a packet of a confirmed connection, and counts and notes what it lets pass. What
// becomes of a connection that ended with it is left to the caller.
func (s *shard) step(now Time, slot uint32, dir Direction, e *entry, p *Packet) ruling {
	var v view // field by field: a literal would be made elsewhere and copied before its stores are through
	v.now, v.start, v.dir, v.status = now, e.start, dir, e.status
	v.set, v.liberal = s.table.set(e.timeouts), s.table.cfg.TCPLiberal
	if e.status&SeqAdjust != 0 {
		v.shift = s.shift(slot, 1-dir)
	}
	r := s.advance(p, e, &v)
	switch r.outcome {
	case refused:
		if r.timeout != 0 && now+r.timeout < e.deadline {
			s.setDeadline(slot, e, now+r.timeout)
		}
		return r
	case reopened:
		return r
	}
	if !s.table.cfg.NoAccounting {
		e.count(dir, p.weight())
	}
	s.apply(now, slot, dir, e, r)
	return r
}

func infoOf(dir Direction, status Status) Info {
	switch {
	case dir == Reply:
		return InfoEstablishedReply
	case status&SeenReply != 0:
		return InfoEstablished
	case status&Expected != 0:
		return InfoRelated
	}
	return InfoNew
}

// apply writes a ruling into the entry: status, deadline, and the word to observers.
func (s *shard) apply(now Time, slot uint32, dir Direction, e *entry, r ruling) {
	var news Update
	if dir == Reply && e.status&SeenReply == 0 && r.notes&noteDoubted == 0 {
		e.status |= SeenReply
		s.leaveUnreplied(slot, e)
		news |= UpdateReply
	}
	if r.notes&noteAssured != 0 && e.status&Assured == 0 {
		e.status |= Assured
		news |= UpdateAssured
	}
	if r.notes&noteChanged != 0 {
		news |= UpdateProto
	}
	if r.outcome == accepted && e.status&FixedTimeout == 0 {
		s.refresh(now, slot, dir, e, r)
	}
	if news != 0 {
		s.update(slot, e, news)
	}
}

// refresh moves the deadline by a packet. Where inbound packets must not keep a mapping alive, they may only bring
// its end nearer (RFC 4787 REQ-6, RFC 7857 section 7).
func (s *shard) refresh(now Time, slot uint32, dir Direction, e *entry, r ruling) {
	deadline := now + r.timeout
	if deadline > e.deadline && (r.notes&noteLower != 0 || inwards(dir, e.status)) {
		return
	}
	s.setDeadline(slot, e, deadline)
}

// inwards reports whether packets of a direction come to the inside host of a connection that only outbound ones
// refresh.
func inwards(dir Direction, status Status) bool {
	return status&NoInboundRefresh != 0 && (dir == Reply) == (status&OutboundIsReply == 0)
}

// copyOut fills c with all that later stages need.
func (s *shard) copyOut(slot uint32, e *entry, c *Conn) {
	c.ID = s.handle(slot, e)
	for dir := range Direction(2) {
		s.fillTuple(e, dir, &c.Tuples[dir])
	}
	c.Status, c.Helper, c.Mapping, c.Route = e.status, e.helper, e.mapping, e.route
	c.Mark, c.Master, c.ErrorL3 = 0, 0, 0
	if e.flags&flagRare != 0 {
		r := s.rare[slot]
		c.Mark, c.Master = r.mark, r.master
	}
	if c.extra {
		c.extra, c.Merged, c.Lost, c.NAT = false, false, [2]uint32{}, ExpectNAT{}
	}
}

// fillTuple is tuple without the copies.
func (s *shard) fillTuple(e *entry, dir Direction, t *Tuple) {
	ids, kind := e.ids[dir], e.kind
	t.SrcID, t.DstID = uint16(ids>>16), uint16(ids)
	t.Proto, t.Family, t.Zone = uint8(kind), uint8(kind>>8), uint16(kind>>16)
	if kind&kindV6 != 0 {
		a := &s.addrs.at(uint32(e.pair[0]))[dir]
		t.Src, t.Dst = a[0], a[1]
		return
	}
	// As mapped, but in whole words: this is done for every packet.
	pair := e.pair[dir]
	binary.NativeEndian.PutUint64(t.Src[:], 0)
	binary.NativeEndian.PutUint64(t.Dst[:], 0)
	binary.BigEndian.PutUint64(t.Src[8:], 0xffff<<32|pair>>32)
	binary.BigEndian.PutUint64(t.Dst[8:], 0xffff<<32|pair&0xffffffff)
}

// create makes the unconfirmed connection of a packet that no connection has.
func (t *Table) create(now Time, p *Packet, k *key, c *Conn) packet.DropReason {
	orig := k.tuple()
	inverse, _ := orig.Inverse()
	c.begin(&orig, &inverse)
	if reason := t.room(&orig, p.Inbound); reason != packet.NotDropped {
		return c.refuse(reason)
	}
	st := &c.state
	st.timeouts, st.inbound = t.policyFor(&orig), p.Inbound
	st.count = p.weight()
	if reason := t.first(now, p, c, t.set(st.timeouts)); reason != packet.NotDropped {
		return c.refuse(reason)
	}
	if t.expect.waiting() && !st.pickedUp(orig.Proto) {
		t.adopt(now, p, c)
	}
	return packet.NotDropped
}

// pickedUp reports a TCP connection that began before us: no announced one, which begins with a SYN.
func (st *l4state) pickedUp(proto uint8) bool {
	return proto == packet.ProtoTCP && st.tcp.state != tcpSynSent
}

// adopt makes a new connection the child of the expectation that awaits it, if there is one.
func (t *Table) adopt(now Time, p *Packet, c *Conn) {
	var m matched
	if !t.expect.match(now, &c.Tuples[Original], &m) {
		return
	}
	c.state.expect = m.id
	c.Status, c.Info = Expected, InfoRelated
	c.Master, c.Mark, c.Helper, c.NAT, c.extra = m.master, m.mark, m.helper, m.nat, true
	c.Tuples[Original].SrcID = m.srcID
	c.Tuples[Reply] = c.Tuples[Original].inverse()
	if m.timeouts != 0 {
		c.state.timeouts = m.timeouts
		t.first(now, p, c, t.set(m.timeouts)) // its timeout, by the other set
	}
}
