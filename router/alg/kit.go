package alg

import (
	"container/heap"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// Config is what a Kit is made from.
type Config struct {
	Registry *Registry
	Rules    []Rule
	Auto     bool             // legacy: assign by the server's port where no rule matches
	Table    *conntrack.Table // of the connections
	NAT      *nat.NAT         // outside ports and call IDs; nil: nothing can be reserved
	Log      *slog.Logger     // nil: nothing is logged
}

// Sink takes the packets that Handle makes besides the one it was given.
type Sink interface {
	// Send sends a packet the way of the one in hand, before it. b is the caller's again after the call.
	Send(b []byte, m packet.Meta)
}

// Kit runs the helpers of a connection table: it assigns them, gives them the bytes of their connections, and changes
// packets by what they return. Its methods may be called at once, but not with one Conn.
//
// Lock order: Ext.Mu of a connection → Kit.mu; no helper runs under Kit.mu.
type Kit struct {
	registry *Registry
	rules    []rule
	auto     bool
	table    *conntrack.Table
	nat      *nat.NAT
	log      *slog.Logger
	expired  *conntrack.Subscription // expectations that ended
	warned   atomic.Bool             // of what the legacy switch would have assigned
	held     atomic.Int64            // bytes of segments that wait, of all connections
	scratch  sync.Pool               // *scratch

	mu       sync.Mutex
	states   map[conntrack.Handle]*state      // guarded by mu
	timers   timers                           // guarded by mu
	timeouts map[conntrack.Timeouts]uint16    // guarded by mu
	orphans  map[conntrack.Handle]*registered // guarded by mu: masters that ended since the last Tick
}

// New makes a kit. An error is a *RuleError.
func New(cfg Config) (*Kit, error) {
	if cfg.Registry == nil {
		cfg.Registry = &Registry{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	rules, err := compile(cfg.Registry, cfg.Rules)
	if err != nil {
		return nil, err
	}
	k := &Kit{
		registry: cfg.Registry, rules: rules, auto: cfg.Auto, table: cfg.Table, nat: cfg.NAT, log: cfg.Log,
		states:   map[conntrack.Handle]*state{},
		timeouts: map[conntrack.Timeouts]uint16{},
		orphans:  map[conntrack.Handle]*registered{},
	}
	k.scratch.New = func() any { return new(scratch) }
	if len(cfg.Registry.all()) > 0 {
		k.expired = cfg.Table.Subscribe(expiryBacklog, conntrack.EventExpectDestroy)
	}
	return k, nil
}

// expiryBacklog is how many ended expectations are remembered from one Tick to the next; more are not counted.
const expiryBacklog = 1024

// Wants reports whether Handle has anything to do for a packet of c: it has a helper, or had one that edited.
func Wants(c *conntrack.Conn) bool { return c.Helper != 0 || c.Status&conntrack.SeqAdjust != 0 }

// Early reports whether c must be confirmed before Handle sees its first packet: helpers of UDP read that too, and what
// they announce needs a master that is in the table.
func (k *Kit) Early(c *conntrack.Conn) bool {
	if c.ID != 0 || c.Helper == 0 || c.Tuples[conntrack.Original].Proto != packet.ProtoUDP {
		return false
	}
	h := k.registry.byID(c.Helper)
	return h != nil && h.Proto == packet.ProtoUDP
}

// Packet is what Handle reads and changes. It keeps none of it.
type Packet struct {
	Bytes []byte // from the IP header on; it may grow to all of its capacity
	H     *packet.Headers
	Meta  *packet.Meta
	Room  int // size of the largest packet that may leave, bytes
}

// Handle gives a packet to its connection's helper: after both rewrites of NAT, and before anything that depends on its
// size. c is the packet's own copy. With Accept, p is the packet as it goes on, with what has changed; Stolen: it was
// kept, or sent to sink; Drop comes with a reason. What Handle makes besides goes to sink, in order and before p.
func (k *Kit) Handle(now conntrack.Time, c *conntrack.Conn, p *Packet, sink Sink) (packet.Verdict, packet.DropReason) {
	if c.ID == 0 {
		if c.Helper != 0 && p.H.Proto == packet.ProtoTCP && c.ErrorL3 == 0 {
			p.Bytes = trimSYN(p.Bytes, p.H, p.Meta)
		}
		return packet.Accept, packet.NotDropped
	}
	x := k.table.Ext(c.ID)
	if x == nil {
		return packet.Accept, packet.NotDropped // ended meanwhile
	}
	x.Mu.Lock()
	defer x.Mu.Unlock()
	if c.ErrorL3 != 0 {
		if x.Edits[0].Empty() && x.Edits[1].Empty() {
			return packet.Accept, packet.NotDropped
		}
		reason := nat.UnadjustQuote(p.Bytes, p.H, p.Meta, c, &x.Edits)
		return verdict(reason), reason
	}
	st, _ := x.Helper.(*state)
	if st == nil {
		if st = k.attach(now, c, x); st == nil {
			return packet.Accept, packet.NotDropped
		}
	}
	st.now = now
	defer st.schedule()
	one := part{st: st, b: p.Bytes, h: p.H, m: p.Meta, dir: c.Dir & 1, room: p.Room, sink: sink}
	var v packet.Verdict
	var reason packet.DropReason
	if p.H.Proto == packet.ProtoUDP {
		v, reason = one.handleDatagram()
	} else {
		v, reason = one.handleTCP()
	}
	p.Bytes = one.b
	return v, reason
}

func verdict(reason packet.DropReason) packet.Verdict {
	if reason != packet.NotDropped {
		return packet.Drop
	}
	return packet.Accept
}

// attach makes the state of a connection that has a helper, on its first packet after it was confirmed; x.Mu is held.
func (k *Kit) attach(now conntrack.Time, c *conntrack.Conn, x *conntrack.Ext) *state {
	h := k.registry.byID(c.Helper)
	if h == nil || h.Proto != c.Tuples[conntrack.Original].Proto || x.Helper != nil {
		return nil
	}
	st := &state{kit: k, ext: x, id: c.ID, helper: h, tuples: c.Tuples, now: now}
	config := h.defaults
	if r := k.ruleFor(&c.Tuples[conntrack.Original]); r != nil && r.helper == h {
		config = r.config
	}
	x.Helper = st
	k.mu.Lock()
	k.states[c.ID] = st
	k.mu.Unlock()
	h.counters.add(CountAttached)
	st.guard(func() {
		if h.Proto == packet.ProtoTCP {
			st.stream = h.Helper.(StreamHelper).New(st, config)
		} else {
			st.datagram = h.Helper.(DatagramHelper).New(st, config)
		}
	})
	return st
}

// Destroy ends the helper's part of an ended connection: call it for each that the table reaped, before NAT releases
// its mappings.
func (k *Kit) Destroy(now conntrack.Time, d *conntrack.Dead) {
	if d.Ext != nil {
		k.destroy(now, d.Ext)
	}
}

func (k *Kit) destroy(now conntrack.Time, x *conntrack.Ext) {
	x.Mu.Lock()
	defer x.Mu.Unlock()
	switch st := x.Helper.(type) {
	case *state:
		st.now = now
		st.destroy()
	case nil:
		x.Helper = ended{}
	}
}

// ended stands for the state of a connection that ended without one: a packet of it that is on its way makes none.
type ended struct{}

// Detach takes the helper off a connection, as an operator wants it; the connection lives on, and so do its edits. It
// reports whether there was one.
func (k *Kit) Detach(now conntrack.Time, id conntrack.Handle) bool {
	k.mu.Lock()
	st := k.states[id]
	k.mu.Unlock()
	if st == nil {
		return false
	}
	st.ext.Mu.Lock()
	defer st.ext.Mu.Unlock()
	if st.destroyed {
		return false
	}
	st.now = now
	st.detach()
	st.destroy()
	return true
}

// Unregister removes a helper: its expectations are removed, its connections live on without it. While a rule uses it,
// it fails with ErrInUse.
func (k *Kit) Unregister(now conntrack.Time, name string) error {
	e := k.registry.byName(name, 0)
	if e == nil {
		return ErrNone
	}
	for i := range k.rules {
		if k.rules[i].helper == e {
			return ErrInUse
		}
	}
	k.registry.remove(e)
	for _, st := range k.attached() {
		if st.helper != e {
			continue
		}
		k.Detach(now, st.id)
		k.withdraw(now, func(x *conntrack.Expectation) bool { return x.Master == st.id })
	}
	k.withdraw(now, func(x *conntrack.Expectation) bool { return x.Helper == e.id })
	return nil
}

// withdraw removes the expectations that f selects.
func (k *Kit) withdraw(now conntrack.Time, f func(*conntrack.Expectation) bool) {
	for _, x := range k.table.Expectations(now, 0) {
		if f(&x) {
			k.table.Unexpect(x.ID)
		}
	}
}

// attached returns the states there are, in order of their handles.
func (k *Kit) attached() []*state {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]*state, 0, len(k.states))
	for _, st := range k.states {
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b *state) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return list
}

// Close destroys all that is left, at shutdown.
func (k *Kit) Close(now conntrack.Time) {
	for _, st := range k.attached() {
		k.destroy(now, st.ext)
	}
	if k.expired != nil {
		k.expired.Close()
	}
}

// Tick does what no packet drives: helpers' own times, and the end of waiting. Call it a few times a second.
func (k *Kit) Tick(now conntrack.Time) {
	k.countExpired(now)
	for {
		st := k.due(now)
		if st == nil {
			return
		}
		st.ext.Mu.Lock()
		if !st.destroyed {
			st.now = now
			st.tick()
			st.schedule()
		}
		st.ext.Mu.Unlock()
	}
}

// due takes the next state whose time has come off the timers.
func (k *Kit) due(now conntrack.Time) *state {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.timers) > 0 && k.timers[0].at <= now {
		t := heap.Pop(&k.timers).(timer)
		if t.st.queued == t.at {
			t.st.queued = 0
			return t.st
		}
	}
	return nil
}

