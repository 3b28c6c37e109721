package ppp

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

// request is a Configure-Request with ID 7: MRU 1400 and a magic number, and padding behind.
var request = []byte{1, 7, 0, 14, 1, 4, 5, 120, 5, 6, 1, 2, 3, 4, 0xaa, 0xaa}

func TestParsePacket(t *testing.T) {
	p, err := ParsePacket(request)
	if err != nil || p.Code != configureRequest || p.ID != 7 || !bytes.Equal(p.Data, request[4:14]) {
		t.Fatalf("ParsePacket(% x) = %+v, %v", request, p, err)
	}
	if got := p.Append(nil); !bytes.Equal(got, request[:14]) {
		t.Errorf("Append: % x, want % x", got, request[:14])
	}
	for n := range 14 {
		if _, err := ParsePacket(request[:n]); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d of 14 octets: %v, want %v", n, err, ErrTruncated)
		}
	}
	if _, err := ParsePacket([]byte{1, 7, 0, 3}); !errors.Is(err, ErrTruncated) {
		t.Errorf("length below the header's: %v, want %v", err, ErrTruncated)
	}
}

func TestParseOptions(t *testing.T) {
	options := request[4:14]
	list, err := ParseOptions(options)
	if err != nil || len(list) != 2 || list[0].Type != optionMRU || list[1].Type != optionMagic {
		t.Fatalf("ParseOptions(% x) = %v, %v", options, list, err)
	}
	for n := 1; n < len(options); n++ {
		if _, err := ParseOptions(options[:n]); n != 4 && !errors.Is(err, ErrTruncated) {
			t.Errorf("%d of %d octets: %v, want %v", n, len(options), err, ErrTruncated)
		}
	}
	for _, bad := range [][]byte{{1, 0}, {1, 1}, {5, 255, 1}} {
		if _, err := ParseOptions(bad); !errors.Is(err, ErrTruncated) {
			t.Errorf("ParseOptions(% x): %v, want %v", bad, err, ErrTruncated)
		}
	}
}

// FuzzParsePacket: what is read as a packet with options is written as it was.
func FuzzParsePacket(f *testing.F) {
	f.Add(request)
	f.Add([]byte{2, 0, 0, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePacket(b)
		if err != nil {
			return
		}
		if got := p.Append(nil); !bytes.Equal(got, b[:len(got)]) {
			t.Errorf("% x was read as %+v and written as % x", b, p, got)
		}
		list, err := ParseOptions(p.Data)
		if err == nil && !bytes.Equal(appendOptions(nil, list), p.Data) {
			t.Errorf("% x was read as %v", p.Data, list)
		}
	})
}

// TestDecide has what an end answers to the peer's options (RFC 1661, sections 5.2 to 5.4).
func TestDecide(t *testing.T) {
	mine := []byte{0, 0, 0, 9}
	here, unknown := netip.MustParseAddr("10.9.0.1"), netip.IPv4Unspecified()
	gives := netip.MustParseAddr("10.9.0.2")
	other := Option{optionMagic, []byte{1, 2, 3, 4}}
	for name, tt := range map[string]struct {
		l    *layer
		in   []Option
		code uint8
		out  []Option
	}{
		"usual LCP":            {lcp(9), []Option{{optionMap, mine}, other, {optionMRU, []byte{5, 0}}}, configureAck, []Option{{optionMap, mine}, other, {optionMRU, []byte{5, 0}}}},
		"nothing asked":        {lcp(9), nil, configureAck, nil},
		"authentication":       {lcp(9), []Option{other, {3, []byte{0xc2, 0x23, 0x81}}}, configureReject, []Option{{3, []byte{0xc2, 0x23, 0x81}}}},
		"our own magic number": {lcp(9), []Option{{optionMagic, mine}}, configureNak, []Option{{optionMagic, []byte{0, 0, 0, 10}}}},
		"reject before nak":    {lcp(9), []Option{{optionMagic, mine}, {7, nil}}, configureReject, []Option{{7, nil}}},
		"magic too short":      {lcp(9), []Option{{optionMagic, mine[:3]}}, configureReject, []Option{{optionMagic, mine[:3]}}},
		"the address given":    {ipcp(&here, &gives), []Option{{optionAddress, gives.AsSlice()}}, configureAck, []Option{{optionAddress, gives.AsSlice()}}},
		"asks for an address":  {ipcp(&here, &gives), []Option{{optionAddress, unknown.AsSlice()}}, configureNak, []Option{{optionAddress, gives.AsSlice()}}},
		"header compression":   {ipcp(&here, &gives), []Option{{2, []byte{0, 0x2d, 15, 1}}}, configureReject, []Option{{2, []byte{0, 0x2d, 15, 1}}}},
		"an address of IPv6":   {ipcp(&here, &gives), []Option{{optionAddress, make([]byte, 16)}}, configureReject, []Option{{optionAddress, make([]byte, 16)}}},
	} {
		got := tt.l.decide(3, tt.in)
		want := Packet{Code: tt.code, ID: 3, Data: appendOptions(nil, tt.out)}
		if got.Code != want.Code || got.ID != want.ID || !slices.Equal(got.Data, want.Data) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestOlderAnswer: an answer counts for the last request only (RFC 1661, section 5.2), and with its options only.
func TestOlderAnswer(t *testing.T) {
	l := lcp(9)
	first, last := l.request(), l.request()
	for _, p := range []Packet{
		{Code: configureAck, ID: first.ID, Data: first.Data}, {Code: configureAck, ID: last.ID}, {Code: configureNak, ID: first.ID},
	} {
		if answer := l.configure(p); l.here || answer != nil {
			t.Errorf("after %+v: agreed: %t, answer %v", p, l.here, answer)
		}
	}
	l.configure(Packet{Code: configureAck, ID: last.ID, Data: last.Data})
	if !l.here || l.open() {
		t.Errorf("after the right answer: agreed: %t, open %t before the peer has asked", l.here, l.open())
	}
}
