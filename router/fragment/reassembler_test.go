package fragment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

var (
	host4, peer4 = netip.MustParseAddrPort("10.77.1.2:5000"), netip.MustParseAddrPort("203.0.113.9:53")
	host6, peer6 = netip.MustParseAddrPort("[fd77::2]:5000"), netip.MustParseAddrPort("[2001:db8::9]:53")
)

const plenty = 4 << 20 // bytes; the default of the configuration

func text(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func udp4(n int) []byte { return testpkt.UDP{Src: host4, Dst: peer4, Payload: text(n), ID: 7}.Bytes() }
func udp6(n int) []byte { return testpkt.UDP{Src: host6, Dst: peer6, Payload: text(n)}.Bytes() }

// result is what Add returned.
type result struct {
	n, size int
	df      bool
	reason  packet.DropReason
}

// adder calls Add with a parsed fragment.
type adder struct {
	t   testing.TB
	r   *Reassembler
	dst []byte
}

func newAdder(t testing.TB, limit int) *adder {
	return &adder{t, New(limit), make([]byte, packet.MaxIPv6)}
}

func (a *adder) add(now packet.Time, in int, b []byte) result {
	a.t.Helper()
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		a.t.Fatalf("Parse(% x) = %v", b, reason)
	}
	n, size, df, reason := a.r.Add(now, in, b, &h, a.dst)
	return result{n, size, df, reason}
}

// consistent checks that all lists hold the same datagrams, and none is kept of whom nothing waits.
func (a *adder) consistent() {
	a.t.Helper()
	n, bytes := 0, 0
	for p, list := range a.r.pairs {
		if n += list.Len(); list.Len() == 0 {
			a.t.Errorf("%v holds nothing", p)
		}
	}
	if v4 := a.r.byAge[0].Len(); n != v4 {
		a.t.Errorf("pairs hold %d datagrams, of IPv4 there are %d", n, v4)
	}
	n = 0
	for s, h := range a.r.sources {
		n, bytes = n+h.byAge.Len(), bytes+h.bytes
		if h.byAge.Len() == 0 {
			a.t.Errorf("%v holds nothing", s)
		}
	}
	if n != len(a.r.datagrams) || n != a.r.byAge[0].Len()+a.r.byAge[1].Len() || bytes != a.r.bytes {
		a.t.Errorf("sources hold %d datagrams and %d bytes, in all there are %d and %d", n, bytes, len(a.r.datagrams), a.r.bytes)
	}
}

// piece4 is a fragment of a raw IPv4 datagram.
func piece4(off, n int, more bool) []byte {
	b := testpkt.Raw{Src: host4.Addr(), Dst: peer4.Addr(), Proto: 50, Payload: text(off + n)[off:], ID: 9}.Bytes()
	packet.IPv4(b).SetFragment(off, more)
	packet.IPv4(b).UpdateChecksum()
	return b
}

// piece6 is a fragment of a raw IPv6 datagram.
func piece6(off, n int, more bool) []byte {
	return testpkt.Raw{Src: host6.Addr(), Dst: peer6.Addr(), Proto: 50, Payload: text(off + n)[off:],
		Ext: []testpkt.Ext{testpkt.FragHeader(off, more, 9)}}.Bytes()
}

