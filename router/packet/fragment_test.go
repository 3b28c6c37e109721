package packet

import (
	"bytes"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
)

func fragments(t *testing.T, b []byte, size int, id uint32) ([][]byte, DropReason) {
	t.Helper()
	h, reason := Parse(b)
	if reason != NotDropped {
		t.Fatalf("Parse = %v", reason)
	}
	var all [][]byte
	reason = Fragment(b, &h, size, id, make([]byte, max(size, 0)), func(frag []byte) bool {
		all = append(all, bytes.Clone(frag))
		clear(frag) // emit may change it
		return true
	})
	return all, reason
}

// The plain splitter gives the same fragments.
func TestFragmentPlain(t *testing.T) {
	for name, b := range map[string][]byte{
		"ipv4":    testpkt.UDP{Src: in4, Dst: out4, Payload: text(3000), ID: 0x4321}.Bytes(),
		"ipv4 DF": testpkt.UDP{Src: in4, Dst: out4, Payload: text(3001), ID: 0x4321, DF: true}.Bytes(),
		"ipv6":    testpkt.UDP{Src: in6, Dst: out6, Payload: text(3002)}.Bytes(),
	} {
		for _, size := range []int{68, 576, 1280, 1281, 1287, 1500, 2999} {
			got, reason := fragments(t, b, size, 0xabcdef01)
			want := testpkt.Fragments(b, size, 0xabcdef01)
			if reason != NotDropped || len(got) != len(want) {
				t.Fatalf("%s, size %d: %d fragments, %v, want %d", name, size, len(got), reason, len(want))
			}
			for i := range want {
				if !bytes.Equal(got[i], want[i]) {
					t.Errorf("%s, size %d, fragment %d: % x, want % x", name, size, i, got[i][:60], want[i][:60])
				}
			}
		}
	}
}

