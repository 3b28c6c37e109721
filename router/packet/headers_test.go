package packet

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// same reports whether Parse found what the plain reader found.
func same(h *Headers, l *testpkt.Layout, b []byte) bool {
	return *h == Headers{
		Family: uint8(l.Family), Proto: uint8(l.Proto), TTL: uint8(l.TTL), Options: l.Options, Fragment: l.Fragment(),
		MoreFrag: l.More, DF: l.DF, FragOff: uint16(l.FragOff), FragHdr: uint16(l.FragHdr), ID: uint32(l.ID),
		L4: uint16(l.L4), Payload: uint16(l.Payload), Len: uint32(l.Len),
	} && bytes.Equal(h.Src(b), l.Src) && bytes.Equal(h.Dst(b), l.Dst)
}

// checkParse compares Parse and VerifyTransport with the plain reader.
func checkParse(t *testing.T, b []byte) {
	t.Helper()
	h, reason := Parse(b)
	l, err := testpkt.Parse(b)
	switch {
	case (reason == NotDropped) != (err == nil):
		t.Errorf("Parse(% x) = %v, plain reader: %v", b, reason, err)
	case reason != NotDropped:
		if (reason == BadIPChecksum) != errors.Is(err, testpkt.ErrIPChecksum) {
			t.Errorf("Parse(% x) = %v, plain reader: %v", b, reason, err)
		}
	case !same(&h, &l, b):
		t.Errorf("Parse(% x) = %+v, plain reader: %+v", b, h, l)
	default:
		checkVerify(t, b, &h, l)
	}
}

func checkVerify(t *testing.T, b []byte, h *Headers, l testpkt.Layout) {
	t.Helper()
	got, want := VerifyTransport(b, h, &Meta{}), testpkt.VerifyTransport(b, l)
	if h.Proto == ProtoSCTP && !h.Fragment {
		s := SCTP(b[h.L4:h.Len])
		if (SCTPChecksum(s) == s.Checksum()) != (want == nil) {
			t.Errorf("SCTPChecksum(% x), plain reader: %v", b, want)
		}
		return
	}
	if h.Proto != ProtoGRE && (got == NotDropped) != (want == nil) {
		t.Errorf("VerifyTransport(% x) = %v, plain reader: %v", b, got, want)
	}
}

