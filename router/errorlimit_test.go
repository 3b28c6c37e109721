package router

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/natrouter/natrouter/router/packet"
)

// crowd is who asks for answers of one form: so many a second, from sources one after the other.
type crowd struct {
	a       asked
	rate    int
	sources int // 0: each time a new one
}

// ask lets a crowd ask at one time, and returns how often it got an answer.
func (c *crowd) ask(e *errorLimit, now packet.Time, n int) bool {
	at := uint32(n)
	if c.sources > 0 {
		at %= uint32(c.sources)
	}
	a := c.a
	a.source = binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(c.a.source)+at)
	return e.allow(now, &a)
}

// seedOf returns a seed of random bytes, as the router hands out.
func seedOf(n byte) (seed [32]byte) {
	_, _ = rand.NewChaCha8([32]byte{n}).Read(seed[:])
	return seed
}

// meet lets crowds ask from one second to another, in turn as they would, and returns what each got.
func meet(e *errorLimit, from, to packet.Time, crowds ...crowd) (got []int) {
	got = make([]int, len(crowds))
	asked := make([]int, len(crowds))
	for now := from * 1e9; now < to*1e9; now += 1e5 {
		for i := range crowds {
			for want := int((now - from*1e9) * packet.Time(crowds[i].rate) / 1e9); asked[i] < want; asked[i]++ {
				if crowds[i].ask(e, now, asked[i]) {
					got[i]++
				}
			}
		}
	}
	return got
}

// TestErrorLimitStarvesNobody: who asks now and then is answered each time, whoever else floods.
func TestErrorLimitStarvesNobody(t *testing.T) {
	host, others, world := []byte{10, 77, 0, 2}, []byte{10, 77, 1, 0}, []byte{11, 0, 0, 0}
	tooBig := crowd{a: asked{kind: tooBigAnswer, source: host}, rate: 9, sources: 1}
	other := crowd{a: asked{source: host}, rate: 9, sources: 1}
	proven := crowd{a: asked{kind: tooBigAnswer, assured: true, source: host}, rate: 9, sources: 1}
	outside := crowd{a: asked{kind: tooBigAnswer, side: Outside, source: []byte{198, 51, 100, 7}}, rate: 9, sources: 1}
	flood := func(kind answerKind, side Side, first []byte, rate, sources int) crowd {
		return crowd{a: asked{kind: kind, side: side, source: first}, rate: rate, sources: sources}
	}
	for name, tt := range map[string]struct {
		honest crowd
		floods []crowd
	}{
		"too big while one host has no hops left":  {tooBig, []crowd{flood(otherAnswer, Inside, others, 5000, 1)}},
		"too big while one host sends too big":     {tooBig, []crowd{flood(tooBigAnswer, Inside, others, 5000, 1)}},
		"no hops left while another has none":      {other, []crowd{flood(otherAnswer, Inside, others, 5000, 1)}},
		"too big while the same has no hops left":  {tooBig, []crowd{flood(otherAnswer, Inside, host, 5000, 1)}},
		"among 200 hosts":                          {tooBig, []crowd{flood(tooBigAnswer, Inside, others, 20_000, 200)}},
		"among a whole forged network":             {other, []crowd{flood(otherAnswer, Inside, others, 50_000, 2000)}},
		"among so many that some sets are crowded": {tooBig, []crowd{flood(tooBigAnswer, Inside, others, 120_000, 6000)}},
		"the world forged outside":                 {tooBig, []crowd{flood(tooBigAnswer, Outside, world, 50_000, 0), flood(otherAnswer, Outside, world, 50_000, 0)}},
		"the world forged inside, other answers":   {tooBig, []crowd{flood(otherAnswer, Inside, world, 50_000, 0)}},
		"the world forged on the side of the host": {proven, []crowd{flood(tooBigAnswer, Inside, world, 50_000, 0), flood(otherAnswer, Inside, world, 50_000, 0)}},
		"an outside host among inside floods":      {outside, []crowd{flood(tooBigAnswer, Inside, world, 50_000, 0)}},
		"many hosts of assured connections":        {tooBig, []crowd{{a: asked{kind: tooBigAnswer, assured: true, source: others}, rate: 50_000, sources: 500}}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newErrorLimit(1000, seedOf(1))
			crowds := append(tt.floods[:len(tt.floods):len(tt.floods)], tt.honest)
			meet(e, 0, 3, tt.floods...) // it lasts already
			if got := meet(e, 3, 15, crowds...); got[len(got)-1] != 12*9-1 {
				t.Errorf("%d of %d answered; the floods got %v in 12 s", got[len(got)-1], 12*9-1, got[:len(got)-1])
			}
		})
	}
}

// TestErrorLimitTotal: all together get no more than the rate, whatever they are (RFC 1812, section 4.3.2.8).
func TestErrorLimitTotal(t *testing.T) {
	for _, rate := range []int{1, 3, 16, 100, 1000, 20_000} {
		e := newErrorLimit(rate, seedOf(2))
		var crowds []crowd
		for i := range byte(8) {
			a := asked{kind: answerKind(i & 1), side: Inside + Side(i>>1&1), assured: i>>2 == 1, source: []byte{10, i, 0, 0}}
			crowds = append(crowds, crowd{a: a, rate: 20_000, sources: 1000}, crowd{a: a, rate: 5000})
		}
		const seconds = 5
		got := 0
		for _, n := range meet(e, 0, seconds, crowds...) {
			got += n
		}
		// A second's worth that was saved, and what is promised each share: one at least.
		most := (seconds+1)*rate + 12*max(rate/promises+1, 1)
		if got > most || got < seconds*rate*9/10 {
			t.Errorf("rate %d: %d answers in %d s, want no more than %d and no fewer than the rate", rate, got, seconds, most)
		}
	}
}

