package conntrack

import (
	"math/bits"

	"github.com/natrouter/natrouter/router/packet"
)

// Way is where a packet came from and what may leave: what a connection must have been routed for before
// [Run.TrackReady] takes a packet.
type Way struct {
	Generation uint32 // current generation of routes, never 0
	In         uint16 // index of the ingress interface
	Size       int    // the largest packet that will leave, bytes
}

// Exit is how a packet of a connection leaves that [Run.TrackReady] took: by which interface, and with which tuple, in
// the form that headers have it. It has no pointers.
type Exit struct {
	Interface uint16   // the router's index of the egress interface
	Source    bool     // packets of this direction get another source, which other hosts may have too
	IDs       uint32   // SrcID<<16 | DstID; of enhanced GRE only DstID is in packets
	Pair      uint64   // IPv4: source<<32 | destination
	Src, Dst  [16]byte // IPv6
}

// Run is a worker's hold on its own shard, so that packets in a row cost one lock and not one each. It is made by
// [Table.Run] and used by one goroutine, which calls Release before anything else of the table, and soon.
type Run struct {
	table *Table
	shard int
	held  bool // the shard's lock
}

// Run returns a worker's Run, which holds nothing yet.
func (t *Table) Run(shard int) Run { return Run{table: t, shard: shard} }

// Release gives the shard back until the next packet.
func (r *Run) Release() {
	if r.held {
		r.held = false
		r.table.shards[r.shard].unlock()
	}
}

// TrackReady is [Table.Track] for packets of connections about which nothing is left to decide: answered, both
// directions routed in the current generation, the packet entering where the other direction leaves and fitting
// where its own does, no helper and no edits. In place of the connection it fills x. ok is false, and nothing was done,
// for all others: they take the whole way. p must be an unfragmented packet, and of TCP no SYN, FIN or RST.
func (r *Run) TrackReady(now Time, p *Packet, way *Way, x *Exit) (reason packet.DropReason, ok bool) {
	var k key
	h, t := p.H, r.table
	class, reason := k.keyOf(p.Bytes, p.Bytes[h.L4:h.Len], h.Family, h.Proto)
	if reason != packet.NotDropped || class != classFlow {
		return packet.NotDropped, false
	}
	hash, s := k.hash(&t.secret), t.shards[r.shard]
	if !r.held {
		s.mu.Lock()
		r.held = true
	}
	slot, dir, e := s.find(now, &k, hash)
	if e != nil {
		return s.trackReady(now, slot, dir, e, p, way, x)
	}
	if len(t.shards) == 1 {
		return packet.NotDropped, false
	}
	r.Release() // the shards' order is not that of the search
	if s, slot, dir, e = t.lookup(r.shard, now, &k, hash); s == nil {
		return packet.NotDropped, false
	}
	reason, ok = s.trackReady(now, slot, dir, e, p, way, x)
	s.unlock()
	return reason, ok
}

// trackReady steps a connection, if it is ready. s.mu is held.
func (s *shard) trackReady(now Time, slot uint32, dir Direction, e *entry, p *Packet, way *Way, x *Exit) (packet.DropReason, bool) {
	if !e.ready(dir, way) {
		return packet.NotDropped, false
	}
	r := s.step(now, slot, dir, e, p)
	s.exit(e, dir, x)
	return r.reason, true
}

// exit fills x for the packets of a direction: they leave as the inverse of the other one.
func (s *shard) exit(e *entry, dir Direction, x *Exit) {
	ids := e.ids[1-dir]
	x.Interface, x.IDs = e.route[dir].Interface, bits.RotateLeft32(ids, 16)
	source := SrcNAT
	if dir == Reply {
		source = DstNAT
	}
	x.Source = e.status&source != 0
	if e.kind&kindV6 == 0 {
		x.Pair = bits.RotateLeft64(e.pair[1-dir], 32)
		return
	}
	a := &s.addrs.at(uint32(e.pair[0]))[1-dir]
	x.Src, x.Dst = a[1], a[0]
}

// ready reports whether nothing is left to decide about the packets of a direction.
func (e *entry) ready(dir Direction, way *Way) bool {
	out, in := &e.route[dir], &e.route[1-dir]
	return e.status&(SeenReply|SeqAdjust) == SeenReply && e.helper == 0 && e.flags&flagReplyOnly == 0 &&
		out.Generation == way.Generation && in.Generation == way.Generation &&
		in.Interface == way.In && way.Size <= int(out.MTU)
}
