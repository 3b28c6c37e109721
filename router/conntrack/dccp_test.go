package conntrack

import (
	"encoding/binary"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// dccpLine is a DCCP packet: direction, type, sequence and acknowledgement number.
type dccpLine struct {
	reply    bool
	typ      uint8
	seq, ack uint64
	want     packet.DropReason
	state    string
}

func (l dccpLine) bytes() []byte {
	src, dst := tcpA, tcpB
	if l.reply {
		src, dst = dst, src
	}
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src.Port()), dst.Port())
	words := uint8(4)
	if l.typ != dccpTypeRequest && l.typ != dccpTypeData {
		words += 2
	}
	b = append(b, words, 0, 0, 0, l.typ<<1|1, 0)
	put48 := func(n uint64) { b = append(b, byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n)) }
	put48(l.seq)
	if words > 4 {
		b = append(b, 0, 0)
		put48(l.ack)
	}
	return testpkt.Raw{Src: src.Addr(), Dst: dst.Addr(), Proto: packet.ProtoDCCP, Payload: b}.Bytes()
}

func TestDCCP(t *testing.T) {
	const iss = 0x123456789abc
	open := []dccpLine{
		{false, dccpTypeRequest, iss, 0, ok, "REQUEST"},
		{true, dccpTypeResponse, 7, iss, ok, "RESPOND"},
		{false, dccpTypeAck, iss + 1, 7, ok, "PARTOPEN"},
		{true, dccpTypeDataAck, 8, iss + 1, ok, "OPEN"},
	}
	after := func(more ...dccpLine) []dccpLine { return append(open[:len(open):len(open)], more...) }
	for name, lines := range map[string][]dccpLine{
		"closed by the client": after(
			dccpLine{false, dccpTypeData, iss + 2, 0, ok, "OPEN"},
			dccpLine{false, dccpTypeClose, iss + 3, 8, ok, "CLOSING"},
			dccpLine{true, dccpTypeReset, 9, iss + 3, ok, "TIMEWAIT"},
			dccpLine{false, dccpTypeRequest, 99, 0, ok, "REQUEST"}, // the ports again
		),
		"closed by the server": after(
			dccpLine{true, dccpTypeCloseReq, 9, iss + 1, ok, "CLOSEREQ"},
			dccpLine{false, dccpTypeClose, iss + 2, 9, ok, "CLOSING"},
			dccpLine{true, dccpTypeReset, 10, iss + 2, ok, "TIMEWAIT"},
			dccpLine{true, dccpTypeRequest, 99, 0, ok, "REQUEST"}, // from the other end
		),
		"sync changes nothing": after(
			dccpLine{true, dccpTypeSync, 9, iss + 1, ok, "OPEN"},
			dccpLine{false, dccpTypeSyncAck, iss + 2, 9, ok, "OPEN"},
		),
		"wrong ways": after(
			dccpLine{false, dccpTypeResponse, 9, 9, packet.TCPState, "OPEN"},
			dccpLine{false, dccpTypeCloseReq, 9, 9, packet.TCPState, "OPEN"},
			dccpLine{true, dccpTypeRequest, 9, 9, packet.TCPState, "OPEN"},
			dccpLine{true, 12, 9, 9, packet.Malformed, "OPEN"},
		),
		"an answer to nothing": {
			{false, dccpTypeRequest, iss, 0, ok, "REQUEST"},
			{true, dccpTypeResponse, 7, iss - 1, packet.TCPState, "REQUEST"},
			{true, dccpTypeReset, 7, iss - 1, packet.TCPState, "REQUEST"},
			{false, dccpTypeRequest, iss + 1, 0, ok, "REQUEST"},
			{true, dccpTypeResponse, 7, iss + 1, ok, "RESPOND"},
		},
		"refused":             {{false, dccpTypeRequest, iss, 0, ok, "REQUEST"}, {true, dccpTypeReset, 7, iss, ok, ""}},
		"data starts nothing": {{false, dccpTypeData, iss, 0, packet.NotTracked, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			var id Handle
			for i, l := range lines {
				if reason := w.send(l.bytes()); reason != l.want {
					t.Fatalf("line %d: %v, want %v", i, reason, l.want)
				}
				if w.c.ID != 0 {
					id = w.c.ID
				}
				s, _ := w.t.Lookup(w.now, id)
				if s.State != l.state {
					t.Fatalf("line %d: %s, want %s", i, s.State, l.state)
				}
			}
		})
	}
}

func TestDCCPHeaders(t *testing.T) {
	good := dccpLine{false, dccpTypeRequest, 5, 0, ok, ""}.bytes()[20:]
	for n := range good {
		b := append([]byte(nil), good[:n]...)
		if n < packet.DCCPSize {
			continue // Parse refuses it
		}
		if _, reason := readDCCP(b); reason != packet.Malformed {
			t.Errorf("%d bytes: %v", n, reason)
		}
	}
	for name, change := range map[string]func(b []byte){
		"short numbers in a request": func(b []byte) { b[8] &^= 1 },
		"header shorter than itself": func(b []byte) { b[4] = 3 },
		"header longer than all":     func(b []byte) { b[4] = 200 },
	} {
		b := append([]byte(nil), good...)
		change(b)
		if _, reason := readDCCP(b); reason != packet.Malformed {
			t.Errorf("%s: %v", name, reason)
		}
	}
	for dir := range dccpNext {
		for typ, row := range dccpNext[dir] {
			for from, to := range row {
				if to == dccpNone {
					t.Errorf("%d, type %d from %v has no entry", dir, typ, dccpStateID(from))
				}
			}
		}
	}
}
