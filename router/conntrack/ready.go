package conntrack

import "github.com/natrouter/natrouter/router/packet"

// Way is where a packet came from and what may leave: what a connection must have been routed for before
// [Table.TrackReady] takes a packet.
type Way struct {
	Generation uint32 // current generation of routes, never 0
	In         uint16 // index of the ingress interface
	Size       int    // the largest packet that will leave, bytes
}

// TrackReady is [Table.Track] for packets of connections about which nothing is left to decide: answered, both
// directions routed in the current generation, the packet entering where the other direction leaves and fitting
// where its own does, no helper and no edits. ok is false, and nothing was done, for all others: they take the
// whole way. p must be an unfragmented packet, and of TCP no SYN, FIN or RST.
func (t *Table) TrackReady(shard int, now Time, p *Packet, way *Way, c *Conn) (reason packet.DropReason, ok bool) {
	var k key
	h := p.H
	class, reason := k.keyOf(p.Bytes, p.Bytes[h.L4:h.Len], h.Family, h.Proto)
	if reason != packet.NotDropped || class != classFlow {
		return packet.NotDropped, false
	}
	s, slot, dir, e := t.lookup(shard, now, &k, k.hash(&t.secret))
	if s == nil {
		return packet.NotDropped, false
	}
	if !e.ready(dir, way) {
		s.unlock()
		return packet.NotDropped, false
	}
	reason, again := s.pass(now, slot, dir, e, p, c)
	s.unlock()
	return reason, !again
}

// ready reports whether nothing is left to decide about the packets of a direction.
func (e *entry) ready(dir Direction, way *Way) bool {
	out, in := &e.route[dir], &e.route[1-dir]
	return e.status&(SeenReply|SeqAdjust) == SeenReply && e.helper == 0 && e.flags&flagReplyOnly == 0 &&
		out.Generation == way.Generation && in.Generation == way.Generation &&
		in.Interface == way.In && way.Size <= int(out.MTU)
}
