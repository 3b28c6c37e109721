package plain

import (
	"math"
	"slices"
	"time"
)

// What waits for its turn, or for a helper to let it go (router/alg/README.md): what is above that, or waits longer, is
// dropped, and its sender sends it again.
const (
	mostWaiting = 4       // pieces
	mostBytes   = 8 << 10 // of all of them
	waitsMost   = 2 * time.Second
	heldMost    = 2 * time.Second // that a helper waits for more
)

// speech is what one end of a control connection has said. Places are counted from its first byte on.
type speech struct {
	known   bool
	begin   uint32 // sequence number of the first byte
	bytes   []byte // that arrived in order
	ended   bool   // no more is read, and all passes
	waiting []piece
	stuck   bool // some of bytes may not leave: those from stuckAt on
	stuckAt int
	since   time.Duration
	acked   int // as far as its receiver has it
}

// piece is a part of it.
type piece struct {
	at    int
	data  []byte
	fin   bool
	since time.Duration
}

func (p piece) end() int { return p.at + len(p.data) }

func (s *speech) place(seq uint32) int { return int(int32(seq - s.begin)) }

// wait keeps a piece, if there is room; false: it is lost.
func (s *speech) wait(p piece) bool {
	size := len(p.data)
	for _, w := range s.waiting {
		if w.at <= p.at && p.end() <= w.end() && (w.fin || !p.fin) {
			return true
		}
		size += len(w.data)
	}
	if len(s.waiting) == mostWaiting || size > mostBytes {
		return false
	}
	i := slices.IndexFunc(s.waiting, func(w piece) bool { return w.at > p.at })
	if i < 0 {
		i = len(s.waiting)
	}
	s.waiting = slices.Insert(s.waiting, i, p)
	return true
}

func (s *speech) forget(now time.Duration) {
	s.waiting = slices.DeleteFunc(s.waiting, func(w piece) bool { return w.since+waitsMost <= now })
}

// syn learns where the streams begin: of both ends from who answers.
func (k *control) syn(dir int, g segment) {
	if s := &k.said[dir]; len(s.bytes) == 0 && !s.ended {
		s.known, s.begin = true, g.seq+1
	}
	if s := &k.said[1-dir]; g.hasACK && len(s.bytes) == 0 && !s.ended {
		s.known, s.begin = true, g.ack
	}
}

// acknowledged notes how far the receiver is. Who has what the router never saw got it another way.
func (k *control) acknowledged(dir int, ack uint32) {
	s := &k.said[dir]
	if !s.known {
		return
	}
	at := k.reading.original(dir, s.place(ack))
	if !s.ended && at > len(s.bytes) {
		k.giveUp()
	}
	if s.ended || at <= k.reading.free[dir] {
		s.acked = max(s.acked, at)
	}
}

// hear takes a segment with bytes, or the end, and returns what leaves because of it.
func (k *control) hear(dir int, p piece) (leaves []piece) {
	s := &k.said[dir]
	switch {
	case s.ended:
		s.waiting = nil
		return []piece{p}
	case p.at > len(s.bytes):
		s.wait(p)
		return nil
	}
	waited := len(s.waiting) > 0
	k.listen(dir, p)
	if waited {
		for i := 0; i < len(s.waiting) && !s.ended && s.waiting[i].at <= len(s.bytes); i++ {
			k.listen(dir, s.waiting[i])
		}
		leaves = k.goes(dir, p.at)
	}
	to, kept := p.end(), true
	if !s.ended {
		to = max(p.at, min(p.end(), k.reading.free[dir]))
		if to != p.end() || p.fin {
			kept = s.wait(piece{to, p.data[to-p.at:], p.fin, p.since})
		}
	}
	some := s.ended || to != p.at
	if some {
		leaves = append(leaves, piece{at: p.at, data: p.data[:to-p.at], fin: p.fin && to == p.end() && s.ended})
	}
	if some || kept {
		leaves = append(leaves, k.goes(dir, math.MaxInt)...)
	}
	if s.ended {
		s.waiting = nil
	}
	return leaves
}

// listen gives the helper what is new in a piece.
func (k *control) listen(dir int, p piece) {
	s := &k.said[dir]
	if p.end() > len(s.bytes) {
		news := p.data[len(s.bytes)-p.at:]
		s.bytes = append(s.bytes, news...)
		k.tell(event{kind: "said", dir: dir, data: news})
	}
	if p.fin && p.end() == len(s.bytes) && !s.ended {
		s.ended = true
		k.tell(event{kind: "fin", dir: dir})
	}
	switch free := k.reading.free[dir]; {
	case s.ended || free >= len(s.bytes):
		s.stuck = false
	case !s.stuck || s.stuckAt != free:
		s.stuck, s.stuckAt, s.since = true, free, k.router.now
	}
}

// goes takes out of those that wait what may leave and begins before a place.
func (k *control) goes(dir, before int) (leaves []piece) {
	s := &k.said[dir]
	var stay []piece
	for _, w := range s.waiting {
		free := k.reading.free[dir]
		if s.ended {
			free = w.end() + 1
		}
		if w.at >= free || w.at >= before {
			stay = append(stay, w)
			continue
		}
		to := min(w.end(), free)
		leaves = append(leaves, piece{at: w.at, data: w.data[:to-w.at], fin: w.fin && s.ended})
		if to != w.end() || w.fin && !s.ended {
			stay = append(stay, piece{to, w.data[to-w.at:], w.fin, w.since})
		}
	}
	slices.SortStableFunc(stay, func(a, b piece) int { return a.at - b.at })
	s.waiting = stay
	return leaves
}

// reset is the end of both streams.
func (k *control) reset(dir int) {
	ended := k.said[0].ended && k.said[1].ended
	for i := range k.said {
		k.said[i].ended, k.said[i].stuck, k.said[i].waiting = true, false, nil
	}
	if !ended {
		k.tell(event{kind: "reset", dir: dir})
	}
}
