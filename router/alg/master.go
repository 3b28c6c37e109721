package alg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
)

// state is what the kit keeps of one connection that has a helper, in [conntrack.Ext].Helper and under Ext.Mu. To
// the helper it is the [Master].
type state struct {
	kit    *Kit
	ext    *conntrack.Ext
	id     conntrack.Handle
	helper *registered
	tuples [2]conntrack.Tuple // fixed: the connection is confirmed

	stream   Stream   // nil: of UDP, or New panicked
	datagram Datagram // nil: of TCP
	flows    [2]flow  // of TCP, by direction

	now       conntrack.Time // of the call in progress
	edits     []Edit         // of the result in hand
	wake      conntrack.Time // 0: none
	queued    conntrack.Time // guarded by kit.mu: the entry in its timers that counts, 0: none
	reserved  []reservation
	detached  bool // the helper is not called again, but to be destroyed
	destroyed bool
}

// reservation is an outside port or call ID that the connection holds.
type reservation struct {
	proto   uint8
	outside netip.Addr
	id      uint16
}

// guard calls into the helper. A panic takes it off the connection.
func (st *state) guard(f func()) {
	defer func() {
		if v := recover(); v != nil {
			st.kit.panicked(st, v)
			st.detach()
		}
	}()
	f()
}

// desync gives the streams up: what they say is not, or no more, understood.
func (st *state) desync(why string) {
	if st.detached {
		return
	}
	st.helper.counters.add(CountDesync)
	st.Logf("stream given up: %s", why)
	st.detach()
}

// detach ends the calls to the helper. Its expectations and reservations stay until the connection ends, and edits
// that were made stay in force. What was held may leave.
func (st *state) detach() {
	if st.detached {
		return
	}
	st.detached, st.wake = true, 0
	for i := range st.flows {
		st.flows[i].open(st)
	}
	st.helper.counters.add(CountDetached)
	st.kit.table.SetHelper(st.id, 0)
}

// destroy ends the state, once.
func (st *state) destroy() {
	if st.destroyed {
		return
	}
	st.destroyed, st.detached, st.wake = true, true, 0
	for i := range st.flows {
		st.flows[i].discard(st, 0)
	}
	switch {
	case st.stream != nil:
		st.guard(func() { st.stream.Destroy(st) })
	case st.datagram != nil:
		st.guard(func() { st.datagram.Destroy(st) })
	}
	if st.kit.nat != nil {
		for _, r := range st.reserved {
			st.kit.nat.Unreserve(st.now, r.proto, r.outside, r.id)
		}
	}
	st.reserved = nil
	st.kit.mu.Lock()
	defer st.kit.mu.Unlock()
	delete(st.kit.states, st.id)
	if st.kit.expired != nil {
		st.kit.orphans[st.id] = st.helper
	}
}

// Now implements [Master], as all that follow.
func (st *state) Now() conntrack.Time { return st.now }

func (st *state) ID() conntrack.Handle { return st.id }

func (st *state) Arriving(dir conntrack.Direction) conntrack.Tuple { return st.tuples[dir&1] }

func (st *state) Leaving(dir conntrack.Direction) conntrack.Tuple {
	t, _ := st.tuples[1-dir&1].Inverse()
	return t
}

func (st *state) Expect(e conntrack.Expectation) (conntrack.ExpectID, error) {
	e.Master = st.id
	if int(e.Class) < len(st.helper.Classes) {
		c := &st.helper.Classes[e.Class]
		if e.Limit == 0 {
			e.Limit = c.Limit
		}
		if e.Lifetime == 0 {
			e.Lifetime = conntrack.Time(c.Lifetime)
		}
	}
	id, err := st.kit.table.Expect(st.now, e)
	switch {
	case err == nil:
		st.helper.counters.add(CountCreated)
	case errors.Is(err, conntrack.ErrExpectBusy):
		st.helper.counters.add(CountRefusedBusy)
	case errors.Is(err, conntrack.ErrExpectFull):
		st.helper.counters.add(CountRefusedFull)
	default:
		st.helper.counters.add(CountRefusedMaster)
	}
	if st.debug() {
		st.Logf("expect %v class %d: id %d, error %v", e.Tuple, e.Class, id, err)
	}
	return id, err
}

func (st *state) Unexpect(id conntrack.ExpectID) bool {
	return slices.ContainsFunc(st.Expectations(), func(e conntrack.Expectation) bool { return e.ID == id }) &&
		st.kit.table.Unexpect(id)
}

func (st *state) Expectations() []conntrack.Expectation {
	return st.kit.table.Expectations(st.now, st.id)
}

// maxReserved is how many outside ports and call IDs one connection may hold.
const maxReserved = 1024

func (st *state) Reserve(proto uint8, outside netip.Addr, want uint16) (uint16, bool) {
	if st.kit.nat != nil && len(st.reserved) < maxReserved && !st.destroyed {
		if id, ok := st.kit.nat.Reserve(st.now, proto, outside, want); ok {
			st.reserved = append(st.reserved, reservation{proto, outside, id})
			return id, true
		}
	}
	st.helper.counters.add(CountReserveFailed)
	return 0, false
}

// Unreserve gives back only what this connection holds.
func (st *state) Unreserve(proto uint8, outside netip.Addr, id uint16) {
	if i := slices.Index(st.reserved, reservation{proto, outside, id}); i >= 0 {
		st.reserved = slices.Delete(st.reserved, i, i+1)
		st.kit.nat.Unreserve(st.now, proto, outside, id)
	}
}

func (st *state) Find(t *conntrack.Tuple) (conntrack.Snapshot, bool) {
	snap, _, ok := st.kit.table.Find(st.now, t)
	return snap, ok
}

func (st *state) Kill(id conntrack.Handle) bool {
	snap, ok := st.kit.table.Lookup(st.now, id)
	return ok && snap.Master == st.id && st.kit.table.Delete(st.now, id)
}

func (st *state) Timeouts(t conntrack.Timeouts) uint16 {
	k := st.kit
	k.mu.Lock()
	defer k.mu.Unlock()
	set, ok := k.timeouts[t]
	if !ok {
		set = k.table.AddTimeouts(t)
		k.timeouts[t] = set
	}
	return set
}

func (st *state) Wake(at conntrack.Time) {
	if !st.destroyed && !st.detached {
		st.wake = at
	}
}

func (st *state) Count(name string) { st.helper.counters.add(name) }

func (st *state) debug() bool { return st.kit.log.Enabled(context.Background(), slog.LevelDebug) }

func (st *state) Logf(format string, args ...any) {
	if st.debug() {
		st.kit.log.Debug(fmt.Sprintf(format, args...), "helper", st.helper.Name,
			"connection", st.tuples[conntrack.Original].String(), "time", time.Duration(st.now))
	}
}
