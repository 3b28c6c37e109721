package conntrack

import (
	"sync"

	"github.com/natrouter/natrouter/router/packet"
)

// sources counts connections by the inside host that began them. It is used only where MaxPerSource is set.
type sources struct {
	mu sync.Mutex
	n  map[[16]byte]int32 // guarded by mu
}

func (s *sources) take(addr [16]byte) bool {
	s.mu.Lock()
	s.n[addr]++
	s.mu.Unlock()
	return true
}

func (s *sources) drop(addr [16]byte) {
	s.mu.Lock()
	if s.n[addr]--; s.n[addr] <= 0 {
		delete(s.n, addr)
	}
	s.mu.Unlock()
}

func (s *sources) count(addr [16]byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.n[addr])
}

// room says early, before NAT spends work on it, that a new connection would not be let in. [Table.Confirm] has the
// last word: nothing is evicted for a packet that a filter drops.
func (t *Table) room(orig *Tuple, inbound bool) packet.DropReason {
	if t.cfg.MaxPerSource > 0 && !inbound && t.sources.count(orig.Src) >= t.cfg.MaxPerSource {
		return packet.SourceLimit
	}
	if int(t.count.Load()) >= t.cfg.Max && t.unreplied.Load() == 0 {
		return packet.TableFull
	}
	return packet.NotDropped
}

// makeRoom checks the limits for a connection that is about to be confirmed, and evicts where that helps. All
// shards are locked. A host at its own limit is refused, it pushes nobody out (RFC 6888 REQ-4, REQ-5); a full
// table or too many unreplied connections cost one that nobody has answered. Connections with a reply are never
// evicted.
func (t *Table) makeRoom(now Time, c *Conn) packet.DropReason {
	orig := &c.Tuples[Original]
	if t.cfg.MaxPerSource > 0 && !c.state.inbound && t.sources.count(orig.Src) >= t.cfg.MaxPerSource {
		return packet.SourceLimit
	}
	dead := 0
	for _, s := range t.shards {
		dead += s.numDead
	}
	if dead >= max(t.cfg.Max, minDead) {
		return packet.TableFull // nobody reaps
	}
	if int(t.count.Load()) >= t.cfg.Max && !t.evict(now, orig) {
		return packet.TableFull
	}
	if int(t.unreplied.Load()) >= t.cfg.MaxUnreplied && !t.evict(now, orig) {
		return packet.UnrepliedLimit
	}
	return packet.NotDropped
}

// minDead is how many ended connections may wait for Reap at least, whatever Max is.
const minDead = 4096

// candidates is how many of the oldest unreplied connections are weighed against each other.
const candidates = 8

// evict ends one unreplied connection: of the oldest ones, the oldest of the host that has most of them. So a host
// that floods pushes out its own, and one that asks a single question keeps the time to be answered. Children of an
// expectation are not touched: their master announced them.
func (t *Table) evict(now Time, orig *Tuple) bool {
	var found [candidates]hit
	var src [candidates][16]byte
	n := 0
	var at [maxShards]uint32
	for i, s := range t.shards {
		at[i] = s.unreplied.newer
	}
	for n < candidates {
		oldest := -1
		for i, s := range t.shards {
			if at[i] != 0 && (oldest < 0 || s.entry(at[i]).start < t.shards[oldest].entry(at[oldest]).start) {
				oldest = i
			}
		}
		if oldest < 0 {
			break
		}
		s, slot := t.shards[oldest], at[oldest]
		at[oldest] = s.link(slot).newer
		e := s.entry(slot)
		found[n], src[n] = hit{s: s, slot: slot, e: e}, s.tuple(e, Original).Src
		n++
	}
	victim, most := -1, 0
	for i := range n {
		votes := 0
		for j := range n {
			if src[i] == src[j] {
				votes += 2
			}
		}
		if src[i] == orig.Src {
			votes++ // between equals, the newcomer's own
		}
		if votes > most {
			victim, most = i, votes
		}
	}
	if victim < 0 {
		return false
	}
	h := &found[victim]
	h.s.end(now, h.slot, h.e, flagEvicted)
	return true
}
