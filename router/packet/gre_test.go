package packet

import (
	"bytes"
	"errors"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// greData is a data packet with acknowledgement, call ID 0xda80.
var greData = []byte{
	0x30, 0x81, 0x88, 0x0b, // K, S, A, version 1, PPP
	0, 2, 0xda, 0x80, // payload length, call ID
	0, 0, 0, 5, 0, 0, 0, 4, // sequence and acknowledgement number
	0xff, 3,
}

func TestParseGREv1(t *testing.T) {
	for name, tt := range map[string]struct {
		in   []byte
		want error
	}{
		"data packet":                {greData, nil},
		"acknowledgement alone":      {[]byte{0x20, 0x81, 0x88, 0x0b, 0, 0, 0, 1, 0, 0, 0, 4}, nil},
		"neither":                    {[]byte{0x20, 0x01, 0x88, 0x0b, 0, 0, 0, 0}, nil},
		"plain GRE has no call ID":   {[]byte{0, 0, 8, 0, 0, 0, 0, 0}, ErrNotPPTP},
		"plain GRE, short":           {[]byte{0, 0, 8, 0}, ErrNotPPTP},
		"PPP in plain GRE":           {[]byte{0x20, 0, 0x88, 0x0b, 0, 0, 0, 0}, ErrNotPPTP},
		"version 1 without PPP":      {[]byte{0x20, 1, 8, 0, 0, 0, 0, 0}, ErrNotPPTP},
		"no key, so no call ID":      {[]byte{0, 1, 0x88, 0x0b, 0, 0, 0, 0}, ErrNotPPTP},
		"checksum before the key":    {[]byte{0xa0, 1, 0x88, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0}, ErrNotPPTP},
		"source route":               {[]byte{0x60, 1, 0x88, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0}, ErrNotPPTP},
		"empty":                      {nil, ErrTruncated},
		"three bytes":                {greData[:3], ErrTruncated},
		"without its call ID":        {greData[:7], ErrTruncated},
		"without its acknowledgment": {greData[:15], ErrTruncated},
	} {
		if _, err := ParseGREv1(tt.in); !errors.Is(err, tt.want) {
			t.Errorf("%s: ParseGREv1(% x) = %v, want %v", name, tt.in, err, tt.want)
		}
	}
}

func TestGREv1Fields(t *testing.T) {
	g, err := ParseGREv1(bytes.Clone(greData))
	if err != nil {
		t.Fatal(err)
	}
	seq, hasSeq := g.Seq()
	ack, hasAck := g.Ack()
	if g.CallID() != 0xda80 || g.PayloadLen() != 2 || seq != 5 || !hasSeq || ack != 4 || !hasAck || !bytes.Equal(g.Payload(), []byte{0xff, 3}) {
		t.Errorf("read % x wrong", g)
	}
	if g.SetCallID(1); g.CallID() != 1 {
		t.Error("SetCallID did not write")
	}
	g, _ = ParseGREv1([]byte{0x20, 0x81, 0x88, 0x0b, 0, 0, 0, 1, 0, 0, 0, 4})
	if _, ok := g.Seq(); ok {
		t.Error("a sequence number that is not there")
	}
	if ack, ok := g.Ack(); !ok || ack != 4 {
		t.Errorf("acknowledgement without sequence: %d, %v", ack, ok)
	}
	g, _ = ParseGREv1([]byte{0x20, 0x01, 0x88, 0x0b, 0, 0, 0, 1})
	if _, ok := g.Ack(); ok {
		t.Error("an acknowledgement number that is not there")
	}
}

func TestGREKey(t *testing.T) {
	for name, tt := range map[string]struct {
		p    testpkt.GREv0
		want uint32
		size int
	}{
		"no key":                    {testpkt.GREv0{HasSeq: true, Seq: 7}, 0, 8},
		"key first":                 {testpkt.GREv0{HasKey: true, Key: 0xdeadbeef}, 0xdeadbeef, 8},
		"key behind the checksum":   {testpkt.GREv0{HasChecksum: true, HasKey: true, Key: 1}, 1, 12},
		"key before sequence":       {testpkt.GREv0{HasKey: true, Key: 2, HasSeq: true, Seq: 3}, 2, 12},
		"everything, and a payload": {testpkt.GREv0{HasChecksum: true, HasKey: true, Key: 4, HasSeq: true, Payload: text(9)}, 4, 16},
	} {
		tt.p.Src, tt.p.Dst = in4.Addr(), out4.Addr()
		b := tt.p.Bytes()[20:]
		g, err := ParseGRE(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		key, ok := g.Key()
		if key != tt.want || ok != tt.p.HasKey || g.HeaderLen() != tt.size || g.Version() != 0 || g.Protocol() != 0x800 || g.HasChecksum() != tt.p.HasChecksum {
			t.Errorf("%s: key %08x, %v, header of %d bytes", name, key, ok, g.HeaderLen())
		}
		for n := range tt.size {
			if _, err := ParseGRE(b[:n]); !errors.Is(err, ErrTruncated) {
				t.Errorf("%s: %d bytes: %v, want ErrTruncated", name, n, err)
			}
		}
	}
}

// FuzzGREv1: complementing a call ID twice changes nothing, once two bytes; no method panics; the fields are where a
// plain reader sees them.
func FuzzGREv1(f *testing.F) {
	f.Add(greData)
	f.Add([]byte{0x20, 0x81, 0x88, 0x0b, 0, 0, 0, 1, 0, 0, 0, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		want := bytes.Clone(b)
		plain, plainErr := ParseGRE(b)
		if plainErr == nil {
			plain.Key()
		}
		g, err := ParseGREv1(b)
		good := len(b) >= 8 && b[0]&0xe0 == 0x20 && b[1]&7 == 1 && b[2] == 0x88 && b[3] == 0x0b
		size := 8
		if good && b[0]&0x10 != 0 {
			size += 4
		}
		if good && b[1]&0x80 != 0 {
			size += 4
		}
		if good = good && len(b) >= size; good != (err == nil) {
			t.Fatalf("ParseGREv1(% x) = %v", b, err)
		}
		if err != nil {
			return
		}
		if key, ok := plain.Key(); !ok || uint16(key) != g.CallID() || len(g.Payload()) != len(b)-size {
			t.Errorf("key %08x, call ID %04x, payload of %d bytes", key, g.CallID(), len(g.Payload()))
		}
		g.Seq()
		if ack, ok := g.Ack(); ok && ack != uint32(b[size-4])<<24|uint32(b[size-3])<<16|uint32(b[size-2])<<8|uint32(b[size-1]) {
			t.Errorf("acknowledgement %d", ack)
		}
		g.SetCallID(^g.CallID())
		if bytes.Equal(b, want) || !bytes.Equal(b[8:], want[8:]) || !bytes.Equal(b[:6], want[:6]) {
			t.Errorf("SetCallID: % x, was % x", b, want)
		}
		if g.SetCallID(^g.CallID()); !bytes.Equal(b, want) {
			t.Errorf("got % x, want % x", b, want)
		}
	})
}