func TestAddCompletes(t *testing.T) {
	for name, tt := range map[string]struct {
		whole []byte
		df    bool
	}{
		"IPv4":             {udp4(3000), false},
		"IPv4, DF":         {testpkt.UDP{Src: host4, Dst: peer4, Payload: text(999), ID: 7, DF: true}.Bytes(), true},
		"IPv6":             {udp6(3000), true},
		"longest IPv4":     {testpkt.Raw{Src: host4.Addr(), Dst: peer4.Addr(), Proto: 50, Payload: text(65515)}.Bytes(), false},
		"longest IPv6":     {testpkt.Raw{Src: host6.Addr(), Dst: peer6.Addr(), Proto: 50, Payload: text(65535)}.Bytes(), true},
		"TCP header split": {testpkt.TCP{Src: host4, Dst: peer4, Flags: packet.FlagSYN}.Bytes(), false},
	} {
		for _, size := range []int{68, 576, 1280, 1500} {
			frags := testpkt.Fragments(tt.whole, size, 5)
			if name == "TCP header split" {
				frags = testpkt.Fragments(tt.whole, 28, 5)
			}
			if len(frags) < 2 || len(frags) > maxFragments {
				continue // it fits; or it is IPv6 in pieces that no IPv6 link makes
			}
			largest := 0
			for _, f := range frags {
				largest = max(largest, len(f))
			}
			for order, permute := range orders {
				a := newAdder(t, plenty)
				var got result
				for i := range frags {
					got = a.add(0, 1, frags[permute(i, len(frags))])
					if (got.n > 0) != (i == len(frags)-1) || got.reason != packet.NotDropped {
						t.Fatalf("%s, size %d, %s: fragment %d of %d: %+v", name, size, order, i, len(frags), got)
					}
				}
				if want := (result{len(tt.whole), largest, tt.df, packet.NotDropped}); got != want || !bytes.Equal(a.dst[:got.n], tt.whole) {
					t.Errorf("%s, size %d, %s: %+v, want %+v", name, size, order, got, want)
				}
				if a.r.Len() != 0 || a.r.Bytes() != 0 || len(a.r.sources) != 0 {
					t.Errorf("%s, size %d, %s: %d datagrams, %d bytes left", name, size, order, a.r.Len(), a.r.Bytes())
				}
				a.consistent()
			}
		}
	}
}

var orders = map[string]func(i, n int) int{
	"in order":     func(i, _ int) int { return i },
	"backwards":    func(i, n int) int { return n - 1 - i },
	"first last":   func(i, n int) int { return (i + 1) % n },
	"odd one even": func(i, n int) int { return (i*2 + i*2/n*(1-n%2)) % n },
}

// step is a fragment, and what becomes of it.
type step struct {
	off, n int
	more   bool
	want   packet.DropReason
	done   int // payload bytes of the complete datagram
}

const held, overlap, invalid = packet.NotDropped, packet.FragmentOverlap, packet.FragmentInvalid

// What both families have in common.
func TestAddRules(t *testing.T) {
	for name, steps := range map[string][]step{
		"duplicate":                     {{0, 16, true, held, 0}, {0, 16, true, held, 0}, {16, 5, false, held, 21}},
		"duplicate of the last":         {{16, 5, false, held, 0}, {16, 5, false, held, 0}, {0, 16, true, held, 21}},
		"same bytes, but last":          {{16, 16, true, held, 0}, {16, 16, false, overlap, 0}},
		"over the end of another":       {{0, 16, true, held, 0}, {8, 16, true, overlap, 0}},
		"over the start of another":     {{16, 16, true, held, 0}, {8, 16, true, overlap, 0}},
		"around another":                {{8, 8, true, held, 0}, {0, 32, true, overlap, 0}},
		"inside another":                {{0, 32, true, held, 0}, {8, 8, true, overlap, 0}},
		"behind the last":               {{16, 8, false, held, 0}, {24, 8, true, invalid, 0}},
		"a last before another":         {{16, 8, true, held, 0}, {0, 8, false, invalid, 0}},
		"two lasts":                     {{16, 8, false, held, 0}, {32, 8, false, invalid, 0}},
		"no bytes":                      {{8, 0, true, invalid, 0}, {8, 0, false, invalid, 0}, {0, 8, true, held, 0}},
		"no multiple of eight with MF":  {{0, 15, true, invalid, 0}, {0, 16, true, held, 0}, {16, 1, false, held, 17}},
		"beyond the longest":            {{65528, 100, false, invalid, 0}, {65528, 8, true, invalid, 0}, {0, 8, true, held, 0}},
		"a hole at the start is a hole": {{8, 8, true, held, 0}, {16, 8, false, held, 0}, {0, 8, true, held, 24}},
	} {
		follow(t, name+", IPv4", packet.IPv4Size, piece4, steps)
		follow(t, name+", IPv6", packet.IPv6Size, piece6, steps)
	}
}

