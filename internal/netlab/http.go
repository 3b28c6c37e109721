//go:build linux

package netlab

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Transfer is what a server saw of one body.
type Transfer struct {
	Remote netip.AddrPort
	Bytes  int64
	Sum    [sha256.Size]byte
}

// FileServer is an HTTP server. GET /N answers N bytes, different each time; PUT takes a body and answers with its
// SHA-256 in hex, the bytes and the client's address. Safe for concurrent use.
type FileServer struct {
	server *http.Server

	mu   sync.Mutex
	last Transfer // guarded by mu
	n    uint64   // guarded by mu; requests so far
}

// ServeFiles starts a FileServer in a namespace.
func ServeFiles(n *Namespace, addr netip.AddrPort) (*FileServer, error) {
	l, err := n.Listen(addr)
	if err != nil {
		return nil, err
	}
	s := &FileServer{}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: answerTimeout}
	go s.server.Serve(l) // its error is ErrServerClosed
	return s, nil
}

// Close ends the server and its connections.
func (s *FileServer) Close() { s.server.Close() }

// Finish takes no more requests, waits for those under way and returns the transfer that ended last.
func (s *FileServer) Finish(ctx context.Context) (Transfer, error) {
	if err := s.server.Shutdown(ctx); err != nil {
		return Transfer{}, err
	}
	return s.Last(), nil
}

// Last returns the transfer that ended last. One whose client has all of its bytes may not have ended here.
func (s *FileServer) Last() Transfer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// ServeHTTP implements http.Handler.
func (s *FileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := Transfer{}
	t.Remote, _ = netip.ParseAddrPort(r.RemoteAddr)
	sum := sha256.New()
	switch r.Method {
	case http.MethodGet:
		n, err := strconv.ParseInt(r.URL.Path[1:], 10, 64)
		if err != nil {
			http.Error(w, "ask for a number of bytes", http.StatusNotFound)
			return
		}
		s.mu.Lock()
		s.n++
		seed := s.n
		s.mu.Unlock()
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		t.Bytes, _ = io.Copy(io.MultiWriter(w, sum), madeUp(seed, n))
	case http.MethodPut:
		t.Bytes, _ = io.Copy(sum, r.Body) // what is missing, the sum tells
	}
	sum.Sum(t.Sum[:0])
	s.mu.Lock()
	s.last = t
	s.mu.Unlock()
	if r.Method == http.MethodPut {
		fmt.Fprintf(w, "%x %d %s\n", t.Sum, t.Bytes, t.Remote)
	}
}

// madeUp returns n bytes made from a seed.
func madeUp(seed uint64, n int64) io.Reader {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return io.LimitReader(rand.NewChaCha8(key), n)
}

// body counts and sums what is read through it. The transport may still ask it for more after the answer is there.
type body struct {
	io.Reader
	read func(int)

	mu  sync.Mutex
	sum hash.Hash // guarded by mu
}

func newBody(r io.Reader, read func(int)) *body {
	return &body{Reader: r, read: read, sum: sha256.New()}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.mu.Lock()
	b.sum.Write(p[:n])
	b.mu.Unlock()
	b.read(n)
	return n, err
}

// hash is the SHA-256 of what was read.
func (b *body) hash() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sum.Sum(nil)
}

// HTTPClient is a client in a namespace. Each request has a connection of its own.
func HTTPClient(n *Namespace) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives:  true,
		DisableCompression: true,
		WriteBufferSize:    256 << 10,
		ReadBufferSize:     256 << 10,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(addr)
			if err != nil {
				return nil, err
			}
			return n.Dial(ctx, network, to)
		},
	}}
}

// download fetches p.Bulk bytes and compares the SHA-256 of both sides.
func download(ctx context.Context, p *Path, say Progress) (string, error) {
	return p.transfer(ctx, say, func(ctx context.Context, url string, count func(int)) ([]byte, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/%d", url, p.Bulk), nil)
		if err != nil {
			return nil, err
		}
		resp, err := HTTPClient(p.Client).Do(r)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		b := newBody(resp.Body, count)
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, b, make([]byte, 256<<10))
		return b.hash(), err
	})
}

// upload sends p.Bulk bytes and compares the SHA-256 of both sides.
func upload(ctx context.Context, p *Path, say Progress) (string, error) {
	return p.transfer(ctx, say, func(ctx context.Context, url string, count func(int)) ([]byte, error) {
		b := newBody(madeUp(uint64(p.Bulk), p.Bulk), count)
		r, err := http.NewRequestWithContext(ctx, http.MethodPut, url+"/", b)
		if err != nil {
			return nil, err
		}
		r.ContentLength = p.Bulk
		resp, err := HTTPClient(p.Client).Do(r)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return b.hash(), err
	})
}

// transferTimeout bounds one transfer.
const transferTimeout = 60 * time.Second

// transfer runs one transfer against a FileServer and checks both sides of it.
func (p *Path) transfer(ctx context.Context, say Progress, run func(ctx context.Context, url string, count func(int)) ([]byte, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	at := netip.AddrPortFrom(p.ServerAddr, httpPort)
	s, err := ServeFiles(p.Server, at)
	if err != nil {
		return "", err
	}
	defer s.Close()
	start := time.Now()
	var done atomic.Int64
	sum, err := run(ctx, "http://"+at.String(), func(n int) {
		total := done.Add(int64(n))
		if took := time.Since(start); took > 0 {
			say("%d of %d MB, %s", total>>20, p.Bulk>>20, rate(total, took))
		}
	})
	took := time.Since(start)
	if err != nil {
		return "", fmt.Errorf("after %d bytes: %w", done.Load(), err)
	}
	far, err := s.Finish(ctx)
	if err != nil {
		return "", fmt.Errorf("the server does not end: %w", err)
	}
	switch {
	case far.Bytes != p.Bulk || done.Load() != p.Bulk:
		return "", fmt.Errorf("%d bytes at the client, %d at the server, should be %d", done.Load(), far.Bytes, p.Bulk)
	case string(far.Sum[:]) != string(sum):
		return "", errors.New("the SHA-256 of the two sides differ")
	}
	if err := p.mustBeOutside(far.Remote.Addr()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d MB, %s, SHA-256 %x…", p.Bulk>>20, rate(p.Bulk, took), sum[:4]), nil
}
