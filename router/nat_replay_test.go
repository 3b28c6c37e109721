package router

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// This file replays whole captures through a translation, see [way]. What is sent to an inside host goes to the outside
// endpoint that stands for it, as the outside host would send it. So the packets that cross are known to the byte: the
// captured ones, but for what translation and routing change.

// replayCount says what came of a replay: packets put in, those that came out each way as the laws want them, those
// that the router took for itself, and those that were dropped with a reason. Fragments count once each when they go in.
type replayCount struct{ Sent, Out, Back, Fragmented, Errors, Merged, Local, Dropped int }

func (c *replayCount) add(d replayCount) {
	c.Sent, c.Out, c.Back, c.Merged = c.Sent+d.Sent, c.Out+d.Out, c.Back+d.Back, c.Merged+d.Merged
	c.Fragmented, c.Errors, c.Local, c.Dropped = c.Fragmented+d.Fragmented, c.Errors+d.Errors, c.Local+d.Local, c.Dropped+d.Dropped
}

// replayer is a replay on its way.
type replayer struct {
	*network
	way       *way
	fixed     map[netip.Addr]netip.Addr // outside addresses by inside ones, as rules say; nil: the router chooses
	chosen    map[string]netip.AddrPort // outside endpoints by connection and by mapping, as the router chose them
	paired    map[netip.Addr]netip.Addr // outside addresses by inside ones, as the router chose them
	fragments map[string][][]byte       // of datagrams that are not whole yet
	inside    map[netip.Addr]bool
	count     replayCount
}

// replayEach replays a round in each of the set-ups, wants the same bytes of all, and returns the count of the first.
func replayEach(t *testing.T, round []replayed, w *way, setups ...setup) replayCount {
	t.Helper()
	first, count := replay(t, round, w, setups[0])
	for _, s := range setups[1:] {
		if other, _ := replay(t, round, w, s); !bytes.Equal(first, other) {
			t.Errorf("%+v gives other bytes than %+v", s, setups[0])
		}
	}
	return count
}

// replay sends a round through a router of its own and checks for each packet: what comes out is what went in but for
// endpoints, TTL, checksums and the identification; its checksums are right; no inside address is outside; what does
// not come out was dropped once, with a reason. It returns all that came out.
func replay(t *testing.T, round []replayed, w *way, s setup) (all []byte, count replayCount) {
	t.Helper()
	r := &replayer{
		way: w, chosen: map[string]netip.AddrPort{}, paired: map[netip.Addr]netip.Addr{},
		fragments: map[string][][]byte{}, inside: map[netip.Addr]bool{},
	}
	cfg := testConfig()
	cfg.NoFastPath, cfg.MSSClamp, cfg.ErrorRate = !s.fast, MSSClampOff, -1
	cfg.Interfaces[0].MTU, cfg.Interfaces[1].MTU = 65535, 65535
	if w.private {
		cfg.Interfaces[1].Address = prefixes(privateWAN4.String()+"/24", privateWAN6.String()+"/64")
	}
	var inside []netip.Addr
	for _, p := range round {
		l, _ := testpkt.Parse(p.b)
		from, to := layoutAddrs(&l)
		if p.inbound {
			from = to
		}
		if !r.inside[from] && from.IsValid() && !from.IsUnspecified() && !from.IsMulticast() {
			r.inside[from] = true
			inside = append(inside, from)
			cfg.Routes = append(cfg.Routes, Route{To: netip.PrefixFrom(from, from.BitLen()), Interface: "lan0"})
		}
	}
	cfg.NAT, r.fixed = w.rules(inside)
	r.network = newNetwork(t, cfg, func(c *tun.PairConfig) { c.A.Caps = s.caps })
	groups := single(round)
	if w.merge {
		groups = merged(round)
	}
	last := round[0].at
	for i, g := range groups {
		if step := g[0].at.Sub(last); step > 0 {
			r.tick(min(step, time.Hour))
			last = g[0].at
		}
		out := r.step(fmt.Sprintf("packet %d of %s", i, t.Name()), g)
		for _, name := range []string{"lan0", "wan0"} {
			for _, b := range out[name] {
				all = append(append(all, name...), b...)
			}
		}
	}
	return all, r.count
}

