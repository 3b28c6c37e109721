package pptp

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
)

// firstID is the first call ID that paper gives.
const firstID = 1000

// paper is a Master that only counts: no connection ever comes, each reserved ID is a new one.
type paper struct {
	nat    [2]bool
	next   uint16
	expect conntrack.ExpectID
}

var clientAddr, serverAddr, outsideAddr = netip.MustParseAddr("10.77.1.2"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("203.0.113.1")

func (p *paper) tuple(translated bool, dir conntrack.Direction) conntrack.Tuple {
	ends := [2]netip.Addr{clientAddr, serverAddr}
	side := dir // whose address may be another one: when it arrives the receiver's, when it leaves the sender's
	if !translated {
		side = 1 - dir
	}
	if p.nat[side] {
		ends[side] = outsideAddr
	}
	return conntrack.Tuple{Src: ends[dir].As16(), Dst: ends[1-dir].As16(), Proto: 6, Family: 4}
}

func (p *paper) Now() conntrack.Time                                   { return 1 }
func (p *paper) ID() conntrack.Handle                                  { return 1 }
func (p *paper) Arriving(dir conntrack.Direction) conntrack.Tuple      { return p.tuple(false, dir) }
func (p *paper) Leaving(dir conntrack.Direction) conntrack.Tuple       { return p.tuple(true, dir) }
func (p *paper) Unexpect(conntrack.ExpectID) bool                      { return true }
func (p *paper) Expectations() []conntrack.Expectation                 { return nil }
func (p *paper) Unreserve(uint8, netip.Addr, uint16)                   {}
func (p *paper) Find(*conntrack.Tuple) (s conntrack.Snapshot, ok bool) { return s, false }
func (p *paper) Kill(conntrack.Handle) bool                            { return false }
func (p *paper) Timeouts(conntrack.Timeouts) uint16                    { return 1 }
func (p *paper) Wake(conntrack.Time)                                   {}
func (p *paper) Count(string)                                          {}
func (p *paper) Logf(string, ...any)                                   {}
func (p *paper) Expect(conntrack.Expectation) (conntrack.ExpectID, error) {
	p.expect++
	return p.expect, nil
}

func (p *paper) Reserve(uint8, netip.Addr, netip.AddrPort) (uint16, bool) {
	p.next++
	return p.next - 1, true
}

// feeder hands a stream its bytes as the kit does, and keeps what leaves.
type feeder struct {
	t        algtest.T
	stream   alg.Stream
	way      [2]way
	detached bool
}

// way is one direction of the byte stream.
type way struct {
	pending []byte // not consumed
	left    int    // bytes of pending that have left already
	out     []byte
}

func (c *feeder) feed(m alg.Master, dir conntrack.Direction, b []byte) {
	c.t.Helper()
	y := &c.way[dir]
	y.pending = append(y.pending, b...)
	r := alg.Result{Consumed: len(y.pending)}
	if !c.detached {
		r = c.stream.Stream(m, dir, slices.Clip(y.pending))
	}
	last := 0
	for _, e := range r.Edits {
		if e.Off < max(y.left, last) || e.Off+e.Len > r.Consumed || e.Len != len(e.New) {
			c.t.Fatalf("edit of %d bytes at %d, of %d consumed and %d that have left", e.Len, e.Off, r.Consumed, y.left)
		}
		copy(y.pending[e.Off:], e.New)
		last = e.Off + e.Len
	}
	c.detached = c.detached || r.Detach
	free := len(y.pending)
	if r.Hold && !r.Detach {
		free = max(r.Consumed, y.left)
	}
	y.out = append(y.out, y.pending[y.left:free]...)
	y.left = free - r.Consumed
	y.pending = y.pending[r.Consumed:]
}

// compare gives two streams, cut as cuts says, to the helper and to the slow translator.
func compare(t algtest.T, nat uint8, streams [2][]byte, cuts []byte) {
	p := &paper{nat: [2]bool{nat&1 != 0, nat&2 != 0}, next: firstID}
	c := &feeder{t: t, stream: newStream(New().(*helper), defaults)}
	s := newSlow(p.nat)
	feed := func(dir int, n int) {
		b := streams[dir][:n]
		streams[dir] = streams[dir][n:]
		s.arrive(dir, b)
		c.feed(p, conntrack.Direction(dir), b)
	}
	for _, cut := range cuts {
		dir := int(cut & 1)
		feed(dir, min(len(streams[dir]), 1+int(cut>>1)))
	}
	for i := range 4 { // and once more: what was held leaves when the other direction is given up
		feed(i%2, len(streams[i%2]))
	}
	for dir := range 2 {
		if got, want := c.way[dir].out, s.out(dir); !bytes.Equal(got, want) {
			t.Errorf("nat %v, direction %d:\n got % x\nwant % x\n raw % x", p.nat, dir, got, want, s.raw[dir])
		}
	}
	if c.detached != s.lost {
		t.Errorf("detached: %v, want %v", c.detached, s.lost)
	}
	if st := c.stream.(*stream); st.live != len(s.calls) || p.next != s.next {
		t.Errorf("%d calls up to ID %d, want %d up to %d", st.live, p.next, len(s.calls), s.next)
	}
	if (p.expect > 0) != (s.opened > 0) {
		t.Errorf("%d expectations, want for %d calls", p.expect, s.opened)
	}
}

// talk makes a random conversation of n messages, in which IDs are often those that were given.
func talk(r *rand.Rand, n int) (streams [2][]byte, cuts []byte) {
	id := func() uint16 {
		if r.IntN(2) == 0 {
			return uint16(r.IntN(4))
		}
		return firstID + uint16(r.IntN(6))
	}
	for range n {
		dir := r.IntN(2)
		b := msg(1+kind(r.IntN(15)), id(), id(), byte(1+r.IntN(5)/4))
		if b[9] < 5 && r.IntN(4) > 0 {
			b = msg(outgoingRequest+kind(r.IntN(5)), id(), id(), 1)
		}
		switch r.IntN(60) {
		case 0:
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		case 1:
			b[1]++
			b = append(b, 0)
		}
		streams[dir] = append(streams[dir], b...)
		for len(cuts) < 2*n && r.IntN(3) > 0 {
			cuts = append(cuts, byte(r.IntN(256)))
		}
	}
	return streams, cuts
}

// The helper agrees with the slow translator, however the streams are cut.
func TestSlow(t *testing.T) {
	n := 3000
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 1))
		streams, cuts := talk(r, 1+r.IntN(40))
		compare(t, uint8(seed), streams, cuts)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzStream(f *testing.F) {
	for seed := range uint64(20) {
		streams, cuts := talk(rand.New(rand.NewPCG(seed, 2)), 20)
		f.Add(uint8(seed), streams[0], streams[1], cuts)
	}
	var all [2][]byte
	for _, m := range each() {
		all[m.dir] = append(all[m.dir], m.b...)
	}
	f.Add(uint8(1), all[0], all[1], []byte{0, 1, 200, 201})
	f.Fuzz(func(t *testing.T, nat uint8, there, back, cuts []byte) {
		if len(there)+len(back) > 1<<13 || len(cuts) > 1<<8 {
			return // the slow one is slow
		}
		compare(t, nat, [2][]byte{there, back}, cuts)
	})
}

var _ alg.Master = (*paper)(nil)
