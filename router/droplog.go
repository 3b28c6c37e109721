package router

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// dropsLogged is how many drops a second are logged at most; the others are only counted.
const dropsLogged = 20

// dropLog bounds the log of drops.
type dropLog struct {
	mu      sync.Mutex
	second  packet.Time // guarded by mu: the second that count is of
	count   int         // guarded by mu
	skipped int         // guarded by mu
}

// allow reports whether a drop may be logged now, and how many were not since the last one.
func (d *dropLog) allow(now packet.Time) (skipped int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if second := now / 1e9; second != d.second {
		d.second, d.count = second, 0
	}
	if d.count == dropsLogged {
		d.skipped++
		return 0, false
	}
	d.count++
	skipped, d.skipped = d.skipped, 0
	return skipped, true
}

// logDrop logs a refused packet where [log] drops asks for it: as a warning, or for those who debug where it is what
// hosts say to their link all day. Each of the two has its own number a second.
func (r *Router) logDrop(p *Packet, at named) {
	if !r.cfg.LogDrops {
		return
	}
	level, limit := slog.LevelWarn, &r.dropLog
	if r.chatter(p) {
		level, limit = slog.LevelDebug, &r.chatterLog
	}
	if !r.log.Enabled(context.Background(), level) {
		return
	}
	skipped, ok := limit.allow(p.now)
	if !ok {
		return
	}
	args := []any{"reason", p.Reason.String(), "hook", at.Name(), "bytes", len(p.Bytes)}
	if p.in != nil {
		args = append(args, "in", p.in.name)
	}
	if p.out != nil {
		args = append(args, "out", p.out.name)
	}
	args = append(args, p.whose()...)
	args = append(args, r.decidedBy(p, at)...)
	if skipped > 0 {
		args = append(args, "not_logged", skipped)
	}
	r.log.Log(context.Background(), level, "drop", args...)
}

// chatter reports whether a refused packet is of the kind that each host sends to its link, whoever is there: router
// solicitations and neighbour discovery (RFC 4861), MLD (RFC 3810) and IGMP, mDNS (RFC 6762), DHCP, and all else to a
// multicast or broadcast address. That a router does not forward it is no news.
func (r *Router) chatter(p *Packet) bool {
	switch {
	case p.Reason != packet.ProhibitedForward && p.Reason != packet.BadAddress || p.H.Family == 0:
		return false
	case p.tracked:
		return p.Conn.Info == conntrack.InfoUntracked
	}
	src, dst := addresses(p.Bytes, &p.H)
	from, to := addrOf(src), addrOf(dst)
	host := maySend(from) || from.IsUnspecified() // who has no address yet
	return host && (to.IsMulticast() || to == limitedBroadcast || r.fib.broadcast(to) ||
		from.IsLinkLocalUnicast() && to.IsLinkLocalUnicast())
}

// whose tells of a packet what it is and from where to where it was sent, and by what that was replaced before it was
// dropped.
func (p *Packet) whose() []any {
	if p.H.Family == 0 {
		return nil
	}
	sent := p.Bytes
	if p.snapshotN > 0 {
		sent = p.snapshot[:p.snapshotN]
	}
	args := append([]any{"protocol", conntrack.ProtoName(p.H.Proto)}, p.ids(sent)...)
	src, dst := p.endpoints(sent)
	args = append(args, "src", src, "dst", dst)
	newSrc, newDst := p.endpoints(p.Bytes)
	if newSrc != src {
		args = append(args, "translated_src", newSrc)
	}
	if newDst != dst {
		args = append(args, "translated_dst", newDst)
	}
	return args
}

// endpoints returns the addresses of b, which has p's headers, with ports where it has them.
func (p *Packet) endpoints(b []byte) (src, dst string) {
	s, d := addresses(b, &p.H)
	from, to := addrOf(s), addrOf(d)
	l4, t := p.transport(b), conntrack.Tuple{Proto: p.H.Proto}
	if len(l4) < 4 || !t.HasPorts() {
		return from.String(), to.String()
	}
	be := binary.BigEndian
	return netip.AddrPortFrom(from, be.Uint16(l4)).String(), netip.AddrPortFrom(to, be.Uint16(l4[2:])).String()
}

// transport returns the transport header of b, as far as it is there, and nothing in a fragment but the first.
func (p *Packet) transport(b []byte) []byte {
	if p.H.FragOff != 0 || int(p.H.L4) >= len(b) {
		return nil
	}
	return b[p.H.L4:]
}

// ids returns what a transport header has in the place of ports: ICMP's type and code, and the identifier of queries; the
// call ID of enhanced GRE (RFC 2637, section 4.1).
func (p *Packet) ids(b []byte) []any {
	l4 := p.transport(b)
	if len(l4) < packet.ICMPSize {
		return nil
	}
	echo := l4[0] == packet.ICMPEcho || l4[0] == packet.ICMPEchoReply
	switch p.H.Proto {
	case packet.ProtoICMPv6:
		echo = l4[0] == packet.ICMPv6Echo || l4[0] == packet.ICMPv6EchoReply
	case packet.ProtoICMP:
	case packet.ProtoGRE:
		if packet.GRE(l4).Version() == 1 {
			return []any{"call_id", binary.BigEndian.Uint16(l4[6:])}
		}
		return nil
	default:
		return nil
	}
	args := []any{"type", l4[0], "code", l4[1]}
	if echo {
		args = append(args, "id", binary.BigEndian.Uint16(l4[4:]))
	}
	return args
}

// decidedBy names the rule by which a packet was dropped: the line of the filter's or of NAT's, in a configuration without
// lines the place of the filter's, from 1 on.
func (r *Router) decidedBy(p *Packet, at named) []any {
	line := 0
	switch at.(type) {
	case *filterHook:
		if p.rule == 0 {
			return nil
		}
		if line = r.cfg.Filter.Rules[p.rule-1].Line; line == 0 {
			return []any{"rule", p.rule}
		}
	case *dnatHook:
		line = r.nat.DecidedDestination(p.inIndex(), &p.Conn)
	case *snatHook:
		if p.Conn.Dir == conntrack.Original {
			line = r.nat.DecidedSource(p.inIndex(), int(p.out.index), &p.Conn)
		}
	}
	if line == 0 {
		return nil
	}
	return []any{"rule_line", line}
}
