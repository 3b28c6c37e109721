package tun

import (
	"errors"
	"fmt"
)

// Errors that a caller of [Queue] may branch on, beside [os.ErrClosed]. What a device returns wraps them with its
// name. With any of them but ErrGone the queue stays usable, and frames after the failed one may be written.
var (
	// ErrFull says that the other side takes no more now: its buffers stayed full for a bounded wait.
	ErrFull = errors.New("the other side takes no more packets")
	// ErrDown says that the interface is down, or the other end of a pair closed.
	ErrDown = errors.New("the interface is down")
	// ErrGone says that the interface was deleted; the device can only be closed.
	ErrGone = errors.New("the interface was deleted")
	// ErrRefused says that the other side took a packet for malformed.
	ErrRefused = errors.New("the other side refused the packet")
	// ErrFrame says that a frame breaks the rules of [Frame] and [Queue]: Off below [Headroom], no room for
	// [MaxPacket] when reading, an empty or too long packet, or a Meta that contradicts the packet.
	ErrFrame = errors.New("bad frame")
)

// queueErrors are those that carry a device's name.
var queueErrors = [...]error{ErrFull, ErrDown, ErrGone, ErrRefused, ErrFrame}

// deviceErrors holds the errors of one device ready, so that none is built for a packet.
type deviceErrors [len(queueErrors)]error

func newDeviceErrors(name string) *deviceErrors {
	var d deviceErrors
	for i, err := range queueErrors {
		d[i] = fmt.Errorf("tun %s: %w", name, err)
	}
	return &d
}

// wrap returns err with the device's name where it is one of queueErrors, others as they are.
func (d *deviceErrors) wrap(err error) error {
	for i, q := range queueErrors {
		if err == q {
			return d[i]
		}
	}
	return err
}

// readable returns how many frames from the first on may be read into, with ErrFrame where not all.
func readable(frames []Frame) (int, error) {
	for i := range frames {
		if !roomy(&frames[i]) {
			return i, ErrFrame
		}
	}
	return len(frames), nil
}
