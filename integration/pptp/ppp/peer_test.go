package ppp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

const patience = 20 * time.Second

// lossy is a line on which every nth write is lost, and every mth has an octet changed.
type lossy struct {
	io.ReadWriteCloser
	lost, changed int

	mu sync.Mutex
	n  int // guarded by mu
}

func (l *lossy) Write(b []byte) (int, error) {
	l.mu.Lock()
	l.n++
	n := l.n
	l.mu.Unlock()
	switch {
	case n%l.lost == 0:
		return len(b), nil
	case n%l.changed == 0:
		b = bytes.Clone(b)
		b[len(b)/2] ^= 0x55
	}
	return l.ReadWriteCloser.Write(b)
}

// TestPeers has two ends come up, exchange data and echoes, and end, over a line that is good and one that is bad.
func TestPeers(t *testing.T) {
	here, there, unknown := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2"), netip.IPv4Unspecified()
	for name, bad := range map[string]bool{"good line": false, "bad line": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var a, b io.ReadWriteCloser = socketPair(t)
			if bad {
				a, b = &lossy{ReadWriteCloser: a, lost: 23, changed: 31}, &lossy{ReadWriteCloser: b, lost: 29, changed: 19}
			}
			server, client := New(a, here, there), New(b, unknown, unknown)
			atServer, atClient := NewExchange(server), NewExchange(client)
			server.Start(atServer.Receive)
			client.Start(atClient.Receive)
			done := make(chan error, 1)
			go func() {
				_, err := atServer.Run(ctx)
				done <- err
			}()
			again, err := atClient.Run(ctx)
			if err := errors.Join(err, <-done); err != nil {
				t.Fatal(err)
			}
			if (again > 0) != bad {
				t.Errorf("%d requests had to be sent again", again)
			}
			if local, remote := client.Addresses(); local != there || remote != here {
				t.Errorf("the client is %s and sees %s, want %s and %s", local, remote, there, here)
			}
			if !bad {
				if err := client.Echo(ctx); err != nil {
					t.Error(err)
				}
			}
			if err := client.Close(ctx); err != nil {
				t.Error(err)
			}
			select {
			case <-server.Ended():
			case <-ctx.Done():
				t.Error("the server did not hear of the end")
			}
		})
	}
}

// socketPair is a line that holds some octets on their way.
func socketPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestEchoingLine: a line that sends everything back, as a terminal does before it is raw, is no peer.
func TestEchoingLine(t *testing.T) {
	a, b := socketPair(t)
	go func() { _, _ = io.Copy(b, b) }()
	p := New(a, netip.IPv4Unspecified(), netip.IPv4Unspecified())
	p.Start(func([]byte) { t.Error("IP came") })
	ctx, cancel := context.WithTimeout(t.Context(), 3*restartEvery)
	defer cancel()
	if err := p.Up(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("up: %v, want it to wait in vain", err)
	}
}

// TestLineGone: who waits hears of a line that is gone.
func TestLineGone(t *testing.T) {
	a, b := socketPair(t)
	p := New(a, netip.IPv4Unspecified(), netip.IPv4Unspecified())
	p.Start(func([]byte) {})
	b.Close()
	if err := p.Up(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("up: %v, want %v", err, ErrEnded)
	}
	if _, err := NewExchange(p).Run(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("exchange: %v, want %v", err, ErrEnded)
	}
}

// TestExchangeNotices: an exchange takes no packet that is not what its sender made.
func TestExchangeNotices(t *testing.T) {
	here, there := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
	third := netip.MustParseAddr("10.9.0.3")
	good := echoPacket(there, here, 5, false, payload(there, 5))
	if i, reply, err := check(good, there, here); i != 5 || reply || err != nil {
		t.Fatalf("a good request is read as %d, %t, %v", i, reply, err)
	}
	for n := range good {
		if _, _, err := check(good[:n], there, here); err == nil {
			t.Errorf("%d of %d octets were taken", n, len(good))
		}
	}
	for name, b := range map[string][]byte{
		"another's number":  echoPacket(there, here, 5, false, payload(there, 6)),
		"another's payload": echoPacket(there, here, 5, false, payload(third, 5)),
		"from another":      echoPacket(third, here, 5, false, payload(third, 5)),
		"to another":        echoPacket(there, third, 5, false, payload(there, 5)),
		"beyond the last":   echoPacket(there, here, Exchanged, false, payload(there, Exchanged)),
		"its own reply":     echoPacket(there, here, 5, true, payload(there, 5)),
		"octet changed":     append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1),
	} {
		if _, _, err := check(b, there, here); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestAddresses(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		ok   bool
	}{
		"as pptpd passes them": {[]string{"local", "file", "/dev/null", "115200", "10.9.0.1:10.9.0.2", "ipparam", "203.0.113.1"}, true},
		"only one":             {[]string{"10.9.0.1:"}, false},
		"none":                 {nil, false},
	} {
		local, remote, ok := addresses(tt.args)
		if ok != tt.ok || ok && (local != netip.MustParseAddr("10.9.0.1") || remote != netip.MustParseAddr("10.9.0.2")) {
			t.Errorf("%s: %s, %s, %t", name, local, remote, ok)
		}
	}
}
