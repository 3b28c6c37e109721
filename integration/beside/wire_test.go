package beside

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// side is one of the two links of a router.
type side int

const (
	inside side = iota
	outside
)

func (s side) String() string { return [2]string{"in", "out"}[s] }

// arrival is a packet that a router sent.
type arrival struct {
	data []byte
	side side
	far  bool // it crossed the router
}

// markerIn and markerOut are the ends of a flow that no script uses. What a router does, it does in order, so when a
// marker has come through, all has come that was sent before it.
var (
	markerIn  = netip.MustParseAddrPort("10.77.0.99:61999")
	markerOut = netip.MustParseAddrPort("192.0.2.9:61998")
)

// markerWait bounds the way of a marker: only a router that has stopped takes so long.
const markerWait = 5 * time.Second

// system is a router between two links, and what comes out of it.
type system struct {
	name string
	send func(side, []byte) error

	markers [2]chan []byte // markers that arrived, by side
	mu      sync.Mutex
	got     []arrival // guarded by mu; since it was taken last
	count   uint64    // of markers; of the goroutine that runs the scripts
	seenAs  netip.AddrPort
}

func newSystem(name string) *system {
	return &system{name: name, markers: [2]chan []byte{make(chan []byte, 16), make(chan []byte, 16)}}
}

// receive takes a packet that the router sent. One goroutine a side calls it.
func (s *system) receive(at side, b []byte) {
	l, err := testpkt.Parse(b)
	if err == nil {
		src, _ := netip.AddrFromSlice(l.Src)
		dst, _ := netip.AddrFromSlice(l.Dst)
		switch {
		case src == markerOut.Addr() || dst == markerOut.Addr():
			s.markers[at] <- b
			return
		case dst.IsMulticast():
			return // the kernel's own reports of group membership
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, arrival{data: bytes.Clone(b), side: at})
}

// take returns what has come out since the last time.
func (s *system) take() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

// exchange sends packets and returns all that the router makes of them. Three markers follow: when the first has
// crossed, the router has done what it does with the packets; when the second has, it has also written what goes back;
// and the third comes behind that.
func (s *system) exchange(from side, packets [][]byte) ([]arrival, error) {
	for _, b := range packets {
		if err := s.send(from, b); err != nil {
			return nil, err
		}
	}
	for _, at := range []side{from, from, 1 - from} {
		if err := s.mark(at); err != nil {
			return nil, err
		}
	}
	got := s.take()
	for i := range got {
		got[i].far = got[i].side != from
	}
	return got, nil
}

// mark sends a marker from a side and waits until it is through.
func (s *system) mark(from side) error {
	s.count++
	p := testpkt.UDP{Src: markerIn, Dst: markerOut, Payload: binary.BigEndian.AppendUint64(nil, s.count)}
	if from == outside {
		p.Src, p.Dst = markerOut, s.seenAs
	}
	if err := s.send(from, p.Bytes()); err != nil {
		return err
	}
	select {
	case b := <-s.markers[1-from]:
		l, err := testpkt.Parse(b)
		if err != nil {
			return fmt.Errorf("%s: marker: %w", s.name, err)
		}
		if n := binary.BigEndian.Uint64(b[l.Payload:]); n != s.count {
			return fmt.Errorf("%s: marker %d where %d was due", s.name, n, s.count)
		}
		if from == inside {
			a, _ := netip.AddrFromSlice(l.Src)
			s.seenAs = netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[l.L4:]))
		}
		return nil
	case <-time.After(markerWait):
		return fmt.Errorf("%s: no marker came %sward within %s", s.name, 1-from, markerWait)
	}
}

// start sees the first markers through, and drops what came before them.
func (s *system) start(t *testing.T) {
	t.Helper()
	if _, err := s.exchange(inside, nil); err != nil {
		t.Fatal(err)
	}
}
