package conntrack

// The wheel's levels. A tick of the lowest is 2^28 ns (0.27 s) and its turn 69 s, the middle one turns in 4.9 h, the
// top one in 13 days. A deadline beyond that is parked at the end and looked at again.
const (
	wheelLevels = 3
	tickShift   = 28
	headBit     = 1 << 31
)

var (
	levelShift = [wheelLevels]uint{tickShift, tickShift + 8, tickShift + 16}
	levelSize  = [wheelLevels]int64{256, 256, 64}
	levelFirst = [wheelLevels]uint32{0, 256, 512} // first list of each level
)

const (
	pendingFirst = 512 + 64                   // lists that are being emptied, one a level
	numLists     = pendingFirst + wheelLevels // lists of a wheel
)

// wheel orders the entries of a shard by deadline, roughly: one is never visited later than a tick after its
// deadline (given enough budget), and may be visited earlier, since a refresh writes only the deadline. It is
// guarded by its shard's lock.
type wheel struct {
	heads  [numLists]uint32
	cursor [wheelLevels]int64 // the next tick of the level to be emptied
	count  int
}

// sync starts an empty wheel at now, so that what is linked next is not parked by an old cursor.
func (w *wheel) sync(now Time) {
	if w.count == 0 {
		for l := range w.cursor {
			w.cursor[l] = int64(now) >> levelShift[l]
			if l > 0 {
				w.cursor[l]++
			}
		}
	}
}

// choose returns the list for a deadline, and the tick of the lowest level at which that list is emptied.
func (w *wheel) choose(deadline Time) (list uint32, tick int64) {
	level := 0
	at := max(int64(deadline)>>tickShift, w.cursor[0])
	for ; at-w.cursor[level] >= levelSize[level]; level++ {
		if level == wheelLevels-1 {
			at = w.cursor[level] + levelSize[level] - 1
			break
		}
		upper := int64(deadline) >> levelShift[level+1]
		if upper < w.cursor[level+1] { // the lower cursor lags behind: rather too early than too late
			at = w.cursor[level] + levelSize[level] - 1
			break
		}
		at = upper
	}
	list = levelFirst[level] + uint32(at&(levelSize[level]-1))
	return list, at << (levelShift[level] - tickShift)
}

// park links an entry that is in no list.
func (s *shard) park(slot uint32, e *entry) {
	list, tick := s.wheel.choose(e.deadline)
	e.park = uint32(tick)
	e.prev, e.next = headBit|list, s.wheel.heads[list]
	if e.next != 0 {
		s.entry(e.next).prev = slot
	}
	s.wheel.heads[list] = slot
	s.wheel.count++
}

// unpark takes an entry out of its list.
func (s *shard) unpark(e *entry) {
	if e.prev&headBit != 0 {
		s.wheel.heads[e.prev&^headBit] = e.next
	} else {
		s.entry(e.prev).next = e.next
	}
	if e.next != 0 {
		s.entry(e.next).prev = e.prev
	}
	s.wheel.count--
}

// setDeadline moves a deadline; only one that the wheel would miss is linked anew.
func (s *shard) setDeadline(slot uint32, e *entry, deadline Time) {
	e.deadline = deadline
	if int64(deadline)>>tickShift < int64(e.park) {
		s.unpark(e)
		s.park(slot, e)
	}
}

// expire looks at up to budget entries whose time may have come, ends those whose has, and parks the others anew.
func (s *shard) expire(now Time, budget int) (ended int) {
	upper := budget / 2 // what the upper levels hand down must not starve what is due
	for level := wheelLevels - 1; level >= 0; level-- {
		share := min(budget, upper)
		if level == 0 {
			share = budget
		}
		visited, n := s.expireLevel(now, level, share)
		budget -= visited
		upper -= visited
		ended += n
	}
	return ended
}

func (s *shard) expireLevel(now Time, level int, budget int) (visited, ended int) {
	w := &s.wheel
	end := int64(now) >> levelShift[level] // the lowest level: ticks that are over; the others: those that began
	if level > 0 {
		end++
	}
	w.cursor[level] = max(w.cursor[level], end-levelSize[level]) // each list once is enough
	pending := &w.heads[pendingFirst+level]
	for {
		for *pending != 0 {
			if visited == budget {
				return visited, ended
			}
			visited++
			slot := *pending
			e := s.entry(slot)
			if e.deadline <= now {
				s.end(e.deadline, slot, e, 0)
				ended++
				continue
			}
			s.unpark(e)
			s.park(slot, e)
		}
		if w.cursor[level] >= end {
			return visited, ended
		}
		list := levelFirst[level] + uint32(w.cursor[level]&(levelSize[level]-1))
		w.cursor[level]++
		if first := w.heads[list]; first != 0 {
			w.heads[list], *pending = 0, first
			s.entry(first).prev = headBit | uint32(pendingFirst+level)
		}
	}
}
