package nat

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/ruleset"
)

// Interface is what NAT knows of one interface; its index in Config.Interfaces is the index that router uses.
type Interface struct {
	Name      string
	Outside   bool
	Addresses []netip.Prefix // the router's own, first of a family is the primary one
	Line      int            // of the configuration file, for messages; 0: none
}

// Config is all of NAT's configuration.
type Config struct {
	Rules      []Rule
	Defaults   Defaults
	Interfaces []Interface
	Max        int      // mappings when Defaults.MaxMappings is 0
	Seed       [32]byte // of random choices
}

// NAT is the engine: rules, mappings, port allocation. Safe for concurrent use. Lock order: NAT.mu before a
// shard of the connection table.
type NAT struct {
	table      *conntrack.Table
	defaults   Defaults
	max        int // mappings
	interfaces []Interface
	dst, src   []*rule // by position, in order
	claimed    []claim // addresses that rules answer for, besides the interfaces' own
	key        hashKey
	own        atomic.Pointer[ownAddresses]
	hairpins   atomic.Uint64
	idents     idents

	mu        sync.Mutex
	rand      *rand.ChaCha8        // guarded by mu; its numbers can't be guessed from those seen (RFC 6056)
	pools     []pool               // guarded by mu but for their addresses
	mappings  mappings             // guarded by mu
	ports     map[allocator]*ports // guarded by mu
	resting   []rest               // guarded by mu; call IDs that nobody may have yet, in order of their end
	paired    map[hostKey]pairing  // guarded by mu
	hosts     map[[16]byte]uint32  // guarded by mu: hosts paired with an outside address
	perSource map[portsKey]uint32  // guarded by mu: mappings of an inside address and protocol, where limited
	exhausted map[[16]byte]uint64  // guarded by mu: refusals by destination
}

// claim is a range of outside addresses that no interface needs to have.
type claim struct {
	span  addrSpan
	iface int // the outside interface they belong to
}

// Check says what is wrong with a configuration: the mistakes for which [New] refuses it, and warnings. It needs no
// engine and opens nothing. The place of a rule is "nat", of an interface "interface", each with its index in Config.
func Check(cfg Config) ruleset.Problems {
	setDefaults(&cfg)
	return check(&cfg).Problems
}

// New checks the rules against each other and makes the engine for a connection table; without one (nil) no tuple
// counts as taken by a connection. An error is of type [ruleset.Problems]: the mistakes that [Check] finds.
func New(cfg Config, table *conntrack.Table) (*NAT, error) {
	setDefaults(&cfg)
	if err := check(&cfg).Err(); err != nil {
		return nil, err
	}
	n := &NAT{
		table: table, defaults: cfg.Defaults, max: cfg.Defaults.MaxMappings, interfaces: cfg.Interfaces,
		rand:      rand.NewChaCha8(cfg.Seed),
		ports:     map[allocator]*ports{},
		paired:    map[hostKey]pairing{},
		hosts:     map[[16]byte]uint32{},
		perSource: map[portsKey]uint32{},
		exhausted: map[[16]byte]uint64{},
	}
	for i := range n.key {
		n.key[i] = n.rand.Uint64()
	}
	n.mappings = newMappings(n.key, min(n.max, maxIndexed), min(max(n.max, cfg.Max), maxIndexed))
	prefixes := make([][]netip.Prefix, len(cfg.Interfaces))
	for i := range cfg.Interfaces {
		prefixes[i] = cfg.Interfaces[i].Addresses
	}
	n.own.Store(newOwnAddresses(prefixes))
	n.compile(cfg.Rules)
	return n, nil
}

// maxIndexed is for how many mappings the indexes are made at first; untouched parts take no memory.
const maxIndexed = 1 << 22

// setDefaults replaces zero values by what an empty configuration file means.
func setDefaults(cfg *Config) {
	d := &cfg.Defaults
	if d.Mapping == DefaultBehaviour {
		d.Mapping = EndpointIndependent
	}
	if d.Filtering == DefaultBehaviour {
		d.Filtering = AddressDependent
	}
	if d.Quarantine == 0 {
		d.Quarantine = defaultQuarantine
	}
	if d.PortRange.Last == 0 {
		d.PortRange = conntrack.PortRange{First: 1024, Last: 65535}
	}
	if d.MaxMappings == 0 {
		d.MaxMappings = cfg.Max
	}
	if d.MaxMappings == 0 {
		d.MaxMappings = defaultMax
	}
}

// defaultQuarantine: RFC 6888, REQ-8.
const defaultQuarantine = 120 * second

// defaultMax is conntrack's default of max.
const defaultMax = 262144

// random returns a number in [0, n). Its caller holds mu.
func (n *NAT) random(limit int) int { return int(n.rand.Uint64() >> 11 % uint64(limit)) }

// outside returns the interface that an outside address belongs to, noInterface for any other address, and whether
// the address is the router's.
func (n *NAT) outside(a *[16]byte) (iface int, own bool) {
	if i, own := n.own.Load().owner[*a]; own {
		if !n.interfaces[i].Outside {
			i = noInterface
		}
		return i, true
	}
	at := addressOf(a)
	for i := range n.claimed {
		if n.claimed[i].span.contains(at) {
			return n.claimed[i].iface, false
		}
	}
	return noInterface, false
}

// OutsideAddress reports whether addr is an outside one: of an outside interface, of a pool, or one that a dnat,
// netmap or nptv6 rule answers for.
func (n *NAT) OutsideAddress(addr netip.Addr) bool {
	a := addr.As16()
	iface, _ := n.outside(&a)
	return iface >= 0
}

