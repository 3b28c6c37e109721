//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pptpPort   = 1723       // RFC 2637, section 3
	pptpCookie = 0x1a2b3c4d // section 2
)

// Control messages of RFC 2637, section 2: their type, their length in bytes, and where the call IDs stand.
const (
	startRequest, startReply, startSize = 1, 2, 156
	callRequest, callRequestSize        = 7, 168
	callReply, callReplySize            = 8, 32
	ownCallID, peerCallID               = 12, 14
	callResult                          = 16 // of an Outgoing-Call-Reply, section 2.8
	startVersion, startResult           = 12, 14
)

// Call IDs of the two ends of the first call; the next one has the next. Each end names the other's in its data packets.
const (
	clientCall = 4711
	serverCall = 815
)

// greHeader is an enhanced GRE header with a sequence number, bytes (RFC 2637, section 4.1).
const greHeader = 12

// pptp is data packets of one call as fast as one thread sends them. One goroutine uses it.
type pptp struct {
	size  int    // bytes behind the IP header, as much as the datagrams that it is compared with have
	calls uint16 // that were made: an ID rests for a while when its call has ended
}

// measure makes a call through the router, as a helper must see it, sends for a while and returns how many data
// packets arrived, in thousands a second.
func (p *pptp) measure(ctx context.Context, s *system, window time.Duration) ([]sample, error) {
	client, err := newSocket(s.client, unix.SOCK_RAW, unix.IPPROTO_GRE)
	if err != nil {
		return nil, err
	}
	defer unix.Close(client)
	server, err := newSocket(s.server, unix.SOCK_RAW, unix.IPPROTO_GRE)
	if err != nil {
		return nil, err
	}
	defer unix.Close(server)
	if err := roomy(server); err != nil {
		return nil, err
	}
	call, err := makeCall(ctx, s, clientCall+p.calls, serverCall+p.calls)
	p.calls++
	if err != nil {
		return nil, err
	}
	defer call.close()
	if err := answerData(server, client, s.server4, call); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	var arrived atomic.Uint64
	wait.Go(func() { countDatagrams(ctx, server, p.size+ipv4Header, &arrived) })
	wait.Go(func() { p.send(ctx, client, s.server4, call.server) })
	t, err := meter(ctx, s, window, &arrived)
	if err != nil {
		return nil, err
	}
	t.Packets, t.Bytes = t.count, t.count*uint64(p.size)
	t.Value = float64(t.count) / 1e3 / t.Seconds
	return []sample{t}, nil
}

// send sends data packets of a call until ctx ends. All have the same number: routers don't look at it.
func (p *pptp) send(ctx context.Context, fd int, to netip.Addr, call uint16) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := newBatch(p.size, true)
	for i := range batchSize {
		b.address(i, to, 0)
	}
	copy(b.buffer, dataPacket(call, p.size))
	for ctx.Err() == nil {
		_, _ = b.send(fd, batchSize) // what did not go, did not arrive
	}
}

// dataPacket is a data packet to the end whose call ID is given, size bytes without the IP header.
func dataPacket(call uint16, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint16(b, 0x3001) // K, S, version 1
	binary.BigEndian.PutUint16(b[2:], 0x880b)
	binary.BigEndian.PutUint16(b[4:], uint16(size-greHeader))
	binary.BigEndian.PutUint16(b[6:], call)
	binary.BigEndian.PutUint32(b[8:], 1)
	return b
}

// ipv4Header is what a raw socket delivers before a packet's payload, bytes.
const ipv4Header = 20

