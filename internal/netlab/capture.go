//go:build linux

package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sniffed is one packet as it crossed an interface.
type Sniffed struct {
	Data     []byte // from the IP header on
	Outgoing bool   // sent by the namespace, else received
	Partial  bool   // the transport checksum is left to a device: the field holds the pseudo-header's sum
}

// Capture watches an interface until it is closed.
type Capture struct {
	fd      int
	stopped atomic.Bool
	done    sync.WaitGroup
}

const (
	captureBuffer = 64 << 20 // bytes
	captureTick   = 20_000   // microseconds between looks at stopped
)

// Sniff gives every IP packet that crosses an interface of the namespace to f, from one goroutine. The packet is f's.
func (n *Namespace) Sniff(name string, f func(Sniffed)) (*Capture, error) {
	fd, at, err := n.packetSocket(name)
	if err != nil {
		return nil, err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, captureBuffer) // as much as this user may
	}
	at.Protocol = networkOrder(unix.ETH_P_ALL)
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: captureTick}),
		unix.Bind(fd, at))
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("sniff %s in %s: %w", name, n.Name, err)
	}
	c := &Capture{fd: fd}
	c.done.Go(func() { c.read(f) })
	return c, nil
}

// Close stops watching, after f has had what crossed before.
func (c *Capture) Close() {
	if !c.stopped.Swap(true) {
		c.done.Wait()
		unix.Close(c.fd)
	}
}

// read reads until the socket is empty and the capture stopped.
func (c *Capture) read(f func(Sniffed)) {
	b := make([]byte, 1<<17)
	oob := make([]byte, 128)
	for {
		n, on, _, from, err := unix.Recvmsg(c.fd, b, oob, 0)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN):
			if c.stopped.Load() {
				return
			}
			continue
		case err != nil:
			return
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || ll.Protocol != networkOrder(unix.ETH_P_IP) && ll.Protocol != networkOrder(unix.ETH_P_IPV6) {
			continue
		}
		f(Sniffed{
			Data:     append([]byte(nil), b[:n]...),
			Outgoing: ll.Pkttype == unix.PACKET_OUTGOING,
			Partial:  partial(oob[:on]),
		})
	}
}

// partial reads the auxiliary data of a packet (packet(7), PACKET_AUXDATA).
func partial(oob []byte) bool {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA &&
			len(m.Data) >= int(unsafe.Sizeof(unix.TpacketAuxdata{})) {
			return binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_CSUMNOTREADY != 0
		}
	}
	return false
}

// Inject sends packets, from the IP header on, out of an interface of the namespace as they are.
func (n *Namespace) Inject(name string, packets ...[]byte) error {
	fd, to, err := n.packetSocket(name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, b := range packets {
		to.Protocol = networkOrder(unix.ETH_P_IP)
		if len(b) > 0 && b[0]>>4 == 6 {
			to.Protocol = networkOrder(unix.ETH_P_IPV6)
		}
		if err := unix.Sendto(fd, b, 0, to); err != nil {
			return fmt.Errorf("send %d bytes out of %s in %s: %w", len(b), name, n.Name, err)
		}
	}
	return nil
}

// packetSocket opens a packet socket that receives nothing yet, with the address of an interface.
func (n *Namespace) packetSocket(name string) (fd int, at *unix.SockaddrLinklayer, err error) {
	err = n.Do(func() error {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return fmt.Errorf("interface %s in %s: %w", name, n.Name, err)
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		at = &unix.SockaddrLinklayer{Ifindex: i.Index}
		return nil
	})
	return fd, at, err
}

// networkOrder turns a number of 16 bits into network byte order.
func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
