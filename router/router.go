package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/fragment"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// Options is what a router is given besides its Config. The zero value is usable but for Devices.
type Options struct {
	Devices map[string]tun.Device // by interface name; each interface needs one. Run closes them
	Clock   tcpip.Clock           // nil: the real one
	Seed    [32]byte              // of every random choice; zero: from the system
	Log     *slog.Logger          // nil: slog.Default
	Helpers []alg.Helper          // that rules may assign
}

// Router is the whole pipeline: its hooks, tables, workers and netstack. Its methods may be called at once.
type Router struct {
	cfg        Config
	log        *slog.Logger
	clock      tcpip.Clock
	start      tcpip.MonotonicTime
	started    time.Time
	random     *random
	interfaces []*netInterface
	fib        *fib
	own        *ownAddresses
	table      *conntrack.Table
	nat        *nat.NAT
	helpers    *alg.Registry
	kit        *alg.Kit
	filter     *filter
	fragments  *fragment.Reassembler
	errors     *errorLimit
	pipeline   *pipeline
	workers    []*worker
	local      *localHost
	pause      sync.RWMutex // lanes hold it for a batch at a time, SetAddresses to stop them
	generation uint32       // of routes and rules; connections keep routes of this one only
	dropLog    dropLog      // of warnings
	chatterLog dropLog      // of what hosts say to their link
}

// New wires a router from its parts. Nothing runs before [Router.Run]. An error names the entry of cfg; what [Config.Check]
// calls a mistake is returned as [ruleset.Problems].
func New(cfg Config, opt Options) (*Router, error) {
	r := &Router{cfg: cfg, log: opt.Log, clock: opt.Clock, generation: 1}
	if r.log == nil {
		r.log = slog.Default()
	}
	if r.clock == nil {
		r.clock = tcpip.NewStdClock()
	}
	r.start, r.started = r.clock.NowMonotonic(), r.clock.Now()
	var err error
	if r.cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	if err := r.cfg.Check().Err(); err != nil {
		return nil, err
	}
	if r.random, err = newRandom(opt.Seed); err != nil {
		return nil, err
	}
	if r.helpers, err = alg.NewRegistry(opt.Helpers...); err != nil {
		return nil, err
	}
	if err := r.makeInterfaces(opt.Devices); err != nil {
		return nil, err
	}
	if err := r.makeTables(); err != nil {
		return nil, err
	}
	r.pipeline = newPipeline(r)
	return r, r.makeWorkers()
}

func (r *Router) makeInterfaces(devices map[string]tun.Device) error {
	byName := map[string]*netInterface{}
	r.own = &ownAddresses{set: map[netip.Addr]*netInterface{}}
	for i := range r.cfg.Interfaces {
		c := &r.cfg.Interfaces[i]
		device := devices[c.Name]
		if device == nil || len(device.Queues()) == 0 {
			return fmt.Errorf("interface %s: no device", c.Name)
		}
		nif := newInterface(i, c, device)
		for _, a := range c.Address {
			r.own.set[a.Addr()] = nif
		}
		byName[c.Name] = nif
		r.interfaces = append(r.interfaces, nif)
	}
	r.fib = newFIB(&r.cfg, byName)
	var err error
	r.filter, err = newFilter(&r.cfg.Filter, byName, r.helpers)
	return err
}

func (r *Router) makeTables() error {
	ct := r.cfg.Conntrack
	if ct.Shards == 0 {
		ct.Shards = r.workerCount()
	}
	r.table = conntrack.New(ct)
	nc := nat.Config{Rules: r.cfg.NAT, Defaults: r.cfg.Defaults, Max: ct.Max, Seed: r.random.derive()}
	for i, nif := range r.interfaces {
		nc.Interfaces = append(nc.Interfaces, nat.Interface{
			Name: nif.name, Outside: nif.side == Outside, Addresses: nif.addresses, Line: r.cfg.Interfaces[i].Line,
		})
	}
	var err error
	if r.nat, err = nat.New(nc, r.table); err != nil {
		return err
	}
	hc := alg.Config{Registry: r.helpers, Auto: r.cfg.AutoHelper, Table: r.table, NAT: r.nat, Log: r.log}
	for _, rule := range r.cfg.Helpers {
		hc.Rules = append(hc.Rules, alg.Rule(rule))
	}
	if r.kit, err = alg.New(hc); err != nil {
		return err
	}
	r.fragments = fragment.New(r.cfg.Fragments)
	r.errors = newErrorLimit(r.cfg.ErrorRate, r.random.derive())
	return nil
}

// workerCount is the largest number of queues.
func (r *Router) workerCount() int {
	n := 1
	for _, nif := range r.interfaces {
		n = max(n, len(nif.queues))
	}
	return n
}

