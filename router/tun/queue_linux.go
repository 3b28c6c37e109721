package tun

import (
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/natrouter/natrouter/router/packet"
	"golang.org/x/sys/unix"
)

// readBudget is after how many bytes a Read goes on with what it has, though there is more: half of a second cache of
// 1 MiB. A batch of super-segments that outgrows it is fetched from memory again when it is written, and waits for its
// own end meanwhile; of one that is much smaller too few are taken at once.
const readBudget = 1 << 19

// fdQueue is one descriptor of a Linux TUN, with or without virtio headers.
type fdQueue struct {
	file   *os.File
	raw    syscall.RawConn
	closed *atomic.Bool // of the device
	caps   Caps
	vnet   bool
	errs   *deviceErrors
	name   string
	log    *slog.Logger // used off the packet path
	rd     fdReader
	wr     fdWriter
}

// fdReader is what one Read needs; only the reading goroutine uses it. The function handed to the poller is made
// once, because a closure for each call would be an allocation for each call.
type fdReader struct {
	ready  func(fd uintptr) bool
	frames []Frame
	n      int
	left   int // of readBudget
	err    error
}

func newFDQueue(file *os.File, d *fdDevice) (*fdQueue, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	q := &fdQueue{file: file, raw: raw, closed: &d.closed, caps: d.caps, vnet: d.vnet, errs: d.errs,
		name: d.name, log: d.log}
	q.rd.ready = q.readReady
	q.wr.ready = q.writeReady
	q.wr.finish = newFinisher(q.writeWhole)
	if d.coalesce && (d.caps.USO || d.caps.TSO4 || d.caps.TSO6) {
		q.wr.merge = &merger{caps: d.caps}
	}
	return q, nil
}

func (q *fdQueue) Read(frames []Frame) (int, error) {
	n, err := readable(frames)
	if n == 0 {
		return 0, q.errs.wrap(err)
	}
	r := &q.rd
	r.frames, r.n, r.left, r.err = frames[:n], 0, readBudget, nil
	err = q.raw.Read(r.ready)
	r.frames = nil
	switch {
	case q.closed.Load():
		return 0, os.ErrClosed
	case r.n > 0:
		return r.n, nil
	case r.err != nil:
		return 0, q.errs.wrap(r.err)
	case err != nil: // the poller saw an error, which a TUN has only when its interface is gone
		return 0, q.errs.wrap(ErrGone)
	}
	return 0, nil
}

// readReady reads until the descriptor is empty, the frames are full or the budget is used up; false: wait for the
// first packet.
func (q *fdQueue) readReady(fd uintptr) bool {
	r := &q.rd
	for r.n < len(r.frames) && r.left > 0 {
		f := &r.frames[r.n]
		err := q.readOne(int(fd), f)
		switch err {
		case nil:
			r.n++
			r.left -= f.Len
		case unix.EINTR:
		case unix.EAGAIN:
			return r.n > 0
		default:
			r.err = fdError(err)
			return true
		}
	}
	return true
}

// readOne reads one packet. One whose virtio header contradicts it comes with Len 0, which no parser takes, so
// that it is counted where all packets are.
func (q *fdQueue) readOne(fd int, f *Frame) error {
	if !q.vnet {
		n, err := unix.Read(fd, f.Buf[f.Off:])
		f.Len, f.Meta = max(n, 0), packet.Meta{}
		return err
	}
	start := f.Off - vnetSize
	n, err := unix.Read(fd, f.Buf[start:])
	if err != nil {
		return err
	}
	f.Len = max(n-vnetSize, 0)
	var ok bool
	if f.Meta, ok = decodeVnet(f.Buf[start:f.Off], f.Bytes()); !ok {
		f.Len = 0
	}
	return nil
}

// fdError says what an error of the descriptor means to the caller.
func fdError(err error) error {
	switch err {
	case unix.EIO: // tun_get_user: the interface is not up
		return ErrDown
	case unix.EBADFD: // the descriptor has lost its interface
		return ErrGone
	case unix.ENOBUFS, unix.ENOMEM:
		return ErrFull
	case unix.EINVAL, unix.EMSGSIZE, unix.EFAULT:
		return ErrRefused
	}
	return err
}
