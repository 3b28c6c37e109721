//go:build linux

package netlab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// answerTimeout is how long a scene waits for one answer.
const answerTimeout = 2 * time.Second

// icmpTypes are the types of one family.
type icmpTypes struct {
	network                            string
	protocol                           int // for icmp.ParseMessage
	echo, reply, exceeded, unreachable icmp.Type
	portUnreachable                    int // code
}

func icmpOf(a netip.Addr) icmpTypes {
	if a.Is4() {
		return icmpTypes{network: "ip:icmp", protocol: 1, echo: ipv4.ICMPTypeEcho, reply: ipv4.ICMPTypeEchoReply,
			exceeded: ipv4.ICMPTypeTimeExceeded, unreachable: ipv4.ICMPTypeDestinationUnreachable, portUnreachable: 3}
	}
	return icmpTypes{network: "ip:ipv6-icmp", protocol: 58, echo: ipv6.ICMPTypeEchoRequest, reply: ipv6.ICMPTypeEchoReply,
		exceeded: ipv6.ICMPTypeTimeExceeded, unreachable: ipv6.ICMPTypeDestinationUnreachable, portUnreachable: 4}
}

// pingCount is how many echo requests a ping scene sends.
const pingCount = 10

// ping has the client ping the server, and the router's inside address once.
func ping(ctx context.Context, p *Path, say Progress) (string, error) {
	if _, err := Ping(ctx, p.Client, p.ClientAddr, p.RouterAddr); err != nil {
		return "", fmt.Errorf("the router itself: %w", err)
	}
	var least time.Duration
	for i := range pingCount {
		took, err := Ping(ctx, p.Client, p.ClientAddr, p.ServerAddr)
		if err != nil {
			return "", fmt.Errorf("echo request %d: %w", i+1, err)
		}
		if least == 0 || took < least {
			least = took
		}
		say("%d of %d answered", i+1, pingCount)
	}
	return fmt.Sprintf("%d of %d answered, least %s", pingCount, pingCount, least.Round(time.Microsecond)), nil
}

// Ping sends one echo request from n and returns how long its reply took. The reply must come from to and carry the
// same bytes.
func Ping(ctx context.Context, n *Namespace, from, to netip.Addr) (time.Duration, error) {
	t := icmpOf(to)
	c, err := n.ListenPacket(t.network, netip.AddrPortFrom(from, 0))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	defer closeOnDone(ctx, c)()
	sent := &icmp.Echo{ID: rand.IntN(65536), Seq: 1, Data: make([]byte, 56)}
	binary.BigEndian.PutUint64(sent.Data, rand.Uint64())
	b, err := (&icmp.Message{Type: t.echo, Body: sent}).Marshal(nil) // the kernel does ICMPv6's checksum
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if _, err := c.WriteTo(b, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return 0, err
	}
	var took time.Duration
	err = eachICMP(c, t, func(source netip.Addr, m *icmp.Message) (bool, error) {
		echo, ok := m.Body.(*icmp.Echo)
		if !ok || m.Type != t.reply || echo.ID != sent.ID {
			return false, nil
		}
		took = time.Since(start)
		if source != to {
			return false, fmt.Errorf("reply from %s", source)
		}
		if echo.Seq != sent.Seq || !bytes.Equal(echo.Data, sent.Data) {
			return false, errors.New("the reply does not carry what the request did")
		}
		return true, nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("no reply from %s within %s", to, answerTimeout)
	}
	return took, err
}

// eachICMP gives each message that arrives to f until f is done, or answerTimeout is over.
func eachICMP(c net.PacketConn, t icmpTypes, f func(source netip.Addr, m *icmp.Message) (done bool, err error)) error {
	if err := c.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	b := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		source, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		m, err := icmp.ParseMessage(t.protocol, b[:n])
		if err != nil {
			continue // another's
		}
		if done, err := f(source.Unmap(), m); done || err != nil {
			return err
		}
	}
}

