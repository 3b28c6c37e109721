package conntrack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// TestSeqAdjVector is section 8 of nat.md: a PORT command of 22 bytes becomes one of 27.
func TestSeqAdjVector(t *testing.T) {
	in, out := []byte("PORT 10,9,1,2,19,136\r\n"), []byte("PORT 198,51,100,77,19,136\r\n")
	var d Edits
	if err := d.Add(Edit{Start: 1005, Len: 15, New: []byte("198,51,100,77,19,136")}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and again, when it is sent again
		if got := d.Render(nil, in, 1000); !bytes.Equal(got, out) || d.Seq(1000) != 1000 {
			t.Fatalf("%q at %d", got, d.Seq(1000))
		}
	}
	if d.Seq(1022) != 1027 || d.Ack(1027) != 1022 || d.Ack(1000) != 1000 {
		t.Fatalf("%d %d %d", d.Seq(1022), d.Ack(1027), d.Ack(1000))
	}
	d.Acked(1026)
	if d.Pending() != 0 {
		t.Fatal("the edit ends at 1025: kept for nothing")
	}
	if d.Seq(1022) != 1027 || d.Ack(1027) != 1022 || d.Empty() {
		t.Fatal("the offset went with the edit")
	}
}

func TestEditsRefuse(t *testing.T) {
	var d Edits
	add := func(start, n uint32, text string) error { return d.Add(Edit{start, n, []byte(text)}) }
	for i, tt := range []struct {
		err  error
		want error
	}{
		{add(100, 5, "abc"), nil},
		{add(100, 5, "abc"), nil}, // the same again
		{add(100, 5, "abd"), ErrEditOrder},
		{add(104, 5, "x"), ErrEditOrder},
		{add(90, 5, "x"), ErrEditOrder},
		{add(105, 0, "x"), ErrEditEmpty},
		{add(105, 1, string(make([]byte, maxEditBytes))), ErrEditFull},
		{add(105, 1, ""), nil},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%d: %v, want %v", i, tt.err, tt.want)
		}
	}
	if d.Pending() != 2 {
		t.Errorf("%d edits", d.Pending())
	}
	for i := uint32(0); ; i++ {
		if err := add(200+i, 1, "xy"); err != nil {
			if !errors.Is(err, ErrEditFull) || d.Pending() != maxEdits {
				t.Errorf("%v after %d", err, d.Pending())
			}
			break
		}
	}
}

// stream is the oracle: a whole stream and its edits, rewritten at one go.
type stream struct {
	start   uint32
	in      []byte
	edits   []Edit
	out     []byte
	imageOf []int // of each place in in, and of its end: the place in out
}

func newStream(r *rand.Rand, start uint32) *stream {
	s := &stream{start: start, in: make([]byte, 50+r.IntN(300))}
	for i := range s.in {
		s.in[i] = 'a' + byte(i%26)
	}
	at := 0
	for at < len(s.in) {
		at += r.IntN(60)
		n := 1 + r.IntN(12)
		if at+n > len(s.in) {
			break
		}
		text := bytes.Repeat([]byte{'A' + byte(len(s.edits)%26)}, r.IntN(20))
		for i := range text {
			text[i] += byte(i) & 1 << 5
		}
		s.edits = append(s.edits, Edit{s.start + uint32(at), uint32(n), text})
		at += n
	}
	s.imageOf = make([]int, len(s.in)+1)
	i := 0
	for _, e := range append(s.edits, Edit{Start: s.start + uint32(len(s.in))}) {
		first := int(e.Start - s.start)
		for ; i < first; i++ {
			s.imageOf[i] = len(s.out)
			s.out = append(s.out, s.in[i])
		}
		for j := range int(e.Len) {
			s.imageOf[i] = len(s.out) + min(j, len(e.New))
			i++
		}
		s.out = append(s.out, e.New...)
	}
	s.imageOf[len(s.in)] = len(s.out)
	return s
}

