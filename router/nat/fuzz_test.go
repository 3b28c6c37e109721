package nat

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// FuzzClampMSS: only an MSS option that is larger becomes smaller, nothing else changes, and the checksum is as
// right or wrong as before. Which option that is, packet's own walk over the options says.
func FuzzClampMSS(f *testing.F) {
	for _, options := range [][]byte{{2, 4, 5, 180}, {1, 2, 4, 5, 180, 0, 0, 0}, {3, 3, 7, 1, 2, 4, 5, 180}, {5, 10, 1, 2, 3, 4, 5, 6, 7, 8, 2, 4, 9, 9}} {
		f.Add(testpkt.TCP{Src: ap("10.0.0.1:1"), Dst: ap("10.0.0.2:2"), Flags: packet.FlagSYN, Options: options}.Bytes(), uint16(1400), uint16(40))
	}
	f.Fuzz(func(t *testing.T, b []byte, mss, cut uint16) {
		h, reason := packet.Parse(b)
		if reason != packet.NotDropped || h.Proto != packet.ProtoTCP || h.FragOff != 0 {
			return
		}
		b = b[:h.Len]
		was := bytes.Clone(b)
		before := sumError(b, &h)
		changed := ClampMSS(b, &h, &packet.Meta{}, mss)
		checkUnclamp(t, was, b, &h, int(cut), changed)
		if after := sumError(b, &h); after != before {
			t.Errorf("% x: the sum was off by %04x and is by %04x", b, before, after)
		}
		want := bytes.Clone(was)
		if at := mssOption(want[h.L4:h.Payload]); at >= 0 && want[int(h.L4)+13]&packet.FlagSYN != 0 {
			field := want[int(h.L4)+at:]
			binary.BigEndian.PutUint16(field, min(mss, binary.BigEndian.Uint16(field)))
		}
		copy(want[h.L4+16:h.L4+18], b[h.L4+16:])
		if !bytes.Equal(b, want) {
			t.Errorf("% x, want % x", b, want)
		}
	})
}

// checkUnclamp quotes what left of a SYN up to a cut in an error, and wants what was sent.
func checkUnclamp(t *testing.T, sent, left []byte, h *packet.Headers, cut int, changed packet.Delta) {
	t.Helper()
	n := min(int(h.L4)+8+cut, len(left), 60000)
	e := testpkt.ICMP{Src: addr("192.0.2.99"), Dst: addr("10.0.0.1"), Type: 3, Payload: left[:n]}
	if h.Family == 6 {
		e.Src, e.Dst = addr("2001:db8:99::9"), addr("fd77::2")
	}
	b := e.Bytes()
	eh, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		t.Fatal(reason)
	}
	UnclampQuote(b, &eh, &packet.Meta{}, &conntrack.Conn{Dir: conntrack.Reply, ErrorL3: uint16(eh.L4) + 8, ErrorClamp: changed})
	if err := testpkt.Verify(b); err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	quote, want := b[eh.L4+8:], bytes.Clone(sent[:n])
	if off := findMSS(sent[h.L4:h.Payload]); off != 0 && n == int(h.L4)+off+1 { // what half a value was the other half says
		want[n-1] = quote[n-1]
	}
	clearSum(h, quote)
	clearSum(h, want)
	if !bytes.Equal(quote, want) {
		t.Errorf("quote % x\nsent  % x", quote, want)
	}
}

// mssOption returns where the first MSS value of a header stands, -1 for none.
func mssOption(hdr []byte) int {
	opts := hdr[packet.TCPSize:]
	for len(opts) > 0 {
		kind, data, rest, ok := packet.NextTCPOption(opts)
		if !ok || kind == 0 {
			return -1
		}
		if kind == 2 && len(data) == 2 {
			return len(hdr) - len(rest) - 2
		}
		opts = rest
	}
	return -1
}

