package packet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// slowSum adds word by word with an end-around carry each time (RFC 1071, section 1).
func slowSum(b []byte, initial uint16) uint16 {
	sum := uint32(initial)
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		if sum += word; sum > 0xffff {
			sum -= 0xffff
		}
	}
	return uint16(sum)
}

// equal reports whether two sums are the same number: 0 and ffff are both zero.
func equal(a, b uint16) bool { return a == b || a+b == 0xffff && (a == 0 || b == 0) }

func FuzzChecksum(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add(bytes.Repeat([]byte{0xff}, 70), uint16(0xffff))
	f.Add(text(1501), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, initial uint16) {
		if got, want := Checksum(b, initial), slowSum(b, initial); got != want {
			t.Errorf("Checksum(% x, %04x) = %04x, want %04x", b, initial, got, want)
		}
	})
}

// RFC 1624, section 4: the older formula gives ffff here.
func TestDeltaRFC1624Example(t *testing.T) {
	if got := Change16(0x5555, 0x3285).Apply(0xdd2f); got != 0 {
		t.Errorf("HC' = %04x, want 0000", got)
	}
}

// The SYN of a masqueraded connection: 192.168.1.10:40000 to 203.0.113.5:1723 becomes 198.51.100.1:40000, then
// :40001.
func TestDeltaSNATVector(t *testing.T) {
	b := testpkt.TCP{Src: in4, Dst: out4, Seq: 1000, Flags: FlagSYN, Win: 64240, ID: 1, DF: true}.Bytes()
	ip := IPv4(b)
	if want := []byte{0x45, 0, 0, 0x28, 0, 1, 0x40, 0, 0x40, 6, 0x3d, 0x17, 0xc0, 0xa8, 1, 10, 0xcb, 0, 0x71, 5}; !bytes.Equal(b[:20], want) {
		t.Fatalf("IP header % x, want % x", b[:20], want)
	}
	tcp, _ := ParseTCP(ip.Payload())
	to := []byte{198, 51, 100, 1}
	half := Change(ip.Src()[:2], to[:2])
	d := Change(ip.Src(), to)
	for _, c := range []struct {
		name      string
		got, want uint16
	}{
		{"TCP sum before", tcp.Checksum(), 0x1056},
		{"IP sum", d.Apply(ip.Checksum()), 0xd494},
		{"TCP sum after the first half", half.Apply(tcp.Checksum()), 0x0acb},
		{"TCP sum", d.Apply(tcp.Checksum()), 0xa7d3},
		{"TCP sum with port", d.Add(Change16(40000, 40001)).Apply(tcp.Checksum()), 0xa7d2},
	} {
		if c.got != c.want {
			t.Errorf("%s: %04x, want %04x", c.name, c.got, c.want)
		}
	}
}

func TestDeltaEchoVector(t *testing.T) {
	echo := []byte{8, 0, 0, 0, 0x12, 0x34, 0, 1}
	if sum := ^Checksum(echo, 0); sum != 0xe5ca {
		t.Fatalf("sum %04x, want e5ca", sum)
	}
	if got := Change16(0x1234, 0x4321).Apply(0xe5ca); got != 0xb4dd {
		t.Errorf("after the change %04x, want b4dd", got)
	}
}

// A partial checksum takes the change of addresses un-complemented.
func TestDeltaPartialVector(t *testing.T) {
	b := testpkt.TCP{Src: in4, Dst: out4, Flags: FlagSYN}.Bytes()
	testpkt.MakePartial(b)
	p := TCP(b[20:]).Checksum()
	want := slowSum([]byte{0x3f, 0x57, 0xc6, 0x33, 0xfe, 0xf5, 0x64, 0x01}, p) // p + ~c0a8 + c633 + ~010a + 6401
	if got := Change([]byte{192, 168, 1, 10}, []byte{198, 51, 100, 1}).ApplyPartial(p); got != want {
		t.Errorf("p' = %04x, want %04x", got, want)
	}
}

