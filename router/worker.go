package router

import (
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// A lane takes up to firstBatch packets at a time, and twice as many after each read that found more, up to batchSize:
// the more flows share a queue, the more packets it takes until there are some of one flow to merge. A lane that was
// never busy keeps the memory of the small batch.
const (
	firstBatch = 64
	batchSize  = 256
)

// headroom is what a lane's buffers keep free before a packet, for the device's own header.
const headroom = tun.Headroom

// bufferSize holds the largest packet and its headroom, bytes.
const bufferSize = headroom + tun.MaxPacket

// bufferStride sets a lane's buffers an odd number of cache lines apart: at page distance the headers of a whole
// batch would compete for the same few lines of the cache.
const bufferStride = (bufferSize/64 + 1 | 1) * 64

// warmFlows is from how many connections on their state no longer fits the caches, so that a lane fetches that of a
// whole batch before it begins; warmPackets is from how many packets on that pays.
const (
	warmFlows   = 1 << 13
	warmPackets = 4
)

// worker serves queue w of every interface. The kernel sends both directions of a connection to the same queue
// number, so a worker's connections are its own: one shard of the table, one netstack.
type worker struct {
	index int
	stack *netstack
	lanes []*lane
}

// lane is one queue of one interface: it reads a batch, walks each packet through the pipeline and writes what came
// out, each egress interface's in one go. All is done by one goroutine, with buffers of its own; the lane of the
// router's own host has no queue and is called by netstack, under its lock.
type lane struct {
	router *Router
	worker *worker
	nif    *netInterface // nil: the router's own host
	queue  tun.Queue

	packet    Packet
	candidate fastPacket
	routes    routeCache
	ahead     *lookahead    // nil: the router's own host
	frames    []tun.Frame   // what Read fills
	out       [][]tun.Frame // by interface: what the batch sends
	spare     spare         // for what the lane makes itself

	drops    [packet.NumReasons]atomic.Uint64
	sent     []traffic // by interface
	received traffic
	fast     atomic.Uint64 // packets on the wire that took the fast path
}

// traffic counts packets on the wire: a super-segment is as many as it will be cut into.
type traffic struct {
	packets, bytes atomic.Uint64
}

func newLane(r *Router, w *worker, nif *netInterface, q tun.Queue) *lane {
	l := &lane{router: r, worker: w, nif: nif, queue: q}
	l.out = make([][]tun.Frame, len(r.interfaces))
	l.sent = make([]traffic, len(r.interfaces))
	if q != nil {
		l.ahead = &lookahead{}
		l.grow(firstBatch)
	}
	return l
}

// grow adds frames until there are n.
func (l *lane) grow(n int) {
	more := n - len(l.frames)
	buffers := make([]byte, more*bufferStride)
	for i := range more {
		l.frames = append(l.frames, tun.Frame{Buf: buffers[i*bufferStride:][:bufferSize:bufferSize], Off: headroom})
	}
}

// run moves packets until the device is closed.
func (l *lane) run() error {
	for {
		n, err := l.queue.Read(l.frames)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		l.serve(l.frames[:n])
		if n == len(l.frames) && n < batchSize {
			l.grow(min(2*n, batchSize))
		}
	}
}

// serve handles a batch, and does what is due of expiry: a connection that a packet ended is forgotten by the next batch.
func (l *lane) serve(frames []tun.Frame) {
	l.handle(frames)
	l.router.expire(l.worker.index, l.router.now(), expiryPerPacket*len(frames))
}

// handle walks a batch through the pipeline and sends what came of it. The frames are the lane's to change.
func (l *lane) handle(frames []tun.Frame) {
	l.router.pause.RLock()
	defer l.router.pause.RUnlock()
	now := l.router.now()
	if len(frames) >= warmPackets && l.router.table.Len() > warmFlows {
		l.ahead.warm(l.router.table, l.worker.index, frames)
	}
	l.candidate.begin(l)
	n := batch{run: l.router.table.Run(l.worker.index)}
	for i := range frames {
		f := &frames[i]
		if !l.router.pipeline.fast.take(l, now, f, &n) {
			n.run.Release()
			if l.walk(now, f, &n); l.spare.full() {
				l.flush()
			}
		}
		f.Off = headroom
	}
	n.run.Release()
	l.received.packets.Add(n.packets)
	l.received.bytes.Add(n.bytes)
	l.fast.Add(n.fast)
	l.flush()
}

// walk takes a packet through the transit list.
func (l *lane) walk(now packet.Time, f *tun.Frame, n *batch) {
	p := &l.packet
	p.reset(f.Buf, f.Off, f.Len, f.Meta)
	p.in, p.lane, p.now = l.nif, l, now
	l.router.run(l.router.pipeline.transit, p)
	n.packets += p.segments()
	n.bytes += uint64(f.Len)
}

// batch is what the packets of a batch share: one lock of the connection table where they follow each other on the
// fast path, and one atomic addition to each counter.
type batch struct {
	run            conntrack.Run
	packets, bytes uint64 // received
	fast           uint64 // packets that took the fast path
}

// lookahead is room for a first glance at a batch.
type lookahead struct {
	headers [batchSize]packet.Headers
	packets [batchSize]conntrack.Packet
	batch   [batchSize]*conntrack.Packet
}

// warm has the table fetch the connections of a batch. It decides nothing: what it can't read it leaves out.
func (a *lookahead) warm(table *conntrack.Table, shard int, frames []tun.Frame) {
	n := 0
	for i := range frames[:min(len(frames), batchSize)] {
		h, b := &a.headers[n], frames[i].Bytes()
		if !h.ParsePlain(b) && h.Parse(b) != packet.NotDropped {
			continue
		}
		a.packets[n] = conntrack.Packet{Bytes: b[:h.Len], H: h, Meta: &frames[i].Meta}
		a.batch[n] = &a.packets[n]
		n++
	}
	table.Warm(shard, a.batch[:n])
}

// emit puts buf[off:off+n] into the batch of an interface. The buffer stays untouched until flush.
func (l *lane) emit(nif *netInterface, buf []byte, off, n int, m packet.Meta) {
	l.out[nif.index] = append(l.out[nif.index], tun.Frame{Buf: buf, Off: off, Len: n, Meta: m})
}

// pass is emit for the first n bytes of what a read brought.
func (l *lane) pass(nif *netInterface, from *tun.Frame, n int) {
	out := slices.Grow(l.out[nif.index], 1)
	out = out[:len(out)+1]
	to := &out[len(out)-1] // field by field, as in packet.Headers.ParsePlain
	to.Buf, to.Off, to.Len, to.Meta = from.Buf, from.Off, n, from.Meta
	l.out[nif.index] = out
}

// emitFragments puts b into the batch in fragments of at most size bytes.
func (l *lane) emitFragments(nif *netInterface, b []byte, h *packet.Headers, size int) packet.DropReason {
	scratch := l.spare.room(min(size, len(b)))[headroom:]
	return packet.Fragment(b, h, size, l.router.random.fragmentID(), scratch, func(fragment []byte) bool {
		buf := l.spare.room(len(fragment))
		l.emit(nif, buf, headroom, copy(buf[headroom:], fragment), packet.Meta{})
		return true
	})
}

// flush writes all batches and takes the lane's buffers back.
func (l *lane) flush() {
	for i, frames := range l.out {
		if len(frames) == 0 {
			continue
		}
		l.countSent(i, frames)
		l.router.interfaces[i].write(l.worker.index, frames, func(reason packet.DropReason) { l.drops[reason].Add(1) })
		l.out[i] = frames[:0]
	}
	l.spare.reset()
}

func (l *lane) countSent(i int, frames []tun.Frame) {
	var packets, bytes uint64
	for j := range frames {
		bytes += uint64(frames[j].Len)
		packets += uint64(frames[j].Packets())
	}
	l.sent[i].packets.Add(packets)
	l.sent[i].bytes.Add(bytes)
}

// localHost is the router's own host: worker 0's netstack, and the lane on which what it sends goes out.
type localHost struct {
	stack *netstack

	mu      sync.Mutex
	lane    *lane    // guarded by mu
	pending [][]byte // guarded by mu: what tell was given
}

// tell hands netstack an ICMP error about a packet of its own, once the lane is free.
func (h *localHost) tell(icmp []byte) { h.pending = append(h.pending, icmp) }

// send walks a packet that netstack made through the output list. netstack calls it from any goroutine.
func (h *localHost) send(nif *netInterface, pkt *stack.PacketBuffer) {
	for _, icmp := range h.walk(nif, pkt) {
		h.stack.tell(icmp)
	}
}

// walk does send's work under the lane's lock, and returns what netstack is to be told after it.
func (h *localHost) walk(nif *netInterface, pkt *stack.PacketBuffer) (pending [][]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	buf, n := h.lane.spare.take(), headroom
	for _, part := range pkt.AsSlices() {
		n += copy(buf[n:], part)
	}
	p := &h.lane.packet
	p.reset(buf, headroom, n-headroom, packet.Meta{})
	p.in, p.out, p.lane, p.now = nil, nif, h.lane, h.lane.router.now()
	h.lane.router.run(h.lane.router.pipeline.output, p)
	h.lane.flush()
	pending, h.pending = h.pending, nil
	return pending
}