// Pool reports whether addr is an outside address that no interface has: it is never answered and never routed
// back out.
func (n *NAT) Pool(addr netip.Addr) bool {
	a := addr.As16()
	iface, own := n.outside(&a)
	return iface >= 0 && !own
}

// taken reports whether a connection has the tuple.
func (n *NAT) taken(t *conntrack.Tuple) bool { return n.table != nil && n.table.Taken(t, 0) }

// Destination decides the destination binding of an unconfirmed connection, before routing: rules, then a mapping
// whose filtering lets the packet in. in is the ingress interface's index. It edits c.Tuples[Reply] and c.Status.
// NoMapping: nothing claims a packet to an outside address; the connection is then bound to nothing and may still
// be delivered to the router itself, where it has that address.
func (n *NAT) Destination(now conntrack.Time, in int, c *conntrack.Conn) packet.DropReason {
	if c.ID != 0 || c.Status&conntrack.DstNATDone != 0 {
		return packet.NotDropped
	}
	c.Status |= conntrack.DstNATDone
	if c.NAT.Set() {
		return n.expectedDestination(now, c)
	}
	orig := &c.Tuples[conntrack.Original]
	f := n.destinationFlow(in, orig)
	if r := n.matchDestination(&f); r != nil {
		return n.bindDestination(r, &f, c)
	}
	if f.owner < 0 {
		return packet.NotDropped
	}
	if mappable(orig) && n.bindInbound(now, &f, c) {
		return packet.NotDropped
	}
	return packet.NoMapping
}

// Source decides the source binding, after routing, hairpins among them. out is the egress interface's index, in
// is -1 for what the router itself made.
func (n *NAT) Source(now conntrack.Time, in, out int, c *conntrack.Conn) packet.DropReason {
	if c.ID != 0 || c.Status&conntrack.SrcNATDone != 0 {
		return packet.NotDropped
	}
	c.Status |= conntrack.SrcNATDone
	if c.NAT.Set() {
		return n.expectedSource(now, in, out, c)
	}
	orig := &c.Tuples[conntrack.Original]
	f := sourceFlow(in, out, c)
	r := n.matchSource(&f)
	if r == nil && n.hairpin(&f, c) {
		return n.bindHairpin(now, &f, c)
	}
	if r == nil {
		if in < 0 && mappable(orig) {
			if iface, _ := n.outside(&orig.Src); iface >= 0 {
				return n.bindTo(now, true, orig.Src, c)
			}
		}
		return n.nullBinding(c)
	}
	return n.bindSource(now, r, &f, c)
}

// Abandon gives back what an unconfirmed connection reserved, when its packet was dropped.
func (n *NAT) Abandon(now conntrack.Time, c *conntrack.Conn) {
	if c.ID != 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unbind(now, &c.Mapping)
	c.Mapping = [2]uint32{}
}

// Confirmed counts a confirmed connection on its mappings. Where the confirmation lost a race (c.Merged) it gives
// back what the loser had reserved instead.
func (n *NAT) Confirmed(now conntrack.Time, c *conntrack.Conn) {
	if c.Merged {
		n.mu.Lock()
		n.unbind(now, &c.Lost)
		n.mu.Unlock()
		return
	}
	if c.Mapping == [2]uint32{} {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for side, handle := range c.Mapping {
		m := n.mapped(handle, side, &c.Tuples)
		if m == nil {
			continue
		}
		m.pending -= min(m.pending, 1)
		m.conns++
		m.flags |= flagUsed
		if m.keepsRemotes() {
			n.mappings.remotes.add(n.mappings.remoteHash(handle-1, remoteOf(side, &c.Tuples)))
		}
	}
}

// Release gives back the mappings of an ended connection.
func (n *NAT) Release(now conntrack.Time, d *conntrack.Dead) {
	if d.Mapping == [2]uint32{} {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for side, handle := range d.Mapping {
		m := n.mapped(handle, side, &d.Tuples)
		if m == nil || m.conns == 0 {
			continue
		}
		m.conns--
		remote := remoteOf(side, &d.Tuples)
		if m.keepsRemotes() {
			n.mappings.remotes.remove(n.mappings.remoteHash(handle-1, remote))
		}
		if d.Evicted && d.Deadline > now {
			m.evicted(d.Deadline, remote, remotePortOf(side, &d.Tuples))
		}
		n.endUnused(now, handle-1)
	}
}

// evicted notes that a connection was removed before its time (docs/spec/nat.md, section 10): the mapping stays until
// then, and its remote end keeps its right to answer.
func (m *mapping) evicted(deadline conntrack.Time, remote *[16]byte, port uint16) {
	m.until = max(m.until, seconds(deadline))
	m.flags |= flagEvicted
	if m.mapping() == EndpointIndependent {
		m.remote, m.remotePort = *remote, port
	}
}

// remoteOf returns the remote address of a mapping's connection: side 0 is the source binding.
func remoteOf(side int, t *[2]conntrack.Tuple) *[16]byte {
	if side == 0 {
		return &t[conntrack.Reply].Src
	}
	return &t[conntrack.Original].Src
}

func remotePortOf(side int, t *[2]conntrack.Tuple) uint16 {
	if isICMP(t[0].Proto) {
		return 0
	}
	if side == 0 {
		return t[conntrack.Reply].SrcID
	}
	return t[conntrack.Original].SrcID
}
