package conntrack

import (
	"sync"
	"sync/atomic"

	"github.com/natrouter/natrouter/router/packet"
)

// Table holds the confirmed connections, in shards. A shard belongs to a worker: that worker finds its
// connections under one uncontended lock; only a miss asks the other shards, so correctness does not depend on
// steering. Both directions of a connection live in the shard of the worker that confirmed it. All methods may be
// called at once; two goroutines may not share a *Conn.
type Table struct {
	cfg      Config
	secret   hasher
	shards   []*shard
	policies []policy // policy i has set i+1
	pass     []passRule
	sources  sources
	expect   expectations
	events   events

	count     atomic.Int64 // confirmed connections
	unreplied atomic.Int64 // those without a reply, in the queues

	setsMu sync.Mutex
	sets   atomic.Pointer[[]*timeoutSet] // set 0 is the configuration's own
}

// Packet is what Track reads of a packet.
type Packet struct {
	Bytes   []byte // from the IP header on, cut to H.Len
	H       *packet.Headers
	Meta    *packet.Meta // nil: a whole packet
	Inbound bool         // came in by an outside interface
}

// New makes an empty table. Fields of cfg that are out of range are brought into it: at least one shard, at most
// 256; Max at most 2^24-1 a shard; MaxUnreplied 0 is half of Max; Buckets 0 is what Max needs, and 8 a connection is
// the most.
func New(cfg Config) *Table {
	cfg = cfg.withDefaults()
	cfg.Shards = min(max(cfg.Shards, 1), maxShards)
	cfg.Max = min(max(cfg.Max, 1), cfg.Shards*maxSlot)
	if cfg.Buckets <= 0 {
		cfg.Buckets = cfg.Max * 2 * 10 / 6 // two items a connection; beyond six tenths segments begin to split
	}
	cfg.Buckets = min(cfg.Buckets, 8*cfg.Max+segmentSlots)
	if cfg.MaxUnreplied <= 0 {
		cfg.MaxUnreplied = max(cfg.Max/2, 1)
	}
	t := &Table{cfg: cfg, secret: newHasher()}
	sets := []*timeoutSet{newTimeoutSet(cfg.Timeouts)}
	for _, p := range cfg.Policies {
		t.policies = append(t.policies, policy{proto: p.Proto, destination: spans(p.Destination), ports: p.Ports})
		sets = append(sets, newTimeoutSet(merge(cfg.Timeouts, p.Timeouts)))
	}
	t.sets.Store(&sets)
	for _, r := range cfg.Pass {
		t.pass = append(t.pass, passRule{r.Proto, spans(r.Source), spans(r.Destination), r.Newest})
	}
	if cfg.MaxPerSource > 0 {
		t.sources.n = make(map[[16]byte]int32)
	}
	t.expect.init(t, cfg.MaxExpect)
	for i := range cfg.Shards {
		s := &shard{table: t, number: i, arena: arena{memory: cfg.Memory}, rare: make(map[uint32]rare)}
		s.index = newIndex(&s.arena, cfg.Buckets/cfg.Shards)
		t.shards = append(t.shards, s)
	}
	return t
}

// set returns a set of timeouts.
func (t *Table) set(n uint16) *timeoutSet { return (*t.sets.Load())[n] }

// policyFor returns the number of the set for a new connection.
func (t *Table) policyFor(orig *Tuple) uint16 {
	for i := range t.policies {
		if t.policies[i].matches(orig) {
			return uint16(i + 1)
		}
	}
	return 0
}

// AddTimeouts makes a set of timeouts that [Expectation] and [Table.SetTimeouts] may name: the table's own with the
// durations of over that are not 0. Sets are never removed: make one for a configuration, not for a connection.
// The 65536th fails and returns 0, the table's own.
func (t *Table) AddTimeouts(over Timeouts) uint16 {
	t.setsMu.Lock()
	defer t.setsMu.Unlock()
	old := *t.sets.Load()
	if len(old) > 0xffff {
		return 0
	}
	sets := append(old[:len(old):len(old)], newTimeoutSet(merge(t.cfg.Timeouts, over)))
	t.sets.Store(&sets)
	return uint16(len(sets) - 1)
}

// lockAll locks every shard, in the order that all use.
func (t *Table) lockAll() {
	for _, s := range t.shards {
		s.mu.Lock()
	}
}

