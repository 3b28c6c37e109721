package conntrack

import "github.com/natrouter/natrouter/router/packet"

// Confirm puts an unconfirmed connection into the table; after it c.ID is set. A confirmed c is left alone, and so
// is one without a connection. When another worker confirmed the same flow meanwhile, c may become a copy of the
// winner's: see Conn.Merged. With a reason the packet must be dropped, and what NAT reserved given back.
func (t *Table) Confirm(shard int, now Time, c *Conn) packet.DropReason {
	if c.Status&Confirmed != 0 || c.Info == InfoInvalid || c.Info == InfoUntracked {
		return packet.NotDropped
	}
	keys := [2]key{c.Tuples[Original].key(), c.Tuples[Reply].key()}
	hashes := [2]uint64{keys[0].hash(&t.secret), keys[1].hash(&t.secret)}
	awaited := c.state.expect == 0 || t.expect.claim(c.state.expect)
	t.lockAll()
	reason := t.confirmLocked(shard, now, c, &keys, &hashes, awaited)
	t.unlockAll()
	if id := c.state.expect; id != 0 && awaited {
		t.expect.settle(id, reason == packet.NotDropped && !c.Merged)
	}
	return reason
}

func (t *Table) confirmLocked(shard int, now Time, c *Conn, keys *[2]key, hashes *[2]uint64, awaited bool) packet.DropReason {
	var winner, other hit
	t.shards[shard].touch(hashes)
	for _, s := range t.shards {
		for dir, h := range [2]*hit{&winner, &other} {
			if h.e == nil {
				if slot, at, e := s.find(now, &keys[dir], hashes[dir]); e != nil {
					*h = hit{s, slot, at, e}
				}
			}
		}
	}
	if winner.e != nil || other.e != nil {
		return t.resolve(shard, now, c, &winner, &other, hashes)
	}
	if !awaited {
		return packet.Clash // with whom its expectation let in meanwhile
	}
	return t.insert(shard, now, c, hashes, 0)
}

// hit is an entry that was found, with its shard locked.
type hit struct {
	s    *shard
	slot uint32
	dir  Direction
	e    *entry
}

// clashTimeout is how long the reply-only entry of a lost race waits for its one answer.
const clashTimeout = 1e9 // ns

// resolve decides what becomes of a connection whose original tuple (winner) or reply tuple (other) is taken.
func (t *Table) resolve(shard int, now Time, c *Conn, winner, other *hit, hashes *[2]uint64) packet.DropReason {
	orig := &c.Tuples[Original]
	switch orig.Proto {
	case packet.ProtoUDP, packet.ProtoUDPLite, packet.ProtoGRE:
		if winner.e != nil && winner.dir == Original {
			same := other.e == winner.e
			if same || winner.e.status&(SrcNATDone|DstNATDone) == 0 {
				t.join(now, c, winner)
				return packet.NotDropped
			}
			if other.e == nil {
				return t.insert(shard, now, c, hashes, flagReplyOnly)
			}
		}
	}
	if winner.e == nil && orig.Portless() {
		if !t.newest(orig) {
			return packet.PassConflict
		}
		other.s.end(now, other.slot, other.e, 0)
		return t.insert(shard, now, c, hashes, 0)
	}
	return packet.Clash
}

// join makes c the winner's copy: its packet is one more of that connection.
func (t *Table) join(now Time, c *Conn, w *hit) {
	lost, count := c.Mapping, c.state.count
	if !t.cfg.NoAccounting {
		w.e.count(Original, count)
	}
	info := infoOf(Original, w.e.status)
	w.s.copyOut(w.slot, w.e, c)
	c.Dir, c.Info, c.Merged, c.Lost, c.extra = Original, info, true, lost, true
}

// insert makes the entry. flags is 0 or flagReplyOnly.
func (t *Table) insert(shard int, now Time, c *Conn, hashes *[2]uint64, flags uint8) packet.DropReason {
	s := t.shards[shard]
	if reason := t.makeRoom(now, c); reason != packet.NotDropped {
		return reason
	}
	slot := s.take()
	if slot == 0 {
		return packet.TableFull
	}
	e := s.entry(slot)
	s.setTuples(e, &c.Tuples)
	for dir := range Direction(2) {
		if dir == Original && flags&flagReplyOnly != 0 {
			continue
		}
		if !s.index.insert(&s.arena, hashes[dir], slot<<1|uint32(dir), s.rehash) {
			if dir == Reply && flags&flagReplyOnly == 0 {
				s.index.remove(hashes[Original], slot<<1)
			}
			s.release(slot, e)
			return packet.ChainLimit
		}
	}
	s.fill(now, slot, e, c, flags)
	t.count.Add(1)
	if t.cfg.MaxPerSource > 0 && !c.state.inbound && t.sources.take(c.Tuples[Original].Src) {
		e.flags |= flagCounted
	}
	if t.events.wanted(EventNew) {
		t.events.publish(Event{Type: EventNew, Conn: s.snapshot(slot, e, now)})
	}
	return packet.NotDropped
}

// fill moves the connection's state into its entry and c into the confirmed form.
func (s *shard) fill(now Time, slot uint32, e *entry, c *Conn, flags uint8) {
	st := &c.state
	e.flags = flags
	e.status = c.Status | Confirmed
	e.start, e.timeouts, e.helper = now, st.timeouts, c.Helper
	e.mapping, e.route = c.Mapping, c.Route
	if !s.table.cfg.NoAccounting {
		e.count(Original, st.count)
	}
	switch uint8(e.kind) {
	case packet.ProtoTCP:
		e.l4 = s.tcp.take(&s.arena)
		*s.tcp.at(e.l4) = st.tcp
	case packet.ProtoSCTP:
		e.l4 = s.sctp.take(&s.arena)
		*s.sctp.at(e.l4) = st.sctp
	case packet.ProtoDCCP:
		e.l4 = s.dccp.take(&s.arena)
		*s.dccp.at(e.l4) = st.dccp
	case packet.ProtoGRE:
		s.addPairs(slot, e)
	}
	if c.Mark != 0 || c.Master != 0 {
		s.rare[slot] = rare{c.Mark, c.Master}
		e.flags |= flagRare
	}
	timeout := st.timeout
	if flags&flagReplyOnly != 0 {
		e.status |= NATClash | FixedTimeout
		timeout = clashTimeout
	}
	e.deadline = now + timeout
	s.wheel.sync(now)
	s.park(slot, e)
	s.enterUnreplied(slot, e)
	c.ID, c.Status = s.handle(slot, e), e.status
}
