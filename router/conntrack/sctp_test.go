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
