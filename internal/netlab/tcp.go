//go:build linux

package netlab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// closeOnDone closes c when ctx ends, so that nothing blocks on it; the function it returns takes that back.
func closeOnDone(ctx context.Context, c io.Closer) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.Close() })
}

// serve accepts connections until l is closed, each handled in a goroutine that the returned function waits for.
func serve(l net.Listener, handle func(net.Conn)) (stop func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	return func() {
		l.Close()
		wg.Wait()
	}
}

// parallelCount is how many connections are open at once.
const parallelCount = 200

// parallelTimeout bounds the whole scene.
const parallelTimeout = 20 * time.Second

// parallel opens connections until all are open at once, then has each carry bytes there and back. The server must
// see each come from the outside address and a port of its own.
func parallel(ctx context.Context, p *Path, say Progress) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, parallelTimeout)
	defer cancel()
	l, err := p.Server.Listen(netip.AddrPortFrom(p.ServerAddr, echoPort))
	if err != nil {
		return "", err
	}
	var mu sync.Mutex
	seen := make(map[netip.AddrPort]bool) // guarded by mu
	stop := serve(l, func(c net.Conn) {
		defer closeOnDone(ctx, c)()
		mu.Lock()
		seen[remote(c)] = true
		mu.Unlock()
		_, _ = io.Copy(c, c) // what is missing, the client misses
	})
	defer stop()

	start := time.Now()
	conns, err := p.openAll(ctx, parallelCount, say)
	for _, c := range conns {
		defer c.Close()
	}
	if err != nil {
		return "", err
	}
	var done atomic.Int32
	errs := make(chan error, len(conns))
	for i, c := range conns {
		go func() {
			err := echo(c, uint64(i))
			if err == nil {
				say("%d of %d echoed", done.Add(1), len(conns))
			}
			errs <- err
		}()
	}
	for range conns {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return "", err
	}
	took := time.Since(start)
	mu.Lock()
	defer mu.Unlock()
	for from := range seen {
		if err := p.mustBeOutside(from.Addr()); err != nil {
			return "", err
		}
	}
	if len(seen) != len(conns) {
		return "", fmt.Errorf("%d connections came from %d outside endpoints", len(conns), len(seen))
	}
	return fmt.Sprintf("%d at once, each its own port, %s", len(conns), took.Round(time.Millisecond)), nil
}

// openAll opens n connections to the echo server and returns those it opened.
func (p *Path) openAll(ctx context.Context, n int, say Progress) ([]net.Conn, error) {
	const dialers = 16 // each keeps a thread while it connects
	next := make(chan struct{}, n)
	for range n {
		next <- struct{}{}
	}
	close(next)
	var (
		mu    sync.Mutex
		conns []net.Conn
		errs  error
		wg    sync.WaitGroup
	)
	for range dialers {
		wg.Go(func() {
			for range next {
				c, err := p.Client.Dial(ctx, "tcp", netip.AddrPortFrom(p.ServerAddr, echoPort))
				mu.Lock()
				if err != nil {
					errs = err
				} else {
					conns = append(conns, c)
					context.AfterFunc(ctx, func() { c.Close() })
					say("%d of %d open", len(conns), n)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if errs != nil {
		errs = fmt.Errorf("%d of %d opened: %w", len(conns), n, errs)
	}
	return conns, errs
}

// echoBytes is what each connection carries there and back.
const echoBytes = 16 << 10

// echo sends bytes made from seed and checks that the same come back.
func echo(c net.Conn, seed uint64) error {
	want := make([]byte, echoBytes)
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	rand.NewChaCha8(key).Read(want)
	if _, err := c.Write(want); err != nil {
		return err
	}
	got := make([]byte, echoBytes)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("the echo differs from what was sent")
	}
	return nil
}

// remote is the other end of a TCP connection.
func remote(c net.Conn) netip.AddrPort {
	a := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// forward has the server connect to a forwarded port of the outside address. The client, which serves it, must see
// the server's own address.
func forward(ctx context.Context, p *Path, say Progress) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, parallelTimeout)
	defer cancel()
	l, err := p.Client.Listen(netip.AddrPortFrom(p.ClientAddr, p.ForwardTarget))
	if err != nil {
		return "", err
	}
	seen := make(chan netip.AddrPort, 1)
	stop := serve(l, func(c net.Conn) {
		defer closeOnDone(ctx, c)()
		seen <- remote(c)
		_, _ = io.Copy(c, c) // what is missing, the other end misses
	})
	defer stop()
	to := netip.AddrPortFrom(p.OutsideAddr, p.ForwardPort)
	say("connecting to %s", to)
	c, err := p.Server.Dial(ctx, "tcp", to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	defer closeOnDone(ctx, c)()
	if err := echo(c, 0); err != nil {
		return "", err
	}
	if got := remote(c); got != to {
		return "", fmt.Errorf("connected to %s, not %s", got, to)
	}
	if from := <-seen; from.Addr() != p.ServerAddr {
		return "", fmt.Errorf("the inside server saw %s, not %s", from.Addr(), p.ServerAddr)
	}
	return fmt.Sprintf("%s reached %s", to, netip.AddrPortFrom(p.ClientAddr, p.ForwardTarget)), nil
}
