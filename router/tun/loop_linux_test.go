package tun

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrouter/natrouter/router/packet"
)

// loop is two TUNs whose host ends are in namespaces of their own, with a copy loop between them: the least that a
// router does.
type loop struct {
	client, server string // namespaces
	a, b           Device
}

// Addresses of the host ends of a loop.
var (
	loopClient = []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("fd09::1/64")}
	loopServer = []netip.Prefix{netip.MustParsePrefix("10.9.1.1/24"), netip.MustParsePrefix("fd09:1::1/64")}
)

func newLoop(tb testing.TB, change func(*Config)) loop {
	tb.Helper()
	needTun(tb)
	l := loop{client: newNetNS(tb), server: newNetNS(tb)}
	cfg := DefaultConfig("loop0")
	change(&cfg)
	cfg.NetNS, cfg.HostAddress = l.client, loopClient
	cfg.HostRoute = []netip.Prefix{loopServer[0].Masked(), loopServer[1].Masked()}
	l.a = openTest(tb, cfg)
	cfg.NetNS, cfg.HostAddress = l.server, loopServer
	cfg.HostRoute = []netip.Prefix{loopClient[0].Masked(), loopClient[1].Masked()}
	l.b = openTest(tb, cfg)
	var copying sync.WaitGroup
	for i := range l.a.Queues() {
		copying.Go(func() { copyLoop(tb, l.b.Queues()[i], l.a.Queues()[i]) })
		copying.Go(func() { copyLoop(tb, l.a.Queues()[i], l.b.Queues()[i]) })
	}
	tb.Cleanup(func() {
		_, _ = l.a.Close(), l.b.Close()
		copying.Wait()
	})
	return l
}

// copyLoop writes to one queue what it reads from another, until one is closed.
func copyLoop(tb testing.TB, to, from Queue) {
	frames := newFrames(64)
	for {
		n, err := from.Read(frames)
		if err == nil {
			_, err = to.Write(frames[:n])
		}
		switch {
		case err == nil || errors.Is(err, ErrFull):
		case errors.Is(err, os.ErrClosed):
			return
		default:
			tb.Errorf("copy loop: %v", err)
			return
		}
	}
}

var loopDrivers = map[string]func(*Config){
	"offload":               func(*Config) {},
	"offload, two queues":   func(c *Config) { c.Queues = 2 },
	"offload, no coalesce":  func(c *Config) { c.NoCoalesce = true },
	"offload, no GSO":       func(c *Config) { c.NoGSO = true },
	"offload, no offload":   func(c *Config) { c.NoGSO, c.NoChecksum = true, true },
	"water":                 func(c *Config) { c.Driver = DriverWater },
	"water, two queues":     func(c *Config) { c.Driver, c.Queues = DriverWater, 2 },
	"offload, MTU of 1280":  func(c *Config) { c.MTU = 1280 },
	"offload, MTU of 65535": func(c *Config) { c.MTU = 65535 },
}

func TestLoopTCP(t *testing.T) {
	for name, change := range loopDrivers {
		t.Run(name, func(t *testing.T) {
			l := newLoop(t, change)
			for _, p := range loopServer {
				testTransfer(t, l, p.Addr())
			}
		})
	}
}

// testTransfer sends bytes from client to server and back, and compares.
func testTransfer(t *testing.T, l loop, addr netip.Addr) {
	t.Helper()
	listener := listenIn(t, l.server, netip.AddrPortFrom(addr, 0).String())
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c)
	}()
	c := dialIn(t, l.client, "tcp", listener.Addr().String())
	data := make([]byte, 4<<20)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	go func() {
		_, _ = c.Write(data)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	sum := sha256.New()
	n, err := io.Copy(sum, c)
	want := sha256.Sum256(data)
	if err != nil || !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Errorf("%v: %d bytes came back, %v, want the same %d", addr, n, err, len(data))
	}
}

