package fragment

import (
	"container/list"
	"sync"

	"github.com/natrouter/natrouter/router/packet"
)

const (
	second      = packet.Time(1e9)
	timeoutIPv4 = 30 * second // RFC 791, section 3.2 begins at 15 s and takes a larger TTL; netfilter's value
	timeoutIPv6 = 60 * second // RFC 8200, section 4.5

	// maxFragments bounds the fragments of a datagram: the longest one over the smallest MTU, 68 bytes, of which
	// 48 are payload (RFC 791, section 3.2).
	maxFragments = (packet.MaxIPv4 + 47) / 48

	// maxLater is how many datagrams of a pair may overtake an incomplete one of IPv4 before it is given up: what is
	// missing is lost by then, and its identification may be used again (RFC 4963). netfilter's value, which counts
	// fragments of a source (ipfrag_max_dist).
	maxLater = 64

	maxPerSource = 256 // datagrams of one source
	sourceShare  = 4   // one source holds at most a fourth of the memory

	// What bookkeeping costs beside the bytes of fragments, roughly.
	datagramCost = 768
	pieceCost    = 64
)

// Reassembler holds incomplete datagrams. It is safe for concurrent use; time is passed in and must not go back.
type Reassembler struct {
	limit int // bytes

	mu        sync.Mutex
	datagrams map[key]*datagram   // guarded by mu
	sources   map[source]*holder  // guarded by mu; every source that holds a datagram
	pairs     map[pair]*list.List // guarded by mu; of *datagram, oldest first; every pair that holds a datagram of IPv4
	byAge     [2]list.List        // guarded by mu; of *datagram, oldest first: IPv4 and IPv6, which time out differently
	bytes     int                 // guarded by mu
	timeouts  uint64              // guarded by mu
	evicted   uint64              // guarded by mu
	stale     uint64              // guarded by mu
}

// key names a datagram among those under way: RFC 791, section 3.2; RFC 8200, section 4.5.
type key struct {
	pair
	id    uint32
	proto uint8 // IPv4 only: IPv6 identifications are not scoped by protocol
}

// pair is a source and a destination. Identifications are unique among the datagrams of one, and of a protocol.
type pair struct {
	source
	dst [16]byte
}

// source is an address, 4-in-6 for IPv4, on an interface.
type source struct {
	addr [16]byte
	in   int
}

// holder is what one source has under way.
type holder struct {
	byAge list.List // of *datagram, oldest first
	bytes int
}

// New makes a Reassembler that keeps at most limit bytes, its own bookkeeping included, and a fourth of them for one source: 512
// KiB let the longest datagram become whole. With limit 0 every fragment is dropped.
func New(limit int) *Reassembler {
	return &Reassembler{limit: limit, datagrams: make(map[key]*datagram), sources: make(map[source]*holder),
		pairs: make(map[pair]*list.List)}
}

