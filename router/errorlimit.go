package router

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"github.com/natrouter/natrouter/router/packet"
)

// errorLimit bounds what the router itself answers: ICMP errors, and the RST of a filter that rejects (RFC 1812,
// section 4.3.2.8; RFC 4443, section 2.4(f): token buckets). All answers together come to no more than the rate. Within
// it nobody can starve another:
//
//   - A source has a part of its own of each kind of answer, and gets no more.
//   - Packet too big, on which path MTU discovery lives (RFC 1191; RFC 8201, section 4), shares nothing that is promised
//     to it with other answers, and inside hosts nothing with outside ones.
//   - Who can have forged its source, since no connection of it is assured, takes nothing that is promised to who can't.
//     Among the former, who used little of its part comes before who used much, so a flood from many sources leaves
//     room for one that asks now and then.
//
// What is promised and not used anyone within its part may have. Only a flood from thousands of sources a second, each
// new, can't be told from as many honest ones: then the connections that are assured still have their share.
//
// The parts stand in a table of fixed size, by a hash with a secret key, so that nobody can choose whose cells it takes.
// A new source takes the cell of its set that has used least; one that has used nothing is as good as none. Where all
// are in use the set is crowded, and who is new there counts as one who used half of its part (ADR 7). All is done with
// atomic numbers: a refusal writes nothing but its own source's part.
//
// It is safe for concurrent use. Its size does not depend on traffic.
type errorLimit struct {
	total  meter
	shares [numAnswerKinds][numSides][numStandings]meter
	cells  [partSets][partWays]part
	key    [2]uint64

	rate, promise, part flow
}

// Everything is counted as parts of the rate, Config.ErrorRate.
const (
	promises = 16 // of so many equal promises each share has one; the 12 of them leave some for whoever comes first

	partRate  = 100 // a source goes on with a hundredth: 10 a second by default
	partBurst = 10  // and begins with a tenth, that is 100

	// The least part, which is the kernel's (icmp_ratelimit, and XRLIM_BURST_FACTOR in net/ipv4/route.c).
	leastPartRate  = 1
	leastPartBurst = 6

	sourcePrefix6 = 64 // bits of an IPv6 address that say whose it is: who has one of a /64 may have them all
)

// Size of the table of parts: 16384, of 256 KiB.
const (
	partSets = 4096
	partWays = 4 // a cache line
)

// answerKind says which answers share their promises.
type answerKind uint8

const (
	otherAnswer answerKind = iota
	tooBigAnswer
	numAnswerKinds
)

const numSides = Outside + 1 // by Side: the zero one, which no interface has, is never asked for

// standing says how far a source can be believed.
type standing uint8

const (
	assured standing = iota // of an assured connection: both ends have answered each other
	seldom                  // has used no more than a quarter of its part
	often
	numStandings
)

// asked is an answer that somebody wants.
type asked struct {
	kind    answerKind
	side    Side
	assured bool
	source  []byte // address in network order, of 4 or 16 bytes; not kept
}

// newErrorLimit returns the limit for rate answers a second, 1 or more; nil, which allows all, for others.
func newErrorLimit(rate int, seed [32]byte) *errorLimit {
	if rate <= 0 {
		return nil
	}
	e := &errorLimit{
		rate:    perSecond(float64(rate), float64(rate)),
		promise: perSecond(float64(rate)/promises, float64(rate)/promises),
		part:    perSecond(max(float64(rate)/partRate, leastPartRate), max(float64(rate)/partBurst, leastPartBurst)),
	}
	e.key[0], e.key[1] = binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])
	return e
}

// allow reports whether an answer may be sent now, and counts it.
func (e *errorLimit) allow(now packet.Time, a *asked) bool {
	if e == nil {
		return true
	}
	t := int64(now)
	p := e.partOf(a, t)
	used, ok := p.take(t, &e.part)
	if !ok {
		return false
	}
	s := often
	switch {
	case a.assured:
		s = assured
	case used <= e.part.depth/4:
		s = seldom
	}
	if _, ok := e.shares[a.kind][a.side][s].take(t, &e.promise); ok {
		e.total.charge(t, &e.rate)
		return true
	}
	_, ok = e.total.take(t, &e.rate)
	return ok
}

// part is what one source has used of one kind of answers.
type part struct {
	source atomic.Uint64 // hash of source and kind; with 64 bits two are never the same. 0: nobody's
	meter
}

// partOf finds a source's part, or takes one for it. Lanes that take the same one at once may count a few answers for the
// other's source.
func (e *errorLimit) partOf(a *asked, now int64) *meter {
	h := e.hash(a)
	set := &e.cells[h%partSets]
	quietest := &set[0]
	for i := range set {
		p := &set[i]
		if p.source.Load() == h {
			return &p.meter
		}
		if p.full.Load() < quietest.full.Load() {
			quietest = p
		}
	}
	quietest.source.Store(h)
	quietest.full.Store(min(max(quietest.full.Load(), now), now+e.part.depth/2))
	return &quietest.meter
}

// hash is keyed as that of connections is.
func (e *errorLimit) hash(a *asked) uint64 {
	var hi, lo uint64
	if len(a.source) == 4 {
		lo = uint64(binary.BigEndian.Uint32(a.source))
	} else {
		hi, lo = binary.BigEndian.Uint64(a.source), binary.BigEndian.Uint64(a.source[8:])
		hi, lo = hi&prefixMask(sourcePrefix6), lo&prefixMask(sourcePrefix6-64)
	}
	h := foldMul(hi^e.key[0], lo^e.key[1])
	return foldMul(h^e.key[1], e.key[0]^(uint64(a.kind)<<8|uint64(len(a.source))))
}

// prefixMask returns a word whose first n bits are set; n may be below 0 or above 64.
func prefixMask(n int) uint64 { return ^(^uint64(0) >> max(n, 0)) }

func foldMul(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// flow says how fast a meter fills and how much it holds.
type flow struct {
	each  int64 // ns to fill by one token
	depth int64 // ns to fill from empty: at least each, so that one token has room
}

// perSecond returns the flow of a rate, tokens a second, and a depth, tokens.
func perSecond(rate, depth float64) flow {
	each := 1e9 / rate
	return flow{each: max(int64(each), 1), depth: max(int64(depth*each), int64(each), 1)}
}

// meter is a token bucket in one number: the time at which it is full again (the generic cell rate algorithm, ITU-T
// I.371). So it needs no lock, and one that was left alone is full without a touch. The zero value is full.
type meter struct{ full atomic.Int64 }

// take takes a token, if there is one; used is how much is missing then, ns.
func (m *meter) take(now int64, f *flow) (used int64, ok bool) {
	for {
		full := m.full.Load()
		next := max(full, now) + f.each
		if next-now > f.depth {
			return 0, false
		}
		if m.full.CompareAndSwap(full, next) {
			return next - now, true
		}
	}
}

// charge takes a token even if there is none. What was promised comes off what the others may have.
func (m *meter) charge(now int64, f *flow) {
	for {
		full := m.full.Load()
		if m.full.CompareAndSwap(full, max(full, now)+f.each) {
			return
		}
	}
}