// An IPv6 datagram with an overlap is dropped with all that still comes of it (RFC 5722, section 4).
func TestAddRulesIPv6(t *testing.T) {
	for name, steps := range map[string][]step{
		"first, shorter":             {{0, 16, true, held, 0}, {0, 8, true, overlap, 0}, {16, 5, false, overlap, 0}},
		"first, longer":              {{0, 16, true, held, 0}, {0, 24, true, overlap, 0}, {24, 5, false, overlap, 0}},
		"overlap":                    {{0, 16, true, held, 0}, {8, 16, true, overlap, 0}, {24, 8, false, overlap, 0}},
		"behind the last":            {{16, 8, false, held, 0}, {24, 8, true, invalid, 0}, {0, 16, true, invalid, 0}},
		"duplicate after an overlap": {{0, 16, true, held, 0}, {8, 16, true, overlap, 0}, {0, 16, true, overlap, 0}},
	} {
		follow(t, name, packet.IPv6Size, piece6, steps)
	}
}

// An identification of IPv4 is used again (RFC 4963): whatever became of the last datagram, the next one is whole.
func TestAddRulesIPv4(t *testing.T) {
	for name, steps := range map[string][]step{
		"first, shorter":             {{0, 16, true, held, 0}, {0, 8, true, held, 0}, {8, 5, false, held, 13}},
		"first, longer":              {{0, 16, true, held, 0}, {0, 24, true, held, 0}, {24, 5, false, held, 29}},
		"first, over later ones":     {{8, 8, true, held, 0}, {0, 16, true, overlap, 0}, {0, 16, true, held, 0}, {16, 8, false, held, 24}},
		"a first forgets later ones": {{0, 8, true, held, 0}, {16, 8, false, held, 0}, {0, 16, true, held, 0}, {16, 5, false, held, 21}},
		"overlap":                    {{0, 16, true, held, 0}, {8, 16, true, overlap, 0}, {0, 16, true, held, 0}, {16, 8, false, held, 24}},
		"behind the last":            {{16, 8, false, held, 0}, {24, 8, true, invalid, 0}, {0, 16, true, held, 0}, {16, 8, false, held, 24}},
		"two lasts":                  {{16, 8, false, held, 0}, {32, 8, false, invalid, 0}, {0, 8, true, held, 0}, {8, 1, false, held, 9}},
		"after it was complete":      {{0, 8, true, held, 0}, {8, 8, false, held, 16}, {0, 8, true, held, 0}, {8, 8, false, held, 16}},
	} {
		follow(t, name, packet.IPv4Size, piece4, steps)
	}
}

// follow adds the fragments of steps, as make makes them; head is the length of the IP header.
func follow(t *testing.T, name string, head int, make func(off, n int, more bool) []byte, steps []step) {
	t.Helper()
	a := newAdder(t, plenty)
	for i, s := range steps {
		got := a.add(0, 1, make(s.off, s.n, s.more))
		want := 0
		if s.done > 0 {
			want = s.done + head
		}
		if got.reason != s.want || got.n != want {
			t.Errorf("%s, step %d: %+v, want %d bytes, %v", name, i, got, want, s.want)
		}
		if want > 0 && !bytes.Equal(a.dst[want-s.done:want], text(s.done)) {
			t.Errorf("%s: payload % x", name, a.dst[:want])
		}
	}
}

// Equal bounds with other bytes are an overlap, not a duplicate.
func TestAddOtherBytes(t *testing.T) {
	a := newAdder(t, plenty)
	a.add(0, 1, piece4(8, 16, true))
	forged := piece4(8, 16, true)
	forged[30] ^= 1
	if got := a.add(0, 1, forged); got.reason != packet.FragmentOverlap {
		t.Errorf("%v, want %v", got.reason, packet.FragmentOverlap)
	}
}