// step sends one packet, or several as one super-segment, and checks what came of it. It returns all that came out,
// super-segments cut.
func (r *replayer) step(what string, group []replayed) map[string][][]byte {
	r.t.Helper()
	from, far := "lan0", "wan0"
	if group[0].inbound {
		from, far = far, from
	}
	var sent [][]byte
	for _, p := range group {
		b := bytes.Clone(p.b)
		if p.inbound {
			r.readdress(b)
		}
		sent = append(sent, b)
	}
	r.collectTimedOut(what)
	r.resetDrops()
	frames := r.sendFrames(from, superSegment(sent))
	r.count.Sent += len(group)
	out := map[string][][]byte{}
	for name := range frames {
		for i := range frames[name] {
			whole, err := cutSlow(&frames[name][i])
			if err != nil {
				r.t.Errorf("%s: %s: %v", what, name, err)
			}
			out[name] = append(out[name], whole...)
		}
		for _, b := range out[name] {
			if err := testpkt.Verify(b); err != nil {
				r.t.Errorf("%s: %s gave % x: %v", what, name, b, err)
			}
			if name == "wan0" {
				r.nothingInside(what, b)
			}
		}
	}
	r.accounted(what, sent[0], out[from], out[far])
	if len(group) == 1 {
		r.crossed(what, group[0], out[far])
		return out
	}
	switch got := out[far]; len(got) {
	case 0:
	case len(group):
		r.count.Merged++
		for i := range group {
			r.crossed(what, group[i], got[i:i+1])
		}
	default:
		r.t.Errorf("%s: %d segments went in, %d came out", what, len(group), len(got))
	}
	return out
}

// collectTimedOut takes what a tick sent: only the errors about fragments that waited in vain.
func (r *replayer) collectTimedOut(what string) {
	r.t.Helper()
	for name, frames := range r.collect() {
		for i := range frames {
			l, err := testpkt.Parse(frames[i].Bytes())
			if _, isError := quoteOf(frames[i].Bytes(), &l); err != nil || !isError {
				r.t.Errorf("before %s: %s gave % x as time passed", what, name, frames[i].Bytes())
			}
		}
	}
}

// accounted is the law of drops: a packet crosses, or was dropped once and with a reason, or is a fragment that waits,
// or is for the router itself. Who is told of a drop is so on the side that the packet came from.
func (r *replayer) accounted(what string, sent []byte, near, far [][]byte) {
	r.t.Helper()
	dropped := uint64(0)
	drops := r.drops()
	for _, n := range drops {
		dropped += n
	}
	if drops[packet.Unspecified.String()]+drops[packet.NetstackPanic.String()] != 0 {
		r.t.Fatalf("%s: drops %v", what, drops)
	}
	l, err := testpkt.Parse(sent)
	_, to := layoutAddrs(&l)
	switch {
	case len(far) > 0 && (dropped != 0 || len(near) > 0):
		r.t.Errorf("%s: crossed and was dropped (%v), or answered (%d packets)", what, drops, len(near))
	case len(far) > 0:
	case dropped == 1:
		r.count.Dropped++
	case dropped > 1:
		r.t.Errorf("%s: one packet, drops %v", what, drops)
	case err == nil && l.Fragment():
	case err == nil && r.r.own.set[to] != nil:
		r.count.Local++
	default:
		r.t.Errorf("%s: vanished: % x", what, sent)
	}
}

// nothingInside is the law of the outside wire: no inside address, nor in what an ICMP error quotes.
func (r *replayer) nothingInside(what string, b []byte) {
	r.t.Helper()
	l, err := testpkt.Parse(b)
	if err != nil {
		return // told already
	}
	from, _ := layoutAddrs(&l)
	list := []netip.Addr{from}
	if q, ok := quoteOf(b, &l); ok {
		quoteFrom, quoteTo := layoutAddrs(&q)
		list = append(list, quoteFrom, quoteTo)
	}
	for _, a := range list {
		if nif := r.r.own.set[a]; r.inside[a] || nif != nil && nif.side == Inside {
			r.t.Errorf("%s: %s is seen outside: % x", what, a, b)
		}
	}
}

// crossed compares what came out of the far side with the captured packet, or with the datagram that it completed.
func (r *replayer) crossed(what string, p replayed, got [][]byte) {
	r.t.Helper()
	l, err := testpkt.Parse(p.b)
	if err != nil {
		if len(got) > 0 {
			r.t.Errorf("%s: the router forwards what is malformed (%v)", what, err)
		}
		return
	}
	want := [][]byte{p.b}
	if l.Fragment() {
		key := fmt.Sprint(l.Src, l.Dst, l.Proto, l.ID)
		r.fragments[key] = append(r.fragments[key], p.b)
		if want = r.fragments[key]; len(got) > 0 {
			delete(r.fragments, key)
		}
	}
	if len(got) == 0 {
		return
	}
	g, w := whole(slices.Clone(got)), whole(want)
	gl, err := testpkt.Parse(g)
	if err != nil {
		r.t.Errorf("%s: %v", what, err)
		return
	}
	if l.Fragment() {
		r.count.Fragmented++
		l, _ = testpkt.Parse(w)
	}
	if gl.TTL != l.TTL-1 {
		r.t.Errorf("%s: TTL %d, was %d", what, gl.TTL, l.TTL)
	}
	_, isError := quoteOf(w, &l)
	if isError {
		r.count.Errors++
	}
	if r.way.neutral && !isError && !bytes.Equal(sumField(g, &gl), sumField(w, &l)) {
		r.t.Errorf("%s: the transport checksum was % x, is % x", what, sumField(w, &l), sumField(g, &gl))
	}
	if p.inbound {
		r.count.Back++
	} else {
		r.count.Out++
		r.learn(w, g)
		if !r.translate(w, true) {
			r.t.Errorf("%s: went out by no mapping known: % x", what, g)
		}
	}
	if a, b := neutral(g), neutral(w); !bytes.Equal(a, b) {
		r.t.Errorf("%s, inbound %v:\ngot  % x\nwant % x", what, p.inbound, a, b)
	}
}

