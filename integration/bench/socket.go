//go:build linux

package main

import (
	"errors"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/natrouter/natrouter/internal/netlab"
)

// Ports of the load's servers.
const (
	bulkPort   = 7000 // takes what comes
	sourcePort = 7001 // sends without end
	floodPort  = 7002
	echoPort   = 7003
	shortPort  = 7004 // closes at once
)

// pollEvery is how often a blocking socket looks whether the measurement is over.
const pollEvery = 50 * time.Millisecond

// socketBuffer is what a datagram socket may hold, bytes: more than arrives while its reader waits for the CPU.
const socketBuffer = 16 << 20

// newSocket makes a socket of the namespace whose calls block for pollEvery at most.
func newSocket(n *netlab.Namespace, kind, proto int) (fd int, err error) {
	err = n.Do(func() error {
		fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return err
		}
		wait := unix.NsecToTimeval(pollEvery.Nanoseconds())
		return errors.Join(
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		)
	})
	return fd, err
}

// newDatagramSocket is a datagram socket of a namespace, bound to port of all addresses.
func newDatagramSocket(n *netlab.Namespace, port int) (int, error) {
	fd, err := newSocket(n, unix.SOCK_DGRAM, 0)
	if err != nil {
		return -1, err
	}
	if err = errors.Join(roomy(fd), unix.Bind(fd, &unix.SockaddrInet4{Port: port})); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// roomy gives a socket a large receive buffer: without the privilege, as large as the system allows.
func roomy(fd int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
}

func sockaddr(a netip.Addr, port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
}

// batchSize is how many datagrams one system call sends or receives.
const batchSize = 64

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// batch is what sendmmsg(2) and recvmmsg(2) work on: messages of one buffer each.
type batch struct {
	messages [batchSize]mmsghdr
	iov      [batchSize]unix.Iovec
	to       [batchSize]unix.RawSockaddrInet4
	buffer   []byte // of all messages
}

// newBatch has all messages in buffers of size bytes; senders share one.
func newBatch(size int, shared bool) *batch {
	b := &batch{}
	count := batchSize
	if shared {
		count = 1
	}
	buf := make([]byte, count*size)
	b.buffer = buf
	for i := range b.messages {
		b.iov[i].Base = &buf[i%count*size]
		b.iov[i].SetLen(size)
		b.messages[i].header.Iov = &b.iov[i]
		b.messages[i].header.SetIovlen(1)
	}
	return b
}

// address sends message i to an address and port.
func (b *batch) address(i int, a netip.Addr, port uint16) {
	b.to[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port<<8 | port>>8, Addr: a.As4()}
	b.messages[i].header.Name = (*byte)(unsafe.Pointer(&b.to[i]))
	b.messages[i].header.Namelen = unix.SizeofSockaddrInet4
}

// send sends the first n messages and returns how many have gone.
func (b *batch) send(fd, n int) (int, error) { return b.call(unix.SYS_SENDMMSG, fd, n, 0) }

// receive waits for the first message and takes what else is there.
func (b *batch) receive(fd int) (int, error) {
	return b.call(unix.SYS_RECVMMSG, fd, batchSize, unix.MSG_WAITFORONE)
}

func (b *batch) call(nr uintptr, fd, n, flags int) (int, error) {
	r, _, errno := unix.Syscall6(nr, uintptr(fd), uintptr(unsafe.Pointer(&b.messages)), uintptr(n), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// setTSO turns TCP segmentation offload of an interface on or off, as `ethtool -K NAME tso on` does.
func setTSO(n *netlab.Namespace, name string, on bool) error {
	const ethtoolSTSO = 0x1f // ETHTOOL_STSO, include/uapi/linux/ethtool.h
	value := struct{ command, data uint32 }{command: ethtoolSTSO}
	if on {
		value.data = 1
	}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
		if errno != 0 {
			return errno
		}
		return nil
	})
}
