//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// flowAddr returns the server's address for flow i, which counts through the crowd network again and again.
func flowAddr(i uint32) netip.Addr {
	var a [4]byte
	base := crowdNet.Addr().As4()
	size := uint32(1) << (32 - crowdNet.Bits())
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(base[:])+i%size)
	return netip.AddrFrom4(a)
}

// flood is datagrams as fast as one thread sends them.
type flood struct {
	size  int // bytes of payload
	flows int // addresses of the server, one after the other; 0: each datagram begins a flow
}

// sources are how many sockets the client sends from when each datagram begins a flow: with as many addresses as
// crowdNet has, enough for a whole run.
const sources = 64

// measure sends for a while and returns how many datagrams arrived, in thousands a second.
func (f flood) measure(ctx context.Context, s *system, window time.Duration) ([]sample, error) {
	var arrived, sent atomic.Uint64
	stop, err := f.start(ctx, s, &arrived, &sent)
	if err != nil {
		return nil, err
	}
	defer stop()
	t, err := meter(ctx, s, window, &arrived)
	if err != nil {
		return nil, err
	}
	t.Packets, t.Bytes = t.count, t.count*uint64(f.size)
	t.Value = float64(t.count) / 1e3 / t.Seconds
	t.Sent = sent.Load()
	return []sample{t}, nil
}

// start floods until the function it returns is called. Flows that last are answered first, as a router sees flows
// in the field.
func (f flood) start(ctx context.Context, s *system, arrived, sent *atomic.Uint64) (stop func(), err error) {
	var fds []int
	closeAll := func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	server, err := newDatagramSocket(s.server, floodPort)
	if err != nil {
		return nil, err
	}
	fds = append(fds, server)
	clients := 1
	if f.flows == 0 {
		clients = sources
	}
	for range clients {
		fd, err := newDatagramSocket(s.client, 0)
		if err != nil {
			return nil, err
		}
		fds = append(fds, fd)
	}
	if f.flows > 0 {
		if err := prime(server, fds[1], f.destinations(s)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() { countDatagrams(ctx, server, f.size, arrived) })
	wait.Go(func() { f.send(ctx, s, fds[1:], sent) })
	return func() {
		cancel()
		wait.Wait()
		closeAll()
	}, nil
}

func (f flood) destinations(s *system) []netip.Addr {
	if f.flows == 1 {
		return []netip.Addr{s.server4}
	}
	to := make([]netip.Addr, f.flows)
	for i := range to {
		to[i] = flowAddr(uint32(i))
	}
	return to
}

// send sends on each socket in turn, a batch at a time.
func (f flood) send(ctx context.Context, s *system, fds []int, sent *atomic.Uint64) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := newBatch(f.size, true)
	if f.flows > 0 {
		to := f.destinations(s)
		for i := range batchSize {
			b.address(i, to[i%len(to)], floodPort)
		}
	}
	for turn := 0; ctx.Err() == nil; turn++ {
		if f.flows == 0 {
			for i := range batchSize {
				b.address(i, flowAddr(uint32(turn*batchSize+i)), floodPort)
			}
		}
		// Each pass over the addresses gives every address another socket than the pass before.
		pass := turn * batchSize >> (32 - crowdNet.Bits())
		n, _ := b.send(fds[(turn+pass)%len(fds)], batchSize) // what did not go, did not arrive
		sent.Add(uint64(n))
	}
}

// countDatagrams counts what arrives with the right size.
func countDatagrams(ctx context.Context, fd, size int, arrived *atomic.Uint64) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := newBatch(2048, false)
	for ctx.Err() == nil {
		n, err := b.receive(fd)
		if err != nil {
			continue
		}
		right := uint64(0)
		for i := range n {
			if b.messages[i].length == uint32(size) {
				right++
			}
		}
		arrived.Add(right)
	}
}

// prime sends one datagram to each address and has the server answer it, from that address.
func prime(server, client int, to []netip.Addr) error {
	if err := unix.SetsockoptInt(server, unix.SOL_IP, unix.IP_PKTINFO, 1); err != nil {
		return err
	}
	defer unix.SetsockoptInt(server, unix.SOL_IP, unix.IP_PKTINFO, 0)
	for _, a := range to {
		if err := exchange(server, client, a); err != nil {
			return fmt.Errorf("first datagram to %v: %w", a, err)
		}
	}
	return nil
}

// tries is how often a datagram is sent until it is answered.
const tries = 20

func exchange(server, client int, a netip.Addr) error {
	var buf [64]byte
	oob := make([]byte, 128)
	var last error
	for range tries {
		if err := unix.Sendto(client, buf[:1], 0, sockaddr(a, floodPort)); err != nil {
			return err
		}
		_, n, _, from, err := unix.Recvmsg(server, buf[:], oob, 0)
		if last = err; err != nil {
			continue
		}
		info, err := packetInfo(oob[:n])
		if err != nil {
			return err
		}
		if err := unix.Sendmsg(server, buf[:1], info, from, 0); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		if _, _, last = unix.Recvfrom(client, buf[:], 0); last == nil {
			return nil
		}
	}
	return fmt.Errorf("not answered: %w", last)
}

// packetInfo turns the control message of a datagram into that of its answer: the address it came to becomes the
// source.
func packetInfo(oob []byte) ([]byte, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo {
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte(m.Data[8:12])}), nil
		}
	}
	return nil, errors.New("no packet information")
}