func (t *Table) unlockAll() {
	var orphans []Handle
	for _, s := range t.shards {
		orphans = append(orphans, s.orphans...)
		s.orphans = nil
		s.mu.Unlock()
	}
	t.expect.removeMasters(orphans)
}

// locked calls f with the entry of a live connection under its shard's lock; false: there is none.
func (t *Table) locked(id Handle, f func(s *shard, slot uint32, e *entry)) bool {
	if id.shard() >= len(t.shards) {
		return false
	}
	s := t.shards[id.shard()]
	s.mu.Lock()
	e := s.live(id)
	if e != nil {
		f(s, id.slot(), e)
	}
	s.unlock()
	return e != nil
}

// SetRoute stores the route of one direction.
func (t *Table) SetRoute(id Handle, dir Direction, r Route) {
	t.locked(id, func(_ *shard, _ uint32, e *entry) { e.route[dir&1] = r })
}

// SetClamp remembers what clamping the MSS changed in the checksum of a SYN or SYN-ACK of c, which may be unconfirmed, for
// errors that quote it: from that follows the option as well, and what follows is right even of a quote that ends before
// it. Call it with 0 for one that stayed as it was. seq is its sequence number: a SYN passes also where it is not believed,
// so that its receiver can challenge it (RFC 5961, section 4), and a forged one must not make us forget.
func (t *Table) SetClamp(c *Conn, seq uint32, d packet.Delta) {
	dir := c.Dir & 1
	if c.ID == 0 {
		c.state.tcp.clamp[dir] = d
		return
	}
	t.locked(c.ID, func(s *shard, _ uint32, e *entry) {
		if ts := s.tcp.at(e.l4); ts.began(dir, seq) {
			ts.clamp[dir] = d
		}
	})
}

// SetMark stores the connection's mark; false: there is no such connection.
func (t *Table) SetMark(id Handle, mark uint32) bool {
	return t.locked(id, func(s *shard, slot uint32, e *entry) {
		r := s.rare[slot]
		r.mark = mark
		s.rare[slot] = r
		e.flags |= flagRare
		s.update(slot, e, UpdateMark)
	})
}

// SetHelper attaches a helper by its id, or detaches it with 0; false: there is no such connection.
func (t *Table) SetHelper(id Handle, helper uint8) bool {
	return t.locked(id, func(s *shard, slot uint32, e *entry) {
		e.helper = helper
		s.update(slot, e, UpdateHelper)
	})
}

// SetTimeouts makes a connection use another set, from [Table.AddTimeouts], from its next packet on.
func (t *Table) SetTimeouts(id Handle, set uint16) bool {
	if int(set) >= len(*t.sets.Load()) {
		return false
	}
	return t.locked(id, func(_ *shard, _ uint32, e *entry) { e.timeouts = set })
}

// SetTimeout moves a connection's deadline to now+d, as an operator or a helper wants it.
func (t *Table) SetTimeout(now Time, id Handle, d Time) bool {
	return t.locked(id, func(s *shard, slot uint32, e *entry) { s.setDeadline(slot, e, now+max(d, 0)) })
}

// Taken reports whether a confirmed connection other than id already has the tuple.
func (t *Table) Taken(tuple *Tuple, id Handle) bool {
	k := tuple.key()
	h := k.hash(&t.secret)
	for _, s := range t.shards {
		s.mu.Lock()
		slot, _, e := s.find(0, &k, h)
		taken := e != nil && s.handle(slot, e) != id
		s.unlock()
		if taken {
			return true
		}
	}
	return false
}

// Step does up to budget pieces of expiry work of one shard, and as much of the expectations', and returns how many
// connections ended. Call it often with a small budget rather than seldom with a large one: the shard is locked
// meanwhile.
func (t *Table) Step(shard int, now Time, budget int) (ended int) {
	s := t.shards[shard]
	s.mu.Lock()
	ended = s.expire(now, budget)
	s.unlock()
	if shard == 0 {
		t.expect.step(now, budget)
	}
	return ended
}

// Delete ends a connection; it shows up in Reap. false: there is no such connection.
func (t *Table) Delete(now Time, id Handle) bool {
	return t.locked(id, func(s *shard, slot uint32, e *entry) { s.end(now, slot, e, 0) })
}

// Len returns how many connections are confirmed.
func (t *Table) Len() int { return int(t.count.Load()) }

// Unreplied returns how many of them are waiting for their first reply.
func (t *Table) Unreplied() int { return int(t.unreplied.Load()) }
