//go:build linux

package netlab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// PPTPServer is a PPTP server (a PAC, RFC 2637) whose calls send back what they get, in place of PPP. Its methods are
// safe for concurrent use.
type PPTPServer struct {
	data net.PacketConn
	stop func()

	mu    sync.Mutex
	calls map[uint16]*PPTPServerCall // guarded by mu; by the server's call ID
	next  uint16                     // guarded by mu; the next call's ID
	stray int                        // guarded by mu; packets of no call, or not from where the call was made
}

// PPTPServerCall is a call as its server has it.
type PPTPServerCall struct {
	From    netip.Addr // whence it was made
	ID      uint16     // the server's call ID
	PeerID  uint16     // the caller's, as the server sees it
	Packets int        // of data, that were sent back

	seq uint32
}

// firstPAC is the call ID of a server's first call; it counts up from there.
const firstPAC = 100

// ServePPTP starts a PPTP server in a namespace.
func ServePPTP(n *Namespace, addr netip.Addr) (*PPTPServer, error) {
	l, err := n.Listen(netip.AddrPortFrom(addr, pptpPort))
	if err != nil {
		return nil, err
	}
	s := &PPTPServer{calls: make(map[uint16]*PPTPServerCall), next: firstPAC}
	if s.data, err = n.ListenPacket(greNetwork, netip.AddrPortFrom(addr, 0)); err != nil {
		l.Close()
		return nil, err
	}
	var reading sync.WaitGroup
	reading.Go(func() { eachGRE(s.data, s.reflect) })
	var mu sync.Mutex
	open := map[net.Conn]bool{} // guarded by mu
	stop := serve(l, func(c net.Conn) {
		mu.Lock()
		open[c] = true
		mu.Unlock()
		s.control(c)
	})
	s.stop = func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		stop()
		s.data.Close()
		reading.Wait()
	}
	return s, nil
}

// Close ends the server and all its calls.
func (s *PPTPServer) Close() { s.stop() }

// Calls returns the calls that are up, by ID, and how many packets of GRE belonged to none.
func (s *PPTPServer) Calls() (calls []PPTPServerCall, stray int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		calls = append(calls, *c)
	}
	slices.SortFunc(calls, func(a, b PPTPServerCall) int { return int(a.ID) - int(b.ID) })
	return calls, s.stray
}

// control handles a control connection until it ends; its calls end with it.
func (s *PPTPServer) control(c net.Conn) {
	from := remote(c).Addr()
	mine := map[uint16]uint16{} // the caller's call IDs to ours
	defer func() {
		for _, id := range mine {
			s.end(id)
		}
	}()
	for {
		kind, m, err := readPPTP(c)
		if err != nil {
			return
		}
		var answer []byte
		switch peer := binary.BigEndian.Uint16(m[pptpOffID:]); kind {
		case pptpStartRequest:
			answer = newPPTPStart(pptpStartReply)
		case pptpOutgoingRequest:
			mine[peer] = s.begin(from, peer)
			answer = newPPTPAnswer(mine[peer], peer)
		case pptpClearRequest:
			id, ok := mine[peer]
			if !ok {
				continue
			}
			s.end(id)
			delete(mine, peer)
			answer = newPPTPWithID(pptpDisconnectNotify, id)
		case pptpStopRequest:
			answer = newPPTP(pptpStopReply)
			answer[12] = pptpConnected
		default:
			return
		}
		if _, err := c.Write(answer); err != nil || kind == pptpStopRequest {
			return
		}
	}
}

func (s *PPTPServer) begin(from netip.Addr, peer uint16) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.next
	s.next++
	s.calls[id] = &PPTPServerCall{From: from, ID: id, PeerID: peer}
	return id
}

func (s *PPTPServer) end(id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, id)
}

// reflect sends data of a call back to where the call was made.
func (s *PPTPServer) reflect(from net.Addr, id uint16, seq uint32, data []byte) {
	source, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
	s.mu.Lock()
	c := s.calls[id]
	if c == nil || c.From != source.Unmap() {
		s.stray++
		s.mu.Unlock()
		return
	}
	b := gre(c.PeerID, c.seq, &seq, data)
	c.seq++
	c.Packets++
	s.mu.Unlock()
	_, _ = s.data.WriteTo(b, from) // the caller misses it
}