// learn remembers the outside endpoint that the router chose for a connection.
func (r *replayer) learn(sent, got []byte) {
	l, _ := testpkt.Parse(sent)
	g, _ := testpkt.Parse(got)
	if _, ok := quoteOf(sent, &l); ok || r.fixed != nil {
		return
	}
	src, _, _ := idsOf(sent, &l)
	now, _, _ := idsOf(got, &g)
	from, _ := layoutAddrs(&g)
	r.chosen[mappingKey(l.Proto, l.Src, src)] = netip.AddrPortFrom(from, now)
	r.paired[addrOf(l.Src)] = from // one host, one address (RFC 4787, REQ-2)
}

// mappingKey names the mapping of an inside endpoint. One has one outside (RFC 4787, REQ-1).
func mappingKey(proto int, inside []byte, id uint16) string { return fmt.Sprint(proto, inside, id) }

// outside returns the endpoint that stands for an inside one.
func (r *replayer) outside(proto int, inside []byte, id uint16) (netip.AddrPort, bool) {
	if r.fixed == nil {
		e, ok := r.chosen[mappingKey(proto, inside, id)]
		return e, ok
	}
	a, ok := r.fixed[addrOf(inside)]
	return port(a, id), ok
}

// readdress makes an inbound packet's destination the outside endpoint of its inside host's, in the quote of an error
// too. Without one it goes to the outside address.
func (r *replayer) readdress(b []byte) {
	if r.translate(b, false) {
		return
	}
	if l, err := testpkt.Parse(b); err == nil {
		_, to := layoutAddrs(&l)
		_, id, _ := idsOf(b, &l)
		setEndpoint(b, &l, false, port(r.wan(to), id))
	}
}

// Where the router's outside addresses are private ones.
var privateWAN4, privateWAN6 = addr("10.211.113.1"), addr("fd31:113::1")

// wan is the router's outside address of a's family.
func (r *replayer) wan(a netip.Addr) netip.Addr {
	switch {
	case r.way.private && a.Is4():
		return privateWAN4
	case r.way.private:
		return privateWAN6
	}
	return wanOf(a)
}

func wanOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return wan4
	}
	return wan6
}

// translate gives a packet's inside end its outside endpoint: the source of an outbound one, the destination of an
// inbound one; of an error, in the quote and then in the error. It reports whether one is known.
func (r *replayer) translate(b []byte, outbound bool) bool {
	l, err := testpkt.Parse(b)
	if err != nil {
		return false
	}
	if q, ok := quoteOf(b, &l); ok {
		return r.translateError(b, &l, &q, outbound)
	}
	src, dst, _ := idsOf(b, &l)
	inside, id := l.Src, src
	if !outbound {
		inside, id = l.Dst, dst
	}
	e, ok := r.outside(l.Proto, inside, id)
	if l.FragOff > 0 { // only the first has ports, but all have the address
		if a, paired := r.paired[addrOf(inside)]; paired && !ok {
			e = port(a, 0)
		} else if !ok {
			e = port(r.wan(addrOf(inside)), 0)
		}
		ok = true
	}
	if ok {
		setEndpoint(b, &l, outbound, e)
	}
	return ok
}

func (r *replayer) translateError(b []byte, l, q *testpkt.Layout, outbound bool) bool {
	quote := b[l.L4+8 : l.Len]
	src, dst, _ := idsOf(quote, q)
	inside, id := q.Src, src
	if outbound {
		inside, id = q.Dst, dst
	}
	e, ok := r.outside(q.Proto, inside, id)
	if !ok {
		return false
	}
	outer := e.Addr()
	if outbound && !bytes.Equal(l.Src, inside) { // another inside router has no mapping (RFC 5508, REQ-5)
		outer = r.wan(outer)
	}
	setEndpoint(quote, q, !outbound, e)
	setEndpoint(b, l, outbound, port(outer, 0))
	return true
}