func TestParseSamples(t *testing.T) {
	for name, b := range samples() {
		if err := testpkt.Verify(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, reason := Parse(b); reason != NotDropped {
			t.Errorf("%s: Parse = %v", name, reason)
		}
		checkParse(t, b)
		padded := append(bytes.Clone(b), 0, 0, 0)
		if h, _ := Parse(padded); int(h.Len) != len(b) {
			t.Errorf("%s: with padding: Len %d, want %d", name, h.Len, len(b))
		}
		for n := range b {
			if _, reason := Parse(b[:n]); reason == NotDropped {
				t.Errorf("%s: cut to %d of %d bytes: parsed", name, n, len(b))
			}
		}
	}
}

// shorten cuts a packet to n bytes and makes its IP header agree.
func shorten(b []byte, n int) []byte {
	b = bytes.Clone(b[:n])
	if b[0]>>4 == 4 {
		IPv4(b).SetTotalLen(n)
		IPv4(b).UpdateChecksum()
	} else {
		IPv6(b).SetPayloadLen(n - IPv6Size)
	}
	return b
}

func TestParseTruncatedTransport(t *testing.T) {
	for name, b := range samples() {
		h := mustParse(b)
		for n := int(h.L4); n < int(h.Payload); n++ {
			if _, reason := Parse(shorten(b, n)); reason != Malformed {
				t.Errorf("%s: IP packet of %d bytes, transport header ends at %d: Parse = %v", name, n, h.Payload, reason)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	ext := func(proto uint8, e ...testpkt.Ext) []byte {
		return testpkt.Raw{Src: in6.Addr(), Dst: out6.Addr(), Proto: proto, Payload: text(40), Ext: e}.Bytes()
	}
	raw4 := func(proto uint8, payload ...byte) []byte {
		return testpkt.Raw{Src: in4.Addr(), Dst: out4.Addr(), Proto: proto, Payload: payload}.Bytes()
	}
	badSum := testpkt.UDP{Src: in4, Dst: out4}.Bytes()
	badSum[10] ^= 1
	many := make([]testpkt.Ext, 9)
	for i := range many {
		many[i] = destination
	}
	for name, tt := range map[string]struct {
		in   []byte
		want DropReason
	}{
		"empty":                           {nil, Malformed},
		"version 5":                       {[]byte{0x50, 0, 0, 0}, Malformed},
		"IPv4 header checksum":            {badSum, BadIPChecksum},
		"TCP data offset 4":               {raw4(ProtoTCP, append([]byte{12: 0x40}, make([]byte, 20)...)...), Malformed},
		"TCP data offset beyond":          {raw4(ProtoTCP, append([]byte{12: 0xf0}, make([]byte, 20)...)...), Malformed},
		"UDP length 7":                    {raw4(ProtoUDP, 0, 1, 0, 2, 0, 7, 0, 0, 0), Malformed},
		"UDP length beyond":               {raw4(ProtoUDP, 0, 1, 0, 2, 0, 10, 0, 0, 0), Malformed},
		"UDP-Lite coverage 1":             {raw4(ProtoUDPLite, 0, 1, 0, 2, 0, 1, 0, 0, 0), Malformed},
		"UDP-Lite coverage beyond":        {raw4(ProtoUDPLite, 0, 1, 0, 2, 0, 10, 0, 0, 0), Malformed},
		"DCCP data offset 2":              {raw4(ProtoDCCP, append([]byte{4: 2}, make([]byte, 20)...)...), Malformed},
		"ICMPv6 over IPv4":                {raw4(ProtoICMPv6, text(8)...), Malformed},
		"ICMP over IPv6":                  {ext(ProtoICMP), Malformed},
		"eight extension headers":         {ext(ProtoESP, many[:8]...), NotDropped},
		"nine extension headers":          {ext(ProtoESP, many...), UnsupportedHeader},
		"hop-by-hop options second":       {ext(ProtoESP, destination, hopByHop), Malformed},
		"two fragment headers":            {ext(ProtoESP, testpkt.FragHeader(0, false, 1), testpkt.FragHeader(0, false, 1)), Malformed},
		"nothing behind a later fragment": {ext(0, testpkt.FragHeader(8, true, 1)), NotDropped},
		"IPv6 first fragment without its transport header": {testpkt.Raw{Src: in6.Addr(), Dst: out6.Addr(), Proto: ProtoTCP,
			Payload: text(8), Ext: []testpkt.Ext{testpkt.FragHeader(0, true, 1)}}.Bytes(), FragmentInvalid},
		"IPv6 first fragment without all extension headers": {testpkt.Raw{Src: in6.Addr(), Dst: out6.Addr(), Proto: 60,
			Payload: []byte{6, 9, 0, 0, 0, 0, 0, 0}, Ext: []testpkt.Ext{testpkt.FragHeader(0, true, 1)}}.Bytes(), FragmentInvalid},
	} {
		if _, reason := Parse(tt.in); reason != tt.want {
			t.Errorf("%s: Parse = %v, want %v", name, reason, tt.want)
		}
		checkParse(t, tt.in)
	}
}

// An IPv4 first fragment of eight bytes is legal (RFC 791, section 3.2), so it must reach reassembly.
func TestParseShortFirstFragment(t *testing.T) {
	frags := testpkt.Fragments(testpkt.TCP{Src: in4, Dst: out4, Flags: FlagSYN}.Bytes(), 28, 0)
	h, reason := Parse(frags[0])
	if reason != NotDropped || !h.Fragment || h.Payload != h.L4 {
		t.Errorf("Parse = %+v, %v", h, reason)
	}
}

func TestParseNoAlloc(t *testing.T) {
	for name, b := range samples() {
		if n := testing.AllocsPerRun(100, func() { h, _ := Parse(b); VerifyTransport(b, &h, &Meta{}) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestParseCaptures(t *testing.T) {
	dir, files, packets := testpkt.Captures(t), 0, 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.Contains(filepath.Base(path), ".pcap") {
			return err
		}
		all, err := testpkt.ReadCapture(path)
		if err != nil {
			return err
		}
		for _, p := range all {
			checkParse(t, p.Data)
		}
		files, packets = files+1, packets+len(all)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets in %d files", packets, files)
	if files == 0 || packets == 0 {
		t.Error("no packets in captures")
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range samples() {
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if ip, err := ParseIPv4(b); mend && err == nil {
			ip.UpdateChecksum()
		}
		checkParse(t, b)
		h, reason := Parse(b)
		if reason != NotDropped || h.Fragment {
			return
		}
		ComputeTransport(b, &h)
		l, err := testpkt.Parse(b)
		if err != nil {
			t.Fatalf("after ComputeTransport: %v", err)
		}
		if h.Proto == ProtoGRE || h.Proto == ProtoDCCP && int(h.L4)+DCCP(b[h.L4:h.Len]).coverage() > int(h.Len) {
			return
		}
		if err := testpkt.VerifyTransport(b, l); err != nil {
			t.Errorf("ComputeTransport(% x): %v", b, err)
		}
	})
}
