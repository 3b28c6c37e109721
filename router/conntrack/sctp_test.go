package conntrack

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// chunk is an SCTP chunk of a type, with flags and a value padded to four bytes.
func chunkOf(typ, flags uint8, value []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{typ, flags}, uint16(4+len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func initChunk(typ uint8, tag uint32) []byte {
	return chunkOf(typ, 0, append(binary.BigEndian.AppendUint32(nil, tag), make([]byte, 12)...))
}

// sctpLine is a packet of an association: direction, tag, chunks; its fate and the state after it.
type sctpLine struct {
	reply  bool
	tag    uint32
	chunks []byte
	want   packet.DropReason
	state  string
}

func TestSCTP(t *testing.T) {
	const a, b, c, d = 0xaaaa, 0xbbbb, 0xcccc, 0xdddd // tags that packets to A and to B carry; of a restart
	plain := func(typ uint8) []byte { return chunkOf(typ, 0, nil) }
	join := func(chunks ...[]byte) (all []byte) {
		for _, ch := range chunks {
			all = append(all, ch...)
		}
		return all
	}
	data := chunkOf(chunkData, 3, make([]byte, 13))
	open := []sctpLine{
		{false, 0, initChunk(chunkInit, a), ok, "COOKIE_WAIT"},
		{true, a, initChunk(chunkInitAck, b), ok, "COOKIE_WAIT"},
		{false, b, join(chunkOf(chunkCookieEcho, 0, make([]byte, 9)), data), ok, "COOKIE_ECHOED"},
		{true, a, join(plain(chunkCookieAck), data), ok, "ESTABLISHED"},
	}
	after := func(more ...sctpLine) []sctpLine { return append(open[:len(open):len(open)], more...) }
	for name, lines := range map[string][]sctpLine{
		"shutdown": after(
			sctpLine{false, b, data, ok, "ESTABLISHED"},
			sctpLine{false, b, chunkOf(chunkShutdown, 0, make([]byte, 4)), ok, "SHUTDOWN_SENT"},
			sctpLine{true, a, plain(chunkShutdownAck), ok, "SHUTDOWN_ACK_SENT"},
			sctpLine{false, b, plain(chunkShutdownComplete), ok, "CLOSED"},
			sctpLine{false, 0, initChunk(chunkInit, c), ok, "COOKIE_WAIT"},
		),
		"shutdown by the other end": after(
			sctpLine{true, a, chunkOf(chunkShutdown, 0, make([]byte, 4)), ok, "SHUTDOWN_RECD"},
			sctpLine{false, b, plain(chunkShutdownAck), ok, "SHUTDOWN_ACK_SENT"},
			sctpLine{true, a, plain(chunkShutdownComplete), ok, "CLOSED"},
		),
		"wrong tags": after(
			sctpLine{false, a, data, packet.SCTPTag, "ESTABLISHED"},
			sctpLine{true, b, data, packet.SCTPTag, "ESTABLISHED"},
			sctpLine{true, 0, plain(chunkAbort), packet.SCTPTag, "ESTABLISHED"},
			sctpLine{true, b, plain(chunkAbort), packet.SCTPTag, "ESTABLISHED"},
			sctpLine{false, b, initChunk(chunkInit, 5), packet.SCTPTag, "ESTABLISHED"},
			sctpLine{false, 0, initChunk(chunkInit, 0), packet.SCTPTag, "ESTABLISHED"},
			sctpLine{true, b, chunkOf(chunkAbort, chunkFlagT, nil), ok, "CLOSED"}, // reflects the tag it was sent
		),
		"abort": after(sctpLine{true, a, plain(chunkAbort), ok, "CLOSED"}),
		"wrong INIT ACK": {
			{false, 0, initChunk(chunkInit, a), ok, "COOKIE_WAIT"},
			{true, b, initChunk(chunkInitAck, b), packet.SCTPTag, "COOKIE_WAIT"},
			{true, a, initChunk(chunkInitAck, 0), packet.SCTPTag, "COOKIE_WAIT"},
			{true, a, initChunk(chunkInitAck, b)[:8], packet.Malformed, "COOKIE_WAIT"},
		},
		"INIT sent again": {
			{false, 0, initChunk(chunkInit, a), ok, "COOKIE_WAIT"},
			{false, 0, initChunk(chunkInit, c), ok, "COOKIE_WAIT"},
			{true, a, initChunk(chunkInitAck, b), packet.SCTPTag, "COOKIE_WAIT"},
			{true, c, initChunk(chunkInitAck, b), ok, "COOKIE_WAIT"},
		},
		"restart: A begins anew": after(
			sctpLine{false, 0, initChunk(chunkInit, c), ok, "ESTABLISHED"},
			sctpLine{false, b, data, ok, "ESTABLISHED"}, // may be a forgery: nothing has changed
			sctpLine{true, c, initChunk(chunkInitAck, d), ok, "ESTABLISHED"},
			sctpLine{false, d, chunkOf(chunkCookieEcho, 0, make([]byte, 8)), ok, "COOKIE_ECHOED"},
			sctpLine{true, c, plain(chunkCookieAck), ok, "ESTABLISHED"},
			sctpLine{false, b, data, packet.SCTPTag, "ESTABLISHED"},
			sctpLine{false, d, data, ok, "ESTABLISHED"},
		),
		"malformed": after(
			sctpLine{false, b, nil, packet.Malformed, "ESTABLISHED"},
			sctpLine{false, b, []byte{0, 0, 0}, packet.Malformed, "ESTABLISHED"},
			sctpLine{false, b, []byte{0, 0, 0, 3}, packet.Malformed, "ESTABLISHED"},
			sctpLine{false, b, []byte{0, 0, 0, 9, 0, 0, 0, 0}, packet.Malformed, "ESTABLISHED"},
			sctpLine{false, b, join(plain(chunkShutdown), []byte{0, 0, 0, 99}), packet.Malformed, "ESTABLISHED"},
			sctpLine{false, 0, join(initChunk(chunkInit, 5), data), packet.Malformed, "ESTABLISHED"}, // never bundled
		),
		"heartbeat opens a further path": {
			{false, b, chunkOf(chunkHeartbeat, 0, make([]byte, 8)), ok, "HEARTBEAT_SENT"},
			{true, a, chunkOf(chunkHeartbeatAck, 0, make([]byte, 8)), ok, "ESTABLISHED"},
			{false, b, data, ok, "ESTABLISHED"},
			{true, a, data, ok, "ESTABLISHED"},
			{true, b, data, packet.SCTPTag, "ESTABLISHED"},
		},
		"data starts nothing":   {{false, b, data, packet.NotTracked, ""}},
		"tag 0 heartbeat":       {{false, 0, chunkOf(chunkHeartbeat, 0, nil), packet.SCTPTag, ""}},
		"unknown chunks ignore": after(sctpLine{false, b, chunkOf(0xc0, 0, make([]byte, 5)), ok, "ESTABLISHED"}),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			var id Handle
			for i, l := range lines {
				p := testpkt.SCTP{Src: tcpA, Dst: tcpB, Tag: l.tag, Chunks: l.chunks}
				if l.reply {
					p.Src, p.Dst = p.Dst, p.Src
				}
				if reason := w.send(p.Bytes()); reason != l.want {
					t.Fatalf("line %d: %v, want %v", i, reason, l.want)
				}
				if w.c.ID != 0 {
					id = w.c.ID
				}
				if l.state == "" {
					continue
				}
				if s := w.snap(id); s.State != l.state {
					t.Fatalf("line %d: %s, want %s", i, s.State, l.state)
				} else if s.State == "ESTABLISHED" && s.Status&Assured == 0 {
					t.Fatalf("line %d: not assured", i)
				}
			}
		})
	}
	w := newWorld(t, nil)
	for _, l := range open {
		p := testpkt.SCTP{Src: tcpA, Dst: tcpB, Tag: l.tag, Chunks: l.chunks}
		if l.reply {
			p.Src, p.Dst = p.Dst, p.Src
		}
		w.pass(p.Bytes())
	}
	w.timeout(w.c.ID, 2*time.Hour+4*time.Minute)
}

// TestSCTPTableIsWhole: each row says something for each state, and a state is never left for "none".
func TestSCTPTableIsWhole(t *testing.T) {
	for dir := range sctpNext {
		for ev, row := range sctpNext[dir] {
			for from, to := range row {
				if to == sctpNone {
					t.Errorf("%d, event %d from %v has no entry", dir, ev, sctpStateID(from))
				}
			}
		}
	}
}

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
