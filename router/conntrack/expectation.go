package conntrack

import (
	"cmp"
	"container/heap"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// Errors of [Table.Expect].
var (
	ErrNoMaster   = errors.New("no such master connection")
	ErrExpectBusy = errors.New("expectation overlaps another")
	ErrExpectFull = errors.New("expectation table full")
	ErrExpectHost = errors.New("host has as many expectations as are left for all others")
)

// ExpectID names an expectation; the zero value names none.
type ExpectID uint64

// MaxClasses is how many classes of expectations a master may have.
const MaxClasses = 4

// Mask says which bits of an expectation's source must agree; its destination always does whole. The zero Mask lets
// any source in.
type Mask struct {
	Src   [16]byte
	SrcID uint16 // enhanced GRE: not compared, a packet does not name it
}

// Masks of the usual kinds.
var (
	MaskExact   = Mask{Src: allOnes, SrcID: 0xffff}
	MaskAnyPort = Mask{Src: allOnes}
)

var allOnes = [16]byte{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
}

// Manip is what NAT does at one position of an expected connection. The zero Manip decides nothing.
type Manip struct {
	Addr            [16]byte // 4-in-6
	Key             uint16   // port or call ID, host byte order
	HasAddr, HasKey bool
}

// ExpectNAT is the NAT of an expected connection, as data. The zero value leaves it to the rules.
type ExpectNAT struct {
	Src, Dst Manip
	Follow   bool      // addresses that are not set become those of the master, whose packets of Dir leave with them
	Dir      Direction // of the master: the way in which the expected connection's first packet goes
}

// Set reports whether n decides anything.
func (n *ExpectNAT) Set() bool {
	return n.Follow || n.Src.HasAddr || n.Src.HasKey || n.Dst.HasAddr || n.Dst.HasKey
}

// Expectation is a connection that another one, its master, has announced. It is a value: the table keeps a copy.
type Expectation struct {
	ID        ExpectID // set by Expect
	Master    Handle   // confirmed
	Tuple     Tuple    // of the awaited first packet; enhanced GRE: SrcID is copied into the connection
	Mask      Mask
	Class     uint8 // below MaxClasses
	Limit     int   // expectations of this class that its master may have; 0: no limit
	Lifetime  Time  // ns from Expect on; 0: as long as the master lives
	Uses      int   // connections that it lets in until it is used up; 0: one
	Permanent bool  // stays after it was used
	Inactive  bool  // never matches
	Helper    uint8 // of the connection, 0: none
	Timeouts  uint16
	NAT       ExpectNAT
	Deadline  Time // set by Expect; 0: none

	host   hostKey // that the master serves; set by Expect
	claims int     // connections that it let in and that are being confirmed
}

// target is the part of an expectation that must agree whole.
type target struct {
	dst    [16]byte
	id     uint16
	zone   uint16
	proto  uint8
	family uint8
}

func (t *Tuple) target() target { return target{t.Dst, t.DstID, t.Zone, t.Proto, t.Family} }

// expectations is the table of all that are waiting. For the lock order see the package comment: no shard is
// locked when mu is taken, and a shard's plain lock may be taken under it.
type expectations struct {
	table *Table
	max   int
	n     atomic.Int64 // len(byID), for a look without the lock

	mu       sync.Mutex
	next     ExpectID
	byID     map[ExpectID]*Expectation
	byTarget map[target][]*Expectation
	byMaster map[Handle][]*Expectation // oldest first
	byHost   map[hostKey]int           // how many wait, by the host that their masters serve
	queue    expectQueue               // by deadline; some removed ones too, see trim
}

func (x *expectations) init(t *Table, max int) {
	x.table, x.max = t, max
	x.byID = make(map[ExpectID]*Expectation)
	x.byTarget = make(map[target][]*Expectation)
	x.byMaster = make(map[Handle][]*Expectation)
	x.byHost = make(map[hostKey]int)
}

// hostKey names a host.
type hostKey struct {
	addr [16]byte
	zone uint16
}

// hostOf returns the host that a connection serves: the one behind NAT, else the one that began it.
func hostOf(orig, reply *Tuple) hostKey {
	if orig.Src == reply.Dst && orig.Dst != reply.Src {
		return hostKey{reply.Src, reply.Zone}
	}
	return hostKey{orig.Src, orig.Zone}
}

// waiting is a cheap look before match.
func (x *expectations) waiting() bool { return x.n.Load() > 0 }

// Expect adds an expectation. An identical one of the same master (class, tuple and mask) is renewed; one that
// overlaps another is refused with ErrExpectBusy. At the limit of its class it replaces the oldest of the class;
// at the table's, it is refused with ErrExpectFull. A master that is not confirmed or has ended gives ErrNoMaster.
// A host whose masters have as many as are still free gets no more, ErrExpectHost: alone it has half of the table at
// most, and another always finds room (docs/spec/conntrack.md, section 3: a cap for each host). What it renews or replaces
// it had already.
func (t *Table) Expect(now Time, e Expectation) (ExpectID, error) {
	x := &t.expect
	x.mu.Lock()
	defer x.mu.Unlock()
	var ok bool
	if e.host, ok = x.mark(e.Master); !ok {
		return 0, ErrNoMaster
	}
	e.Class, e.claims = min(e.Class, MaxClasses-1), 0
	if e.Tuple.IsGREv1() {
		e.Mask.SrcID = 0
	}
	x.dropExpired(now, e.Tuple.target())
	before := len(x.byID)
	for _, o := range x.byTarget[e.Tuple.target()] {
		if o.Master == e.Master && o.Class == e.Class && o.Tuple == e.Tuple && o.Mask == e.Mask {
			x.remove(o)
			break
		}
		if overlap(&e, o) {
			return 0, ErrExpectBusy
		}
	}
	if e.Limit > 0 && len(x.byMaster[e.Master]) >= e.Limit {
		if oldest, n := x.oldest(e.Master, e.Class); n >= e.Limit {
			x.remove(oldest)
		}
	}
	if len(x.byID) >= x.max {
		return 0, ErrExpectFull
	}
	if len(x.byID) == before && x.byHost[e.host] >= x.max-before {
		return 0, ErrExpectHost
	}
	x.add(now, &e)
	return e.ID, nil
}

// mark notes in a live master that it has expectations, and returns the host that it serves.
func (x *expectations) mark(id Handle) (host hostKey, ok bool) {
	if id.shard() >= len(x.table.shards) {
		return host, false
	}
	s := x.table.shards[id.shard()]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.live(id)
	if e == nil {
		return host, false
	}
	e.flags |= flagMaster
	orig, reply := s.tuple(e, Original), s.tuple(e, Reply)
	return hostOf(&orig, &reply), true
}

// overlap reports whether some packet would match both; their targets are equal.
func overlap(a, b *Expectation) bool {
	for i := range a.Tuple.Src {
		if (a.Tuple.Src[i]^b.Tuple.Src[i])&a.Mask.Src[i]&b.Mask.Src[i] != 0 {
			return false
		}
	}
	return (a.Tuple.SrcID^b.Tuple.SrcID)&a.Mask.SrcID&b.Mask.SrcID == 0
}

// oldest returns the oldest expectation of a class, and how many there are.
func (x *expectations) oldest(master Handle, class uint8) (first *Expectation, n int) {
	for _, e := range x.byMaster[master] {
		if e.Class == class {
			if first == nil {
				first = e
			}
			n++
		}
	}
	return first, n
}

func (x *expectations) add(now Time, e *Expectation) {
	x.next++
	e.ID = x.next
	if e.Deadline = 0; e.Lifetime > 0 {
		e.Deadline = now + e.Lifetime
		x.queue.trim(x.byID)
		heap.Push(&x.queue, expectDue{e.Deadline, e.ID})
	}
	kept := *e
	x.byID[e.ID] = &kept
	x.byTarget[e.Tuple.target()] = append(x.byTarget[e.Tuple.target()], &kept)
	x.byMaster[e.Master] = append(x.byMaster[e.Master], &kept)
	x.byHost[e.host]++
	x.n.Store(int64(len(x.byID)))
	x.tell(EventExpectNew, e)
}

func (x *expectations) remove(e *Expectation) {
	delete(x.byID, e.ID)
	cut(x.byTarget, e.Tuple.target(), e)
	cut(x.byMaster, e.Master, e)
	if x.byHost[e.host]--; x.byHost[e.host] == 0 {
		delete(x.byHost, e.host)
	}
	x.n.Store(int64(len(x.byID)))
	x.tell(EventExpectDestroy, e)
}

// cut removes e from the list of a key, in order.
func cut[K comparable](m map[K][]*Expectation, k K, e *Expectation) {
	list := m[k]
	for i, o := range list {
		if o == e {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(m, k)
	} else {
		m[k] = list
	}
}

func (x *expectations) tell(typ EventType, e *Expectation) {
	if x.table.events.wanted(typ) {
		x.table.events.publish(Event{Type: typ, Expect: *e})
	}
}

// Unexpect removes an expectation; false: there is none of that name any more.
func (t *Table) Unexpect(id ExpectID) bool {
	x := &t.expect
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e != nil {
		x.remove(e)
	}
	return e != nil
}

// SetInactive stops or starts an expectation; false: there is none of that name any more.
func (t *Table) SetInactive(id ExpectID, inactive bool) bool {
	x := &t.expect
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e != nil {
		e.Inactive = inactive
	}
	return e != nil
}

// Expectations returns all that are waiting, of one master or (0) of all, oldest first.
func (t *Table) Expectations(now Time, master Handle) []Expectation {
	x := &t.expect
	x.mu.Lock()
	defer x.mu.Unlock()
	var list []Expectation
	add := func(e *Expectation) {
		if e.Deadline == 0 || e.Deadline > now {
			list = append(list, *e)
		}
	}
	if master != 0 {
		for _, e := range x.byMaster[master] {
			add(e)
		}
		return list
	}
	for _, e := range x.byID {
		add(e)
	}
	slices.SortFunc(list, func(a, b Expectation) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Expectation returns one that is waiting; false: there is none of that name any more.
func (t *Table) Expectation(now Time, id ExpectID) (Expectation, bool) {
	x := &t.expect
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e == nil || e.Deadline != 0 && e.Deadline <= now {
		return Expectation{}, false
	}
	return *e, true
}

// matched is what a connection takes from its expectation.
type matched struct {
	id       ExpectID
	master   Handle
	mark     uint32
	helper   uint8
	srcID    uint16
	timeouts uint16
	nat      ExpectNAT
}

// match finds the expectation of a first packet. It stays until the connection is confirmed: a packet that is dropped before
// leaves all as it was, as docs/spec/conntrack.md, sections 3 and 8, have it.
func (x *expectations) match(now Time, tuple *Tuple, m *matched) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.byTarget[tuple.target()] {
		if e.Inactive || e.taken() || e.Deadline != 0 && e.Deadline <= now || !e.admits(tuple) {
			continue
		}
		*m = matched{id: e.ID, master: e.Master, helper: e.Helper, srcID: tuple.SrcID, timeouts: e.Timeouts, nat: e.NAT}
		if tuple.IsGREv1() {
			m.srcID = e.Tuple.SrcID
		}
		if x.inherit(now, m) {
			return true
		}
	}
	return false
}

// admits reports whether a packet's source agrees, the target being equal.
func (e *Expectation) admits(t *Tuple) bool {
	for i, m := range e.Mask.Src {
		if (e.Tuple.Src[i]^t.Src[i])&m != 0 {
			return false
		}
	}
	return (e.Tuple.SrcID^t.SrcID)&e.Mask.SrcID == 0
}

// inherit takes from the master what the connection needs of it; false: it has ended.
func (x *expectations) inherit(now Time, m *matched) bool {
	s := x.table.shards[m.master.shard()]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.live(m.master)
	if e == nil || e.deadline <= now {
		return false
	}
	if e.flags&flagRare != 0 {
		m.mark = s.rare[m.master.slot()].mark
	}
	if m.nat.Follow {
		out := s.tuple(e, 1-m.nat.Dir&1).inverse()
		if !m.nat.Src.HasAddr {
			m.nat.Src.Addr, m.nat.Src.HasAddr = out.Src, true
		}
		if !m.nat.Dst.HasAddr {
			m.nat.Dst.Addr, m.nat.Dst.HasAddr = out.Dst, true
		}
	}
	return true
}

// claim keeps an expectation for a connection that is about to be confirmed; false: another one used it up meanwhile.
func (x *expectations) claim(id ExpectID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e == nil || e.taken() {
		return false
	}
	e.claims++
	return true
}

// settle ends a claim: an expectation is used up by the connection, or awaits another.
func (x *expectations) settle(id ExpectID, used bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e == nil {
		return
	}
	e.claims--
	switch {
	case !used || e.Permanent:
	case e.Uses > 1:
		e.Uses--
	default:
		x.remove(e)
	}
}

// taken reports whether connections that are being confirmed have all of what an expectation lets in.
func (e *Expectation) taken() bool { return !e.Permanent && e.claims >= max(e.Uses, 1) }

// removeMasters removes all expectations of masters that ended. No shard is locked.
func (x *expectations) removeMasters(ids []Handle) {
	if len(ids) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range ids {
		for len(x.byMaster[id]) > 0 {
			x.remove(x.byMaster[id][0])
		}
	}
}

// step removes up to budget expectations whose time is over.
func (x *expectations) step(now Time, budget int) {
	if !x.waiting() {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for ; budget > 0 && len(x.queue) > 0 && x.queue[0].at <= now; budget-- {
		due := heap.Pop(&x.queue).(expectDue)
		if e := x.byID[due.id]; e != nil {
			x.remove(e)
		}
	}
}

// dropExpired removes what is over but not yet stepped, where it would be in the way.
func (x *expectations) dropExpired(now Time, at target) {
	for _, e := range append([]*Expectation(nil), x.byTarget[at]...) {
		if e.Deadline != 0 && e.Deadline <= now {
			x.remove(e)
		}
	}
}

// trim takes those out that were removed, when they are the most: who makes and removes expectations all the time would
// else fill the queue.
func (q *expectQueue) trim(byID map[ExpectID]*Expectation) {
	if len(*q) < 2*len(byID)+expectSlack {
		return
	}
	*q = slices.DeleteFunc(*q, func(due expectDue) bool { return byID[due.id] == nil })
	heap.Init(q)
}

// expectSlack is how many removed ones may stay in the queue in any case.
const expectSlack = 256

// expectDue is an expectation's place in the queue.
type expectDue struct {
	at Time
	id ExpectID
}

// expectQueue is a heap by deadline.
type expectQueue []expectDue

func (q expectQueue) Len() int { return len(q) }
func (q expectQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].id < q[j].id
}
func (q expectQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *expectQueue) Push(v any)   { *q = append(*q, v.(expectDue)) }
func (q *expectQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
