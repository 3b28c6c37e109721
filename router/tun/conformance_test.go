package tun

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/natrouter/natrouter/router/packet"
)

// far is the other side of a device under test.
type far interface {
	send(b []byte, m packet.Meta)
	receive() ([]byte, packet.Meta) // only packets of these tests
}

// rig is a device under test with its other side. All drivers run through testConformance on one.
type rig struct {
	dev Device
	far far
}

// memoryFar is the other end of a pair.
type memoryFar struct {
	tb  testing.TB
	end Device
}

func (m *memoryFar) send(b []byte, meta packet.Meta) {
	m.tb.Helper()
	frames := newFrames(1)
	frames[0].fill(b, meta)
	if _, err := m.end.Queues()[0].Write(frames); err != nil {
		m.tb.Fatal(err)
	}
}

func (m *memoryFar) receive() ([]byte, packet.Meta) {
	m.tb.Helper()
	frames := newFrames(1)
	if _, err := m.end.Queues()[0].Read(frames); err != nil {
		m.tb.Fatal(err)
	}
	return frames[0].Bytes(), frames[0].Meta
}

var allCaps = Caps{Checksum: true, TSO4: true, TSO6: true, ECN: true, USO: true}

const conformanceMTU = 65535

func TestConformanceMemory(t *testing.T) {
	for name, caps := range map[string]Caps{"all offload": allCaps, "no offload": {}, "checksum only": {Checksum: true}} {
		t.Run(name, func(t *testing.T) {
			testConformance(t, func(t *testing.T) rig {
				a, b := NewPair(PairConfig{MTU: conformanceMTU, A: EndConfig{Caps: caps}, B: EndConfig{Caps: caps}})
				t.Cleanup(func() { _, _ = a.Close(), b.Close() })
				return rig{a, &memoryFar{t, b}}
			})
		})
	}
}