// The law of deltas: what they give is what summing anew gives, for complete and partial sums.
func TestDeltaLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 2, 120).Draw(t, "packet")
		at := 2 * rapid.IntRange(0, len(b)/2-1).Draw(t, "word")
		n := 2 * rapid.IntRange(1, (len(b)-at)/2).Draw(t, "words")
		to := rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "to")
		sum := slowSum(b, 0)
		d := Change(b[at:at+n], to)
		words := Delta(0)
		for i := 0; i < n; i += 2 {
			words = words.Add(Change16(binary.BigEndian.Uint16(b[at+i:]), binary.BigEndian.Uint16(to[i:])))
		}
		copy(b[at:], to)
		want := slowSum(b, 0)
		if got := ^d.Apply(^sum); !equal(got, want) {
			t.Fatalf("Apply: %04x, want %04x", got, want)
		}
		if got := d.ApplyPartial(sum); !equal(got, want) {
			t.Fatalf("ApplyPartial: %04x, want %04x", got, want)
		}
		if got := words.ApplyPartial(sum); !equal(got, want) {
			t.Fatalf("Change16 by word: %04x, want %04x", got, want)
		}
	})
}

// Rewriting address and port by delta leaves every kind of transport checksum right, partial ones after finishing.
func TestDeltaOnPackets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payload := rapid.SliceOfN(rapid.Byte(), 0, 90).Draw(t, "payload")
		partial := rapid.Bool().Draw(t, "partial")
		b := testpkt.TCP{Src: in4, Dst: out4, Flags: FlagACK, Payload: payload}.Bytes()
		if rapid.Bool().Draw(t, "udp") {
			b = testpkt.UDP{Src: in6, Dst: out6, Payload: payload}.Bytes()
		}
		var m Meta
		if partial {
			m.CsumStart, m.CsumOff = testpkt.MakePartial(b)
		}
		h := mustParse(b)
		src := h.Src(b)
		to := rapid.SliceOfN(rapid.Byte(), len(src), len(src)).Draw(t, "address")
		port := rapid.Uint16().Draw(t, "port")
		d := Change(src, to)
		copy(src, to)
		ports := Change16(UDP(b[h.L4:]).SrcPort(), port)
		UDP(b[h.L4:]).SetSrcPort(port)
		at, _ := checksumOff(h.Proto)
		field := b[int(h.L4)+at:]
		old := binary.BigEndian.Uint16(field)
		if partial {
			binary.BigEndian.PutUint16(field, d.ApplyPartial(old))
		} else if sum := d.Add(ports).Apply(old); sum == 0 && h.Proto == ProtoUDP {
			binary.BigEndian.PutUint16(field, 0xffff)
		} else {
			binary.BigEndian.PutUint16(field, sum)
		}
		if h.Family == 4 {
			IPv4(b).SetChecksum(d.Apply(IPv4(b).Checksum()))
		}
		FinishChecksum(b, &h, &m)
		if err := testpkt.Verify(b); err != nil {
			t.Fatalf("% x: %v", b, err)
		}
	})
}

func TestDecrementTTL(t *testing.T) {
	for name, b := range samples() {
		for ttl := 255; ttl > 0; ttl-- {
			if b[0]>>4 == 4 {
				IPv4(b).SetTTL(uint8(ttl))
				IPv4(b).UpdateChecksum()
			} else {
				IPv6(b).SetHopLimit(uint8(ttl))
			}
			h := mustParse(b)
			DecrementTTL(b, &h)
			if after, reason := Parse(b); reason != NotDropped || int(after.TTL) != ttl-1 {
				t.Fatalf("%s: TTL %d became %d, %v", name, ttl, after.TTL, reason)
			}
		}
	}
}

func BenchmarkChecksum(b *testing.B) {
	for name, n := range map[string]int{"20": 20, "1460": 1460, "64k": 65495} {
		b.Run(name, func(b *testing.B) {
			p := text(n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				Checksum(p, 0)
			}
		})
	}
}
