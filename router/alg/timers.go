package alg

import (
	"container/heap"

	"github.com/natrouter/natrouter/router/conntrack"
)

// timer is the time at which a state is to be looked at.
type timer struct {
	at conntrack.Time
	st *state
}

// timers is a heap by time. Entries that a state no longer means stay until their time.
type timers []timer

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	return t[i].at < t[j].at || t[i].at == t[j].at && t[i].st.id < t[j].st.id
}
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(v any)   { *t = append(*t, v.(timer)) }
func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*t = old[:len(old)-1]
	return last
}

// tickEvery is how often a helper is told of a time that it asked for and that is over, ns.
const tickEvery = conntrack.Time(1e9)

// schedule makes sure that Tick looks at the state at its next time; its lock is held. An entry for an earlier time
// stays: the look finds nothing to do then and comes back here.
func (st *state) schedule() {
	at := st.wake
	for i := range st.flows {
		if t := st.flows[i].deadline(); t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	if at == 0 || st.destroyed {
		return
	}
	k := st.kit
	k.mu.Lock()
	defer k.mu.Unlock()
	if st.queued != 0 && st.queued <= at {
		return
	}
	st.queued = at
	heap.Push(&k.timers, timer{at, st})
}

// tick does what is due; the state's lock is held.
func (st *state) tick() {
	for i := range st.flows {
		f := &st.flows[i]
		f.expire(st)
		if f.stalled(st.now) {
			st.desync("edits waited for too long")
		} else if f.overdue(st.now) {
			f.letGo(st, conntrack.Direction(i))
		}
	}
	if st.wake == 0 || st.wake > st.now {
		return
	}
	st.wake = st.now + tickEvery
	if st.stream == nil || st.detached {
		st.wake = 0
		return
	}
	st.guard(func() { st.stream.Tick(st) })
	if st.wake != 0 {
		st.wake = max(st.wake, st.now+1) // never again for the same moment, or the round of Kit.Tick had no end
	}
}
