//go:build linux

package netlab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// PPTPClient is the caller (a PNS, RFC 2637) at one end of a control connection. One goroutine makes its calls; the
// calls are independent.
type PPTPClient struct {
	control net.Conn
	data    net.PacketConn
	server  netip.Addr
	reading sync.WaitGroup

	mu    sync.Mutex
	calls map[uint16]*PPTPCall // guarded by mu; by our call ID
}

// DialPPTP opens a control connection from an address of a namespace.
func DialPPTP(ctx context.Context, n *Namespace, from, to netip.Addr) (*PPTPClient, error) {
	c := &PPTPClient{server: to, calls: make(map[uint16]*PPTPCall)}
	var err error
	if c.data, err = n.ListenPacket(greNetwork, netip.AddrPortFrom(from, 0)); err != nil {
		return nil, err
	}
	if c.control, err = n.Dial(ctx, "tcp", netip.AddrPortFrom(to, pptpPort)); err != nil {
		c.data.Close()
		return nil, err
	}
	c.reading.Go(func() { eachGRE(c.data, c.deliver) })
	if _, err := c.ask(newPPTPStart(pptpStartRequest), pptpStartReply); err != nil {
		c.Close()
		return nil, fmt.Errorf("start: %w", err)
	}
	return c, nil
}

// Close takes the client away; calls that are up are not cleared.
func (c *PPTPClient) Close() {
	c.control.Close()
	c.data.Close()
	c.reading.Wait()
}

// ask sends a message and returns the answer, which must be of a kind.
func (c *PPTPClient) ask(message []byte, want uint16) ([]byte, error) {
	if err := c.control.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.control.Write(message); err != nil {
		return nil, err
	}
	kind, answer, err := readPPTP(c.control)
	if err == nil && kind != want {
		err = fmt.Errorf("message %d came, not %d", kind, want)
	}
	return answer, err
}

// deliver hands data to their call; what belongs to none is dropped.
func (c *PPTPClient) deliver(from net.Addr, id uint16, _ uint32, data []byte) {
	source, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
	c.mu.Lock()
	call := c.calls[id]
	c.mu.Unlock()
	if call == nil || source.Unmap() != c.server {
		return
	}
	select {
	case call.in <- append([]byte(nil), data...):
	default: // full, as a socket's queue would be
	}
}

// PPTPCall is one call. It is to be read and written like a socket for datagrams: one goroutine reads, one writes.
type PPTPCall struct {
	client     *PPTPClient
	ID, PeerID uint16 // ours and the server's, as we see them
	mark       uint32 // before our data, which come back: what has another one is another call's
	seq        uint32
	in         chan []byte
	deadline   time.Time
}

// pptpQueue is how many packets wait in a call: more than a writer has on the way.
const pptpQueue = 4 * datagramEvery

// Call makes a call with a call ID.
func (c *PPTPClient) Call(id uint16) (*PPTPCall, error) {
	call := &PPTPCall{client: c, ID: id, mark: rand.Uint32(), in: make(chan []byte, pptpQueue)}
	c.mu.Lock()
	c.calls[id] = call
	c.mu.Unlock()
	answer, err := c.ask(newPPTPCall(id, uint16(rand.Uint32())), pptpOutgoingReply)
	if err != nil {
		return nil, fmt.Errorf("call %d: %w", id, err)
	}
	call.PeerID = binary.BigEndian.Uint16(answer[pptpOffID:])
	if peer := binary.BigEndian.Uint16(answer[pptpOffPeerID:]); peer != id {
		return nil, fmt.Errorf("call %d was answered as call %d", id, peer)
	}
	return call, nil
}

// Clear ends the call and waits for the server's word, which must name the call as its server does.
func (p *PPTPCall) Clear() error {
	notice, err := p.client.ask(newPPTPWithID(pptpClearRequest, p.ID), pptpDisconnectNotify)
	if err != nil {
		return fmt.Errorf("clear call %d: %w", p.ID, err)
	}
	p.client.mu.Lock()
	delete(p.client.calls, p.ID)
	p.client.mu.Unlock()
	if id := binary.BigEndian.Uint16(notice[pptpOffID:]); id != p.PeerID {
		return fmt.Errorf("clear call %d: the notice names call %d of the server, not %d", p.ID, id, p.PeerID)
	}
	return nil
}

// Write sends one packet of data.
func (p *PPTPCall) Write(b []byte) (int, error) {
	data := append(binary.BigEndian.AppendUint32(nil, p.mark), b...)
	_, err := p.client.data.WriteTo(gre(p.PeerID, p.seq, nil, data), &net.IPAddr{IP: p.client.server.AsSlice()})
	p.seq++
	return len(b), err
}

// errCrossed says that a call got another one's data.
var errCrossed = errors.New("data of another call came")

// Read takes one packet of data that came back.
func (p *PPTPCall) Read(b []byte) (int, error) {
	timer := time.NewTimer(time.Until(p.deadline))
	defer timer.Stop()
	select {
	case data := <-p.in:
		if len(data) < 4 || binary.BigEndian.Uint32(data) != p.mark {
			return 0, errCrossed
		}
		return copy(b, data[4:]), nil
	case <-timer.C:
		return 0, os.ErrDeadlineExceeded
	}
}

// SetReadDeadline sets when the next Read gives up.
func (p *PPTPCall) SetReadDeadline(t time.Time) error {
	p.deadline = t
	return nil
}

// Exchange sends numbered datagrams, some in fragments, and checks that each comes back.
func (p *PPTPCall) Exchange() error {
	_, err := exchange(p, func(string, ...any) {})
	return err
}