// testConformance holds a driver to what device.go says. open is called for each case.
func testConformance(t *testing.T, open func(t *testing.T) rig) {
	for name, test := range map[string]func(*testing.T, rig){
		"sizes in":             testSizesIn,
		"sizes out":            testSizesOut,
		"batch read":           testBatchRead,
		"partial checksum in":  testPartialIn,
		"partial checksum out": testPartialOut,
		"super-segment in":     testGSOIn,
		"super-segment out":    testGSOOut,
		"bad frames":           testBadFrames,
		"close":                testClose,
		"reports":              testReports,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// packetSizes are payload lengths whose packets take all shapes up to the MTU.
func packetSizes(family int) []int {
	most := conformanceMTU - packet.IPv4Size - packet.UDPSize
	if family == 6 {
		most = conformanceMTU - packet.IPv6Size - packet.UDPSize
	}
	return []int{0, 1, 2, 3, 17, 63, 64, 65, 511, 1232, 1472, 1473, 4096, 8999, 16385, 32768, most - 1, most}
}

// read returns the next test packet, whole.
func (r rig) read(t *testing.T, frames []Frame) (got []Frame) {
	t.Helper()
	for len(got) == 0 {
		n, err := r.dev.Queues()[0].Read(frames)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames[:n] {
			if isTestPacket(f.Bytes()) {
				got = append(got, f)
			}
		}
	}
	return got
}

func testSizesIn(t *testing.T, r rig) {
	frames := newFrames(1)
	for _, family := range []int{4, 6} {
		for _, size := range packetSizes(family) {
			b, m := spec{family: family, payload: size}.build()
			r.far.send(b, m)
			if got := r.read(t, frames)[0]; !bytes.Equal(got.Bytes(), b) || got.Meta.Partial() {
				t.Errorf("IPv%d, payload %d: got %d bytes, Meta %+v, want the same %d bytes", family, size, got.Len, got.Meta, len(b))
			}
		}
	}
}

func testSizesOut(t *testing.T, r rig) {
	for _, family := range []int{4, 6} {
		var frames []Frame
		for _, size := range packetSizes(family) {
			frames = append(frames, frameOf(spec{family: family, payload: size, fill: 7}))
		}
		var want [][]byte
		for _, f := range frames {
			want = append(want, bytes.Clone(f.Bytes()))
		}
		for i, f := range frames {
			if i%2 == 0 { // two at a time, which any socket buffer holds
				if n, err := r.dev.Queues()[0].Write(frames[i : i+2]); n != 2 || err != nil {
					t.Fatalf("Write(2 frames) = %d, %v", n, err)
				}
			}
			if !bytes.Equal(f.Bytes(), want[i]) {
				t.Errorf("Write changed packet %d", i)
			}
			if b, m := r.far.receive(); !bytes.Equal(b, want[i]) || m.Partial() {
				t.Errorf("IPv%d: got %d bytes, Meta %+v, want the same %d bytes", family, len(b), m, len(want[i]))
			}
		}
	}
}

func testBatchRead(t *testing.T, r rig) {
	const total = 50
	for i := range total {
		r.far.send(spec{payload: 100, fill: byte(i)}.build())
	}
	frames := newFrames(16)
	for seen := 0; seen < total; {
		for _, f := range r.read(t, frames) {
			if got := f.Bytes()[28]; got != byte(seen) {
				t.Fatalf("packet %d came as number %d", got, seen)
			}
			seen++
		}
	}
}

// protos are the transports that have offload.
var protos = map[string]uint8{"UDP": packet.ProtoUDP, "TCP": packet.ProtoTCP}

func eachTransport(t *testing.T, test func(t *testing.T, s spec)) {
	for _, family := range []int{4, 6} {
		for name, proto := range protos {
			t.Run(fmt.Sprintf("%s over IPv%d", name, family), func(t *testing.T) {
				test(t, spec{family: family, proto: proto})
			})
		}
	}
}

func testPartialIn(t *testing.T, r rig) {
	frames := newFrames(1)
	eachTransport(t, func(t *testing.T, s spec) {
		s.payload, s.partial = 333, true
		b, m := s.build()
		r.far.send(b, m)
		got := r.read(t, frames)[0]
		if !bytes.Equal(whole(got.Bytes(), got.Meta)[0], whole(b, m)[0]) {
			t.Errorf("got % x, Meta %+v, which finished is not % x", got.Bytes(), got.Meta, b)
		}
	})
}

func testPartialOut(t *testing.T, r rig) {
	eachTransport(t, func(t *testing.T, s spec) {
		s.payload, s.partial = 333, true
		b, m := s.build()
		frames := []Frame{frameOf(s)}
		if _, err := r.dev.Queues()[0].Write(frames); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(frames[0].Bytes(), b) {
			t.Error("Write changed the packet")
		}
		got, gotMeta := r.far.receive()
		if gotMeta.Partial() && !r.dev.Caps().Checksum {
			t.Error("the checksum is unfinished, which Caps does not allow")
		}
		if !bytes.Equal(whole(got, gotMeta)[0], whole(b, m)[0]) {
			t.Errorf("got % x, Meta %+v, which finished is not % x", got, gotMeta, b)
		}
	})
}

// superSegment returns a super-segment of the transport of s: five segments, the last a short one.
func superSegment(s spec) spec {
	s.payload, s.segSize, s.flags, s.id, s.df = 4*1200+77, 1200, packet.FlagACK|packet.FlagPSH, 1000, true
	return s
}

func testGSOIn(t *testing.T, r rig) {
	frames := newFrames(1)
	eachTransport(t, func(t *testing.T, s spec) {
		b, m := superSegment(s).build()
		want := whole(b, m)
		r.far.send(b, m)
		var got [][]byte
		for len(got) < len(want) {
			f := r.read(t, frames)[0]
			got = append(got, whole(f.Bytes(), f.Meta)...)
		}
		comparePackets(t, got, want)
	})
}

func testGSOOut(t *testing.T, r rig) {
	eachTransport(t, func(t *testing.T, s spec) {
		s = superSegment(s)
		b, m := s.build()
		want := whole(b, m)
		if _, err := r.dev.Queues()[0].Write([]Frame{frameOf(s)}); err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		for len(got) < len(want) {
			b, m := r.far.receive()
			if !r.dev.Caps().Accepts(&m) {
				t.Errorf("the far side got %+v, which Caps %+v does not allow", m, r.dev.Caps())
			}
			got = append(got, whole(b, m)...)
		}
		comparePackets(t, got, want)
	})
}

func comparePackets(t *testing.T, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d packets, want %d", len(got), len(want))
		return
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			n := min(len(got[i]), len(want[i]), 60)
			t.Errorf("packet %d of %d:\n got %d bytes % x\nwant %d bytes % x", i, len(got),
				len(got[i]), got[i][:n], len(want[i]), want[i][:n])
		}
	}
}