// Only options with the copied flag go into later fragments (RFC 791, section 3.1).
func TestFragmentIPv4Options(t *testing.T) {
	nop := []byte{1}
	for name, tt := range map[string]struct{ in, want []byte }{
		"copied between others": {join(recordRoute, nop, sourceRoute, recordRoute), append(bytes.Clone(sourceRoute), 0)},
		"none copied":           {join(recordRoute, nop), nil},
		"end stops":             {join([]byte{0}, sourceRoute), nil},
		"length beyond":         {[]byte{0x83, 9, 4, 0}, nil},
		"length 1":              {[]byte{0x83, 1, 4, 0}, nil},
		"length missing":        {[]byte{1, 1, 1, 0x83}, nil},
	} {
		b := testpkt.UDP{Src: in4, Dst: out4, Payload: text(500), IPOptions: tt.in}.Bytes()
		got, reason := fragments(t, b, 200, 0)
		if reason != NotDropped || len(got) < 3 {
			t.Fatalf("%s: %d fragments, %v", name, len(got), reason)
		}
		for i, frag := range got {
			ip, err := ParseIPv4(frag)
			if err != nil {
				t.Fatalf("%s, fragment %d: %v", name, i, err)
			}
			want := tt.want
			if i == 0 {
				want = IPv4(b).Options()
			}
			if !bytes.Equal(ip.Options(), want) {
				t.Errorf("%s, fragment %d: options % x, want % x", name, i, ip.Options(), want)
			}
		}
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// A fragment that is cut again keeps its place in the datagram and its MF.
func TestFragmentOfFragment(t *testing.T) {
	b := testpkt.UDP{Src: in4, Dst: out4, Payload: text(2000), ID: 3}.Bytes()
	var again [][]byte
	for _, frag := range testpkt.Fragments(b, 1020, 0) {
		parts, reason := fragments(t, frag, 220, 0)
		if reason != NotDropped {
			t.Fatal(reason)
		}
		again = append(again, parts...)
	}
	want := testpkt.Fragments(b, 220, 0)
	if len(again) != len(want) {
		t.Fatalf("%d fragments, want %d", len(again), len(want))
	}
	for i := range want {
		if !bytes.Equal(again[i], want[i]) {
			t.Errorf("fragment %d: % x, want % x", i, again[i], want[i])
		}
	}
}

// Per-fragment headers are those up to the routing header; what follows is cut (RFC 8200, section 4.5).
func TestFragmentIPv6Headers(t *testing.T) {
	for name, tt := range map[string]struct {
		ext  []testpkt.Ext
		keep []uint8 // headers before the fragment header
		next uint8
	}{
		"none":                           {nil, nil, ProtoUDP},
		"hop-by-hop":                     {[]testpkt.Ext{hopByHop}, []uint8{0}, ProtoUDP},
		"destination options":            {[]testpkt.Ext{destination}, nil, 60},
		"all":                            {[]testpkt.Ext{hopByHop, destination, routing, destination}, []uint8{0, 60, 43}, 60},
		"with a fragment header":         {[]testpkt.Ext{hopByHop, testpkt.FragHeader(0, false, 1), destination}, []uint8{0}, 60},
		"with destination options early": {[]testpkt.Ext{destination, testpkt.FragHeader(0, false, 1)}, []uint8{60}, ProtoUDP},
	} {
		b := testpkt.UDP{Src: in6, Dst: out6, Payload: text(4000), Ext: tt.ext}.Bytes()
		got, reason := fragments(t, b, 1280, 0x11223344)
		if reason != NotDropped || len(got) < 4 {
			t.Fatalf("%s: %d fragments, %v", name, len(got), reason)
		}
		for i, frag := range got {
			h := mustParse(frag)
			next, off, keep := frag[6], 40, []uint8(nil)
			for off < int(h.FragHdr) {
				keep = append(keep, next)
				next, off = frag[off], off+8+8*int(frag[off+1])
			}
			if !bytes.Equal(keep, tt.keep) || frag[h.FragHdr] != tt.next || h.ID != 0x11223344 || len(frag) > 1280 {
				t.Errorf("%s, fragment %d: headers %v then %d, %+v", name, i, keep, frag[h.FragHdr], h)
			}
		}
	}
}

func TestFragmentRefuses(t *testing.T) {
	udp4 := testpkt.UDP{Src: in4, Dst: out4, Payload: text(100)}.Bytes()
	udp6 := testpkt.UDP{Src: in6, Dst: out6, Payload: text(100)}.Bytes()
	chain := testpkt.UDP{Src: in6, Dst: out6, Payload: text(100), Ext: []testpkt.Ext{destination, destination, destination}}.Bytes()
	for name, tt := range map[string]struct {
		in   []byte
		size int
		want DropReason
	}{
		"IPv4, 27 bytes":               {udp4, 27, TooBig},
		"IPv4, 28 bytes":               {udp4, 28, NotDropped},
		"no size":                      {udp4, 0, TooBig},
		"a negative size":              {udp4, -1, TooBig},
		"IPv6, 55 bytes":               {udp6, 55, TooBig},
		"IPv6, 56 bytes":               {udp6, 56, NotDropped},
		"IPv6, header chain too long":  {chain, 103, TooBig},
		"IPv6, header chain just fits": {chain, 104, NotDropped},
		"IPv6 fragment":                {testpkt.Fragments(udp6, 100, 1)[0], 60, TooBig},
	} {
		got, reason := fragments(t, tt.in, tt.size, 1)
		if reason != tt.want || reason != NotDropped && len(got) > 0 {
			t.Errorf("%s: %d fragments, %v, want %v", name, len(got), reason, tt.want)
		}
	}
}

func TestFragmentFits(t *testing.T) {
	for name, b := range samples() {
		got, reason := fragments(t, b, len(b), 1)
		if reason != NotDropped || len(got) != 1 || !bytes.Equal(got[0], b) {
			t.Errorf("%s: %d fragments, %v", name, len(got), reason)
		}
	}
}

func TestFragmentStopsAndNoAlloc(t *testing.T) {
	for _, b := range [][]byte{testpkt.UDP{Src: in4, Dst: out4, Payload: text(900)}.Bytes(), testpkt.UDP{Src: in6, Dst: out6, Payload: text(900)}.Bytes()} {
		h, scratch, n := mustParse(b), make([]byte, 100), 0
		emit := func([]byte) bool { n++; return n%2 != 0 }
		if Fragment(b, &h, 100, 1, scratch, emit); n != 2 {
			t.Errorf("emit called %d times, want 2", n)
		}
		if n := testing.AllocsPerRun(100, func() { Fragment(b, &h, 100, 1, scratch, emit) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