// TestEditsAgainstWholeStream cuts a stream into segments at random, repeats them in other cuts, acknowledges, and
// compares bytes and numbers with the stream rewritten at one go.
func TestEditsAgainstWholeStream(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		start := [4]uint32{0, 1000, 1<<32 - 100, 1<<31 - 50}[seed%4]
		s := newStream(r, start)
		var d Edits
		acked := 0 // in out
		for _, e := range s.edits {
			if err := d.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		for range 200 {
			low := 0 // what is sent again of what is acknowledged is not looked at: see Acked
			for i, image := range s.imageOf {
				if image <= acked {
					low = i
				}
			}
			a := low + r.IntN(len(s.in)+1-low)
			b := a + r.IntN(len(s.in)+1-a)
			got := d.Render(nil, s.in[a:b], start+uint32(a))
			if want := s.out[s.imageOf[a]:s.imageOf[b]]; !bytes.Equal(got, want) {
				t.Fatalf("seed %d: [%d,%d) is %q, want %q\nedits %v", seed, a, b, got, want, s.edits)
			}
			if d.Seq(start+uint32(a)) != start+uint32(s.imageOf[a]) {
				t.Fatalf("seed %d: place %d at %d, want %d", seed, a, d.Seq(start+uint32(a))-start, s.imageOf[a])
			}
			y := acked + r.IntN(len(s.out)+1-acked)
			checkAck(t, s, &d, y, acked)
			if r.IntN(10) == 0 {
				acked = y
				d.Acked(start + uint32(y))
			}
		}
	}
}

// checkAck compares an acknowledgement of place y, and a SACK edge there, with a search. A block begins above what is
// acknowledged.
func checkAck(t *testing.T, s *stream, d *Edits, y, acked int) {
	t.Helper()
	high, low := 0, len(s.in)
	for x, image := range s.imageOf {
		if image <= y {
			high = x
		}
		if image >= y && x < low {
			low = x
		}
	}
	start := s.start
	if got := d.Ack(start + uint32(y)); got != start+uint32(high) {
		t.Fatalf("ack %d acknowledges %d, want %d", y, got-start, high)
	}
	if l, r := d.SACK(start+uint32(y), start+uint32(y)); y > acked && l != start+uint32(low) || r != start+uint32(high) {
		t.Fatalf("SACK at %d: %d-%d, want %d-%d", y, l-start, r-start, low, high)
	}
}

