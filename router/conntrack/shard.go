package conntrack

import (
	"sync"

	"github.com/natrouter/natrouter/router/packet"
)

// shard holds the connections that one worker confirmed. For the lock order see the package comment.
type shard struct {
	mu     sync.Mutex
	table  *Table
	number int

	// Guarded by mu.
	arena     arena
	chunks    []*[chunkSize]entry
	free      uint32 // first of the free slots, by link.older
	used      uint32 // slots ever taken
	index     index
	wheel     wheel
	unreplied link // ends of the queue: older is the newest's slot, newer the oldest's
	dead      link // ended connections until they are reaped: newer is the first, older the last
	numDead   int
	addrs     slab[[2][2][16]byte] // IPv6, by direction: source, destination
	tcp       slab[tcpState]
	sctp      slab[sctpState]
	dccp      slab[dccpState]
	pairs     map[grePair][]uint32
	rare      map[uint32]rare
	ext       map[uint32]*Ext
	shifts    map[uint32]*[2]seqShift // connections with edits
	orphans   []Handle                // ended masters whose expectations are still to be removed
	warmed    uint32                  // so that what Warm reads is read

	_ [64]byte // keeps the next shard's lock off this line
}

func (s *shard) entry(slot uint32) *entry {
	return &s.chunks[slot>>chunkBits][slot&(chunkSize-1)]
}

func (s *shard) link(slot uint32) *link { return &s.entry(slot).link }

// unlock releases the shard and then removes the expectations of masters that ended meanwhile.
func (s *shard) unlock() {
	if len(s.orphans) == 0 {
		s.mu.Unlock()
		return
	}
	orphans := s.orphans
	s.orphans = nil
	s.mu.Unlock()
	s.table.expect.removeMasters(orphans)
}

// live returns the entry of a handle of this shard, nil for a stale one.
func (s *shard) live(id Handle) *entry {
	slot := id.slot()
	if slot == 0 || slot > s.used {
		return nil
	}
	if e := s.entry(slot); e.gen == id.gen() && e.status&Confirmed != 0 && e.flags&flagDying == 0 {
		return e
	}
	return nil
}

func (s *shard) handle(slot uint32, e *entry) Handle { return makeHandle(s.number, slot, e.gen) }

// take returns a free slot, 0 when the shard has no more.
func (s *shard) take() uint32 {
	slot := s.free
	switch {
	case slot != 0:
		s.free = s.link(slot).older
	case s.used == maxSlot:
		return 0
	default:
		s.used++
		slot = s.used
		if int(slot>>chunkBits) >= len(s.chunks) {
			s.chunks = append(s.chunks, (*[chunkSize]entry)(carve[entry](&s.arena, chunkSize)))
		}
	}
	e := s.entry(slot)
	*e = entry{gen: e.gen + 1}
	if e.gen == 0 {
		e.gen = 1
	}
	return slot
}

// key returns the key of one direction of an entry.
func (s *shard) key(e *entry, dir Direction) key {
	k := key{ids: e.ids[dir], kind: e.kind}
	if k.kind&kindGREv1 != 0 {
		k.ids &= 0xffff
	}
	if k.kind&kindV6 == 0 {
		k.pair = e.pair[dir]
	} else {
		a := s.addrs.at(uint32(e.pair[0]))
		k.src, k.dst = a[dir][0], a[dir][1]
	}
	return k
}

// tuple returns the tuple of one direction of an entry, both call IDs included.
func (s *shard) tuple(e *entry, dir Direction) Tuple {
	k := s.key(e, dir)
	k.ids = e.ids[dir]
	return k.tuple()
}

// setTuples stores both tuples.
func (s *shard) setTuples(e *entry, tuples *[2]Tuple) {
	for dir := range tuples {
		k := tuples[dir].key()
		e.kind, e.pair[dir] = k.kind, k.pair
		e.ids[dir] = uint32(tuples[dir].SrcID)<<16 | uint32(tuples[dir].DstID)
	}
	if e.kind&kindV6 != 0 {
		slot := s.addrs.take(&s.arena)
		a := s.addrs.at(slot)
		for dir := range tuples {
			a[dir] = [2][16]byte{tuples[dir].Src, tuples[dir].Dst}
		}
		e.pair[0] = uint64(slot)
	}
}

// rehash is the hash of an item of the index.
func (s *shard) rehash(item uint32) uint64 {
	k := s.key(s.entry(item>>1), Direction(item&1))
	return k.hash(&s.table.secret)
}

// touch reads the buckets of both directions at once, so that waiting for the one's memory overlaps with the other's.
func (s *shard) touch(hashes *[2]uint64) {
	o, r := s.index.place(hashes[Original]), s.index.place(hashes[Reply])
	s.warmed = o.seg[o.a] + o.seg[o.b] + r.seg[r.a] + r.seg[r.b]
}

