package packet

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
)

var (
	router4, router6 = netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("fd77::1")
)

func TestICMPErrorAppend(t *testing.T) {
	long4 := testpkt.UDP{Src: in4, Dst: out4, Payload: text(1400)}.Bytes()
	long6 := testpkt.UDP{Src: in6, Dst: out6, Payload: text(1400)}.Bytes()
	short := testpkt.UDP{Src: in4, Dst: out4, Payload: text(1)}.Bytes()
	for name, tt := range map[string]struct {
		e     ICMPError
		orig  []byte
		rest  uint32
		quote int
	}{
		"frag needed":      {ICMPError{Type: ICMPUnreachable, Code: CodeFragNeeded, Param: 1400, ID: 9}, long4, 1400, 548},
		"an MTU of 17 bit": {ICMPError{Type: ICMPUnreachable, Code: CodeFragNeeded, Param: 0x10001}, long4, 1, 548},
		"time exceeded":    {ICMPError{Type: ICMPTimeExceeded, TTL: 255}, short, 0, 29},
		"pointer":          {ICMPError{Type: ICMPParamProblem, Param: 20}, short, 20 << 24, 29},
		"redirect":         {ICMPError{Type: ICMPRedirect, Code: 1, Param: 0xc0a80102}, short, 0xc0a80102, 29},
		"too big":          {ICMPError{Type: ICMPv6TooBig, Param: 1400}, long6, 1400, 1232},
		"pointer, IPv6":    {ICMPError{Type: ICMPv6ParamProblem, Code: 1, Param: 40}, long6, 40, 1232},
		"no route, IPv6":   {ICMPError{Type: ICMPv6Unreachable}, long6[:100], 0, 100},
	} {
		tt.e.Src, tt.e.Dst = router4, in4.Addr()
		want := testpkt.ICMP{Type: tt.e.Type, Code: tt.e.Code, Rest: tt.rest, Payload: tt.orig[:tt.quote], TTL: tt.e.TTL, IPID: tt.e.ID}
		if tt.orig[0]>>4 == 6 {
			tt.e.Src, tt.e.Dst = router6, in6.Addr()
		}
		want.Src, want.Dst = tt.e.Src, tt.e.Dst
		got := tt.e.Append([]byte("before"), tt.orig)
		if !bytes.HasPrefix(got, []byte("before")) {
			t.Fatalf("%s: what was there is gone", name)
		}
		got = got[6:]
		if err := testpkt.Verify(got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		h := mustParse(got)
		plain := want.Bytes()
		if h.TTL != plain[ttlAt(plain)] || !bytes.Equal(got[h.L4:], plain[h.L4:]) || !bytes.Equal(h.Src(got), h.Src(plain)) ||
			!bytes.Equal(h.Dst(got), h.Dst(plain)) || h.Family == 4 && h.ID != uint32(tt.e.ID) {
			t.Errorf("%s: % x, want % x", name, got, plain)
		}
		room := make([]byte, 0, 1280)
		if n := testing.AllocsPerRun(100, func() { tt.e.Append(room, tt.orig) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func ttlAt(b []byte) int {
	if b[0]>>4 == 4 {
		return 8
	}
	return 7
}

func TestMayAnswer(t *testing.T) {
	type tcp = testpkt.TCP
	at := func(addr string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(addr), 1000) }
	icmp := func(typ uint8) []byte {
		return testpkt.ICMP{Src: in4.Addr(), Dst: out4.Addr(), Type: typ, Payload: text(28)}.Bytes()
	}
	icmp6 := func(typ uint8) []byte {
		return testpkt.ICMP{Src: in6.Addr(), Dst: out6.Addr(), Type: typ, Payload: text(28)}.Bytes()
	}
	frags := testpkt.Fragments(testpkt.UDP{Src: in4, Dst: out4, Payload: text(100)}.Bytes(), 60, 0)
	frags6 := testpkt.Fragments(testpkt.UDP{Src: in6, Dst: out6, Payload: text(100)}.Bytes(), 80, 0)
	for name, tt := range map[string]struct {
		in          []byte
		any, tooBig bool
	}{
		"TCP":                       {tcp{Src: in4, Dst: out4}.Bytes(), true, true},
		"TCP, IPv6":                 {tcp{Src: in6, Dst: out6}.Bytes(), true, true},
		"echo":                      {icmp(8), true, true},
		"echo reply":                {icmp(0), true, true},
		"unreachable":               {icmp(3), false, false},
		"source quench":             {icmp(4), false, false},
		"redirect":                  {icmp(5), false, false},
		"time exceeded":             {icmp(11), false, false},
		"parameter problem":         {icmp(12), false, false},
		"a type that nobody knows":  {icmp(99), false, false},
		"echo, IPv6":                {icmp6(128), true, true},
		"too big":                   {icmp6(2), false, false},
		"an unknown error, IPv6":    {icmp6(100), false, false},
		"redirect, IPv6":            {icmp6(137), false, false},
		"an unknown message, IPv6":  {icmp6(200), true, true},
		"first fragment":            {frags[0], true, true},
		"later fragment":            {frags[1], false, false},
		"first fragment, IPv6":      {frags6[0], true, true},
		"later fragment, IPv6":      {frags6[1], false, false},
		"to a group":                {tcp{Src: in4, Dst: at("224.0.0.9")}.Bytes(), false, false},
		"to all":                    {tcp{Src: in4, Dst: at("255.255.255.255")}.Bytes(), false, false},
		"to class E":                {tcp{Src: in4, Dst: at("240.0.0.1")}.Bytes(), true, true},
		"to a group, IPv6":          {tcp{Src: in6, Dst: at("ff0e::1")}.Bytes(), false, true},
		"from nobody":               {tcp{Src: at("0.0.0.0"), Dst: out4}.Bytes(), false, false},
		"from loopback":             {tcp{Src: at("127.0.0.1"), Dst: out4}.Bytes(), false, false},
		"from a group":              {tcp{Src: at("239.1.1.1"), Dst: out4}.Bytes(), false, false},
		"from all":                  {tcp{Src: at("255.255.255.255"), Dst: out4}.Bytes(), false, false},
		"from nobody, IPv6":         {tcp{Src: at("::"), Dst: out6}.Bytes(), false, false},
		"from loopback, IPv6":       {tcp{Src: at("::1"), Dst: out6}.Bytes(), false, false},
		"from a group, IPv6":        {tcp{Src: at("ff02::1"), Dst: out6}.Bytes(), false, false},
		"from the end of ::/64":     {tcp{Src: at("::2"), Dst: out6}.Bytes(), true, true},
		"ICMP without its type yet": {shorten(testpkt.Fragments(icmp(8), 28, 0)[0], 20), false, false},
	} {
		h := mustParse(tt.in)
		if got := MayAnswer(tt.in, &h); got != tt.any {
			t.Errorf("%s: MayAnswer = %v", name, got)
		}
		if got := MayAnswerTooBig(tt.in, &h); got != tt.tooBig {
			t.Errorf("%s: MayAnswerTooBig = %v", name, got)
		}
	}
}

// FuzzICMPError: an error about anything is a right packet within the limits, and quotes what came in. Errors about
// errors are never allowed.
func FuzzICMPError(f *testing.F) {
	for _, b := range samples() {
		f.Add(b, uint8(3), uint8(4), uint32(1400))
	}
	f.Fuzz(func(t *testing.T, orig []byte, typ, code uint8, param uint32) {
		for _, e := range []ICMPError{
			{Type: typ, Code: code, Param: param, Src: router4, Dst: in4.Addr()},
			{Type: typ, Code: code, Param: param, Src: router6, Dst: in6.Addr()},
		} {
			b := e.Append(nil, orig)
			if err := testpkt.Verify(b); err != nil {
				t.Fatal(err)
			}
			h, limit := mustParse(b), 576
			if h.Family == 6 {
				limit = 1280
			}
			quote := b[h.Payload:]
			if !bytes.HasPrefix(orig, quote) || len(quote) < len(orig) && len(b) != limit || len(b) > limit {
				t.Errorf("%d bytes with a quote of %d of %d", len(b), len(quote), len(orig))
			}
			if ICMPTypeIsError(typ, h.Family) && MayAnswer(b, &h) {
				t.Error("an error may be answered")
			}
		}
	})
}
