package alg

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

const sample = "A\nHELLO 10.1.2.3\nplain text\nCUT\nHELLO z\nHEL\nCUT\n\nHELLO again and again\nCU"

// open makes a world with a connection whose client will say stream.
func open(t tester, stream string) *world {
	t.Helper()
	w := newWorld(t)
	w.ends[0].stream = []byte(stream)
	w.connect()
	return w
}

// TestEverySplit: wherever the stream is cut in two or three, and whatever its ends, the same comes out.
func TestEverySplit(t *testing.T) {
	for i := 1; i < len(sample); i++ {
		for j := i; j < len(sample); j += 3 {
			w := open(t, sample)
			w.ends[0].finAt = len(sample)
			w.data(0, 0, i, packet.Meta{}, nil)
			if j > i {
				w.data(0, i, j, packet.Meta{}, nil)
			}
			w.data(0, j, len(sample), packet.Meta{}, nil)
			w.want(1)
			w.ack(1, nil)
			if w.ends[0].acked != len(sample) || !w.ends[0].finAcked {
				t.Fatalf("cut at %d, %d: %d acknowledged, FIN %v", i, j, w.ends[0].acked, w.ends[0].finAcked)
			}
			if w.drops != 0 {
				t.Fatalf("cut at %d, %d: %d drops", i, j, w.drops)
			}
		}
	}
}

// TestByteAtATime: one byte a segment, acknowledged at once or never.
func TestByteAtATime(t *testing.T) {
	for _, acks := range []bool{false, true} {
		w := open(t, sample)
		for i := range sample {
			w.data(0, i, i+1, packet.Meta{}, nil)
			if acks {
				w.ack(1, nil)
			}
		}
		w.settle(0, func(n int) int { return n })
		w.ends[0].finAt = len(sample)
		w.settle(0, func(n int) int { return n })
		w.want(1)
	}
}

// TestRetransmitOtherCuts: every pair of segments is sent again as every other pair, before and after acknowledgement.
func TestRetransmitOtherCuts(t *testing.T) {
	const s = "x\nHELLO 10.1.2.3\nCUT\nHELLO q\nyy\n"
	for i := 1; i < len(s); i++ {
		for j := 1; j < len(s); j++ {
			w := open(t, s)
			w.data(0, 0, i, packet.Meta{}, nil)
			w.data(0, i, len(s), packet.Meta{}, nil)
			w.want(1)
			w.data(0, j, len(s), packet.Meta{}, nil)
			w.data(0, 0, j, packet.Meta{}, nil)
			w.ack(1, nil)
			w.data(0, j, len(s), packet.Meta{}, nil)
			w.data(0, 0, j, packet.Meta{}, nil)
			w.want(1)
			if w.ends[0].acked != len(s) {
				t.Fatalf("%d of %d acknowledged", w.ends[0].acked, len(s))
			}
		}
	}
}

// TestPartialAcks: with each byte acknowledged in turn, all retransmissions agree with what was sent.
func TestPartialAcks(t *testing.T) {
	const s = "x\nHELLO 10.1.2.3\nCUT\nHELLO q\nyy\n"
	out := toyStreamOf([]byte(s), newToy().name, nil)
	for n := range len(out) + 1 {
		w := open(t, s)
		w.data(0, 0, len(s), packet.Meta{}, nil)
		full := w.ends[1].next
		w.ends[1].next = n
		w.ack(1, nil)
		w.ends[1].next = full
		for from := 0; from < len(s); from++ {
			w.data(0, from, len(s), packet.Meta{}, nil)
			w.data(0, max(from, w.ends[0].acked), len(s), packet.Meta{}, nil)
		}
		w.ack(1, nil)
		w.want(1)
	}
}

// TestOutOfOrder: all orders of four segments.
func TestOutOfOrder(t *testing.T) {
	cuts := []int{0, 10, 20, 31, len(sample)}
	var permute func(order, rest []int)
	permute = func(order, rest []int) {
		if len(rest) == 0 {
			w := open(t, sample)
			w.ends[0].finAt = len(sample)
			for _, i := range order {
				w.data(0, cuts[i], cuts[i+1], packet.Meta{}, nil)
			}
			w.want(1)
			w.ack(1, nil)
			if !w.ends[0].finAcked || w.drops != 0 {
				t.Fatalf("order %v: FIN %v, drops %d", order, w.ends[0].finAcked, w.drops)
			}
			if st := w.state(); len(st.flows[0].held) != 0 || w.kit.held.Load() != 0 {
				t.Fatalf("order %v: %d held, %d bytes", order, len(st.flows[0].held), w.kit.held.Load())
			}
		}
		for k := range rest {
			left := append(append([]int(nil), rest[:k]...), rest[k+1:]...)
			permute(append(append([]int(nil), order...), rest[k]), left)
		}
	}
	permute(nil, []int{0, 1, 2, 3})
}

// TestSuperSegments: the helper reads a super-segment whole; it stays one, or is cut where it outgrows a packet.
func TestSuperSegments(t *testing.T) {
	for name, tt := range map[string]struct {
		lines, seg int
	}{
		"small": {4, 20}, "odd": {40, 333}, "full": {4000, 1448},
	} {
		t.Run(name, func(t *testing.T) {
			var s []byte
			for i := range tt.lines {
				s = fmt.Appendf(s, "line %d\n", i)
				if i%97 == 3 {
					s = append(s, "HELLO 1\nCUT\n"...)
				}
			}
			s = append(s, "HEL"...)
			w := open(t, string(s))
			w.data(0, 0, len(s)-5, packet.Meta{GSO: packet.GSOTCPv4, SegSize: uint16(tt.seg)}, nil)
			w.ack(1, nil)
			w.settle(0, func(int) int { return 1000 })
			w.ends[0].finAt = len(s)
			w.settle(0, func(int) int { return 1000 })
			w.want(1)
		})
	}
}

