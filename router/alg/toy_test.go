package alg

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// toy is a helper of a protocol of lines: "HELLO x\n" has x replaced, "CUT\n" is cut out, "DIE\n" makes it panic, "STOP\n"
// makes it give up, "OPEN port\n" expects a connection to that port of the sender.
type toy struct {
	spec    Spec
	name    []byte // what x becomes
	streams []*toyStream
}

func newToy() *toy {
	return &toy{
		spec: Spec{
			Name: "toy", Proto: packet.ProtoTCP, Port: 7007,
			Classes: []Class{{Name: "data", Limit: 2, Lifetime: 10 * time.Second}},
		},
		name: []byte("outside.example"),
	}
}

func (h *toy) Spec() Spec { return h.spec }

func (h *toy) Configure(options map[string]any) (any, error) {
	name := h.name
	for key, v := range options {
		s, ok := v.(string)
		if key != "name" || !ok {
			return nil, errors.New("name")
		}
		name = []byte(s)
	}
	return name, nil
}

func (h *toy) New(m Master, config any) Stream {
	s := &toyStream{name: config.([]byte)}
	h.streams = append(h.streams, s)
	return s
}

// toyStream is one connection's.
type toyStream struct {
	name       []byte
	ends       []string
	destroyed  int
	ticks      int
	adopted    [2]int
	read       [2][]byte // consumed
	onDestroy  func(m Master)
	onTick     func(m Master)
	edits      []Edit
	oneAtATime bool
	late       [2]map[int]bool // lines that were let go, by where they begin in read
}

const toyLine = 200 // bytes that a line may have

func (s *toyStream) Stream(m Master, dir conntrack.Direction, b []byte) (r Result) {
	s.edits = s.edits[:0]
	for r.Consumed < len(b) {
		rest := b[r.Consumed:]
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 {
			if len(rest) > toyLine {
				r.Detach = true
			}
			r.Hold = toyHolds(rest) && !s.isLate(dir, r.Consumed)
			break
		}
		line := rest[:n]
		if string(line) == "DIE\n" {
			panic("as told")
		}
		if string(line) == "STOP\n" {
			r.Consumed, r.Detach = r.Consumed+n, true
			break
		}
		if from, to, ok := toyEdit(line, s.name); ok && !s.isLate(dir, r.Consumed) {
			s.edits = append(s.edits, Edit{Off: r.Consumed + from, Len: n - 1 - from, New: to})
			if from == 0 {
				s.edits[len(s.edits)-1].Len = n
			}
		}
		if bytes.HasPrefix(line, []byte("OPEN ")) {
			port, _ := strconv.ParseUint(string(line[5:n-1]), 10, 16)
			s.open(m, dir, uint16(port))
		}
		r.Consumed += n
		if s.oneAtATime {
			break
		}
	}
	r.Edits = s.edits
	s.read[dir] = append(s.read[dir], b[:r.Consumed]...)
	m.Count("messages")
	return r
}

// isLate reports whether the line that begins at is one that was let go.
func (s *toyStream) isLate(dir conntrack.Direction, at int) bool {
	return s.late[dir][len(s.read[dir])+at]
}

// LetGo implements Yielder.
func (s *toyStream) LetGo(_ Master, dir conntrack.Direction) {
	if s.late[dir] == nil {
		s.late[dir] = map[int]bool{}
	}
	s.late[dir][len(s.read[dir])] = true
}

func (s *toyStream) open(m Master, dir conntrack.Direction, port uint16) {
	t := m.Leaving(1 - dir)
	t.Src, t.Dst = m.Arriving(1-dir).Src, m.Arriving(1-dir).Dst
	t.SrcID, t.DstID = 0, port
	_, _ = m.Expect(conntrack.Expectation{Tuple: t, Mask: conntrack.MaskAnyPort})
}

// toyHolds reports whether an unfinished line may become one that is edited.
func toyHolds(b []byte) bool {
	return bytes.HasPrefix(b, []byte("HELLO ")) || bytes.HasPrefix([]byte("HELLO "), b) || bytes.HasPrefix([]byte("CUT\n"), b)
}

// toyEdit returns what becomes of a line: its bytes from from on, without the newline but for CUT, become to.
func toyEdit(line, name []byte) (from int, to []byte, ok bool) {
	switch {
	case string(line) == "CUT\n":
		return 0, nil, true
	case bytes.HasPrefix(line, []byte("HELLO ")):
		return 6, name, len(line) > 7
	}
	return 0, nil, false
}

// toyStreamOf is the oracle: what the whole stream becomes. The lines that begin at some places were let go.
func toyStreamOf(b, name []byte, late map[int]bool) (out []byte) {
	for at := 0; len(b) > 0; {
		n := bytes.IndexByte(b, '\n') + 1
		if n == 0 {
			return append(out, b...)
		}
		from, to, ok := toyEdit(b[:n], name)
		switch {
		case late[at]:
			out = append(out, b[:n]...)
		case ok && from == 0:
		case ok:
			out = append(append(append(out, b[:from]...), to...), '\n')
		default:
			out = append(out, b[:n]...)
		}
		b, at = b[n:], at+n
	}
	return out
}

func (s *toyStream) End(_ Master, dir conntrack.Direction, reset bool) {
	s.ends = append(s.ends, fmt.Sprint(dir, reset))
}

func (s *toyStream) Destroy(m Master) {
	s.destroyed++
	if s.onDestroy != nil {
		s.onDestroy(m)
	}
}

func (s *toyStream) Tick(m Master) {
	s.ticks++
	if s.onTick != nil {
		s.onTick(m)
	}
}

func (s *toyStream) Adopt(_ Master, dir conntrack.Direction) { s.adopted[dir]++ }