func FuzzEdits(f *testing.F) {
	f.Add(uint64(1), uint32(1<<32-20), uint16(3), uint16(90))
	f.Add(uint64(2), uint32(5), uint16(0), uint16(0xffff))
	f.Fuzz(func(t *testing.T, seed uint64, start uint32, a, n uint16) {
		s := newStream(rand.New(rand.NewPCG(seed, 2)), start)
		var d Edits
		for _, e := range s.edits {
			if err := d.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		i := int(a) % (len(s.in) + 1)
		j := min(i+int(n), len(s.in))
		if got, want := d.Render(nil, s.in[i:j], start+uint32(i)), s.out[s.imageOf[i]:s.imageOf[j]]; !bytes.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
		checkAck(t, s, &d, int(n)%(len(s.out)+1), 0)
	})
}

func TestAdjustTCP(t *testing.T) {
	var edits [2]Edits
	add := func(dir Direction, e Edit) {
		if err := edits[dir].Add(e); err != nil {
			t.Fatal(err)
		}
	}
	add(Original, Edit{1005, 15, make([]byte, 20)})
	add(Reply, Edit{5000, 10, make([]byte, 3)})
	block := func(edges ...uint32) []byte {
		b := []byte{1, 1, 5, byte(2 + 4*len(edges))}
		for _, e := range edges {
			b = binary.BigEndian.AppendUint32(b, e)
		}
		return b
	}
	in := testpkt.TCP{Src: tcpA, Dst: tcpB, Seq: 1022, Ack: 5003, Flags: packet.FlagACK, Options: block(5013, 5023), Payload: []byte("odd")}
	want := in
	want.Seq, want.Ack, want.Options = 1027, 5010, block(5020, 5030)
	b := in.Bytes()
	hdr, _ := packet.ParseTCP(b[20:])
	if reason := AdjustTCP(hdr, Original, &edits, false); reason != ok || !bytes.Equal(b, want.Bytes()) {
		t.Fatalf("%v\n% x\n% x", reason, b, want.Bytes())
	}
	// A partial checksum has no part in numbers.
	b = in.Bytes()
	sum := hdrOf(b).Checksum()
	if AdjustTCP(hdrOf(b), Original, &edits, true); hdrOf(b).Checksum() != sum || hdrOf(b).Seq() != 1027 {
		t.Fatal("partial checksum changed")
	}
	// Without ACK the field says nothing.
	syn := testpkt.TCP{Src: tcpA, Dst: tcpB, Seq: 900, Ack: 5003, Flags: packet.FlagSYN}
	b = syn.Bytes()
	if AdjustTCP(hdrOf(b), Original, &edits, false); !bytes.Equal(b, syn.Bytes()) {
		t.Fatal("a SYN before the edit changed")
	}
	for _, opts := range [][]byte{{5, 1, 0, 0}, {5, 12, 0, 0}, {1, 1, 5, 6, 0, 0, 0, 0}, {1, 1, 1, 5}} {
		bad := in
		bad.Options = opts
		b = bad.Bytes()
		if reason := AdjustTCP(hdrOf(b), Original, &edits, false); reason != packet.SeqAdjust || !bytes.Equal(b, bad.Bytes()) {
			t.Errorf("options % x: %v", opts, reason)
		}
	}
	if n := testing.AllocsPerRun(100, func() { AdjustTCP(hdrOf(b), Original, &edits, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func hdrOf(b []byte) packet.TCP { return packet.TCP(b[20:]) }

// TestWindowWithEdits: acknowledgements come in the receiver's numbers, the window is in the sender's.
func TestWindowWithEdits(t *testing.T) {
	w := newWorld(t, nil)
	id := w.handshake(synOpts)
	x := w.t.Ext(id)
	x.Mu.Lock()
	defer x.Mu.Unlock()
	if err := w.t.AddEdit(x, Original, Edit{Start: 1001, Len: 15, New: make([]byte, 1015)}); err != nil {
		t.Fatal(err)
	}
	w.pass(ab("PA", 1001, 5001, 22).bytes())
	if w.c.Status&SeqAdjust == 0 {
		t.Fatal("no word to the later stages")
	}
	w.pass(ba("A", 5001, 2023, 0).bytes()) // 1023 as A numbers it
	if ts := w.tcp(); ts.side[Reply].maxAck != 1023 || ts.side[Original].flags&sideUnacked != 0 {
		t.Fatalf("%+v", ts.side)
	}
	w.refused(ba("A", 5001, 2024, 0).bytes(), packet.TCPWindow)
	sack := []byte{1, 1, 5, 10, 0, 0, 7, 231, 0, 0, 7, 232} // to 2024: never sent
	w.refused(seg{reply: true, flags: "A", seq: 5001, ack: 2023, opts: sack}.bytes(), packet.TCPWindow)
	w.t.AckEdits(x, Original, 2023)
	if x.Edits[Original].Pending() != 0 {
		t.Fatal("acknowledged, but kept")
	}
	w.pass(ba("A", 5001, 2023, 0).bytes())
	// The quote of an error shows the numbers after the edits.
	w.pass(ab("PA", 1023, 5001, 100).bytes())
	w.pass(icmpError(router, hostA, 3, 4, ab("A", 2023, 5001, 0).bytes()[:28]))
	w.refused(icmpError(router, hostA, 3, 4, ab("A", 1023, 5001, 0).bytes()[:28]), packet.ForgedICMPError)
}
