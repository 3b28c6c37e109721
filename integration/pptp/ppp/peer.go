package ppp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// restartEvery is the restart timer (RFC 1661, section 4.6, where 3 s are the default). It is short: the line below
// is fast, and what overtakes the beginning of a call is lost.
const restartEvery = 100 * time.Millisecond

// headerSize is that of a frame without its FCS: address 255, control 3, and the protocol (RFC 1662, section 3.1).
const headerSize = 4

// ErrEnded says that the peer ended the link, or the line under it is gone.
var ErrEnded = errors.New("ppp: the link has ended")

// Peer is one end of a link. Its methods are safe for concurrent use.
type Peer struct {
	line    io.ReadWriteCloser
	receive func(ip []byte)
	up      chan struct{} // closed when IP may flow
	ended   chan struct{} // closed when the link has ended; nothing is received after

	mu            sync.Mutex // guards the rest, and writing to line
	local, remote netip.Addr
	lcp, ipcp     *layer
	magic         uint32
	out           []byte // a frame on its way out
	terminated    bool   // a Terminate-Request was answered, or came
	echoes        map[uint32]chan struct{}
}

// New makes an end of a link over a line. local and remote are the addresses of both ends; 0.0.0.0 is asked of the peer.
func New(line io.ReadWriteCloser, local, remote netip.Addr) *Peer {
	p := &Peer{
		line: line, local: local, remote: remote, magic: rand.Uint32(),
		up: make(chan struct{}), ended: make(chan struct{}), echoes: make(map[uint32]chan struct{}),
	}
	p.lcp, p.ipcp = lcp(p.magic), ipcp(&p.local, &p.remote)
	return p
}

// Start begins the link. receive gets each IP packet, one at a time, and must not keep it. The link goes on until the
// peer ends it, [Peer.Close], or the end of the line.
func (p *Peer) Start(receive func(ip []byte)) {
	p.receive = receive
	go p.read()
	go p.restart()
}

// Addresses returns the addresses of both ends as far as they are known.
func (p *Peer) Addresses() (local, remote netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.local, p.remote
}

// Up waits until IP may flow.
func (p *Peer) Up(ctx context.Context) error {
	select {
	case <-p.up:
		return nil
	case <-p.ended:
		return ErrEnded
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("%w: LCP is open: %t, IPCP is open: %t", context.Cause(ctx), p.lcp.open(), p.ipcp.open())
	}
}

// Ended is closed when the link has ended.
func (p *Peer) Ended() <-chan struct{} { return p.ended }

// Send sends an IP packet. It may be called once the link is up.
func (p *Peer) Send(ip []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sendLocked(protoIP, ip)
}

// Echo sends an LCP Echo-Request and waits for its reply (RFC 1661, section 5.8).
func (p *Peer) Echo(ctx context.Context) error {
	tag := rand.Uint32()
	answered := make(chan struct{})
	p.mu.Lock()
	p.echoes[tag] = answered
	data := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, p.magic), tag)
	err := p.sendLocked(protoLCP, Packet{Code: echoRequest, Data: data}.Append(nil))
	p.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-answered:
		return nil
	case <-p.ended:
		return ErrEnded
	case <-ctx.Done():
		return fmt.Errorf("no LCP echo: %w", context.Cause(ctx))
	}
}

// Close ends the link as the protocol wants (RFC 1661, section 3.7), and then the line, whatever the peer says.
func (p *Peer) Close(ctx context.Context) error {
	for {
		p.mu.Lock()
		err := p.sendLocked(protoLCP, Packet{Code: terminateRequest}.Append(nil))
		p.mu.Unlock()
		if err != nil {
			return p.line.Close()
		}
		select {
		case <-p.ended: // acknowledged
			return p.line.Close()
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("no Terminate-Ack: %w", context.Cause(ctx)), p.line.Close())
		case <-time.After(restartEvery):
		}
	}
}