// Add keeps a copy of fragment b, whose Headers are h, that came in by interface in at now. When its datagram is
// complete, it is written to dst and n is its length, size the length of its largest fragment as a packet, bytes,
// and df reports whether DF was set on any (always for IPv6). dst must have room for the longest packet,
// [packet.MaxIPv6] bytes, or the datagram is dropped as Oversize; it must not overlap b. The packet in dst has the first
// fragment's headers, with total length and IPv4 checksum made right, or without the IPv6 fragment header; it has still to be
// parsed. n is 0 otherwise: with NotDropped the fragment is held or was there already, else the reason says why it,
// or its whole datagram, is dropped. A packet that is no fragment is FragmentInvalid.
//
// Any overlap but an exact duplicate drops the datagram. Over IPv6 all that still comes of it is dropped too (RFC 5722,
// section 4), until its time is up. Over IPv4 an identification is soon used again (RFC 4963), so the next fragment
// begins another datagram; so does a first fragment with other bytes than the one that is there, and an incomplete
// datagram is given up when 64 others between the same two hosts have begun after it and are complete. Datagrams time
// out in [Reassembler.Expire] only.
func (r *Reassembler) Add(now packet.Time, in int, b []byte, h *packet.Headers, dst []byte) (n int, size int, df bool, reason packet.DropReason) {
	p, ok := newPiece(b, h)
	if !ok {
		return 0, 0, false, packet.FragmentInvalid
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := newKey(in, b, h)
	d := r.datagramLocked(now, k)
	if d.begins(&p) {
		r.giveUpLocked(d)
		d = r.datagramLocked(now, k)
	}
	cost := d.bytes
	if reason := d.add(p, b, h); reason != packet.NotDropped {
		r.refusedLocked(d, cost)
		return 0, 0, false, reason
	}
	if d.complete() {
		r.overtakeLocked(d)
		r.removeLocked(d, cost)
		n, reason := d.assemble(dst)
		return n, d.size, d.df, reason
	}
	r.chargeLocked(d, d.bytes-cost)
	if r.shrinkLocked(d) {
		return 0, 0, false, packet.FragmentMemory
	}
	return 0, 0, false, packet.NotDropped
}

func newKey(in int, b []byte, h *packet.Headers) key {
	k := key{id: h.ID}
	k.in = in
	packet.AddrTo16(&k.addr, h.Src(b))
	packet.AddrTo16(&k.dst, h.Dst(b))
	if h.Family == 4 {
		k.proto = h.Proto
	}
	return k
}

// family returns 4 or 6.
func (k *key) family() uint8 {
	if packet.Is4In6(&k.addr) {
		return 4
	}
	return 6
}

// owner returns whom the datagram's memory is charged to: an IPv4 address, or an IPv6 /64, since one host may have
// all of that.
func (k *key) owner() source {
	s := k.source
	if k.family() == 6 {
		clear(s.addr[8:])
	}
	return s
}

// datagramLocked finds the datagram of k, or begins one.
func (r *Reassembler) datagramLocked(now packet.Time, k key) *datagram {
	if d := r.datagrams[k]; d != nil {
		return d
	}
	d := &datagram{key: k, began: now, deadline: now + timeoutIPv4}
	ages := &r.byAge[0]
	if k.family() == 6 {
		d.deadline, ages = now+timeoutIPv6, &r.byAge[1]
	} else {
		hosts := r.pairs[k.pair]
		if hosts == nil {
			hosts = list.New()
			r.pairs[k.pair] = hosts
		}
		d.byPair = hosts.PushBack(d)
	}
	owner := k.owner()
	s := r.sources[owner]
	if s == nil {
		s = &holder{}
		r.sources[owner] = s
	}
	r.datagrams[k] = d
	d.byAge, d.bySource = ages.PushBack(d), s.byAge.PushBack(d)
	r.chargeLocked(d, datagramCost)
	return d
}

// chargeLocked counts bytes that d has more.
func (r *Reassembler) chargeLocked(d *datagram, bytes int) {
	r.bytes += bytes
	r.sources[d.key.owner()].bytes += bytes
}

// refusedLocked is told that d took no fragment, of which cost bytes were charged: one of IPv6 that was dropped is
// remembered (RFC 5722, section 4), one of IPv4 is forgotten.
func (r *Reassembler) refusedLocked(d *datagram, cost int) {
	if d.key.family() == 4 {
		r.removeLocked(d, cost)
		return
	}
	r.chargeLocked(d, d.bytes-cost)
}

// overtakeLocked gives up the datagrams that done, which is complete, is the last to overtake. Each is counted at most
// maxLater times, so the work is bounded by the datagrams that begin.
func (r *Reassembler) overtakeLocked(done *datagram) {
	if done.byPair == nil {
		return
	}
	for e := r.pairs[done.key.pair].Front(); e != done.byPair; {
		d := e.Value.(*datagram)
		e = e.Next()
		if d.later++; d.later == maxLater {
			r.giveUpLocked(d)
		}
	}
}

// giveUpLocked drops d, which will not be complete any more.
func (r *Reassembler) giveUpLocked(d *datagram) {
	r.removeLocked(d, d.bytes)
	r.stale++
}

// removeLocked forgets d, of which bytes beside its bookkeeping were charged.
func (r *Reassembler) removeLocked(d *datagram, bytes int) {
	r.chargeLocked(d, -bytes-datagramCost)
	owner := d.key.owner()
	s := r.sources[owner]
	s.byAge.Remove(d.bySource)
	if s.byAge.Len() == 0 {
		delete(r.sources, owner)
	}
	for i := range r.byAge {
		r.byAge[i].Remove(d.byAge) // the list that it is not in does nothing
	}
	if d.byPair != nil {
		hosts := r.pairs[d.key.pair]
		if hosts.Remove(d.byPair); hosts.Len() == 0 {
			delete(r.pairs, d.key.pair)
		}
	}
	delete(r.datagrams, d.key)
}

// shrinkLocked drops the oldest datagrams: of added's source while that has more than its share, then of all, down
// to three quarters, if there are more than the limit. It reports whether added is among them.
func (r *Reassembler) shrinkLocked(added *datagram) (dropped bool) {
	evict := func(d *datagram) {
		r.removeLocked(d, d.bytes)
		r.evicted++
		dropped = dropped || d == added
	}
	for s := r.sources[added.key.owner()]; s.byAge.Len() > maxPerSource || s.bytes > r.limit/sourceShare && s.byAge.Len() > 0; {
		evict(s.byAge.Front().Value.(*datagram))
	}
	if r.bytes <= r.limit {
		return dropped
	}
	for r.bytes > r.limit/4*3 {
		evict(r.oldestLocked())
	}
	return dropped
}

// oldestLocked returns the datagram that began first; there is one.
func (r *Reassembler) oldestLocked() *datagram {
	var oldest *datagram
	for i := range r.byAge {
		if e := r.byAge[i].Front(); e != nil {
			if d := e.Value.(*datagram); oldest == nil || d.began < oldest.began {
				oldest = d
			}
		}
	}
	return oldest
}

// Expire drops the datagrams whose time is up at now and returns how many fragments that were; those of datagrams
// that were dropped before are not counted again. For each datagram whose fragment with offset 0 arrived it calls
// f, without holding a lock, with the interface and that fragment from the IP header on, for the time exceeded
// message (RFC 1122, section 3.3.2; RFC 8200, section 4.5); f may keep it.
func (r *Reassembler) Expire(now packet.Time, f func(in int, first []byte)) (dropped int) {
	for {
		d := r.popExpired(now)
		if d == nil {
			return dropped
		}
		dropped += len(d.pieces)
		if d.first != nil {
			f(d.key.in, d.first)
		}
	}
}

// popExpired takes one datagram out whose time is up at now.
func (r *Reassembler) popExpired(now packet.Time) *datagram {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.byAge {
		if e := r.byAge[i].Front(); e != nil {
			if d := e.Value.(*datagram); now >= d.deadline {
				r.removeLocked(d, d.bytes)
				if d.bad == packet.NotDropped {
					r.timeouts++
				}
				return d
			}
		}
	}
	return nil
}

// Len returns how many datagrams are under way, dropped ones that are remembered included.
func (r *Reassembler) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.datagrams)
}

// Bytes returns the memory in use, bookkeeping included.
func (r *Reassembler) Bytes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}

// Timeouts returns how many datagrams were not complete in time, since New.
func (r *Reassembler) Timeouts() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.timeouts
}

// Stale returns how many datagrams of IPv4 were given up because their identification was used again or too many
// others overtook them, since New.
func (r *Reassembler) Stale() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stale
}

// Evicted returns how many datagrams were dropped for want of memory, since New.
func (r *Reassembler) Evicted() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.evicted
}
