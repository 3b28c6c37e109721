package ppp

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
)

const (
	// Exchanged is how many echo requests each end of a link sends in an exchange.
	Exchanged = 120

	exchangeWindow = 8                      // requests without an answer, at most: fewer than any queue holds
	askAgain       = 300 * time.Millisecond // after which an unanswered request is sent again

	smallest, largest = 4, 1472 // bytes of payload: up to an IP packet of the default MRU, which GRE carries in fragments
	echoHeader        = 8
)

// ICMP types (RFC 792).
const (
	icmpReply   = 0
	icmpRequest = 8
)

// Exchange is data both ways through a link: each end sends numbered ICMP echo requests of many sizes and answers
// those of the other. Every packet must carry what belongs to its sender and number, with the right checksums.
type Exchange struct {
	peer *Peer

	mu       sync.Mutex
	answered map[uint16]bool // guarded by mu; our requests that came back
	asked    map[uint16]bool // guarded by mu; the peer's that came
	bad      error           // guarded by mu; the first packet that was not as sent
	changed  chan struct{}   // guarded by mu; closed when one of these changes
}

// NewExchange readies an exchange over a link, which is to be started with its Receive.
func NewExchange(p *Peer) *Exchange {
	return &Exchange{peer: p, answered: make(map[uint16]bool), asked: make(map[uint16]bool), changed: make(chan struct{})}
}

// payload is what a sender's request number i carries.
func payload(sender netip.Addr, i uint16) []byte {
	from := sender.As4()
	r := rand.New(rand.NewPCG(uint64(binary.BigEndian.Uint32(from[:])), uint64(i)))
	n := smallest + r.IntN(1200)
	if i%10 == 9 {
		n = largest
	}
	b := make([]byte, n)
	for j := range b {
		b[j] = byte(r.Uint32())
	}
	return b
}

// echoPacket is an echo request or reply.
func echoPacket(from, to netip.Addr, i uint16, reply bool, data []byte) []byte {
	return testpkt.Echo{Src: from, Dst: to, ID: 1, Seq: i, Reply: reply, Payload: data, TTL: 64, IPID: i}.Bytes()
}

// Receive takes a packet from the link, and answers the peer's requests.
func (x *Exchange) Receive(ip []byte) {
	local, remote := x.peer.Addresses()
	i, reply, err := check(ip, remote, local)
	if err == nil && !reply {
		err = x.peer.Send(echoPacket(local, remote, i, true, payload(remote, i)))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case err != nil && x.bad == nil:
		x.bad = err
	case err != nil:
	case reply:
		x.answered[i] = true
	default:
		x.asked[i] = true
	}
	close(x.changed)
	x.changed = make(chan struct{})
}

// check checks a packet from one end to the other and returns its number.
func check(ip []byte, from, to netip.Addr) (i uint16, reply bool, err error) {
	l, err := testpkt.Parse(ip)
	if err == nil {
		err = testpkt.Verify(ip)
	}
	if err != nil {
		return 0, false, fmt.Errorf("packet of %d bytes: %w", len(ip), err)
	}
	src, _ := netip.AddrFromSlice(l.Src)
	dst, _ := netip.AddrFromSlice(l.Dst)
	if src != from || dst != to || l.Proto != 1 || l.Len < l.L4+echoHeader {
		return 0, false, fmt.Errorf("from %s to %s came protocol %d, %d bytes", src, dst, l.Proto, l.Len)
	}
	icmp := ip[l.L4:l.Len]
	i, reply = binary.BigEndian.Uint16(icmp[6:]), icmp[0] == icmpReply
	maker := src
	if reply {
		maker = dst
	}
	if icmp[0] != icmpRequest && !reply || i >= Exchanged || !bytes.Equal(icmp[echoHeader:], payload(maker, i)) {
		return i, reply, fmt.Errorf("ICMP type %d, number %d, does not carry what it was sent with", icmp[0], i)
	}
	return i, reply, nil
}

// Run sends all requests, once the link is up, and waits until each was answered and each of the peer's has come. Loss is made good: it
// returns how many requests had to be sent again.
func (x *Exchange) Run(ctx context.Context) (again int, err error) {
	if err := x.peer.Up(ctx); err != nil {
		return 0, err
	}
	local, remote := x.peer.Addresses()
	sent := make(map[uint16]time.Time) // and not answered
	for next := uint16(0); ; {
		x.mu.Lock()
		bad, changed := x.bad, x.changed
		for i := range sent {
			if x.answered[i] {
				delete(sent, i)
			}
		}
		done := next == Exchanged && len(sent) == 0 && len(x.asked) == Exchanged
		answered, asked := len(x.answered), len(x.asked)
		x.mu.Unlock()
		if bad != nil || done {
			return again, bad
		}
		var due []uint16
		for i, at := range sent {
			if time.Since(at) >= askAgain {
				due = append(due, i)
				again++
			}
		}
		for ; next < Exchanged && len(sent) < exchangeWindow; next++ {
			due = append(due, next)
			sent[next] = time.Now()
		}
		for _, i := range due {
			sent[i] = time.Now()
			if err := x.peer.Send(echoPacket(local, remote, i, false, payload(local, i))); err != nil {
				return again, err
			}
		}
		select {
		case <-changed:
		case <-time.After(askAgain):
		case <-x.peer.Ended():
			return again, ErrEnded
		case <-ctx.Done():
			return again, fmt.Errorf("of %d echo requests each way %d were answered and %d came: %w", Exchanged, answered, asked, context.Cause(ctx))
		}
	}
}