// sendLocked sends a frame; p.mu is held.
func (p *Peer) sendLocked(protocol uint16, information []byte) error {
	frame := make([]byte, headerSize, headerSize+len(information))
	frame[0], frame[1] = 255, 3
	binary.BigEndian.PutUint16(frame[2:], protocol)
	p.out = AppendFrame(p.out[:0], append(frame, information...))
	_, err := p.line.Write(p.out)
	return err
}

// restart asks again for what is not open, until all is.
func (p *Peer) restart() {
	for tick := time.NewTicker(restartEvery); ; {
		p.mu.Lock()
		for _, l := range []*layer{p.lcp, p.ipcp} {
			if !l.open() {
				_ = p.sendLocked(l.protocol, l.request().Append(nil)) // the reader sees that the line is gone
				break
			}
		}
		p.mu.Unlock()
		select {
		case <-tick.C:
		case <-p.up:
			tick.Stop()
			return
		case <-p.ended:
			tick.Stop()
			return
		}
	}
}

// read takes frames from the line until the link ends.
func (p *Peer) read() {
	defer close(p.ended)
	var d Deframer
	b := make([]byte, maxFrame)
	for {
		n, err := p.line.Read(b)
		d.Push(b[:n], p.frame)
		p.mu.Lock()
		over := p.terminated
		p.mu.Unlock()
		if err != nil || over {
			return
		}
	}
}

// frame handles one frame; what is none of ours is dropped.
func (p *Peer) frame(f []byte) {
	if len(f) < headerSize || f[0] != 255 || f[1] != 3 {
		return
	}
	protocol, information := binary.BigEndian.Uint16(f[2:]), f[headerSize:]
	if protocol == protoIP {
		select {
		case <-p.up:
			p.receive(information)
		default: // RFC 1332, section 2: not before IPCP is open
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch protocol {
	case protoLCP:
		before := p.lcp.open()
		p.linkLocked(information)
		if !before && p.lcp.open() {
			_ = p.sendLocked(protoIPCP, p.ipcp.request().Append(nil)) // the restart timer sends another
		}
	case protoIPCP:
		if p.lcp.open() {
			p.layerLocked(p.ipcp, information)
		}
	default: // RFC 1661, section 5.7
		if p.lcp.open() {
			_ = p.sendLocked(protoLCP, Packet{Code: protocolReject, Data: f[2:]}.Append(nil))
		}
	}
	if p.lcp.open() && p.ipcp.open() {
		select {
		case <-p.up:
		default:
			close(p.up)
		}
	}
}

// layerLocked hands a Configure packet to its layer.
func (p *Peer) layerLocked(l *layer, b []byte) {
	packet, err := ParsePacket(b)
	if err != nil || packet.Code > configureReject {
		return
	}
	for _, answer := range l.configure(packet) {
		_ = p.sendLocked(l.protocol, answer.Append(nil)) // the reader sees that the line is gone
	}
}

// linkLocked handles a packet of LCP.
func (p *Peer) linkLocked(b []byte) {
	packet, err := ParsePacket(b)
	if err != nil {
		return
	}
	answer := Packet{ID: packet.ID}
	switch packet.Code {
	case terminateRequest:
		answer.Code, p.terminated = terminateAck, true
	case terminateAck:
		p.terminated = true
		return
	case echoRequest:
		if !p.lcp.open() || len(packet.Data) < 4 {
			return
		}
		answer.Code, answer.Data = echoReply, append(binary.BigEndian.AppendUint32(nil, p.magic), packet.Data[4:]...)
	case echoReply:
		if len(packet.Data) == 8 {
			tag := binary.BigEndian.Uint32(packet.Data[4:])
			if answered := p.echoes[tag]; answered != nil {
				close(answered)
				delete(p.echoes, tag)
			}
		}
		return
	default:
		p.layerLocked(p.lcp, b)
		return
	}
	_ = p.sendLocked(protoLCP, answer.Append(nil)) // the reader sees that the line is gone
}
