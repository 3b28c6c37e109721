package packet

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/natrouter/natrouter/internal/testpkt"
)

func TestTCPView(t *testing.T) {
	b := testpkt.TCP{Src: in4, Dst: out4, Seq: 0x01020304, Ack: 0x05060708, Flags: FlagSYN | FlagECE, Win: 0x090a,
		Options: tcpOptions, Payload: text(5)}.Bytes()
	v, err := ParseTCP(b[20:])
	if err != nil {
		t.Fatal(err)
	}
	if v.SrcPort() != 40000 || v.DstPort() != 1723 || v.Seq() != 0x01020304 || v.Ack() != 0x05060708 || v.HeaderLen() != 40 ||
		v.Flags() != FlagSYN|FlagECE || v.Window() != 0x090a || !bytes.Equal(v.Options(), tcpOptions) || !bytes.Equal(v.Payload(), text(5)) {
		t.Errorf("read % x wrong", v)
	}
	v.SetSrcPort(1)
	v.SetDstPort(2)
	v.SetSeq(3)
	v.SetAck(4)
	v.SetFlags(FlagRST)
	v.SetWindow(5)
	v.SetChecksum(6)
	if v.SrcPort() != 1 || v.DstPort() != 2 || v.Seq() != 3 || v.Ack() != 4 || v.Flags() != FlagRST || v.Window() != 5 || v.Checksum() != 6 {
		t.Errorf("wrote % x wrong", v)
	}
	for n := range 40 {
		if _, err := ParseTCP(v[:n]); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes: %v, want ErrTruncated", n, err)
		}
	}
}

// The legal sets are written out; every other of the 256 is not (PSH, ECE and CWR apart).
func TestValidTCPFlags(t *testing.T) {
	legal := map[string]bool{"S": true, "SU": true, "SA": true, "R": true, "RA": true, "FA": true, "FAU": true, "A": true, "AU": true}
	for flags := range 256 {
		name := ""
		for _, f := range []struct {
			bit  int
			name string
		}{{FlagSYN, "S"}, {FlagRST, "R"}, {FlagFIN, "F"}, {FlagACK, "A"}, {FlagURG, "U"}} {
			if flags&f.bit != 0 {
				name += f.name
			}
		}
		if got := ValidTCPFlags(uint8(flags)); got != legal[name] {
			t.Errorf("ValidTCPFlags(%08b), %q = %v", flags, name, got)
		}
	}
}

// withOptions returns a segment with these option bytes, padded to four bytes by end of options.
func withOptions(opts []byte) TCP {
	b := testpkt.TCP{Src: in4, Dst: out4, Options: opts}.Bytes()
	return TCP(b[20:])
}

func TestTCPOptions(t *testing.T) {
	sack := []byte{1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4}
	for name, tt := range map[string]struct {
		in   []byte
		want TCPOptions
		ok   bool
	}{
		"none": {nil, TCPOptions{}, true},
		"syn":  {tcpOptions, TCPOptions{MSS: 1460, SACKPermitted: true, Timestamps: true, TSVal: 1, HasWScale: true, WScale: 7}, true},
		"sack": {sack, TCPOptions{Blocks: 2, SACK: [4]SACKBlock{{1, 2}, {3, 4}}}, true},
		"four blocks": {append([]byte{1, 1, 5, 34}, text(32)...), TCPOptions{Blocks: 4, SACK: [4]SACKBlock{
			{0x00070e15, 0x1c232a31}, {0x383f464d, 0x545b6269}, {0x70777e85, 0x8c939aa1}, {0xa8afb6bd, 0xc4cbd2d9}}}, true},
		"unknown kinds":           {[]byte{254, 4, 1, 2, 30, 2, 2, 4, 2, 0}, TCPOptions{MSS: 512}, true},
		"end stops":               {[]byte{2, 4, 5, 0, 0, 3, 99, 99}, TCPOptions{MSS: 1280}, true},
		"last of a kind counts":   {[]byte{2, 4, 5, 0, 2, 4, 4, 0}, TCPOptions{MSS: 1024}, true},
		"length 0":                {[]byte{2, 4, 5, 0, 9, 0, 1, 1}, TCPOptions{MSS: 1280}, false},
		"length 1":                {[]byte{9, 1, 1, 1}, TCPOptions{}, false},
		"length beyond":           {[]byte{9, 5, 1, 1}, TCPOptions{}, false},
		"length missing":          {[]byte{1, 1, 1, 9}, TCPOptions{}, false},
		"MSS of three bytes":      {[]byte{2, 5, 1, 1, 1, 0}, TCPOptions{}, false},
		"window scale without":    {[]byte{3, 2, 1, 1}, TCPOptions{}, false},
		"SACK permitted and more": {[]byte{4, 3, 1, 1}, TCPOptions{}, false},
		"half a block":            {[]byte{5, 6, 1, 1, 1, 1, 1, 1}, TCPOptions{}, false},
		"no block":                {[]byte{5, 2, 1, 1}, TCPOptions{}, false},
		"timestamps cut short":    {[]byte{8, 6, 1, 1, 1, 1, 1, 1}, TCPOptions{}, false},
	} {
		if got, ok := withOptions(tt.in).ParseOptions(); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %+v, %v, want %+v, %v", name, got, ok, tt.want, tt.ok)
		}
	}
}

