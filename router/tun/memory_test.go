package tun

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/natrouter/natrouter/router/packet"
)

func Example() {
	router, host := NewPair(PairConfig{A: EndConfig{Name: "lan0"}})
	defer router.Close()
	defer host.Close()

	frames := []Frame{{Buf: make([]byte, Headroom+MaxPacket), Off: Headroom}}
	ping := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	frames[0].Len = copy(frames[0].Buf[Headroom:], ping)
	if _, err := host.Queues()[0].Write(frames); err != nil {
		panic(err)
	}
	n, err := router.Queues()[0].Read(frames)
	fmt.Println(router.Name(), n, frames[0].Len, err)
	// Output: lan0 1 20 <nil>
}

func TestPairFull(t *testing.T) {
	a, b := NewPair(PairConfig{Depth: 2})
	frames := []Frame{frameOf(spec{fill: 1}), frameOf(spec{fill: 2}), frameOf(spec{fill: 3})}
	if n, err := a.Queues()[0].Write(frames); n != 2 || !errors.Is(err, ErrFull) {
		t.Errorf("Write of 3 to a queue of 2 = %d, %v, want 2, %v", n, err, ErrFull)
	}
	if n, err := b.Queues()[0].Read(newFrames(5)); n != 2 || err != nil {
		t.Errorf("Read = %d, %v, want 2", n, err)
	}
	if n, err := a.Queues()[0].Write(frames[2:]); n != 1 || err != nil {
		t.Errorf("Write after Read = %d, %v, want 1", n, err)
	}
}

func TestPairBlock(t *testing.T) {
	a, b := NewPair(PairConfig{Depth: 1, Block: true, Queues: 2})
	done := make(chan error)
	go func() {
		for range 50 {
			if _, err := a.Queues()[1].Write([]Frame{frameOf(spec{})}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	frames := newFrames(1)
	for range 50 {
		if _, err := b.Queues()[1].Read(frames); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPairPeerCloses(t *testing.T) {
	a, b := NewPair(PairConfig{})
	if _, err := a.Queues()[0].Write([]Frame{frameOf(spec{})}); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Queues()[0].Read(newFrames(1)); n != 1 || err != nil {
		t.Errorf("Read of what the closed peer wrote = %d, %v", n, err)
	}
	if _, err := b.Queues()[0].Write([]Frame{frameOf(spec{})}); !errors.Is(err, ErrDown) {
		t.Errorf("Write to the closed peer: %v, want %v", err, ErrDown)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Queues()[0].Read(newFrames(1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after Close: %v, want %v", err, os.ErrClosed)
	}
}

func TestPairInjectsErrors(t *testing.T) {
	bad := errors.New("bad wire")
	writes := 0
	a, _ := NewPair(PairConfig{A: EndConfig{
		ReadError: func() error { return bad },
		WriteError: func() error {
			if writes++; writes == 2 {
				return bad
			}
			return nil
		},
	}})
	if n, err := a.Queues()[0].Write([]Frame{frameOf(spec{}), frameOf(spec{})}); n != 1 || !errors.Is(err, bad) {
		t.Errorf("Write = %d, %v, want 1, %v", n, err, bad)
	}
	if _, err := a.Queues()[0].Read(newFrames(1)); !errors.Is(err, bad) {
		t.Errorf("Read: %v, want %v", err, bad)
	}
}

// TestPairKeepsMeta: what the other side accepts crosses as it is, with all that is known about it.
func TestPairKeepsMeta(t *testing.T) {
	a, b := NewPair(PairConfig{A: EndConfig{Caps: allCaps}})
	frames := newFrames(1)
	for name, s := range map[string]spec{
		"verified": {payload: 9}, "partial": {payload: 9, partial: true}, "super-segment": {payload: 90, segSize: 9},
		"with ECN": {proto: packet.ProtoTCP, payload: 90, segSize: 9, ecnGSO: true},
	} {
		f := frameOf(s)
		if _, err := a.Queues()[0].Write([]Frame{f}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Queues()[0].Read(frames); err != nil || frames[0].Meta != f.Meta {
			t.Errorf("%s: Meta %+v, %v, want %+v", name, frames[0].Meta, err, f.Meta)
		}
	}
}

// roundTrips are packets that cross a pair as they are, finished and segmented.
func roundTrips() map[string]Frame {
	return map[string]Frame{
		"64B":               frameOf(spec{payload: 36}),
		"1500B":             frameOf(spec{payload: 1472}),
		"1500B-partial":     frameOf(spec{payload: 1472, partial: true}),
		"64kB-super-packet": frameOf(spec{proto: packet.ProtoTCP, payload: 43 * 1460, segSize: 1460}),
	}
}

func TestPairAllocs(t *testing.T) {
	a, b := NewPair(PairConfig{})
	in, out := newFrames(64), make([]Frame, 1)
	for name, f := range roundTrips() {
		trip := func() {
			out[0] = f
			if _, err := a.Queues()[0].Write(out); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Queues()[0].Read(in); err != nil {
				t.Fatal(err)
			}
		}
		for range 300 { // the ring's buffers grow
			trip()
		}
		if n := testing.AllocsPerRun(300, trip); n != 0 {
			t.Errorf("%s: %v allocations a packet, want 0", name, n)
		}
	}
}

func BenchmarkPair(b *testing.B) {
	for name, f := range roundTrips() {
		b.Run(name, func(b *testing.B) {
			x, y := NewPair(PairConfig{A: EndConfig{Caps: allCaps}})
			out, in := make([]Frame, 64), newFrames(64)
			for i := range out {
				out[i] = f
			}
			b.SetBytes(int64(64 * f.Len))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x.Queues()[0].Write(out); err != nil {
					b.Fatal(err)
				}
				if _, err := y.Queues()[0].Read(in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*64), "ns/packet")
		})
	}
}