// TestErrorLimitPart: a source has a burst and goes on with its rate; an IPv6 source is a /64.
func TestErrorLimitPart(t *testing.T) {
	e := newErrorLimit(1000, seedOf(3))
	one := crowd{a: asked{source: []byte{10, 77, 0, 2}}, rate: 5000, sources: 1}
	if got := meet(e, 0, 10, one)[0]; got < 100+95 || got > 100+105 {
		t.Errorf("%d answers in 10 s, want a burst of 100 and 10 a second", got)
	}
	ask := func(addr string, n int) (got int) {
		a := asked{source: netip.MustParseAddr(addr).AsSlice()}
		for range n {
			if e.allow(20e9, &a) {
				got++
			}
		}
		return got
	}
	if got := ask("fd77::1", 80) + ask("fd77::2:0:0:1", 80); got != 100 {
		t.Errorf("%d answers for two addresses of a /64, want 100", got)
	}
	if got := ask("fd77:0:0:1::1", 80); got != 80 {
		t.Errorf("%d answers for the next /64, want 80", got)
	}
	if got := ask("10.77.0.3", 80); got != 80 {
		t.Errorf("%d answers for the next IPv4 address, want 80", got)
	}
}

// TestErrorLimitLaterQuiet: what was promised is not saved up for ever, and a part that was used up comes back.
func TestErrorLimitLaterQuiet(t *testing.T) {
	e := newErrorLimit(100, seedOf(4))
	one := crowd{a: asked{source: []byte{10, 77, 0, 2}}, rate: 100, sources: 1}
	first := meet(e, 0, 3, one)[0]
	a := one.a
	got := 0
	for range 1000 {
		if e.allow(3600e9, &a) {
			got++
		}
	}
	if got != 10 || first >= 20 {
		t.Errorf("%d answers at first, %d an hour later; want a burst of 10 each time", first, got)
	}
}

// TestErrorLimitNone: no limit allows all.
func TestErrorLimitNone(t *testing.T) {
	for _, rate := range []int{0, -1} {
		e := newErrorLimit(rate, [32]byte{})
		if got := meet(e, 0, 1, crowd{a: asked{source: []byte{10, 77, 0, 2}}, rate: 9000, sources: 1})[0]; got != 8999 {
			t.Errorf("rate %d: %d of 8999", rate, got)
		}
	}
}

// TestErrorLimitTableFull: a flooder's part is not forgotten for those that ask once each.
func TestErrorLimitTableFull(t *testing.T) {
	e := newErrorLimit(1_000_000, seedOf(5)) // a rate that never binds here
	flooder := crowd{a: asked{source: []byte{10, 77, 0, 2}}, rate: 100_000, sources: 1}
	rest := crowd{a: asked{source: []byte{11, 0, 0, 0}}, rate: 100_000}
	got := meet(e, 0, 5, flooder, rest)
	if got[0] > 100_000+5*10_000+10 {
		t.Errorf("%d answers to one source in 5 s beside many, want a burst of 100000 and 10000 a second", got[0])
	}
}

// TestErrorLimitAllocates: nothing, for old sources and for new ones.
func TestErrorLimitAllocates(t *testing.T) {
	e := newErrorLimit(1000, seedOf(6))
	var source [16]byte
	now := packet.Time(0)
	if n := testing.AllocsPerRun(1000, func() {
		now += 1e6
		binary.BigEndian.PutUint64(source[:], uint64(now))
		a := asked{kind: tooBigAnswer, source: source[:]}
		e.allow(now, &a)
		e.allow(now, &a)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestErrorLimitLanes: the limit holds for lanes that ask at once.
func TestErrorLimitLanes(t *testing.T) {
	e := newErrorLimit(1000, seedOf(7))
	var got atomic.Int64
	var lanes sync.WaitGroup
	for lane := range byte(4) {
		lanes.Go(func() {
			r := rand.New(rand.NewPCG(uint64(lane), 1))
			for now := packet.Time(0); now < 1e9; now += 1e5 {
				a := asked{kind: answerKind(r.IntN(2)), source: []byte{10, lane, byte(r.Uint32()), byte(r.Uint32())}}
				if e.allow(now, &a) {
					got.Add(1)
				}
			}
		})
	}
	lanes.Wait()
	if n := got.Load(); n > 2000+12*1000/promises || n < 1000 {
		t.Errorf("%d answers in a second", n)
	}
}

// BenchmarkErrorLimit: a refusal under a flood, from one source and from all of a network.
func BenchmarkErrorLimit(b *testing.B) {
	for name, mask := range map[string]uint32{"one source": 0, "forged": 0xffffff} {
		b.Run(name, func(b *testing.B) {
			e := newErrorLimit(1000, seedOf(8))
			b.RunParallel(func(pb *testing.PB) {
				var source [4]byte
				for n := uint32(0); pb.Next(); n++ {
					binary.BigEndian.PutUint32(source[:], 10<<24|n&mask)
					a := asked{source: source[:]}
					e.allow(1e9, &a)
				}
			})
		})
	}
}