// TestOutgrowsTheWire: a segment that fits only as it came is sent in pieces that fit.
func TestOutgrowsTheWire(t *testing.T) {
	s := append(bytes.Repeat([]byte("HELLO 1\n"), 10), bytes.Repeat([]byte("0123456789abcde\n"), 86)...)
	w := open(t, string(s))
	w.data(0, 0, len(s), packet.Meta{}, nil)
	if len(w.out) < 2 {
		t.Errorf("%d packets left, want pieces", len(w.out))
	}
	w.settle(0, func(int) int { return 1448 })
	w.want(1)
}

// TestLargestSuperSegment: 64 KiB that grow.
func TestLargestSuperSegment(t *testing.T) {
	s := append([]byte("HELLO 1\n"), bytes.Repeat([]byte("0123456789abcde\n"), 4090)...)
	w := open(t, string(s))
	w.data(0, 0, len(s), packet.Meta{GSO: packet.GSOTCPv4, SegSize: 1448}, nil)
	w.settle(0, func(int) int { return 1448 })
	w.want(1)
}

// TestUrgent: the urgent pointer goes on naming the same byte (RFC 6093, section 2).
func TestUrgent(t *testing.T) {
	w := open(t, "HELLO 1\nabc\n")
	w.raw(0, testpkt.TCP{
		Seq: w.ends[0].isn + 1, Ack: w.ends[1].isn + 1, Flags: packet.FlagACK | packet.FlagURG, Urgent: 10, Payload: w.ends[0].stream,
	}, packet.Meta{})
	b := w.segments()[0]
	h, _ := packet.Parse(b)
	hdr := packet.TCP(b[h.L4:])
	at := int(hdr[18])<<8 | int(hdr[19])
	if p := hdr.Payload(); hdr.Flags()&packet.FlagURG == 0 || string(p[at:]) != "c\n" {
		t.Errorf("urgent pointer %d in %q", at, p)
	}
}

// TestProperty: two ends talk at once over a network that loses, repeats, reorders and cuts as it likes.
func TestProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { property(t, rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 60).Draw(t, "steps")) })
}

// FuzzStream is TestProperty for the fuzzer: the oracle is a plain rewrite of the whole stream.
func FuzzStream(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed, uint8(40), []byte(sample), []byte("HELLO 1\nHELLO 22222222222222222222\n"))
	}
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8, a, b []byte) {
		if len(a) > 600 || len(b) > 600 {
			return
		}
		for _, s := range [][]byte{a, b} {
			for _, line := range bytes.SplitAfter(s, []byte("\n")) {
				if l := string(line); len(line) > toyLine || l == "DIE\n" || l == "STOP\n" {
					return
				}
			}
		}
		w := newWorld(t)
		w.ends[0].stream, w.ends[1].stream = a, b
		talk(w, rand.New(rand.NewPCG(seed, 1)), int(steps))
	})
}

func property(t tester, seed uint64, steps int) {
	r := rand.New(rand.NewPCG(seed, 2))
	w := newWorld(t)
	for _, e := range w.ends {
		e.isn = r.Uint32()
		for range r.IntN(30) {
			switch r.IntN(5) {
			case 0:
				e.stream = append(e.stream, "CUT\n"...)
			case 1, 2:
				e.stream = append(append(append(e.stream, "HELLO "...), bytes.Repeat([]byte("x"), r.IntN(40))...), '\n')
			default:
				e.stream = append(append(e.stream, "HCEx"[r.IntN(4):]...), '\n')
			}
		}
	}
	if r.IntN(2) == 0 {
		w.useIPv6()
	}
	w.room = 60 + 40 + r.IntN(200)
	talk(w, r, steps)
}

// talk lets both ends send at random, then settles.
func talk(w *world, r *rand.Rand, steps int) {
	w.connect()
	lose := func() bool { return r.IntN(4) == 0 }
	limit := w.room - 72
	for range steps {
		side := r.IntN(2)
		e := w.ends[side]
		switch r.IntN(6) {
		case 0:
			w.ack(side, lose)
		case 1:
			w.now += conntrack.Time(r.IntN(1e9))
			w.kit.Tick(w.now)
		default:
			from := min(e.sent, len(e.stream))
			if r.IntN(2) == 0 {
				from = r.IntN(from + 1)
			} else if r.IntN(3) == 0 {
				from = min(from+r.IntN(50), len(e.stream))
			}
			if to := min(len(e.stream), from+r.IntN(limit)); to > from {
				m := packet.Meta{}
				if seg := 1 + r.IntN(limit); to-from > seg && r.IntN(3) == 0 {
					m = packet.Meta{GSO: w.gso(), SegSize: uint16(seg)}
				}
				w.data(side, from, to, m, lose)
			}
		}
	}
	cut := func(int) int { return 1 + r.IntN(limit) }
	for side, e := range w.ends {
		e.finAt = len(e.stream)
		w.settle(side, cut)
	}
	w.want(0)
	w.want(1)
	if n := w.kit.held.Load(); n != 0 {
		w.t.Fatalf("%d bytes still held", n)
	}
	if st := w.state(); st != nil && (len(st.toyStream().ends) != 2 || st.detached) {
		w.t.Fatalf("ends %v, detached %v", st.toyStream().ends, st.detached)
	}
}

func (st *state) toyStream() *toyStream { return st.stream.(*toyStream) }
