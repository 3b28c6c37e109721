package alg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
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

	now       conntrack.Time           // of the call in progress
	edits     []Edit                   // of the result in hand
	wake      conntrack.Time           // 0: none
	queued    conntrack.Time           // guarded by kit.mu: the entry in its timers that counts, 0: none
	reserved  map[reservation]struct{} // nil: none
	detached  bool                     // the helper is not called again, but to be destroyed
	destroyed bool
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
		st.flows[i].open(st) // a packet may be on its way here yet: nothing of it is kept
	}
	switch {
	case st.stream != nil:
		st.guard(func() { st.stream.Destroy(st) })
	case st.datagram != nil:
		st.guard(func() { st.datagram.Destroy(st) })
	}
	st.unreserveAll()
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
	case errors.Is(err, conntrack.ErrExpectHost):
		st.helper.counters.add(CountRefusedHost)
	default:
		st.helper.counters.add(CountRefusedMaster)
	}
	if st.debug() {
		st.Logf("expect %v class %d: id %d, error %v", e.Tuple, e.Class, id, err)
	}
	return id, err
}

func (st *state) Unexpect(id conntrack.ExpectID) bool {
	e, ok := st.kit.table.Expectation(st.now, id)
	return ok && st.mayWithdraw(&e) && st.kit.table.Unexpect(id)
}

// mayWithdraw reports whether a helper may take an expectation back: its own, or one of the same helper that awaits
// packets from one address of this connection to the other, which only one of the two masters can have.
func (st *state) mayWithdraw(e *conntrack.Expectation) bool {
	if e.Master == st.id {
		return true
	}
	for i := range st.tuples {
		t := &st.tuples[i]
		if e.Mask.Src == conntrack.MaskExact.Src && e.Tuple.Src == t.Src && e.Tuple.Dst == t.Dst && e.Tuple.Zone == t.Zone {
			return st.kit.masterOf(e.Master) == st.helper
		}
	}
	return false
}

func (st *state) Expectations() []conntrack.Expectation {
	return st.kit.table.Expectations(st.now, st.id)
}

func (st *state) Find(t *conntrack.Tuple) (conntrack.Snapshot, bool) {
	snap, _, ok := st.kit.table.Find(st.now, t)
	return snap, ok
}

func (st *state) Kill(id conntrack.Handle) bool {
	snap, ok := st.kit.table.Lookup(st.now, id)
	return ok && st.mayKill(&snap) && st.kit.table.Delete(st.now, id)
}

// mayKill reports whether a helper may end a connection: its own child, or what is in the way of one and concerns
// nobody else. That is GRE, or the child of another control connection, between the very hosts that this connection is
// between, whatever addresses NAT has given them.
func (st *state) mayKill(snap *conntrack.Snapshot) bool {
	if snap.ID == st.id {
		return false
	}
	if snap.Master == st.id {
		return true
	}
	a, b := hosts(&snap.Tuples), hosts(&st.tuples)
	return (a == b || a == [2]host{b[1], b[0]}) &&
		(snap.Tuples[0].Proto == packet.ProtoGRE || snap.Status&conntrack.Expected != 0)
}

// host is one end of a connection: the address that it has itself.
type host struct {
	addr [16]byte
	zone uint16
}

// hosts returns the ends of a connection by the direction that they send in: what a host sends comes in untranslated.
func hosts(t *[2]conntrack.Tuple) [2]host {
	return [2]host{{t[0].Src, t[0].Zone}, {t[1].Src, t[1].Zone}}
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