func dialIn(tb testing.TB, netns, network, addr string) (c net.Conn) {
	tb.Helper()
	in(tb, netns, func() (err error) {
		c, err = net.Dial(network, addr)
		return err
	})
	tb.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestLoopUDP(t *testing.T) {
	for name, change := range loopDrivers {
		t.Run(name, func(t *testing.T) {
			l := newLoop(t, change)
			for _, p := range loopServer {
				testDatagrams(t, l, p.Addr())
			}
		})
	}
}

// testDatagrams sends datagrams of many sizes, some of them larger than the MTU, and wants each as it was.
func testDatagrams(t *testing.T, l loop, addr netip.Addr) {
	t.Helper()
	var server net.PacketConn
	in(t, l.server, func() (err error) {
		server, err = net.ListenPacket("udp", netip.AddrPortFrom(addr, 0).String())
		return err
	})
	defer server.Close()
	if err := server.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := dialIn(t, l.client, "udp", server.LocalAddr().String())
	buf := make([]byte, MaxPacket)
	for round := range 20 {
		var sent [][]byte
		for i := range 8 {
			payload := bytes.Repeat([]byte{byte(round), byte(i)}, 1+(round*round*8+i/7)%1500)
			sent = append(sent, payload)
			if _, err := c.Write(payload); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range sent {
			n, _, err := server.ReadFrom(buf)
			if err != nil || !bytes.Equal(buf[:n], want) {
				t.Fatalf("%v: datagram %d of round %d: %d bytes, %v, want %d", addr, i, round, n, err, len(want))
			}
		}
	}
}

// TestLoopLongest: the longest datagrams, in fragments and in as many datagrams as one call may have the kernel make. As a
// super-segment the latter are longer over IPv6 than 16 bits count; Linux hands over none of 64 KiB and cuts them itself.
func TestLoopLongest(t *testing.T) {
	for name, change := range loopDrivers {
		t.Run(name, func(t *testing.T) {
			l := newLoop(t, change)
			for _, p := range loopServer {
				longest := packet.MaxIPv4 - packet.IPv4Size - packet.UDPSize
				if p.Addr().Is6() {
					longest = packet.MaxIPv6 - packet.IPv6Size - packet.UDPSize
				}
				for _, size := range []int{0, 1200} { // of a segment; 0: fragments
					for short := range 2 {
						testLongest(t, l, p.Addr(), longest-short*40, size)
					}
				}
			}
		})
	}
}

// testLongest sends one datagram of n bytes, or n bytes in datagrams of a size that the kernel segments.
func testLongest(t *testing.T, l loop, addr netip.Addr, n, size int) {
	t.Helper()
	var server net.PacketConn
	in(t, l.server, func() (err error) {
		server, err = net.ListenPacket("udp", netip.AddrPortFrom(addr, 0).String())
		return err
	})
	defer server.Close()
	if err := server.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := dialIn(t, l.client, "udp", server.LocalAddr().String())
	if size > 0 {
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var refused error
		err = raw.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) })
		if err = errors.Join(err, refused); err != nil {
			t.Fatal(err)
		}
	}
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i / 251)
	}
	if _, err := c.Write(data); err != nil {
		t.Fatalf("%v: %d bytes in datagrams of %d: %v", addr, n, size, err)
	}
	var got []byte
	for buf := make([]byte, MaxPacket); len(got) < n; {
		k, _, err := server.ReadFrom(buf)
		if err != nil {
			t.Fatalf("%v: %d bytes in datagrams of %d: %v after %d", addr, n, size, err, len(got))
		}
		got = append(got, buf[:k]...)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("%v: %d bytes in datagrams of %d arrived as others", addr, n, size)
	}
}

func BenchmarkLoopTCP(b *testing.B) {
	for _, name := range []string{"offload", "offload, no GSO", "offload, no offload", "water"} {
		b.Run(name, func(b *testing.B) {
			l := newLoop(b, loopDrivers[name])
			listener := listenIn(b, l.server, netip.AddrPortFrom(loopServer[0].Addr(), 0).String())
			got := make(chan error)
			go func() {
				c, err := listener.Accept()
				if err == nil {
					_, err = io.Copy(io.Discard, c)
				}
				got <- err
			}()
			c := dialIn(b, l.client, "tcp", listener.Addr().String())
			data := make([]byte, 1<<20)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := c.Write(data); err != nil {
					b.Fatal(err)
				}
			}
			_ = c.Close()
			if err := <-got; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkWrite is what one packet costs on its way into the kernel, which drops it for want of a route.
func BenchmarkWrite(b *testing.B) {
	for name, frames := range mergeBatches() {
		for _, coalesce := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/coalesce=%v", name, coalesce), func(b *testing.B) {
				cfg := DefaultConfig("")
				cfg.NoCoalesce = !coalesce
				q := openTest(b, cfg).Queues()[0]
				b.ReportAllocs()
				for b.Loop() {
					if _, err := q.Write(frames); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(frames)), "ns/packet")
			})
		}
	}
}