// find looks a key up. A connection whose time is over is ended here and not found, so that what is found does not
// depend on how far [Table.Step] got.
func (s *shard) find(now Time, k *key, h uint64) (uint32, Direction, *entry) {
	p := s.index.place(h)
	for _, at := range [2]uint32{p.a, p.b} {
		for _, v := range p.seg[at : at+bucketSlots] {
			if v == 0 || v&tagMask != p.tag {
				continue
			}
			slot, dir := v&^tagMask>>1, Direction(v&1)
			e := s.entry(slot)
			if !s.same(e, dir, k) {
				continue
			}
			if e.deadline > now {
				return slot, dir, e
			}
			s.end(e.deadline, slot, e, 0)
			return 0, 0, nil
		}
	}
	return 0, 0, nil
}

func (s *shard) same(e *entry, dir Direction, k *key) bool {
	if e.kind != k.kind {
		return false
	}
	ids := e.ids[dir]
	if k.kind&kindGREv1 != 0 {
		ids &= 0xffff
	}
	if ids != k.ids {
		return false
	}
	if k.kind&kindV6 == 0 {
		return e.pair[dir] == k.pair
	}
	a := &s.addrs.at(uint32(e.pair[0]))[dir]
	return a[0] == k.src && a[1] == k.dst
}

// end takes a confirmed connection out of the table and queues it for [Table.Reap]. at becomes its stop time, why
// is 0 or flagEvicted.
func (s *shard) end(at Time, slot uint32, e *entry, why uint8) {
	hashes := [2]uint64{s.rehash(slot << 1), s.rehash(slot<<1 | 1)}
	s.touch(&hashes)
	for dir, h := range hashes {
		if Direction(dir) == Reply || e.flags&flagReplyOnly == 0 {
			s.index.remove(h, slot<<1|uint32(dir))
		}
	}
	if uint8(e.kind) == packet.ProtoGRE {
		s.removePairs(slot, e)
	}
	s.unpark(e)
	s.leaveUnreplied(slot, e)
	if e.flags&flagCounted != 0 {
		s.table.sources.drop(s.tuple(e, Original).Src)
	}
	if e.flags&flagMaster != 0 {
		s.orphans = append(s.orphans, s.handle(slot, e))
	}
	e.flags |= flagDying | why
	e.deadline = at // from here on: when it ended
	s.table.count.Add(-1)
	if s.table.events.wanted(EventDestroy) {
		snap := s.snapshot(slot, e, at)
		s.table.events.publish(Event{Type: EventDestroy, Conn: snap})
	}
	if s.dead.newer == 0 {
		s.dead.newer = slot
	} else {
		s.link(s.dead.older).newer = slot
	}
	s.dead.older = slot
	e.link = link{}
	s.numDead++
}

// release frees a reaped connection's slot.
func (s *shard) release(slot uint32, e *entry) {
	if e.kind&kindV6 != 0 {
		s.addrs.put(uint32(e.pair[0]))
	}
	if e.l4 != 0 {
		switch uint8(e.kind) {
		case packet.ProtoTCP:
			s.tcp.put(e.l4)
		case packet.ProtoSCTP:
			s.sctp.put(e.l4)
		case packet.ProtoDCCP:
			s.dccp.put(e.l4)
		}
	}
	if e.flags&flagRare != 0 {
		delete(s.rare, slot)
	}
	if e.flags&flagExt != 0 {
		delete(s.ext, slot)
		delete(s.shifts, slot)
	}
	e.status, e.kind = 0, 0
	e.link.older = s.free
	s.free = slot
}

// enterUnreplied counts an unanswered connection and puts it at the new end of the queue; not the child of an expectation, which
// nobody may push out.
func (s *shard) enterUnreplied(slot uint32, e *entry) {
	e.flags |= flagUnreplied
	s.table.unreplied.Add(1)
	if e.status&Expected != 0 {
		return
	}
	newest := s.unreplied.older
	e.link = link{older: newest}
	if newest != 0 {
		s.link(newest).newer = slot
	} else {
		s.unreplied.newer = slot
	}
	s.unreplied.older = slot
}

// leaveUnreplied takes a connection out of the count and out of the queue, if it is there.
func (s *shard) leaveUnreplied(slot uint32, e *entry) {
	if e.flags&flagUnreplied == 0 {
		return
	}
	e.flags &^= flagUnreplied
	s.table.unreplied.Add(-1)
	if e.status&Expected != 0 {
		return
	}
	l := e.link
	if l.older != 0 {
		s.link(l.older).newer = l.newer
	} else {
		s.unreplied.newer = l.newer
	}
	if l.newer != 0 {
		s.link(l.newer).older = l.older
	} else {
		s.unreplied.older = l.older
	}
}
