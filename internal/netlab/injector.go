//go:build linux

package netlab

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Injector sends packets out of one interface, as [Namespace.Inject] does, but keeps its socket: closing one takes the
// kernel tens of milliseconds. One goroutine may use it at a time.
type Injector struct {
	name string
	fd   int
	to   *unix.SockaddrLinklayer
}

// Injector opens an injector for an interface of the namespace.
func (n *Namespace) Injector(name string) (*Injector, error) {
	fd, to, err := n.packetSocket(name)
	if err != nil {
		return nil, err
	}
	return &Injector{n.Name + " " + name, fd, to}, nil
}

// Send sends a packet, from the IP header on, as it is.
func (i *Injector) Send(b []byte) error {
	i.to.Protocol = networkOrder(unix.ETH_P_IP)
	if len(b) > 0 && b[0]>>4 == 6 {
		i.to.Protocol = networkOrder(unix.ETH_P_IPV6)
	}
	if err := unix.Sendto(i.fd, b, 0, i.to); err != nil {
		return fmt.Errorf("send %d bytes out of %s: %w", len(b), i.name, err)
	}
	return nil
}

// Close gives the socket back.
func (i *Injector) Close() { unix.Close(i.fd) }
