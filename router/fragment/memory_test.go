package fragment

import (
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// from is the first fragment of a datagram of n bytes so far, from a numbered host.
func from(host, id, n int) []byte {
	src := netip.AddrFrom4([4]byte{10, 0, byte(host >> 8), byte(host)})
	b := testpkt.Raw{Src: src, Dst: peer4.Addr(), Proto: 50, Payload: text(n), ID: uint16(id)}.Bytes()
	packet.IPv4(b).SetFragment(0, true)
	packet.IPv4(b).UpdateChecksum()
	return b
}

func TestMemoryDropsOldest(t *testing.T) {
	const limit = 100_000
	a := newAdder(t, limit)
	for i := range 1000 {
		if got := a.add(packet.Time(i), 1, from(i, i, 1000)); got.reason != packet.NotDropped {
			t.Fatalf("datagram %d: %+v", i, got)
		}
		if a.r.Bytes() > limit {
			t.Fatalf("%d bytes after %d datagrams", a.r.Bytes(), i)
		}
	}
	if a.r.Evicted() == 0 || a.r.Bytes() < limit/2 {
		t.Errorf("%d evicted, %d bytes", a.r.Evicted(), a.r.Bytes())
	}
	a.consistent()
	for i := 1000 - a.r.Len(); i < 1000; i++ { // the newest are all there
		if _, ok := a.r.datagrams[testKey(from(i, i, 8))]; !ok {
			t.Errorf("datagram %d is gone", i)
		}
	}
}

func testKey(b []byte) key {
	h, _ := packet.Parse(b)
	return newKey(1, b, &h)
}

// One host can't push out the datagrams of others.
func TestMemoryShare(t *testing.T) {
	a := newAdder(t, plenty)
	for host := range 50 {
		a.add(0, 1, from(host, 0, 1000))
	}
	for id := range 5000 {
		a.add(1, 1, from(999, id, 8))
		a.add(1, 1, from(998, id, 16000))
	}
	for host := range 50 {
		if got := a.add(2, 1, lastPiece(host)); got.n != 1000+20+8 {
			t.Errorf("host %d: %+v", host, got)
		}
	}
	for _, s := range a.r.sources {
		if s.byAge.Len() > maxPerSource || s.bytes > plenty/sourceShare {
			t.Errorf("a source has %d datagrams, %d bytes", s.byAge.Len(), s.bytes)
		}
	}
}

func lastPiece(host int) []byte {
	b := packet.IPv4(from(host, 0, 8))
	b.SetFragment(1000, false)
	b.UpdateChecksum()
	return b
}

// All addresses of an IPv6 /64 share, since one host may have them all.
func TestMemoryShareIPv6(t *testing.T) {
	a := newAdder(t, plenty)
	for i := range 1000 {
		b := packet.IPv6(piece6(0, 8, true))
		b.Src()[14], b.Src()[15] = byte(i>>8), byte(i)
		a.add(0, 1, b)
	}
	if a.r.Len() != maxPerSource || len(a.r.sources) != 1 {
		t.Errorf("%d datagrams of %d sources", a.r.Len(), len(a.r.sources))
	}
}

// TestMemoryLeast: with the least memory that a configuration may name the longest datagram still becomes whole.
func TestMemoryLeast(t *testing.T) {
	a := newAdder(t, 512<<10)
	for _, whole := range [][]byte{
		testpkt.UDP{Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), 5), Dst: peer4, Payload: text(65507)}.Bytes(),
		testpkt.UDP{Src: host6, Dst: peer6, Payload: text(65527)}.Bytes(),
	} {
		parts := testpkt.Fragments(whole, 1280, 1)
		for i, b := range parts {
			got := a.add(0, 1, b)
			if last := i == len(parts)-1; got.reason != packet.NotDropped || last != (got.n == len(whole)) {
				t.Fatalf("fragment %d of %d: %+v", i, len(parts), got)
			}
		}
	}
}

func TestMemoryNone(t *testing.T) {
	a := newAdder(t, 0)
	if got := a.add(0, 1, piece4(0, 8, true)); got.reason != packet.FragmentMemory || a.r.Len() != 0 || a.r.Bytes() != 0 {
		t.Errorf("%+v, %d datagrams, %d bytes", got, a.r.Len(), a.r.Bytes())
	}
}

func TestTooManyFragments(t *testing.T) {
	a := newAdder(t, plenty)
	for i := range maxFragments {
		if got := a.add(0, 1, piece4(16*i, 8, true)); got.reason != packet.NotDropped {
			t.Fatalf("fragment %d: %+v", i, got)
		}
	}
	if got := a.add(0, 1, piece4(16*maxFragments, 8, true)); got.reason != packet.FragmentInvalid {
		t.Errorf("one more: %+v", got)
	}
}