// traceroute sends UDP datagrams with a growing TTL, as traceroute does. Every router on the way must answer time
// exceeded and the server port unreachable, each quoting the datagram as the client sent it.
func traceroute(ctx context.Context, p *Path, say Progress) (string, error) {
	hops := max(p.Hops, 1)
	t := icmpOf(p.ServerAddr)
	errs, err := p.Client.ListenPacket(t.network, netip.AddrPortFrom(p.ClientAddr, 0))
	if err != nil {
		return "", err
	}
	defer errs.Close()
	defer closeOnDone(ctx, errs)()
	probe, err := p.Client.ListenPacket("udp", netip.AddrPortFrom(p.ClientAddr, 0))
	if err != nil {
		return "", err
	}
	defer probe.Close()
	var first netip.Addr
	for ttl := 1; ttl <= hops+1; ttl++ {
		source, err := p.probeHop(errs, probe, t, ttl, ttl > hops)
		if err != nil {
			return "", fmt.Errorf("hop %d: %w", ttl, err)
		}
		if ttl == 1 {
			first = source
		}
		say("hop %d is %s", ttl, source)
	}
	if first != p.RouterAddr {
		return "", fmt.Errorf("hop 1 is %s, not the router's %s", first, p.RouterAddr)
	}
	return fmt.Sprintf("%d hops: %s, %s", hops+1, first, p.ServerAddr), nil
}

// probeHop sends one datagram and returns who answered.
func (p *Path) probeHop(errs, probe net.PacketConn, t icmpTypes, ttl int, last bool) (netip.Addr, error) {
	to := netip.AddrPortFrom(p.ServerAddr, uint16(33433+ttl))
	var err error
	if to.Addr().Is4() {
		err = ipv4.NewPacketConn(probe).SetTTL(ttl)
	} else {
		err = ipv6.NewPacketConn(probe).SetHopLimit(ttl)
	}
	if err != nil {
		return netip.Addr{}, err
	}
	if _, err := probe.WriteTo([]byte("where does this go?"), net.UDPAddrFromAddrPort(to)); err != nil {
		return netip.Addr{}, err
	}
	from := probe.LocalAddr().(*net.UDPAddr).AddrPort()
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	var answered netip.Addr
	err = eachICMP(errs, t, func(source netip.Addr, m *icmp.Message) (bool, error) {
		var quote []byte
		switch body := m.Body.(type) {
		case *icmp.TimeExceeded:
			quote = body.Data
		case *icmp.DstUnreach:
			quote = body.Data
		default:
			return false, nil
		}
		src, dst, ok := quotedUDP(quote)
		if !ok || dst.Port() != to.Port() {
			return false, nil
		}
		if src != from || dst != to {
			return false, fmt.Errorf("%s quotes %s to %s, sent was %s to %s", source, src, dst, from, to)
		}
		switch {
		case !last && m.Type != t.exceeded:
			return false, fmt.Errorf("%s answers type %v, not time exceeded", source, m.Type)
		case last && (m.Type != t.unreachable || m.Code != t.portUnreachable || source != p.ServerAddr):
			return false, fmt.Errorf("%s answers type %v code %d, not port unreachable", source, m.Type, m.Code)
		}
		answered = source
		return true, nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("no answer within %s", answerTimeout)
	}
	return answered, err
}

// quotedUDP returns the endpoints of a UDP datagram without extension headers.
func quotedUDP(b []byte) (src, dst netip.AddrPort, ok bool) {
	var s, d netip.Addr
	var transport []byte
	switch {
	case len(b) >= 28 && b[0]>>4 == 4 && b[9] == 17:
		s, d = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		transport = b[min(int(b[0]&15)*4, len(b)):]
	case len(b) >= 48 && b[0]>>4 == 6 && b[6] == 17:
		s, d = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		transport = b[40:]
	}
	if len(transport) < 4 {
		return src, dst, false
	}
	return netip.AddrPortFrom(s, binary.BigEndian.Uint16(transport)),
		netip.AddrPortFrom(d, binary.BigEndian.Uint16(transport[2:])), true
}
