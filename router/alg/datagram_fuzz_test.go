package alg

import (
	"bytes"
	"slices"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// script is a helper of datagrams that answers each with the same edits and verdict, right or wrong.
type script struct {
	edits   []Edit
	verdict packet.Verdict
	calls   int
}

func (*script) Spec() Spec { return Spec{Name: "script", Proto: packet.ProtoUDP, Port: 7007} }

func (*script) Configure(map[string]any) (any, error) { return nil, nil }

func (s *script) New(Master, any) Datagram { return s }

func (s *script) Datagram(Master, conntrack.Direction, []byte) ([]Edit, packet.Verdict) {
	s.calls++
	return s.edits, s.verdict
}

func (*script) Destroy(Master) {}

// readScript makes edits of bytes: offset and length, both signed, and how many of the next bytes stand there then.
func readScript(b []byte) (edits []Edit) {
	for len(b) >= 3 {
		e := Edit{Off: int(int8(b[0])), Len: int(int8(b[1]))}
		n := min(int(b[2]), len(b)-3)
		e.New, b = b[3:3+n], b[3+n:]
		edits = append(edits, e)
	}
	return edits
}

// slowEdit is the oracle: the edits of a datagram one by one, the last first. false: they are no edits of it.
func slowEdit(b []byte, edits []Edit) ([]byte, bool) {
	b = bytes.Clone(b)
	limit := len(b)
	for _, e := range slices.Backward(edits) {
		if e.Off < 0 || e.Len < 0 || e.Off+e.Len > limit {
			return nil, false
		}
		b, limit = slices.Replace(b, e.Off, e.Off+e.Len, e.New...), e.Off
	}
	return b, true
}

// Bits of the form that FuzzDatagram's datagrams have.
const (
	formIPv6 = 1 << iota
	formNoSum
	formPartial
	formSuper
	formDrop
)

// FuzzDatagram gives datagrams, in all the forms that they come in, to a helper with any edits. What leaves has right
// lengths and checksums, and is what the oracle makes of it; after edits that contradict themselves nothing is changed,
// and the helper not called again.
func FuzzDatagram(f *testing.F) {
	f.Add([]byte("hello"), []byte{0, 1, 2, 'y', 'z'}, uint8(0), uint8(0))
	f.Add([]byte("hello"), []byte{0, 1, 0, 4, 1, 3, 'x', 'y', 'z'}, uint8(formIPv6), uint8(0))
	f.Add([]byte("hello, world"), []byte{1, 2, 1, 'y', 3, 0, 1, 'q'}, uint8(formSuper), uint8(5))
	f.Add([]byte("hello, world"), []byte{3, 1, 1, 'y'}, uint8(formSuper), uint8(5)) // the last is too short
	f.Add([]byte("hello, world"), []byte{6, 1, 1, 'y'}, uint8(formSuper), uint8(5)) // given up at the first of three
	f.Add([]byte("hello"), []byte{3, 1, 0, 1, 1, 0}, uint8(formPartial), uint8(0))
	f.Add([]byte("hello"), []byte{0xff, 1, 0}, uint8(formNoSum), uint8(0))
	f.Add([]byte("hello"), []byte{5, 127, 0}, uint8(formDrop), uint8(0))
	f.Add([]byte{}, []byte{0, 0, 1, 'x'}, uint8(0), uint8(0))
	h := &script{}
	w := newUDPWorld(f, h)
	four, six := [2]end{*w.ends[0], *w.ends[1]}, [2]end{}
	w.useIPv6()
	six[0], six[1] = *w.ends[0], *w.ends[1]
	f.Fuzz(func(t *testing.T, payload, b []byte, form, seg uint8) {
		if len(payload) > 1000 || len(b) > 1000 {
			return
		}
		*h = script{edits: readScript(b), verdict: packet.Accept}
		if form&formDrop != 0 {
			h.verdict = packet.Drop
		}
		ends := four
		if form&formIPv6 != 0 {
			ends = six
		}
		w.t, w.ends = t, [2]*end{&ends[0], &ends[1]}
		before := w.kit.Counters()["script"][CountDesync]
		parts := w.fuzzed(payload, form, seg)
		want, detached, calls := [][]byte{}, false, 0
		for _, part := range parts {
			if !detached {
				calls++
			}
			edited, ok := slowEdit(part, h.edits)
			switch {
			case !detached && h.verdict != packet.Accept:
				continue
			case detached || !ok:
				edited, detached = part, true
			}
			want = append(want, edited)
		}
		var got [][]byte
		for _, s := range w.segments() {
			h, _ := packet.Parse(s)
			got = append(got, s[h.Payload:])
		}
		if !slices.EqualFunc(got, want, bytes.Equal) || h.calls != calls {
			t.Errorf("left %q, want %q; %d calls, want %d", got, want, h.calls, calls)
		}
		if n := w.kit.Counters()["script"][CountDesync] - before; (n == 1) != detached {
			t.Errorf("given up %d times, want %v", n, detached)
		}
		w.table.Delete(w.now, w.conn.ID)
		w.reap()
	})
}

// fuzzed sends a datagram, or a super-packet of several, and returns what it consists of.
func (w *world) fuzzed(payload []byte, form, seg uint8) (parts [][]byte) {
	w.t.Helper()
	p := testpkt.UDP{Src: w.ends[0].addr, Dst: w.ends[1].addr, Payload: payload}
	m := packet.Meta{}
	switch {
	case form&formSuper != 0 && seg > 0 && int(seg) < len(payload):
		m = packet.Meta{GSO: packet.GSOUDP, SegSize: uint16(seg)}
		parts = slices.Collect(slices.Chunk(payload, int(seg)))
	case form&formPartial != 0:
		m.CsumOff = 6 // set where the packet has it
	case form&formNoSum != 0 && form&formIPv6 == 0:
		p.NoChecksum = true
	}
	if parts == nil {
		parts = [][]byte{payload}
	}
	reason, want := w.packet(p.Bytes(), m), packet.NotDropped
	if form&formDrop != 0 && len(parts) == 1 {
		want = packet.HelperDropped
	}
	if reason != want {
		w.t.Fatalf("reason %v, want %v", reason, want)
	}
	return parts
}
