//go:build linux

package netlab

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	datagramCount = 2000
	datagramEvery = 32   // so many are on the way at most: fewer than any queue between holds
	datagramMax   = 1400 // bytes of payload of a plain one
	datagramBig   = 4000 // bytes of payload of one in fragments
	bigEvery      = 100  // one in so many is in fragments
)

// datagrams sends numbered datagrams of many sizes, some in fragments, to a server that sends each back: none may
// be missing or changed, and each must reach the server from one outside endpoint.
func datagrams(ctx context.Context, p *Path, say Progress) (string, error) {
	server, err := p.Server.ListenPacket("udp", netip.AddrPortFrom(p.ServerAddr, datagramPort))
	if err != nil {
		return "", err
	}
	defer server.Close()
	var reflected sync.WaitGroup
	seen := make(map[netip.AddrPort]int) // read after reflected
	reflected.Go(func() { reflect(server, seen) })

	conn, err := p.Client.Dial(ctx, "udp", netip.AddrPortFrom(p.ServerAddr, datagramPort))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer closeOnDone(ctx, conn)()
	start := time.Now()
	bytes, err := exchange(conn, say)
	took := time.Since(start)
	server.Close()
	reflected.Wait()
	if err != nil {
		return "", err
	}
	for from := range seen {
		if err := p.mustBeOutside(from.Addr()); err != nil {
			return "", err
		}
	}
	if len(seen) != 1 {
		return "", fmt.Errorf("one socket came from %d outside endpoints", len(seen))
	}
	return fmt.Sprintf("%d there and back, none lost, %s", datagramCount, rate(2*bytes, took)), nil
}

// reflect sends back what comes until c is closed, and counts it by source.
func reflect(c net.PacketConn, seen map[netip.AddrPort]int) {
	b := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		seen[from.(*net.UDPAddr).AddrPort()]++
		_, _ = c.WriteTo(b[:n], from) // the client misses it
	}
}

// messages is what carries datagrams.
type messages interface {
	io.ReadWriter
	SetReadDeadline(time.Time) error
}

// exchange sends all datagrams, at most datagramEvery of them unanswered, and returns the bytes of payload.
func exchange(c messages, say Progress) (int64, error) {
	room := make(chan struct{}, datagramEvery)
	sent := make(chan error, 1)
	stop := make(chan struct{})
	defer close(stop)
	var total atomic.Int64
	go func() {
		for i := range datagramCount {
			select {
			case room <- struct{}{}:
			case <-stop:
				return
			}
			d := datagram(uint32(i))
			if _, err := c.Write(d); err != nil {
				sent <- err
				return
			}
			total.Add(int64(len(d)))
		}
		sent <- nil
	}()
	answered := make([]bool, datagramCount)
	b := make([]byte, 65536)
	for got := 0; got < datagramCount; {
		if err := c.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
			return 0, err
		}
		n, err := c.Read(b)
		if err != nil {
			return 0, fmt.Errorf("%d of %d came back: %w", got, datagramCount, err)
		}
		if n < 4 {
			return 0, fmt.Errorf("%d bytes came back: none were sent so short", n)
		}
		i := binary.BigEndian.Uint32(b)
		if i >= datagramCount || answered[i] || !bytes.Equal(b[:n], datagram(i)) {
			return 0, fmt.Errorf("datagram %d came back twice or changed (%d bytes)", i, n)
		}
		answered[i] = true
		got++
		<-room
		say("%d of %d there and back", got, datagramCount)
	}
	return total.Load(), <-sent
}

// datagram is the payload of number i, 4 bytes of number and 0 to 1396 more, or 4000 in all.
func datagram(i uint32) []byte {
	r := rand.New(rand.NewPCG(uint64(i), 0))
	b := make([]byte, 4+r.IntN(datagramMax-3))
	if i%bigEvery == bigEvery-1 {
		b = make([]byte, datagramBig)
	}
	for j := range b {
		b[j] = byte(r.Uint32())
	}
	binary.BigEndian.PutUint32(b, i)
	return b
}
