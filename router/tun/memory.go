package tun

import (
	"os"
	"sync"

	"github.com/natrouter/natrouter/router/packet"
)

// PairConfig describes a pair of ends within the process. The zero value: one queue, MTU 1500, 256 packets a
// queue and direction, no offload, a full queue refuses.
type PairConfig struct {
	Queues int  // 0: 1
	MTU    int  // bytes, 0: 1500; reported, not enforced, as with a kernel TUN
	Depth  int  // packets that wait in one direction of a queue, 0: 256
	Block  bool // a write to a full queue waits for the reader; else it returns ErrFull
	A, B   EndConfig
}

// EndConfig describes one end of a pair.
type EndConfig struct {
	Name string // "": mem-a or mem-b
	Caps Caps   // what the other end accepts from this one; the rest is finished before it gets there
	// ReadError and WriteError, where not nil, are asked at the start of each Read and before each frame of a
	// Write; an error they return is returned instead. Tests set them; they must bear concurrent calls.
	ReadError, WriteError func() error
}

// NewPair returns the two ends of a device in memory. What is written to queue i of one is copied and comes out
// of queue i of the other, in order, with its Meta; the buffers stay the caller's. Any goroutine may use any end.
// An end whose peer is closed gives what was written to it, then waits; writing to it returns [ErrDown].
// No call allocates once the queues' buffers have grown to the packets' sizes.
func NewPair(cfg PairConfig) (a, b Device) {
	queues, mtu, depth := orElse(cfg.Queues, 1), orElse(cfg.MTU, 1500), orElse(cfg.Depth, 256)
	ea := &memoryEnd{name: orElse(cfg.A.Name, "mem-a"), mtu: mtu, caps: cfg.A.Caps}
	eb := &memoryEnd{name: orElse(cfg.B.Name, "mem-b"), mtu: mtu, caps: cfg.B.Caps}
	for range queues {
		ab, ba := newMemoryLane(depth, cfg.Block), newMemoryLane(depth, cfg.Block)
		ea.queues = append(ea.queues, newMemoryQueue(ba, ab, ea, &cfg.A))
		eb.queues = append(eb.queues, newMemoryQueue(ab, ba, eb, &cfg.B))
	}
	return ea, eb
}

// orElse returns v, or or where v is zero.
func orElse[T comparable](v, or T) T {
	var zero T
	if v == zero {
		return or
	}
	return v
}

type memoryEnd struct {
	name   string
	mtu    int
	caps   Caps
	queues []Queue
}

func (e *memoryEnd) Name() string    { return e.name }
func (e *memoryEnd) Driver() string  { return DriverMemory }
func (e *memoryEnd) Queues() []Queue { return e.queues }
func (e *memoryEnd) Caps() Caps      { return e.caps }
func (e *memoryEnd) MTU() int        { return e.mtu }

// Close ends all calls under way on this end, and may be called again.
func (e *memoryEnd) Close() error {
	for _, q := range e.queues {
		q := q.(*memoryQueue)
		q.in.close(&q.in.readerClosed)
		q.out.close(&q.out.writerClosed)
	}
	return nil
}

// memoryLane is one direction of one queue: a ring of packets.
type memoryLane struct {
	block bool

	mu           sync.Mutex
	changed      sync.Cond    // with mu: a packet came or went, or an end closed
	ring         []memorySlot // guarded by mu
	first, n     int          // guarded by mu: the oldest slot, and how many hold packets
	readerClosed bool         // guarded by mu
	writerClosed bool         // guarded by mu
}

type memorySlot struct {
	b    []byte // kept for the next packet
	meta packet.Meta
}

func newMemoryLane(depth int, block bool) *memoryLane {
	l := &memoryLane{block: block, ring: make([]memorySlot, depth)}
	l.changed.L = &l.mu
	return l
}

func (l *memoryLane) close(flag *bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*flag = true
	l.changed.Broadcast()
}

// put copies one packet in.
func (l *memoryLane) put(b []byte, m *packet.Meta) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.block && l.n == len(l.ring) && !l.writerClosed && !l.readerClosed {
		l.changed.Wait()
	}
	switch {
	case l.writerClosed:
		return os.ErrClosed
	case l.readerClosed:
		return ErrDown
	case l.n == len(l.ring):
		return ErrFull
	}
	slot := &l.ring[(l.first+l.n)%len(l.ring)]
	slot.b, slot.meta = append(slot.b[:0], b...), *m
	l.n++
	l.changed.Broadcast()
	return nil
}

// take waits for a packet and copies out what is there. Frames have been checked for room.
func (l *memoryLane) take(frames []Frame) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.n == 0 && !l.readerClosed {
		l.changed.Wait()
	}
	if l.readerClosed {
		return 0, os.ErrClosed
	}
	n := min(l.n, len(frames))
	for i := range frames[:n] {
		slot, f := &l.ring[l.first], &frames[i]
		f.Len, f.Meta = copy(f.Buf[f.Off:], slot.b), slot.meta
		l.first = (l.first + 1) % len(l.ring)
		l.n--
	}
	l.changed.Broadcast()
	return n, nil
}

type memoryQueue struct {
	in, out    *memoryLane
	caps       Caps
	errs       *deviceErrors
	readError  func() error
	writeError func() error
	finish     *finisher
}

func newMemoryQueue(in, out *memoryLane, e *memoryEnd, cfg *EndConfig) *memoryQueue {
	q := &memoryQueue{in: in, out: out, caps: e.caps, errs: newDeviceErrors(e.name),
		readError: cfg.ReadError, writeError: cfg.WriteError}
	whole := packet.Meta{}
	q.finish = newFinisher(func(b []byte) error { return q.out.put(b, &whole) })
	return q
}

func (q *memoryQueue) Read(frames []Frame) (int, error) {
	if q.readError != nil {
		if err := q.readError(); err != nil {
			return 0, err
		}
	}
	n, err := readable(frames)
	if n == 0 {
		return 0, q.errs.wrap(err)
	}
	return q.in.take(frames[:n])
}

func (q *memoryQueue) Write(frames []Frame) (int, error) {
	for i := range frames {
		if q.writeError != nil {
			if err := q.writeError(); err != nil {
				return i, err
			}
		}
		if err := q.write(&frames[i]); err != nil {
			return i, q.errs.wrap(err)
		}
	}
	return len(frames), nil
}

func (q *memoryQueue) write(f *Frame) error {
	switch {
	case f.Len == 0:
		return nil
	case !validFrame(f):
		return ErrFrame
	case q.caps.Accepts(&f.Meta):
		return q.out.put(f.Bytes(), &f.Meta)
	}
	return q.finish.send(f)
}