// EachOption and ParseOptions see the same, and what EachOption hands out is the segment itself.
func TestEachOption(t *testing.T) {
	seg := withOptions(tcpOptions)
	var kinds []uint8
	ok := seg.EachOption(func(kind uint8, data []byte) bool {
		kinds = append(kinds, kind)
		if kind == OptMSS {
			data[0], data[1] = 0x05, 0x28
		}
		return kind != OptTimestamps
	})
	if o, _ := seg.ParseOptions(); !ok || !bytes.Equal(kinds, []byte{2, 4, 8}) || o.MSS != 1320 {
		t.Errorf("kinds %v, %v, MSS %d", kinds, ok, o.MSS)
	}
	if n := testing.AllocsPerRun(100, func() {
		seg.EachOption(func(uint8, []byte) bool { return true })
		seg.ParseOptions()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzTCPOptions: a plain reader, which makes a list, gives the same.
func FuzzTCPOptions(f *testing.F) {
	f.Add(tcpOptions)
	f.Add([]byte{1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, opts []byte) {
		seg := withOptions(opts[:min(len(opts), 40)])
		want, ok := slowOptions(seg.Options())
		if got, gotOK := seg.ParseOptions(); got != want || gotOK != ok {
			t.Errorf("ParseOptions(% x) = %+v, %v, want %+v, %v", seg.Options(), got, gotOK, want, ok)
		}
	})
}

func slowOptions(b []byte) (o TCPOptions, ok bool) {
	number := func(b []byte) (n uint32) {
		for _, x := range b {
			n = n*256 + uint32(x)
		}
		return n
	}
	for i := 0; i < len(b); {
		if b[i] == 0 {
			return o, true
		}
		if b[i] == 1 {
			i++
			continue
		}
		if i+1 >= len(b) || b[i+1] < 2 || i+int(b[i+1]) > len(b) {
			return o, false
		}
		kind, v := b[i], b[i+2:i+int(b[i+1])]
		i += int(b[i+1])
		if n, known := map[uint8]int{2: 2, 3: 1, 4: 0, 8: 8}[kind]; known && n != len(v) || kind == 5 && (len(v) < 8 || len(v)%8 > 0) {
			return o, false
		}
		switch kind {
		case 2:
			o.MSS = uint16(number(v))
		case 3:
			o.WScale, o.HasWScale = v[0], true
		case 4:
			o.SACKPermitted = true
		case 5:
			o.Blocks = 0
			for ; len(v) > 0; v = v[8:] {
				o.SACK[o.Blocks] = SACKBlock{number(v[:4]), number(v[4:8])}
				o.Blocks++
			}
		case 8:
			o.Timestamps, o.TSVal, o.TSEcr = true, number(v[:4]), number(v[4:])
		}
	}
	return o, true
}

// The views' setters write what the getters read, and nothing else.
func TestPortSetters(t *testing.T) {
	type ports interface {
		SrcPort() uint16
		DstPort() uint16
		SetSrcPort(uint16)
		SetDstPort(uint16)
	}
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "header")
		src, dst := rapid.Uint16().Draw(t, "source"), rapid.Uint16().Draw(t, "destination")
		for _, v := range []ports{TCP(b), UDP(b), SCTP(b), DCCP(b)} {
			before := bytes.Clone(b)
			v.SetSrcPort(src)
			v.SetDstPort(dst)
			if v.SrcPort() != src || v.DstPort() != dst || !bytes.Equal(before[4:], b[4:]) {
				t.Fatalf("%T: % x", v, b)
			}
		}
	})
}