// answerData sends the first data packet of a call and has the server answer it: from then on nothing is left for the
// router to decide.
func answerData(server, client int, to netip.Addr, call *pptpCall) error {
	for range tries {
		if err := unix.Sendto(client, dataPacket(call.server, firstData), 0, sockaddr(to, 0)); err != nil {
			return err
		}
		id, from, err := receiveFirst(server)
		if err != nil {
			continue
		}
		if id != call.serverID {
			return fmt.Errorf("data packet for call %d at the server, want %d", id, call.serverID)
		}
		if err := unix.Sendto(server, dataPacket(call.client, firstData), 0, from); err != nil {
			return err
		}
		if id, _, err = receiveFirst(client); err != nil {
			continue
		}
		if id != call.clientID {
			return fmt.Errorf("data packet for call %d at the client, want %d", id, call.clientID)
		}
		return nil
	}
	return errors.New("no data packet is answered")
}

// firstData is the size of the first data packet of a call and its answer, without the IP header.
const firstData = 64

// receiveFirst waits for a first data packet and returns its call ID. What an earlier call has left in the queues is of
// another size, and passed over.
func receiveFirst(fd int) (id uint16, from unix.Sockaddr, err error) {
	buf := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return 0, nil, err
		}
		if n == ipv4Header+firstData {
			return binary.BigEndian.Uint16(buf[ipv4Header+6:]), from, nil
		}
	}
}

// pptpCall is a call that is up.
type pptpCall struct {
	clientID, serverID uint16 // as each end has its own
	client, server     uint16 // as the other end has them
	closers            []io.Closer
}

func (c *pptpCall) close() {
	for _, closer := range c.closers {
		closer.Close()
	}
}

// makeCall opens a control connection from client to server and makes an outgoing call.
func makeCall(ctx context.Context, s *system, clientID, serverID uint16) (*pptpCall, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	listener, err := s.server.Listen(netip.AddrPortFrom(serverAddr, pptpPort))
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	client, err := s.client.Dial(ctx, "tcp", netip.AddrPortFrom(s.server4, pptpPort))
	if err != nil {
		return nil, err
	}
	c := &pptpCall{clientID: clientID, serverID: serverID, closers: []io.Closer{client}}
	server, err := listener.Accept()
	if err == nil {
		c.closers = append(c.closers, server)
		deadline, _ := ctx.Deadline()
		err = errors.Join(client.SetDeadline(deadline), server.SetDeadline(deadline), c.exchange(client, server))
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("PPTP call: %w", err)
	}
	return c, nil
}

// exchange is the four messages that make a call (RFC 2637, section 3.2.1), each read at the other end.
func (c *pptpCall) exchange(client, server net.Conn) error {
	start := control(startRequest, startSize)
	binary.BigEndian.PutUint16(start[startVersion:], 0x0100)
	if _, err := carry(client, server, start); err != nil {
		return err
	}
	binary.BigEndian.PutUint16(start[8:], startReply)
	start[startResult] = 1
	if _, err := carry(server, client, start); err != nil {
		return err
	}
	request := control(callRequest, callRequestSize)
	binary.BigEndian.PutUint16(request[ownCallID:], c.clientID)
	got, err := carry(client, server, request)
	if err != nil {
		return err
	}
	c.client = binary.BigEndian.Uint16(got[ownCallID:])
	reply := control(callReply, callReplySize)
	binary.BigEndian.PutUint16(reply[ownCallID:], c.serverID)
	binary.BigEndian.PutUint16(reply[peerCallID:], c.client)
	reply[callResult] = 1
	if got, err = carry(server, client, reply); err != nil {
		return err
	}
	c.server = binary.BigEndian.Uint16(got[ownCallID:])
	return nil
}

// control returns a control message with its header (RFC 2637, section 2), all else zero.
func control(kind uint16, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint16(b, uint16(size))
	binary.BigEndian.PutUint16(b[2:], 1) // a control message
	binary.BigEndian.PutUint32(b[4:], pptpCookie)
	binary.BigEndian.PutUint16(b[8:], kind)
	return b
}

// carry sends a message at one end and returns it as it comes out at the other.
func carry(from, to net.Conn, message []byte) ([]byte, error) {
	if _, err := from.Write(message); err != nil {
		return nil, err
	}
	got := make([]byte, len(message))
	_, err := io.ReadFull(to, got)
	return got, err
}
