package tun

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/natrouter/natrouter/router/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nextTun numbers the interfaces of a test run.
var nextTun atomic.Int32

func tunName() string { return fmt.Sprintf("nrt%d", nextTun.Add(1)) }

// openTest opens a TUN as cfg says, brings its host end up and closes it with the test.
func openTest(tb testing.TB, cfg Config) Device {
	tb.Helper()
	needTun(tb)
	if cfg.Name == "" && cfg.FD <= 0 {
		cfg.Name = tunName()
	}
	dev, err := Open(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = dev.Close() })
	if cfg.NetNS == "" {
		bringUp(tb, dev.Name())
	}
	return dev
}

func bringUp(tb testing.TB, name string) netlink.Link {
	tb.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return link
}

// kernelFar is the kernel's side of a TUN, seen through a packet socket with virtio headers.
type kernelFar struct {
	tb      testing.TB
	fd      int
	ifindex int
}

func newKernelFar(tb testing.TB, name string) *kernelFar {
	tb.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Close(fd) })
	wait := unix.Timeval{Sec: 5}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 32<<20), // as much as an ordinary user may have
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: link.Attrs().Index}),
	)
	if err != nil {
		tb.Fatal(err)
	}
	return &kernelFar{tb, fd, link.Attrs().Index}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (k *kernelFar) send(b []byte, m packet.Meta) {
	k.tb.Helper()
	buf := make([]byte, vnetSize, vnetSize+len(b))
	if !validMeta(b, &m) {
		k.tb.Fatalf("Meta %+v does not fit its packet", m)
	}
	encodeVnet(buf, b, &m)
	proto := htons(unix.ETH_P_IP)
	if b[0]>>4 == 6 {
		proto = htons(unix.ETH_P_IPV6)
	}
	to := &unix.SockaddrLinklayer{Protocol: proto, Ifindex: k.ifindex}
	if err := unix.Sendto(k.fd, append(buf, b...), 0, to); err != nil {
		k.tb.Fatalf("packet socket, %d bytes: %v", len(b), err)
	}
}

func (k *kernelFar) receive() ([]byte, packet.Meta) {
	k.tb.Helper()
	buf := make([]byte, vnetSize+MaxPacket)
	for {
		n, _, err := unix.Recvfrom(k.fd, buf, 0)
		if err != nil {
			k.tb.Fatalf("packet socket: %v", err)
		}
		b := buf[vnetSize:n]
		m, ok := decodeVnet(buf[:vnetSize], b)
		if !ok {
			k.tb.Fatalf("packet socket: the virtio header % x contradicts packet % x", buf[:vnetSize], b)
		}
		if isTestPacket(b) {
			return b, m
		}
	}
}

// newNetNS makes a network namespace and returns its path.
func newNetNS(tb testing.TB) string {
	tb.Helper()
	type result struct {
		fd  int
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends in the new namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		fd := -1
		if err == nil {
			fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		made <- result{fd, err}
	}()
	r := <-made
	if r.err != nil {
		tb.Fatal(r.err)
	}
	tb.Cleanup(func() { _ = unix.Close(r.fd) })
	return fmt.Sprintf("/proc/self/fd/%d", r.fd)
}

// in runs do in a namespace. Sockets that do makes stay there.
func in(tb testing.TB, netns string, do func() error) {
	tb.Helper()
	if err := inNetNS(netns, do); err != nil {
		tb.Fatal(err)
	}
}

// listenIn returns a TCP listener of a namespace.
func listenIn(tb testing.TB, netns, addr string) (l net.Listener) {
	tb.Helper()
	in(tb, netns, func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	tb.Cleanup(func() { _ = l.Close() })
	return l
}
