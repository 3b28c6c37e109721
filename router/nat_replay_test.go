package router

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// This file replays whole captures through a translation. Of each pair of addresses the one that sends first is
// inside; what the other sends goes to the outside endpoint that the router chose for it, as that host would. So the
// packets that cross are known to the byte: the captured ones, but for what translation and routing change.

// replayed is one captured packet with its place in the replay.
type replayed struct {
	at      time.Time
	b       []byte
	inbound bool // sent by the outside host
}

// TestReplay replays every capture, with the laws of [replay], twice with the fast path and once without: all three
// give the same bytes.
func TestReplay(t *testing.T) {
	var total replayCount
	err := filepath.WalkDir(testpkt.Captures(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(d.Name(), ".pcap") {
			return err
		}
		packets, err := testpkt.ReadCapture(path)
		if err != nil {
			t.Logf("%s: %v", d.Name(), err)
			return nil
		}
		repair := filepath.Base(filepath.Dir(path)) != "malformed" // there wrong checksums are the point
		t.Run(d.Name(), func(t *testing.T) {
			for _, round := range rounds(packets, repair) {
				total.add(replayThrice(t, round))
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", total)
	if total.Out < 2000 || total.Back < 1500 || total.Fragmented < 15 || total.Errors < 5 {
		t.Errorf("too little crossed to show anything: %+v", total)
	}
}

// TestReplayMade is TestReplay on a conversation that the test makes, for where no captures are.
func TestReplayMade(t *testing.T) {
	var all []testpkt.Captured
	add := func(b ...[]byte) {
		for _, p := range b {
			all = append(all, testpkt.Captured{Time: time.Unix(int64(len(all)), 0), Data: p})
		}
	}
	for _, e := range [][2]netip.Addr{{addr("192.168.1.5"), addr("198.51.100.9")}, {addr("fd12::5"), addr("2001:db8:9::9")}} {
		in, out := port(e[0], 5000), port(e[1], 53)
		request := testpkt.UDP{Src: in, Dst: out, Payload: []byte("request"), ID: 9}.Bytes()
		add(request, testpkt.UDP{Src: out, Dst: in, Payload: []byte("answer")}.Bytes())
		add(testpkt.Fragments(testpkt.UDP{Src: in, Dst: out, Payload: pattern(4000), ID: 10}.Bytes(), 1300, 7)...)
		add(testpkt.Fragments(testpkt.UDP{Src: out, Dst: in, Payload: pattern(4000), ID: 11}.Bytes(), 1300, 8)...)
		add(testpkt.TCP{Src: in, Dst: out, Seq: 1, Flags: packet.FlagSYN, Options: []byte{2, 4, 5, 180}}.Bytes(),
			testpkt.TCP{Src: out, Dst: in, Seq: 9, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK}.Bytes(),
			testpkt.TCP{Src: in, Dst: out, Seq: 2, Ack: 10, Flags: packet.FlagACK, Payload: pattern(9)}.Bytes())
		add(testpkt.Echo{Src: e[0], Dst: e[1], ID: 77, Payload: pattern(9)}.Bytes(), testpkt.Echo{Src: e[1], Dst: e[0], ID: 77, Reply: true, Payload: pattern(9)}.Bytes())
		add(testpkt.SCTP{Src: in, Dst: out, Chunks: []byte{1, 0, 0, 20, 0, 0, 0, 5, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1}}.Bytes())
		typ := uint8(3)
		if e[0].Is6() {
			typ = 1
		}
		add(testpkt.ICMP{Src: e[1], Dst: e[0], Type: typ, Code: 3, Payload: request}.Bytes())
	}
	var total replayCount
	for _, round := range rounds(all, false) {
		total.add(replayThrice(t, round))
	}
	if want := (replayCount{Sent: 34, Out: 12, Back: 10, Fragmented: 4, Errors: 2}); total != want {
		t.Errorf("%+v, want %+v", total, want)
	}
}

// replayCount says what came of a replay: packets put in, and those that came out each way as the laws want them.
type replayCount struct{ Sent, Out, Back, Fragmented, Errors int }

func (c *replayCount) add(d replayCount) {
	c.Sent, c.Out, c.Back = c.Sent+d.Sent, c.Out+d.Out, c.Back+d.Back
	c.Fragmented, c.Errors = c.Fragmented+d.Fragmented, c.Errors+d.Errors
}

func replayThrice(t *testing.T, round []replayed) replayCount {
	t.Helper()
	first, count := replay(t, round, true)
	second, _ := replay(t, round, true)
	slow, _ := replay(t, round, false)
	if !bytes.Equal(first, second) {
		t.Error("two runs differ")
	}
	if !bytes.Equal(first, slow) {
		t.Error("the fast path gives other bytes")
	}
	return count
}

// rounds sorts the packets of a capture so that in each round every address is on one side only.
func rounds(packets []testpkt.Captured, repair bool) [][]replayed {
	type pair [2]netip.Addr
	insider := map[pair]netip.Addr{}        // by sorted pair
	var sides []map[netip.Addr]bool         // of each round: is the address outside?
	var all [][]replayed                    // by round
	roundOf := map[pair]int{}               // by sorted pair
	place := func(in, out netip.Addr) int { // the first round where both fit
		for i, s := range sides {
			inOut, known := s[in]
			outOut, knownToo := s[out]
			if !(known && inOut) && !(knownToo && !outOut) {
				return i
			}
		}
		sides, all = append(sides, map[netip.Addr]bool{}), append(all, nil)
		return len(sides) - 1
	}
	for _, p := range packets {
		l, err := testpkt.Parse(p.Data)
		if len(p.Data) == 0 || len(p.Data) > tun.MaxPacket || len(l.Src) == 0 {
			continue
		}
		b := bytes.Clone(p.Data)
		if err == nil {
			if b = b[:l.Len]; repair {
				repairChecksum(b)
			}
		}
		from, to := layoutAddrs(&l)
		if q, ok := quoteOf(b, &l); err == nil && ok { // an error goes to who sent what it quotes, by whatever router
			quoteFrom, quoteTo := layoutAddrs(&q)
			if in, ok := insider[sorted(quoteFrom, quoteTo)]; ok {
				i := roundOf[sorted(quoteFrom, quoteTo)]
				if outside, known := sides[i][from]; !known || outside == (in == quoteFrom) {
					sides[i][from] = in == quoteFrom
					all[i] = append(all[i], replayed{p.Time, b, in == quoteFrom})
					continue
				}
			}
		}
		key := sorted(from, to)
		if _, ok := insider[key]; !ok {
			i := place(from, to)
			insider[key], roundOf[key] = from, i
			sides[i][from], sides[i][to] = false, true
		}
		i := roundOf[key]
		all[i] = append(all[i], replayed{p.Time, b, insider[key] != from})
	}
	return all
}

func sorted(a, b netip.Addr) [2]netip.Addr {
	if b.Less(a) {
		a, b = b, a
	}
	return [2]netip.Addr{a, b}
}

func layoutAddrs(l *testpkt.Layout) (src, dst netip.Addr) {
	src, _ = netip.AddrFromSlice(l.Src)
	dst, _ = netip.AddrFromSlice(l.Dst)
	return src, dst
}

// repairChecksum computes a transport checksum that the capturing host had left to its device.
func repairChecksum(b []byte) {
	if h, reason := packet.Parse(b); reason == packet.NotDropped && !h.Fragment && testpkt.Verify(b) != nil {
		packet.ComputeTransport(b, &h)
	}
}

// replayer is a replay on its way.
type replayer struct {
	*network
	chosen    map[string]netip.AddrPort // outside endpoints by connection and by mapping
	fragments map[string][][]byte       // of datagrams that are not whole yet
	inside    map[netip.Addr]bool
	count     replayCount
}

// replay sends a round through a router of its own and checks for each packet: what comes out is what went in but for
// endpoints, TTL, checksums and the identification; its checksums are right; no inside address is outside. It returns
// all that came out.
func replay(t *testing.T, round []replayed, fast bool) (all []byte, count replayCount) {
	t.Helper()
	r := &replayer{chosen: map[string]netip.AddrPort{}, fragments: map[string][][]byte{}, inside: map[netip.Addr]bool{}}
	cfg := testConfig()
	cfg.FastPath, cfg.MSSClamp, cfg.ErrorRate = fast, MSSClampOff, 0
	cfg.Interfaces[0].MTU, cfg.Interfaces[1].MTU = tun.MaxPacket, tun.MaxPacket
	cfg.NAT = []nat.Rule{{Action: nat.Masquerade, Out: "wan0", Source: []conntrack.AddrRange{span("0.0.0.0/0"), span("::/0")}}}
	for _, p := range round {
		l, _ := testpkt.Parse(p.b)
		from, to := layoutAddrs(&l)
		if p.inbound {
			from = to
		}
		if !r.inside[from] && from.IsValid() && !from.IsUnspecified() && !from.IsMulticast() {
			r.inside[from] = true
			cfg.Routes = append(cfg.Routes, Route{To: netip.PrefixFrom(from, from.BitLen()), Interface: "lan0"})
		}
	}
	r.network = newNetwork(t, cfg)
	last := round[0].at
	for i, p := range round {
		if step := p.at.Sub(last); step > 0 {
			r.tick(min(step, time.Hour))
			last = p.at
		}
		out := r.step(fmt.Sprintf("packet %d of %s", i, t.Name()), p)
		for _, name := range []string{"lan0", "wan0"} {
			for j := range out[name] {
				all = append(append(all, name...), out[name][j].Bytes()...)
			}
		}
	}
	return all, r.count
}

// step sends one packet and checks what came of it.
func (r *replayer) step(what string, p replayed) map[string][]tun.Frame {
	r.t.Helper()
	from, far := "lan0", "wan0"
	sent := bytes.Clone(p.b)
	if p.inbound {
		from, far = far, from
		r.readdress(sent)
	}
	out := r.send(from, sent)
	r.count.Sent++
	if d := r.drops(); d[packet.Unspecified.String()]+d[packet.NetstackPanic.String()] != 0 {
		r.t.Fatalf("%s: drops %v", what, d)
	}
	for name, frames := range out {
		for i := range frames {
			b := frames[i].Bytes()
			if err := testpkt.Verify(b); err != nil {
				r.t.Errorf("%s: %s gave % x: %v", what, name, b, err)
			}
			if name == "wan0" {
				r.nothingInside(what, b)
			}
		}
	}
	r.crossed(what, p, out[far])
	return out
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
		if r.inside[a] || a.IsPrivate() && r.r.own.set[a] != nil {
			r.t.Errorf("%s: %s is seen outside: % x", what, a, b)
		}
	}
}

// crossed compares what came out of the far side with the captured packet, or with the datagram that it completed.
func (r *replayer) crossed(what string, p replayed, frames []tun.Frame) {
	r.t.Helper()
	l, err := testpkt.Parse(p.b)
	if err != nil {
		if len(frames) > 0 {
			r.t.Errorf("%s: the router forwards what is malformed (%v)", what, err)
		}
		return
	}
	want := [][]byte{p.b}
	if l.Fragment() {
		key := fmt.Sprint(l.Src, l.Dst, l.Proto, l.ID)
		r.fragments[key] = append(r.fragments[key], p.b)
		if want = r.fragments[key]; len(frames) > 0 {
			delete(r.fragments, key)
		}
	}
	if len(frames) == 0 {
		return
	}
	got := make([][]byte, len(frames))
	for i := range frames {
		got[i] = frames[i].Bytes()
	}
	g, w := whole(got), whole(want)
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
	if _, isError := quoteOf(w, &l); isError {
		r.count.Errors++
	}
	if p.inbound {
		r.count.Back++
	} else {
		r.count.Out++
		r.learn(what, w, g)
		if !r.translate(w, true) {
			r.t.Errorf("%s: went out by no mapping known: % x", what, g)
		}
	}
	if a, b := neutral(g), neutral(w); !bytes.Equal(a, b) {
		r.t.Errorf("%s, inbound %v:\ngot  % x\nwant % x", what, p.inbound, a, b)
	}
}

// learn remembers the outside endpoint of a connection. One inside endpoint has one outside (RFC 4787, REQ-1).
func (r *replayer) learn(what string, sent, got []byte) {
	l, _ := testpkt.Parse(sent)
	g, _ := testpkt.Parse(got)
	if _, ok := quoteOf(sent, &l); ok {
		return
	}
	src, _, _ := idsOf(sent, &l)
	now, _, _ := idsOf(got, &g)
	from, _ := layoutAddrs(&g)
	r.chosen[mappingKey(&l, src)] = netip.AddrPortFrom(from, now)
}

// mappingKey names the mapping of a packet's source.
func mappingKey(l *testpkt.Layout, id uint16) string { return fmt.Sprint(l.Proto, l.Src, id) }

// readdress makes an inbound packet's destination the outside endpoint of its inside host's, in the quote of an error
// too. Without one it goes to the outside address.
func (r *replayer) readdress(b []byte) {
	if r.translate(b, false) {
		return
	}
	if l, err := testpkt.Parse(b); err == nil {
		_, to := layoutAddrs(&l)
		_, id, _ := idsOf(b, &l)
		setEndpoint(b, &l, false, port(wanOf(to), id))
	}
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
		quote := b[l.L4+8 : l.Len]
		src, dst, _ := idsOf(quote, &q)
		inner := testpkt.Layout{Proto: q.Proto, Src: q.Src}
		if outbound {
			inner.Src, src = q.Dst, dst
		}
		e, ok := r.chosen[mappingKey(&inner, src)]
		if !ok {
			return false
		}
		setEndpoint(quote, &q, !outbound, e)
		setEndpoint(b, &l, outbound, port(e.Addr(), 0))
		return true
	}
	src, dst, _ := idsOf(b, &l)
	key := testpkt.Layout{Proto: l.Proto, Src: l.Src}
	if !outbound {
		key.Src, src = l.Dst, dst
	}
	if l.Fragment() && l.FragOff > 0 { // only the first has ports, but all have the address
		_, to := layoutAddrs(&l)
		setEndpoint(b, &l, outbound, port(wanOf(to), 0))
		return true
	}
	e, ok := r.chosen[mappingKey(&key, src)]
	if ok {
		setEndpoint(b, &l, outbound, e)
	}
	return ok
}

// whole puts fragments together; it is no more than that, since the router refuses those that overlap.
func whole(fragments [][]byte) []byte {
	slices.SortStableFunc(fragments, func(a, b []byte) int {
		x, _ := testpkt.Parse(a)
		y, _ := testpkt.Parse(b)
		return cmp.Compare(x.FragOff, y.FragOff)
	})
	first, _ := testpkt.Parse(fragments[0])
	if !first.Fragment() {
		return bytes.Clone(fragments[0])
	}
	b := bytes.Clone(fragments[0][:first.Len])
	for i, f := range fragments[1:] {
		l, _ := testpkt.Parse(f)
		if previous, _ := testpkt.Parse(fragments[i]); l.FragOff != previous.FragOff { // else sent twice
			b = append(b, f[l.L4:l.Len]...)
		}
	}
	if first.Family == 6 {
		b[6] = b[first.FragHdr]
		b = slices.Delete(b, first.FragHdr, first.FragHdr+8)
		b[4], b[5] = byte((len(b)-40)>>8), byte(len(b)-40)
		return b
	}
	b[2], b[3] = byte(len(b)>>8), byte(len(b))
	b[6], b[7] = b[6]&0x40, 0
	setSum(b[:first.L4], 10)
	return b
}
