package integration

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
)

// hairpinTimeout bounds each exchange between the two inside hosts.
const hairpinTimeout = 5 * time.Second

// openFiltering lets every outside endpoint use a mapping.
const openFiltering = "[nat_defaults]\nfiltering = \"endpoint-independent\"\n"

// TestHairpin has two inside hosts reach each other by outside addresses: of a port forward, of mappings and of a
// host that has its own. Each must see the other's outside address (RFC 4787, REQ-9a; RFC 5382, REQ-8; RFC 5508, REQ-7).
func TestHairpin(t *testing.T) {
	lab.NeedLab(t)
	l := newBehind(t, openFiltering)
	for _, e := range behindFamilies {
		t.Run(e.Name+"/TCP to a port forward", func(t *testing.T) {
			listening, err := l.host.Listen(netip.AddrPortFrom(e.shared.Addr(), 80))
			lab.Must(t, err)
			l.dialsBack(t, listening, netip.AddrPortFrom(e.WAN, 8081), e.WAN)
		})
		t.Run(e.Name+"/TCP to an address of its own", func(t *testing.T) {
			listening, err := l.host.Listen(netip.AddrPortFrom(e.mapped.Addr(), 81))
			lab.Must(t, err)
			l.dialsBack(t, listening, netip.AddrPortFrom(e.own, 81), e.WAN)
		})
		t.Run(e.Name+"/TCP to a mapping", func(t *testing.T) { l.tcpToMapping(t, e) })
		t.Run(e.Name+"/UDP to a mapping", func(t *testing.T) { l.udpToMapping(t, e, false) })
		t.Run(e.Name+"/ping", func(t *testing.T) {
			for _, from := range []*netlab.Namespace{l.Client, l.host} {
				for _, to := range []netip.Addr{e.WAN, e.own} {
					lab.Ping(t, from, "-c", "2", "-i", "0.1", to.String())
				}
			}
		})
	}
}

// TestHairpinPunch has both hosts send first, with the filtering that is the default: what each sent lets the other's
// in, as through any NAT.
func TestHairpinPunch(t *testing.T) {
	lab.NeedLab(t)
	l := newBehind(t, "")
	for _, e := range behindFamilies {
		t.Run(e.Name, func(t *testing.T) { l.udpToMapping(t, e, true) })
	}
}

// dialsBack has the client connect to an outside address that leads to a listener of the host's.
func (l *behind) dialsBack(t *testing.T, listening net.Listener, to netip.AddrPort, wantSource netip.Addr) {
	t.Helper()
	endAfter(t, hairpinTimeout, listening)
	ctx, cancel := context.WithTimeout(t.Context(), hairpinTimeout)
	defer cancel()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := listening.Accept()
		if err == nil {
			_, _ = io.Copy(c, c) // what is missing, the other end misses
			c.(*net.TCPConn).CloseWrite()
			accepted <- c
		}
	}()
	c, err := l.Client.Dial(ctx, "tcp", to)
	lab.Must(t, err)
	endAfter(t, hairpinTimeout, c)
	sent := bytes.Repeat([]byte("hairpin "), 4000)
	go func() {
		_, _ = c.Write(sent) // what is missing, the reader misses
		c.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back: %v", len(got), len(sent), err)
	}
	other := <-accepted
	defer other.Close()
	if from := other.RemoteAddr().(*net.TCPAddr).AddrPort(); from.Addr().Unmap() != wantSource {
		t.Errorf("the host saw %s, want %s", from, wantSource)
	}
}

// tcpToMapping has the host connect to the server and listen on the same port; the client connects to the endpoint
// that the server saw.
func (l *behind) tcpToMapping(t *testing.T, e behindEnds) {
	server, err := l.Server.Listen(netip.AddrPortFrom(e.Server, 7100))
	lab.Must(t, err)
	endAfter(t, hairpinTimeout, server)
	from := netip.AddrPortFrom(e.shared.Addr(), 7101)
	var out net.Conn
	var listening net.Listener
	lab.Must(t, l.host.Do(func() (err error) {
		listening, err = (&net.ListenConfig{Control: shareEndpoint}).Listen(t.Context(), "tcp", from.String())
		if err != nil {
			return err
		}
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Control: shareEndpoint, Timeout: hairpinTimeout}
		out, err = d.Dial("tcp", server.Addr().String())
		return err
	}))
	defer out.Close()
	in, err := server.Accept()
	lab.Must(t, err)
	defer in.Close()
	seen := in.RemoteAddr().(*net.TCPAddr).AddrPort()
	l.dialsBack(t, listening, seen, e.WAN)
}

// shareEndpoint lets sockets listen on and connect from one endpoint.
func shareEndpoint(_, _ string, c syscall.RawConn) (err error) {
	if control := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); control != nil {
		return control
	}
	return err
}

// peer is a UDP socket and the endpoint that the server saw of it.
type peer struct {
	net.PacketConn
	outside netip.AddrPort
}

// udpToMapping has both hosts learn their outside endpoints from the server, then send to each other's. With punch the
// first datagrams of both may be lost.
func (l *behind) udpToMapping(t *testing.T, e behindEnds, punch bool) {
	server, err := l.Server.ListenPacket("udp", netip.AddrPortFrom(e.Server, 7200))
	lab.Must(t, err)
	endAfter(t, hairpinTimeout, server)
	b := make([]byte, 100)
	learn := func(n *netlab.Namespace, a netip.Addr) peer {
		c, err := n.ListenPacket("udp", netip.AddrPortFrom(a, 7201)) // the same port: one of them gets another outside
		lab.Must(t, err)
		endAfter(t, hairpinTimeout, c)
		_, err = c.WriteTo([]byte("who am I?"), server.LocalAddr())
		lab.Must(t, err)
		_, from, err := server.ReadFrom(b)
		lab.Must(t, err)
		return peer{c, from.(*net.UDPAddr).AddrPort()}
	}
	one, two := learn(l.Client, e.Client), learn(l.host, e.shared.Addr())
	if one.outside == two.outside || one.outside.Addr() != e.WAN || two.outside.Addr() != e.WAN {
		t.Fatalf("outside endpoints %s and %s", one.outside, two.outside)
	}
	if punch {
		for _, w := range [][2]peer{{one, two}, {two, one}} {
			_, err := w[0].WriteTo([]byte("punch"), net.UDPAddrFromAddrPort(w[1].outside))
			lab.Must(t, err)
		}
	}
	for _, w := range [][2]peer{{one, two}, {two, one}} {
		_, err := w[0].WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(w[1].outside))
		lab.Must(t, err)
		for got := ""; got != "hello"; {
			n, from, err := w[1].ReadFrom(b)
			if err != nil {
				t.Fatalf("%s did not reach %s: %v", w[0].outside, w[1].outside, err)
			}
			if got = string(b[:n]); from.(*net.UDPAddr).AddrPort() != w[0].outside {
				t.Errorf("%q came from %s, want %s", got, from, w[0].outside)
			}
		}
	}
}
