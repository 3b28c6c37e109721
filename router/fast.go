package router

import (
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// fastHook is the short way of packets about which nothing is left to decide: the connection has been answered and
// routed both ways, and the packet needs the connection's rewrite and no more. It tracks with the same tracker,
// rewrites with the same rewrite, and leaves all other packets to the hooks below, untouched; so both ways give the
// same bytes, counters and state (TestFastAsSlow).
type fastHook struct {
	table   *conntrack.Table
	nat     *nat.NAT
	enabled bool // [fast_path] enabled, and no filter rule looks at established packets
}

func (*fastHook) Name() string { return "fast" }

func (f *fastHook) Handle(p *Packet) packet.Verdict {
	if !f.enabled || !short(p) || packet.VerifyTransport(p.Bytes, &p.H, &p.Meta) != packet.NotDropped {
		return packet.Accept
	}
	r := p.lane.router
	t := conntrack.Packet{Bytes: p.Bytes, H: &p.H, Meta: &p.Meta, Inbound: p.in.side == Outside}
	way := conntrack.Way{Generation: r.generation, In: p.in.index, Size: p.largest()}
	reason, ok := f.table.TrackReady(p.lane.worker.index, p.now, &t, &way, &p.Conn)
	switch {
	case !ok:
		return packet.Accept
	case reason != packet.NotDropped:
		return p.refuse(reason)
	}
	p.tracked, p.cached = true, true
	p.out = r.interfaces[p.Conn.Route[p.Conn.Dir].Interface]
	rewrite := nat.NewRewrite(&p.Conn, p.Conn.Dir)
	if reason := rewrite.Apply(p.Bytes, &p.H, &p.Meta); reason != packet.NotDropped {
		return p.refuse(reason)
	}
	if rewrite.Source() {
		f.nat.RewriteID(p.Bytes, &p.H, &p.Meta)
	}
	packet.DecrementTTL(p.Bytes, &p.H)
	p.lane.emit(p.out, p.buf, p.off, len(p.Bytes), p.Meta)
	p.lane.fast.Add(p.segments())
	return packet.Stolen
}

// short reports whether a packet has a form that the short way takes: TCP without SYN, FIN and RST, or UDP; no
// fragment, no options, no unfinished tunnel; with a hop left.
func short(p *Packet) bool {
	if p.H.Fragment || p.H.FragHdr != 0 || p.H.Options || p.H.TTL <= 1 || p.Meta.PartialInner(&p.H) {
		return false
	}
	switch p.H.Proto {
	case packet.ProtoUDP:
		return true
	case packet.ProtoTCP:
		return p.Bytes[p.H.L4+13]&(packet.FlagSYN|packet.FlagFIN|packet.FlagRST) == 0
	}
	return false
}

// largest returns the size of the largest packet on the wire that p stands for, bytes.
func (p *Packet) largest() int {
	if p.Meta.GSO != packet.GSONone {
		return int(p.H.Payload) + int(p.Meta.SegSize)
	}
	return len(p.Bytes)
}
