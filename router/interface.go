package router

import (
	"cmp"
	"errors"
	"net/netip"
	"os"
	"sync"

	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// netInterface is an interface of the router: configuration, device, and the write side of the device's queues.
type netInterface struct {
	name      string
	index     uint16 // its place in Config.Interfaces
	side      Side
	mtu       int // bytes
	driver    string
	addresses []netip.Prefix
	device    tun.Device
	queues    []*writer
}

// writer is the write side of one queue. Several lanes may write to it: those of its own worker, those of a worker
// that has no queue of its own here, and the router's own host.
type writer struct {
	mu    sync.Mutex
	queue tun.Queue // guarded by mu
}

func newInterface(index int, cfg *Interface, device tun.Device) *netInterface {
	nif := &netInterface{
		name: cfg.Name, index: uint16(index), side: cfg.Side, mtu: cmp.Or(cfg.MTU, device.MTU(), DefaultMTU),
		driver: device.Driver(), addresses: cfg.Address, device: device,
	}
	for _, q := range device.Queues() {
		nif.queues = append(nif.queues, &writer{queue: q})
	}
	return nif
}

// primary returns the first address of a family, the zero Addr where there is none.
func (n *netInterface) primary(family uint8) netip.Addr {
	for _, p := range n.addresses {
		if p.Addr().Is4() == (family == 4) {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// has reports whether addr is one of the interface's own.
func (n *netInterface) has(addr netip.Addr) bool {
	for _, p := range n.addresses {
		if p.Addr() == addr {
			return true
		}
	}
	return false
}

// write sends a worker's batch and calls lost for each frame that the device refused. Refused ones do not hold up
// those behind them; after the device was closed nothing is tried any more.
func (n *netInterface) write(worker int, frames []tun.Frame, lost func(packet.DropReason)) {
	w := n.queues[worker%len(n.queues)]
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(frames) > 0 {
		sent, err := w.queue.Write(frames)
		if err == nil {
			return
		}
		frames = frames[min(sent, len(frames)):]
		if errors.Is(err, os.ErrClosed) {
			for range frames {
				lost(packet.DeviceDown)
			}
			return
		}
		if len(frames) > 0 {
			lost(writeReason(err))
			frames = frames[1:]
		}
	}
}

// writeReason returns under which reason a frame counts that the device refused.
func writeReason(err error) packet.DropReason {
	switch {
	case errors.Is(err, tun.ErrFull):
		return packet.QueueFull
	case errors.Is(err, tun.ErrDown), errors.Is(err, tun.ErrGone):
		return packet.DeviceDown
	}
	return packet.DeviceError
}