func testBadFrames(t *testing.T, r rig) {
	q := r.dev.Queues()[0]
	good := frameOf(spec{payload: 10})
	for name, f := range map[string]Frame{
		"no headroom":          {Buf: good.Buf, Off: Headroom - 1, Len: 38},
		"longer than Buf":      {Buf: good.Buf, Off: Headroom, Len: 39},
		"too long":             {Buf: make([]byte, Headroom+MaxPacket+1), Off: Headroom, Len: MaxPacket + 1},
		"negative":             {Buf: good.Buf, Off: Headroom, Len: -1},
		"checksum beyond end":  {Buf: good.Buf, Off: Headroom, Len: 38, Meta: packet.Meta{CsumStart: 32, CsumOff: 5}},
		"super-segment of ???": {Buf: good.Buf, Off: Headroom, Len: 38, Meta: packet.Meta{GSO: 99, SegSize: 5}},
	} {
		frames := []Frame{f, good}
		n, err := q.Write(frames)
		if n != 0 || err == nil {
			t.Errorf("%s: Write = %d, %v, want an error", name, n, err)
		}
	}
	passed := Frame{Buf: good.Buf, Off: Headroom}
	if n, err := q.Write([]Frame{passed, good}); n != 2 || err != nil {
		t.Errorf("after bad frames: Write = %d, %v", n, err)
	}
	if _, err := q.Read([]Frame{good}); !errors.Is(err, ErrFrame) {
		t.Errorf("Read into a short frame: %v, want %v", err, ErrFrame)
	}
	if n, err := q.Read(nil); n != 0 || err != nil {
		t.Errorf("Read(nil) = %d, %v", n, err)
	}
}

func testClose(t *testing.T, r rig) {
	done := make(chan error)
	for _, q := range r.dev.Queues() {
		go func() {
			frames := newFrames(4)
			for {
				if _, err := q.Read(frames); err != nil {
					done <- err
					return
				}
			}
		}()
		go func() {
			for {
				if _, err := q.Write([]Frame{frameOf(spec{})}); err != nil && !errors.Is(err, ErrFull) {
					done <- err
					return
				}
			}
		}()
	}
	r.far.receive() // the writer is under way
	if err := r.dev.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for range 2 * len(r.dev.Queues()) {
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("a call under way ended with %v, want %v", err, os.ErrClosed)
		}
	}
	if _, err := r.dev.Queues()[0].Read(newFrames(1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after Close: %v, want %v", err, os.ErrClosed)
	}
	if _, err := r.dev.Queues()[0].Write([]Frame{frameOf(spec{})}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close: %v, want %v", err, os.ErrClosed)
	}
	if err := r.dev.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func testReports(t *testing.T, r rig) {
	if r.dev.MTU() != conformanceMTU {
		t.Errorf("MTU() = %d, want %d", r.dev.MTU(), conformanceMTU)
	}
	if r.dev.Name() == "" || len(r.dev.Queues()) == 0 {
		t.Errorf("Name() = %q with %d queues", r.dev.Name(), len(r.dev.Queues()))
	}
}