// makeWorkers makes a worker for each queue number, its netstack and its lanes, and the router's own host.
func (r *Router) makeWorkers() error {
	r.local = &localHost{}
	for i := range r.workerCount() {
		var output func(*netInterface, *stack.PacketBuffer)
		if i == 0 {
			output = r.local.send
		}
		ns, err := newNetstack(r, output)
		if err != nil {
			return err
		}
		w := &worker{index: i, stack: ns}
		for _, nif := range r.interfaces {
			if i < len(nif.queues) {
				w.lanes = append(w.lanes, newLane(r, w, nif, nif.queues[i].queue))
			}
		}
		r.workers = append(r.workers, w)
	}
	first := r.workers[0]
	r.local.stack = first.stack
	r.local.lane = newLane(r, first, nil, nil)
	return nil
}

// housekeeping is how often idle lanes' expiry work is done for them.
const housekeeping = 250 * time.Millisecond

// Run moves packets until ctx ends, then writes what is queued and closes the devices. It returns nil after ctx
// ended, and the error of a device that failed otherwise. It may be called once.
func (r *Router) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var lanes sync.WaitGroup
	for _, w := range r.workers {
		for _, l := range w.lanes {
			lanes.Go(func() {
				if err := l.run(); err != nil {
					cancel(fmt.Errorf("interface %s: %w", l.nif.name, err))
				}
			})
		}
	}
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-tick.C:
			r.tick()
		}
	}
	for _, nif := range r.interfaces {
		if err := nif.device.Close(); err != nil {
			r.log.Warn("close device", "interface", nif.name, "error", err)
		}
	}
	lanes.Wait()
	for _, w := range r.workers {
		w.stack.close()
	}
	r.kit.Close(r.now())
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

// now is the time that all rooms are given.
func (r *Router) now() packet.Time {
	return packet.Time(r.clock.NowMonotonic().Sub(r.start))
}

// Expiry work, in pieces: what a lane does for each packet that it handled, and what a tick does at most.
const (
	expiryPerPacket = 2
	expiryPerTick   = 1 << 14
)

// tick does the work that no packet drives.
func (r *Router) tick() {
	now := r.now()
	for _, w := range r.workers {
		r.expire(w.index, now, expiryPerTick)
	}
	r.kit.Tick(now)
	r.local.mu.Lock()
	defer r.local.mu.Unlock()
	told := uint64(0)
	dropped := r.fragments.Expire(now, func(in int, first []byte) {
		told++
		r.fragmentTimeout(in, first)
	})
	r.local.lane.drops[packet.FragmentTimeout].Add(uint64(dropped) - told)
}

// expire ends connections whose time is up and gives back their mappings.
func (r *Router) expire(shard int, now packet.Time, budget int) {
	r.table.Step(shard, now, budget)
	var dead [8]conntrack.Dead
	for {
		n := r.table.Reap(shard, dead[:])
		for i := range dead[:n] {
			r.kit.Destroy(now, &dead[i])
			r.nat.Release(now, &dead[i])
		}
		if n < len(dead) {
			return
		}
	}
}

// fragmentTimeout counts a datagram that did not become whole, and tells its sender where its first fragment came
// (RFC 792; RFC 4443, section 3.3). Its caller holds the local lane.
func (r *Router) fragmentTimeout(in int, first []byte) {
	lane := r.local.lane
	defer lane.flush() // of a flood of first fragments there may be thousands
	p := &lane.packet
	buf := lane.spare.take()
	p.reset(buf, headroom, copy(buf[headroom:], first), packet.Meta{})
	p.in, p.lane, p.now = nil, lane, r.now()
	if in >= 0 { // else netstack's own, which nobody needs to be told
		p.in = r.interfaces[in]
	}
	var reason packet.DropReason
	if p.H, reason = packet.Parse(p.Bytes); reason != packet.NotDropped {
		return
	}
	p.keepSnapshot()
	p.Reason = packet.FragmentTimeout
	r.drop(p, &defragHook{})
}

// netstackPanicked is told what netstack panicked with.
func (r *Router) netstackPanicked(v any) {
	r.log.Error("netstack panicked; the packet is dropped", "panic", v, "stack", string(debug.Stack()))
}

// all returns the addresses in order.
func (o *ownAddresses) all() []netip.Addr {
	list := make([]netip.Addr, 0, len(o.set))
	for a := range o.set {
		list = append(list, a)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// Stack returns the router's own host, on which an embedding program may open sockets (with input = "accept" they
// can be reached). The router owns it.
func (r *Router) Stack() *stack.Stack { return r.local.stack.stack }

// clampMTU keeps an MTU in what a connection's route holds.
func clampMTU(mtu int) uint16 { return uint16(min(mtu, math.MaxUint16)) }