// FuzzQuote: of a whole packet a quote's headers are where packet.Parse finds them, and no cut of it is read behind
// its end.
func FuzzQuote(f *testing.F) {
	for _, e := range [][2]string{{"10.77.1.2:40000", "203.0.113.1:8080"}, {"[fd77::2]:40000", "[2001:db8:113::1]:8080"}} {
		for _, b := range firstPackets(ap(e[0]), ap(e[1]), []byte("seed")) {
			f.Add(b, uint16(30))
		}
	}
	f.Add(testpkt.UDP{Src: ap("[fd77::2]:4"), Dst: ap("[fd77::3]:5"), Ext: []testpkt.Ext{{Type: 0, Data: []byte{1, 4, 0, 0, 0, 0}}, testpkt.FragHeader(0, true, 9)}}.Bytes(), uint16(50))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		h, reason := packet.Parse(b)
		q, ok := parseQuote(b, 0, len(b))
		if reason == packet.NotDropped {
			want := quote{l4: int(h.L4), end: len(b), family: h.Family, proto: h.Proto, later: h.FragOff != 0}
			if !ok || q != want {
				t.Errorf("% x: %+v, %v, want %+v", b, q, ok, want)
			}
		}
		short, ok := parseQuote(b, 0, min(int(cut), len(b)))
		if !ok {
			return
		}
		if short.l4 > short.end || (reason == packet.NotDropped && short.l4 != q.l4) {
			t.Errorf("% x cut to %d: %+v", b, cut, short)
		}
	})
}

// FuzzUnadjustQuote: where all edits are behind both ends, so that numbers only moved, a quote of whatever segment shows
// what its sender sent.
func FuzzUnadjustQuote(f *testing.F) {
	for _, options := range [][]byte{nil, {1, 1, 5, 10, 0, 0, 30, 0, 0, 0, 40, 0}, {1, 5, 10, 0, 0, 30, 0, 0, 0, 40, 0, 0}} {
		f.Add(testpkt.TCP{Src: ap("10.0.0.1:1"), Dst: ap("10.0.0.2:2"), Seq: 5000, Ack: 9500, Flags: packet.FlagACK, Options: options}.Bytes(), uint16(40))
	}
	var edits [2]conntrack.Edits
	for dir, e := range []conntrack.Edit{{Start: 1000, Len: 22, New: make([]byte, 27)}, {Start: 9000, Len: 30, New: make([]byte, 20)}} {
		if err := edits[dir].Add(e); err != nil {
			f.Fatal(err)
		}
		edits[dir].Acked(e.Start + 100)
	}
	f.Fuzz(func(t *testing.T, sent []byte, cut uint16) {
		h, reason := packet.Parse(sent)
		if reason != packet.NotDropped || h.Proto != packet.ProtoTCP || h.FragOff != 0 {
			return
		}
		sent = sent[:h.Len]
		left := bytes.Clone(sent)
		if conntrack.AdjustTCP(packet.TCP(left[h.L4:]), conntrack.Original, &edits, false) != packet.NotDropped {
			return
		}
		n := min(int(h.L4)+8+int(cut), len(left), 60000)
		if blockCut(left[:n], &h) {
			return // what follows from the part that is missing can't be known
		}
		e := testpkt.ICMP{Src: addr("192.0.2.99"), Dst: addr("10.0.0.1"), Type: 3, Payload: left[:n]}
		if h.Family == 6 {
			e.Src, e.Dst = addr("2001:db8:99::9"), addr("fd77::2")
		}
		b := e.Bytes()
		eh, reason := packet.Parse(b)
		if reason != packet.NotDropped {
			t.Fatal(reason)
		}
		c := conntrack.Conn{Dir: conntrack.Reply, ErrorL3: uint16(eh.L4) + 8}
		if reason := UnadjustQuote(b, &eh, &packet.Meta{}, &c, &edits); reason != packet.NotDropped {
			t.Fatal(reason)
		}
		if err := testpkt.Verify(b); err != nil {
			t.Fatalf("% x: %v", b, err)
		}
		quote, want := b[eh.L4+8:], bytes.Clone(sent[:n])
		clearSum(&h, quote)
		clearSum(&h, want)
		if !bytes.Equal(quote, want) {
			t.Errorf("quote % x\nsent  % x", quote, want)
		}
	})
}

// blockCut reports whether a quote ends within or before a SACK block, or within the acknowledgement.
func blockCut(quote []byte, h *packet.Headers) bool {
	n, header := len(quote)-int(h.L4), int(h.Payload-h.L4)
	return n < header && (n > 17 || n > 8 && n < 14)
}