// countExpired counts the expectations that ended unused since the last Tick. One that was used in the very moment
// of its end counts as well.
func (k *Kit) countExpired(now conntrack.Time) {
	if k.expired == nil {
		return
	}
	var events [16]conntrack.Event
	for {
		n, _ := k.expired.Read(events[:])
		for i := range events[:n] {
			if e := &events[i].Expect; e.Deadline != 0 && e.Deadline <= now {
				if h := k.masterOf(e.Master); h != nil {
					h.counters.add(CountExpired)
				}
			}
		}
		if n < len(events) {
			break
		}
	}
	k.mu.Lock()
	clear(k.orphans)
	k.mu.Unlock()
}

// masterOf returns the helper that a connection has or had, nil if none.
func (k *Kit) masterOf(id conntrack.Handle) *registered {
	k.mu.Lock()
	defer k.mu.Unlock()
	if st := k.states[id]; st != nil {
		return st.helper
	}
	return k.orphans[id]
}

// MasterHelper returns the name of the helper that a connection has, or had before it was detached; empty if none. Of
// a related connection's master it says who announced it.
func (k *Kit) MasterHelper(id conntrack.Handle) string {
	if h := k.masterOf(id); h != nil {
		return h.Name
	}
	return ""
}

// matched counts the use of an expectation.
func (k *Kit) matched(master conntrack.Handle) {
	if h := k.masterOf(master); h != nil {
		h.counters.add(CountMatched)
	}
}

// Counters returns the numbers of each helper by its name; see the constants for those that the kit keeps.
func (k *Kit) Counters() map[string]map[string]uint64 {
	all := map[string]map[string]uint64{}
	for _, e := range k.registry.all() {
		all[e.Name] = e.counters.read()
	}
	return all
}

// panicked logs what a helper panicked with.
func (k *Kit) panicked(st *state, v any) {
	st.helper.counters.add(CountPanics)
	k.log.Error("helper panicked; it is taken off the connection", "helper", st.helper.Name,
		"connection", st.tuples[conntrack.Original].String(), "panic", v, "stack", string(debug.Stack()))
}