// TestLostFragments: of 6000 datagrams 60 lose a fragment; in the next rounds, with the same identifications, all are
// whole. The 60 were lost again in each round.
func TestLostFragments(t *testing.T) {
	for lost, name := range []string{"first", "second"} {
		a := newAdder(t, plenty)
		for round := range 3 {
			whole := 0
			for id := range 6000 {
				payload := bytes.Repeat([]byte{byte(round)}, 2000)
				b := testpkt.Raw{Src: host4.Addr(), Dst: peer4.Addr(), Proto: 50, Payload: payload, ID: uint16(id)}.Bytes()
				for i, f := range testpkt.Fragments(b, 1500, 0) {
					if round == 0 && id%100 == 50 && i == lost {
						continue
					}
					got := a.add(packet.Time(round)*second, 1, f)
					if got.n > 0 && bytes.Equal(a.dst[:got.n], b) {
						whole++
					}
				}
			}
			if want := 6000 - 60*boolInt(round == 0); whole != want {
				t.Errorf("%s lost, round %d: %d datagrams were whole, want %d", name, round, whole, want)
			}
		}
		if a.r.Stale() != 60 || a.r.Len() != 0 {
			t.Errorf("%s lost: %d stale, want 60; %d wait", name, a.r.Stale(), a.r.Len())
		}
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// What differs in the key is another datagram.
func TestAddKeepsApart(t *testing.T) {
	a := newAdder(t, plenty)
	a.add(0, 1, piece4(0, 8, true))
	other := func(change func(packet.IPv4)) []byte {
		b := packet.IPv4(piece4(8, 8, false))
		change(b)
		b.UpdateChecksum()
		return b
	}
	for name, b := range map[string][]byte{
		"source":      other(func(ip packet.IPv4) { ip.Src()[3]++ }),
		"destination": other(func(ip packet.IPv4) { ip.Dst()[3]++ }),
		"protocol":    other(func(ip packet.IPv4) { ip[9] = 51 }),
		"ID":          other(func(ip packet.IPv4) { ip.SetID(10) }),
	} {
		if got := a.add(0, 1, b); got.n != 0 || got.reason != packet.NotDropped {
			t.Errorf("another %s: %+v", name, got)
		}
	}
	if got := a.add(0, 2, piece4(8, 8, false)); got.n != 0 {
		t.Errorf("another interface: %+v", got)
	}
	if got := a.add(0, 1, piece4(8, 8, false)); got.n != 36 {
		t.Errorf("its own: %+v", got)
	}
}

func TestAddRefusesWhole(t *testing.T) {
	a := newAdder(t, plenty)
	if got := a.add(0, 1, udp4(10)); got.reason != packet.FragmentInvalid || a.r.Len() != 0 {
		t.Errorf("%+v, %d datagrams", got, a.r.Len())
	}
}

func TestAddShortDst(t *testing.T) {
	a := newAdder(t, plenty)
	a.dst = a.dst[:35]
	a.add(0, 1, piece4(0, 8, true))
	if got := a.add(0, 1, piece4(8, 8, false)); got.n != 0 || got.reason != packet.Oversize || a.r.Len() != 0 {
		t.Errorf("%+v, %d datagrams", got, a.r.Len())
	}
}

// Options of the first fragment, and the headers that it repeats, make the whole longer than an IP packet can be, though
// a later fragment, which has none, shows nothing of it. A byte less, or eight, and it is whole.
func TestAddTooLongWithOptions(t *testing.T) {
	first4 := packet.IPv4(testpkt.Raw{Src: host4.Addr(), Dst: peer4.Addr(), Proto: 50, Payload: text(32000), ID: 9, IPOptions: []byte{7, 3, 4, 0}}.Bytes())
	first4.SetFragment(0, true)
	first4.UpdateChecksum()
	hop := testpkt.Ext{Type: 0, Data: []byte{1, 4, 0, 0, 0, 0}}
	first6 := testpkt.Raw{Src: host6.Addr(), Dst: peer6.Addr(), Proto: 50, Payload: text(32000),
		Ext: []testpkt.Ext{hop, testpkt.FragHeader(0, true, 9)}}.Bytes()
	for _, tt := range []struct {
		first []byte
		last  func(off, n int, more bool) []byte
		room  int // bytes of payload that there may be
		whole int
	}{{first4, piece4, 65511, 65535}, {first6, piece6, 65527, 65575}} {
		for over := range 9 {
			a := newAdder(t, plenty)
			a.add(0, 1, tt.first)
			got := a.add(0, 1, tt.last(32000, tt.room-32000+over, false))
			want, reason := tt.whole, packet.NotDropped
			if over > 0 {
				want, reason = 0, packet.FragmentInvalid
			}
			if got.n != want || got.reason != reason {
				t.Errorf("IPv%d, %d bytes too long: %+v, want %d bytes, %v", tt.first[0]>>4, over, got, want, reason)
			}
		}
	}
}

// The congestion mark of one fragment is the datagram's; beside a sender without ECN it drops it (RFC 3168, 5.3).
func TestAddECN(t *testing.T) {
	const not, ect1, ect0, ce = 0, 1, 2, 3
	for _, tt := range []struct {
		first, second, want uint8
		reason              packet.DropReason
	}{
		{not, not, not, packet.NotDropped},
		{ect0, ect0, ect0, packet.NotDropped},
		{ect0, ect1, ect0, packet.NotDropped},
		{ect0, ce, ce, packet.NotDropped},
		{ce, ect1, ce, packet.NotDropped},
		{ce, ce, ce, packet.NotDropped},
		{not, ce, 0, packet.FragmentInvalid},
		{ce, not, 0, packet.FragmentInvalid},
	} {
		for _, whole := range [][]byte{udp4(2000), udp6(2000)} {
			a := newAdder(t, plenty)
			frags := testpkt.Fragments(whole, 1500, 1)
			a.add(0, 1, mark(frags[0], tt.first))
			got := a.add(0, 1, mark(frags[1], tt.second))
			if got.reason != tt.reason || got.n > 0 && ecn(a.dst) != tt.want {
				t.Errorf("%d and %d: %+v, ECN %d, want %d", tt.first, tt.second, got, ecn(a.dst), tt.want)
			}
			if got.n > 0 {
				if err := testpkt.Verify(a.dst[:got.n]); err != nil {
					t.Errorf("%d and %d: %v", tt.first, tt.second, err)
				}
			}
		}
	}
}

func mark(b []byte, ecn uint8) []byte {
	if b[0]>>4 == 6 {
		b[1] |= ecn << 4
		return b
	}
	b[1] |= ecn
	packet.IPv4(b).UpdateChecksum()
	return b
}

// IPv6 headers before and behind the fragment header are put back as they were.
func TestAddIPv6Headers(t *testing.T) {
	hop := testpkt.Ext{Type: 0, Data: []byte{1, 4, 0, 0, 0, 0}}
	opt := testpkt.Ext{Type: 60, Data: []byte{1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}
	route := testpkt.Ext{Type: 43, Data: []byte{4, 0, 0, 0, 0, 0}}
	for name, ext := range map[string][]testpkt.Ext{
		"hop-by-hop": {hop}, "routing": {route}, "destination": {opt}, "all": {hop, opt, route, opt},
	} {
		whole := testpkt.UDP{Src: host6, Dst: peer6, Payload: text(3000), Ext: ext}.Bytes()
		a := newAdder(t, plenty)
		h, _ := packet.Parse(whole)
		var got result
		packet.Fragment(whole, &h, 1280, 99, make([]byte, 1280), func(frag []byte) bool {
			got = a.add(0, 1, frag)
			return true
		})
		if got.n != len(whole) || !bytes.Equal(a.dst[:got.n], whole) {
			t.Errorf("%s: %+v\n% x, want\n% x", name, got, a.dst[:100], whole[:100])
		}
	}
}

func TestExpire(t *testing.T) {
	a := newAdder(t, plenty)
	first := piece4(0, 8, true)
	a.add(0, 3, first)
	a.add(second, 3, piece6(8, 8, true)) // no first fragment: no message
	a.add(2*second, 3, testpkt.Fragments(udp4(100), 60, 0)[1])
	a.add(3*second, 4, piece6(0, 8, true))
	var told []string
	expire := func(now packet.Time) int {
		return a.r.Expire(now, func(in int, b []byte) { told = append(told, fmt.Sprint(in, " ", len(b))) })
	}
	for _, tt := range []struct {
		now           packet.Time
		dropped, left int
		told          string
	}{
		{30*second - 1, 0, 4, ""},
		{30 * second, 1, 3, "3 28"},
		{32 * second, 1, 2, "3 28"},
		{61 * second, 1, 1, "3 28"},
		{63*second - 1, 0, 1, "3 28"},
		{63 * second, 1, 0, "3 28 4 56"},
	} {
		got := expire(tt.now)
		if got != tt.dropped || a.r.Len() != tt.left || strings.Join(told, " ") != tt.told {
			t.Errorf("at %v: %d dropped, %d left, told %v, want %+v", tt.now, got, a.r.Len(), told, tt)
		}
	}
	a.consistent()
	if a.r.Timeouts() != 4 || a.r.Bytes() != 0 || len(a.r.sources) != 0 {
		t.Errorf("%d timeouts, %d bytes", a.r.Timeouts(), a.r.Bytes())
	}
}

// A dropped datagram of IPv6 is remembered until its time is up, then counted and told no more.
func TestExpireDropped(t *testing.T) {
	a := newAdder(t, plenty)
	a.add(0, 1, piece6(0, 16, true))
	a.add(0, 1, piece6(8, 16, true))
	if got := a.add(60*second-1, 1, piece6(0, 16, true)); got.reason != packet.FragmentOverlap {
		t.Errorf("before its time: %+v", got)
	}
	if n := a.r.Expire(60*second, func(int, []byte) { t.Error("told about it") }); n != 0 || a.r.Timeouts() != 0 || a.r.Len() != 0 {
		t.Errorf("%d dropped, %d timeouts, %d left", n, a.r.Timeouts(), a.r.Len())
	}
	if got := a.add(61*second, 1, piece6(0, 16, true)); got.reason != packet.NotDropped {
		t.Errorf("after its time: %+v", got)
	}
}

// The f of Expire may use the Reassembler.
func TestExpireHoldsNoLock(t *testing.T) {
	a := newAdder(t, plenty)
	a.add(0, 1, piece4(0, 8, true))
	a.r.Expire(30*second, func(int, []byte) { a.add(30*second, 1, piece4(0, 8, true)) })
	if a.r.Len() != 1 {
		t.Errorf("%d datagrams, want 1", a.r.Len())
	}
}

func TestConcurrent(t *testing.T) {
	r := New(plenty)
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			a := &adder{t, r, make([]byte, 65535)}
			for i := range 200 {
				whole := testpkt.UDP{Src: host4, Dst: peer4, Payload: text(2000), ID: uint16(w*1000 + i)}.Bytes()
				for _, f := range testpkt.Fragments(whole, 576, 0) {
					if got := a.add(packet.Time(i), w, f); got.n > 0 && !bytes.Equal(a.dst[:got.n], whole) {
						t.Errorf("worker %d: another datagram came out", w)
					}
				}
				r.Expire(packet.Time(i), func(int, []byte) {})
			}
		})
	}
	workers.Wait()
	if r.Len() != 0 || r.Bytes() != 0 {
		t.Errorf("%d datagrams, %d bytes left", r.Len(), r.Bytes())
	}
}

// Every fragment of the captures goes in; what comes out has a right IP header.
func TestCaptures(t *testing.T) {
	dir, fragments, whole := testpkt.Captures(t), 0, 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.Contains(filepath.Base(path), ".pcap") {
			return err
		}
		all, err := testpkt.ReadCapture(path)
		if err != nil {
			return err
		}
		a := newAdder(t, plenty)
		for _, p := range all {
			h, reason := packet.Parse(p.Data)
			if reason != packet.NotDropped || !h.Fragment {
				continue
			}
			fragments++
			got := a.add(0, 1, p.Data)
			if got.n == 0 {
				continue
			}
			whole++
			l, err := testpkt.Parse(a.dst[:got.n]) // some hold a transport header that is broken
			if l.Len != got.n || l.Fragment() || errors.Is(err, testpkt.ErrIPChecksum) {
				t.Errorf("%s: %+v, %v", filepath.Base(path), l, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d fragments gave %d datagrams", fragments, whole)
	if whole == 0 {
		t.Error("no datagram was completed")
	}
}
