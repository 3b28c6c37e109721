package conntrack

import (
	"sync"
	"sync/atomic"
)

// EventType says what happened.
type EventType uint8

// The events.
const (
	EventNew           EventType = iota // a connection was confirmed; with Expected in its status: a related one
	EventUpdate                         // something of it changed: see Event.Update
	EventDestroy                        // it ended
	EventExpectNew                      // an expectation was made or renewed
	EventExpectDestroy                  // it was used, expired or removed
	numEventTypes
)

// Update says what of a connection changed, several at once.
type Update uint16

// The changes.
const (
	UpdateReply   Update = 1 << iota // the first reply was seen
	UpdateAssured                    // it became exempt from early drop
	UpdateProto                      // the protocol's state
	UpdateHelper                     // helper attached or detached
	UpdateMark
	UpdateLabel
	UpdateSeqAdj // an edit was made
)

// Event is one thing that happened. Of a connection, Conn.Timeout is only set in EventNew.
type Event struct {
	Type   EventType
	Update Update
	Conn   Snapshot    // of connection events
	Expect Expectation // of expectation events
}

// events is the list of who listens.
type events struct {
	mask atomic.Uint32 // union of the subscriptions' types, 1<<EventType
	mu   sync.Mutex
	subs []*Subscription // guarded by mu
}

// Subscription is a bounded queue of events. Writing never waits: what does not fit is counted as lost. Its methods
// may be called at once.
type Subscription struct {
	events *events
	mask   uint32
	wake   chan struct{}

	mu    sync.Mutex
	ring  []Event // guarded by mu
	first int     // guarded by mu
	n     int     // guarded by mu
	lost  uint64  // guarded by mu
}

// Subscribe starts a queue of up to size events of the types given; none given: of all. The caller closes it.
func (t *Table) Subscribe(size int, types ...EventType) *Subscription {
	s := &Subscription{events: &t.events, ring: make([]Event, max(size, 1)), wake: make(chan struct{}, 1)}
	for _, typ := range types {
		s.mask |= 1 << typ
	}
	if len(types) == 0 {
		s.mask = 1<<numEventTypes - 1
	}
	t.events.mu.Lock()
	t.events.subs = append(t.events.subs, s)
	t.events.remask()
	t.events.mu.Unlock()
	return s
}

// Close ends the subscription. What is queued can still be read.
func (s *Subscription) Close() {
	s.events.mu.Lock()
	for i, other := range s.events.subs {
		if other == s {
			s.events.subs = append(s.events.subs[:i], s.events.subs[i+1:]...)
			break
		}
	}
	s.events.remask()
	s.events.mu.Unlock()
}

// Wake returns a channel that receives after events came in. One value stands for any number of events.
func (s *Subscription) Wake() <-chan struct{} { return s.wake }

// Read moves queued events to dst, oldest first, and returns how many, and how many were lost since the last Read:
// they would stand after those that it returns.
func (s *Subscription) Read(dst []Event) (n int, lost uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; n < len(dst) && s.n > 0; n++ {
		dst[n] = s.ring[s.first]
		s.first = (s.first + 1) % len(s.ring)
		s.n--
	}
	if s.n == 0 {
		lost, s.lost = s.lost, 0
	}
	return n, lost
}

// remask is called with ev.mu held.
func (ev *events) remask() {
	mask := uint32(0)
	for _, s := range ev.subs {
		mask |= s.mask
	}
	ev.mask.Store(mask)
}

// wanted reports whether anybody listens to a type: no event is made otherwise.
func (ev *events) wanted(typ EventType) bool { return ev.mask.Load()&(1<<typ) != 0 }

func (ev *events) publish(e Event) {
	ev.mu.Lock()
	for _, s := range ev.subs {
		if s.mask&(1<<e.Type) != 0 {
			s.put(&e)
		}
	}
	ev.mu.Unlock()
}

// put drops the event when the ring is full, and all that follow until the reader has caught up: so that what is
// lost is one gap at a known place.
func (s *Subscription) put(e *Event) {
	s.mu.Lock()
	if s.lost > 0 || s.n == len(s.ring) {
		s.lost++
	} else {
		s.ring[(s.first+s.n)%len(s.ring)] = *e
		s.n++
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// update tells observers that a connection changed.
func (s *shard) update(slot uint32, e *entry, what Update) {
	if s.table.events.wanted(EventUpdate) {
		s.table.events.publish(Event{Type: EventUpdate, Update: what, Conn: s.snapshot(slot, e, e.deadline)})
	}
}
