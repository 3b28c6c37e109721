package tun

import (
	"os"

	"github.com/natrouter/natrouter/router/packet"
	"golang.org/x/sys/unix"
)

// A full kernel queue is waited for this often and this long before a write returns ErrFull.
const (
	fullTries = 4
	fullWait  = 25 // ms
)

// fdWriter is what one Write needs; only the writing goroutine uses it.
type fdWriter struct {
	ready  func(fd uintptr) bool // made once, as in fdReader
	frames []Frame
	n      int
	err    error
	fd     int  // valid while ready runs
	full   bool // the last write found no room, so the next is not waited for
	finish *finisher
	merge  *merger // nil: each packet by itself
	hdr    [vnetSize]byte
	iov    [1 + maxSegments]unix.Iovec
}

func (q *fdQueue) Write(frames []Frame) (int, error) {
	w := &q.wr
	w.frames, w.n, w.err = frames, 0, nil
	err := q.raw.Write(w.ready)
	w.frames = nil
	switch {
	case w.err != nil:
		return w.n, q.errs.wrap(w.err)
	case w.n == len(frames):
		return w.n, nil
	case q.closed.Load():
		return w.n, os.ErrClosed
	}
	return w.n, err
}

// writeReady writes all frames. It never asks the poller to wait: see writeFD.
func (q *fdQueue) writeReady(fd uintptr) bool {
	w := &q.wr
	w.fd = int(fd)
	for w.err == nil && w.n < len(w.frames) {
		if w.merge == nil || len(w.frames)-w.n == 1 {
			if w.err = q.writeFrame(&w.frames[w.n]); w.err == nil {
				w.n++
			}
			continue
		}
		n := 0
		n, w.err = q.writeMerging(w.frames[w.n:min(w.n+mergeWindow, len(w.frames))])
		w.n += n
	}
	return true
}

// writeMerging writes at most mergeWindow frames, flow by flow, and returns how many from the first on have gone.
// It returns early, without an error, where the kernel refused to take a kind of super-segment: then that kind
// is not made any more.
func (q *fdQueue) writeMerging(frames []Frame) (int, error) {
	m := q.wr.merge
	m.plan(frames)
	for i := range m.groups[:m.n] {
		g := &m.groups[i]
		var err error
		if g.count == 1 {
			err = q.writeFrame(&frames[g.first])
		} else {
			err = q.writeGroup(frames, g)
		}
		if err == nil {
			continue
		}
		m.markSent(frames, i)
		if err == ErrRefused && g.count > 1 {
			m.giveUp(g)
			q.log.Warn("the kernel refuses a merged packet: going on without", "interface", q.name, "protocol", g.proto)
			err = nil
		}
		return int(g.first), err
	}
	return len(frames), nil
}

func (q *fdQueue) writeGroup(frames []Frame, g *mergeGroup) error {
	w := &q.wr
	pointIovec(&w.iov[0], w.merge.header(frames, g))
	at := g.first
	for i := range int(g.count) {
		pointIovec(&w.iov[1+i], frames[at].Bytes()[g.payload:])
		at = w.merge.next[at]
	}
	return q.writeFD(w.iov[:1+g.count])
}

func (q *fdQueue) writeFrame(f *Frame) error {
	w := &q.wr
	switch {
	case f.Len == 0:
		return nil
	case !validFrame(f):
		return ErrFrame
	case !q.caps.Accepts(&f.Meta):
		return w.finish.send(f)
	case !q.vnet:
		return q.writeWhole(f.Bytes())
	}
	encodeVnet(f.Buf[f.Off-vnetSize:f.Off], f.Bytes(), &f.Meta)
	pointIovec(&w.iov[0], f.Buf[f.Off-vnetSize:f.Off+f.Len])
	return q.writeFD(w.iov[:1])
}

// writeWhole writes a packet that has no room for a header before it.
func (q *fdQueue) writeWhole(b []byte) error {
	w := &q.wr
	if !q.vnet {
		pointIovec(&w.iov[0], b)
		return q.writeFD(w.iov[:1])
	}
	encodeVnet(w.hdr[:], b, &packet.Meta{})
	pointIovec(&w.iov[0], w.hdr[:])
	pointIovec(&w.iov[1], b)
	return q.writeFD(w.iov[:2])
}

// writeFD writes iov as one packet. The kernel rings the poller for a full queue only after somebody polled it while
// it was full, so a full queue is polled here and not left to the runtime.
func (q *fdQueue) writeFD(iov []unix.Iovec) error {
	w := &q.wr
	for tries := 0; ; {
		switch errno := writev(w.fd, iov); errno {
		case 0:
			w.full = false
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			if tries++; w.full || tries > fullTries || q.closed.Load() {
				w.full = true
				return ErrFull
			}
			waitWritable(w.fd)
		default:
			return fdError(errno)
		}
	}
}

// waitWritable waits a bounded time; what came of it shows at the next write.
func waitWritable(fd int) {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	_, _ = unix.Poll(fds[:], fullWait)
}
