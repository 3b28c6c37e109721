//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// bulkBuffer is what one call writes or reads, bytes.
const bulkBuffer = 256 << 10

// bulk is a number of TCP connections that carry as much as they can.
type bulk struct {
	up, down int
	ipv6     bool
}

// load is traffic that goes on until stop; arrived is what it has moved, bytes of payload.
type load struct {
	arrived atomic.Uint64
	wait    sync.WaitGroup

	mu    sync.Mutex
	open  []io.Closer // guarded by mu
	ended bool        // guarded by mu
}

// start makes all connections, and lets them run once they are there.
func (b bulk) start(ctx context.Context, s *system) (_ *load, err error) {
	l := &load{}
	defer func() {
		if err != nil {
			l.stop()
		}
	}()
	listen, to := serverAddr, s.server4
	if b.ipv6 {
		listen, to = serverAddr6, s.server6
	}
	if err := l.listen(s, netip.AddrPortFrom(listen, bulkPort), l.receive); err != nil {
		return nil, err
	}
	if err := l.listen(s, netip.AddrPortFrom(listen, sourcePort), l.sendWhenTold); err != nil {
		return nil, err
	}
	conns := make([]net.Conn, b.up+b.down)
	for i := range conns {
		port := uint16(bulkPort)
		if i >= b.up {
			port = sourcePort
		}
		c, err := s.client.Dial(ctx, "tcp", netip.AddrPortFrom(to, port))
		if err != nil {
			return nil, fmt.Errorf("connection %d of %d: %w", i+1, b.up+b.down, err)
		}
		l.keep(c)
		conns[i] = c
	}
	for i, c := range conns {
		if i < b.up {
			l.wait.Go(func() { l.send(c) })
			continue
		}
		if _, err := c.Write([]byte{0}); err != nil {
			return nil, err
		}
		l.wait.Go(func() { l.receive(c) })
	}
	return l, nil
}

// listen accepts connections of the server until stop.
func (l *load) listen(s *system, at netip.AddrPort, work func(net.Conn)) error {
	listener, err := s.server.Listen(at)
	if err != nil {
		return err
	}
	l.wait.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			l.keep(c)
			l.wait.Go(func() { work(c) })
		}
	})
	l.keep(listener)
	return nil
}

// keep has c closed when the load stops.
func (l *load) keep(c io.Closer) {
	if c, ok := c.(*net.TCPConn); ok {
		_ = c.SetLinger(0) // what is on the way when the load stops, nobody wants
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		c.Close()
		return
	}
	l.open = append(l.open, c)
}

func (l *load) send(c net.Conn) {
	buf := make([]byte, bulkBuffer)
	for {
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

// sendWhenTold waits for a byte before it sends.
func (l *load) sendWhenTold(c net.Conn) {
	var told [1]byte
	if _, err := c.Read(told[:]); err == nil {
		l.send(c)
	}
}

func (l *load) receive(c net.Conn) {
	buf := make([]byte, bulkBuffer)
	for {
		n, err := c.Read(buf)
		l.arrived.Add(uint64(n))
		if err != nil {
			return
		}
	}
}

func (l *load) stop() {
	l.mu.Lock()
	l.ended = true
	for _, c := range l.open {
		c.Close()
	}
	l.mu.Unlock()
	l.wait.Wait()
}

// measure lets the load run and returns what arrived in the window, in Gbit/s of payload.
func (b bulk) measure(ctx context.Context, s *system, window time.Duration) ([]sample, error) {
	l, err := b.start(ctx, s)
	if err != nil {
		return nil, err
	}
	defer l.stop()
	t, err := meter(ctx, s, window, &l.arrived)
	if err != nil {
		return nil, err
	}
	t.Bytes = t.count
	t.Value = float64(t.count) * 8 / 1e9 / t.Seconds
	return []sample{t}, nil
}

// withoutTSO is bulk from a client whose end cuts the segments itself.
func (b bulk) withoutTSO(ctx context.Context, s *system, window time.Duration) (_ []sample, err error) {
	if err := setTSO(s.client, s.clientLink, false); err != nil {
		return nil, fmt.Errorf("turn TSO off: %w", err)
	}
	defer func() { err = errors.Join(err, setTSO(s.client, s.clientLink, true)) }()
	return b.measure(ctx, s, window)
}

// dialers are how many connections are being made at once.
const dialers = 8

// connections makes and closes TCP connections, each to an address of its own, and returns how many were complete a
// second: connected, closed by the server and seen closed by the client.
func connections(ctx context.Context, s *system, window time.Duration) ([]sample, error) {
	listener, err := newSocket(s.server, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(listener)
	if err := errors.Join(unix.Bind(listener, &unix.SockaddrInet4{Port: shortPort}), unix.Listen(listener, 4096)); err != nil {
		return nil, err
	}
	var (
		done, failed atomic.Uint64
		next         atomic.Uint32
		wait         sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(ctx)
	defer wait.Wait()
	defer cancel()
	for range 2 {
		wait.Go(func() {
			for ctx.Err() == nil {
				if fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC); err == nil {
					unix.Close(fd)
				}
			}
		})
	}
	for range dialers {
		wait.Go(func() {
			_ = s.client.Do(func() error { // sockets are made in here, one after the other
				for ctx.Err() == nil {
					if err := connectOnce(flowAddr(next.Add(1))); err != nil {
						failed.Add(1)
						continue
					}
					done.Add(1)
				}
				return nil
			})
		})
	}
	t, err := meter(ctx, s, window, &done)
	if err != nil {
		return nil, err
	}
	t.Packets = t.count
	t.Value = float64(t.count) / 1e3 / t.Seconds
	t.Failed = failed.Load()
	return []sample{t}, nil
}

// connectTimeout bounds a connection of connections.
const connectTimeout = 500 * time.Millisecond

// connectOnce connects, waits for the end, and closes.
func connectOnce(to netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	wait := unix.NsecToTimeval(connectTimeout.Nanoseconds())
	// SO_SNDTIMEO bounds connect(2), too.
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait))
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, sockaddr(to, shortPort)); err != nil {
		return err
	}
	var b [1]byte
	if n, err := unix.Read(fd, b[:]); n != 0 || err != nil {
		return errors.Join(err, fmt.Errorf("%d bytes before the end", n))
	}
	return nil
}
