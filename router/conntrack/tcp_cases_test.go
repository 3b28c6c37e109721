package conntrack

import (
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/packet"
)

// line is one line of a case: a segment, what becomes of it, and the state after it.
type line struct {
	after  time.Duration // since the line before
	seg    seg
	reason packet.DropReason
	state  string        // "": the connection is gone
	left   time.Duration // until the deadline, 0: not looked at
	other  bool          // it belongs to another connection than the line before
}

const (
	ok   = packet.NotDropped
	win  = packet.TCPWindow
	rst  = packet.TCPReset
	bad  = packet.TCPState
	none = packet.NotTracked
)

func ab(flags string, seq, ack uint32, n int) seg { return seg{flags: flags, seq: seq, ack: ack, n: n} }
func ba(flags string, seq, ack uint32, n int) seg {
	return seg{reply: true, flags: flags, seq: seq, ack: ack, n: n}
}

// opened is a handshake; A's ISN is 1000, B's 5000.
var opened = []line{
	{seg: ab("S", 1000, 0, 0), state: "SYN_SENT"},
	{seg: ba("SA", 5000, 1001, 0), state: "SYN_RECV"},
	{seg: ab("A", 1001, 5001, 0), state: "ESTABLISHED"},
}

func on(first []line, more ...line) []line { return append(append([]line(nil), first...), more...) }

// TestTCPCases are whole conversations, in the manner of packetdrill. The first six are those that the kernel's own
// suite has for its tracker.
func TestTCPCases(t *testing.T) {
	const estab5d = 5 * 24 * time.Hour
	for name, tt := range map[string]struct {
		lines  []line
		change func(*Config)
	}{
		"ack loss stall: a sender that got no ACK for long keeps its connection": {change: linux, lines: on(opened,
			line{seg: ab("PA", 1001, 5001, 1000), state: "ESTABLISHED", left: 300 * time.Second}, // unacknowledged
			line{after: time.Second, seg: ab("PA", 2001, 5001, 1000), state: "ESTABLISHED", left: 300 * time.Second},
			// The ACKs are lost beyond us; the sender begins again at the front.
			line{after: 3 * time.Second, seg: ab("PA", 1001, 5001, 1000), state: "ESTABLISHED", left: 300 * time.Second},
			line{after: 90 * time.Second, seg: ab("PA", 1001, 5001, 1000), state: "ESTABLISHED", left: 300 * time.Second},
			line{after: 1 * time.Second, seg: ba("A", 5001, 3001, 0), state: "ESTABLISHED", left: estab5d},
		)},
		"inexact RST: in the window, not at its edge": {change: linux, lines: on(opened,
			line{seg: ba("PA", 5001, 1001, 100), state: "ESTABLISHED"},
			line{seg: ab("A", 1001, 5101, 0), state: "ESTABLISHED"},
			line{seg: ba("R", 5301, 0, 0), state: "ESTABLISHED", left: 10 * time.Second}, // may be blind: RFC 5961, section 3
			line{seg: ab("A", 1001, 5101, 0), state: "ESTABLISHED", left: estab5d},       // the challenge ACK
			line{seg: ba("R", 5101, 0, 0), state: "CLOSE", left: 10 * time.Second},       // the true peer answers exactly
		)},
		"invalid RST: below what the other end has acknowledged": {lines: on(opened,
			line{seg: ba("PA", 5001, 1001, 100), state: "ESTABLISHED"},
			line{seg: ab("A", 1001, 5101, 0), state: "ESTABLISHED"},
			line{seg: ba("R", 5001, 0, 0), reason: rst, state: "ESTABLISHED", left: estab5d},
			line{seg: ba("R", 0x90000000, 0, 0), reason: rst, state: "ESTABLISHED", left: estab5d},
			line{seg: ba("R", 5101, 0, 0), state: "CLOSE"},
		)},
		"SYN challenge ACK: a SYN into an open connection is answered, the answer ends nothing": {lines: on(opened,
			line{seg: ab("S", 90000, 0, 0), state: "ESTABLISHED"},
			line{seg: ba("A", 5001, 1001, 0), state: "ESTABLISHED"}, // RFC 5961, section 4
			line{seg: ab("R", 1001, 0, 0), state: "CLOSE"},          // A knows nothing of it
			line{seg: ab("S", 90000, 0, 0), state: "SYN_SENT", other: true},
			line{seg: ba("SA", 70000, 90001, 0), state: "SYN_RECV"},
			line{seg: ab("A", 90001, 70001, 0), state: "ESTABLISHED"},
		)},
		"blind SYN-ACK: with numbers of its own it is refused, and leaves none behind": {lines: []line{
			{seg: ab("S", 1000, 0, 0), state: "SYN_SENT"},
			{seg: ba("SA", 0x70000000, 0x60000000, 0), reason: win, state: "SYN_SENT"},
			{seg: ba("SA", 5000, 1001, 0), state: "SYN_RECV"},
			{seg: ab("A", 1001, 5001, 0), state: "ESTABLISHED"},
			{seg: ba("PA", 5001, 1001, 100), state: "ESTABLISHED"},
		}},
		"SYN challenge ACK in LAST_ACK: it acknowledges no FIN": {lines: on(opened,
			line{seg: ab("FA", 1001, 5001, 0), state: "FIN_WAIT"},
			line{seg: ba("FA", 5001, 1002, 0), state: "LAST_ACK"},
			line{seg: ab("S", 90000, 0, 0), state: "LAST_ACK"},
			line{seg: ba("A", 5002, 1002, 0), state: "LAST_ACK"},
			line{seg: ab("R", 1002, 0, 0), state: "CLOSE"},
			line{seg: ab("S", 90000, 0, 0), state: "SYN_SENT", other: true},
		)},
		"old SYN-ACK: the answer to an earlier SYN is reset, the connection goes on": {lines: []line{
			{seg: ab("S", 1000, 0, 0), state: "SYN_SENT"},
			{seg: ba("A", 8000, 501, 0), state: "SYN_SENT"}, // B still has an older connection: RFC 9293, section 3.5.1
			{seg: ab("R", 501, 0, 0), state: "CLOSE"},       // A resets that
			{after: time.Second, seg: ab("S", 1000, 0, 0), state: "SYN_SENT", other: true},
			{seg: ba("SA", 5000, 1001, 0), state: "SYN_RECV"},
			{seg: ab("A", 1001, 5001, 0), state: "ESTABLISHED"},
		}},
		"SYN-ACK reuse: the ends have begun anew, and we learn it from the SYN-ACK": {lines: on(opened,
			line{seg: ab("S", 90000, 0, 0), state: "ESTABLISHED"},
			line{seg: ba("SA", 70000, 90001, 0), state: "SYN_RECV"},
			line{seg: ab("A", 90001, 70001, 0), state: "ESTABLISHED"},
			line{seg: ab("PA", 90001, 70001, 500), state: "ESTABLISHED"},
			line{seg: ab("PA", 1001, 5001, 500), state: "ESTABLISHED"}, // of the old one: late, teaches nothing
			line{seg: ab("PA", 90001+200000, 70001, 500), reason: win, state: "ESTABLISHED"},
		)},
		"SYN sent again without answer does not hold the mapping": {lines: []line{
			{seg: ab("S", 1000, 0, 0), state: "SYN_SENT", left: 4 * time.Minute},
			{after: time.Minute, seg: ab("S", 1000, 0, 0), state: "SYN_SENT", left: 3 * time.Minute},
			{after: time.Minute, seg: ab("S", 1000, 0, 0), state: "SYN_SENT", left: 2 * time.Minute},
		}},
		"RST without ACK is not believed in SYN-SENT": {lines: []line{
			{seg: ab("S", 1000, 0, 0), state: "SYN_SENT"},
			{seg: ba("R", 12345, 0, 0), state: "SYN_SENT"},
			{seg: ba("RA", 0, 1001, 0), state: ""},
		}},
		"RST behind data of the same direction is exact": {lines: on(opened,
			line{seg: ba("PA", 5001, 1001, 100), state: "ESTABLISHED"},
			line{seg: ba("RA", 5101, 1001, 0), state: "CLOSE"},
		)},
		"the same ACK three times over: max_retrans": {change: linux, lines: on(opened,
			line{seg: ab("A", 1001, 5001, 0), state: "ESTABLISHED", left: estab5d},
			line{seg: ab("A", 1001, 5001, 0), state: "ESTABLISHED", left: estab5d},
			line{seg: ab("A", 1001, 5001, 0), state: "ESTABLISHED", left: 300 * time.Second},
			line{seg: ab("PA", 1001, 5001, 1), state: "ESTABLISHED", left: 300 * time.Second}, // now unacknowledged
			line{seg: ba("A", 5001, 1002, 0), state: "ESTABLISHED", left: estab5d},
		)},
		"a RST after the same segment many times over: the shorter of both times": {lines: on(opened,
			line{seg: ba("PA", 5001, 1001, 100), state: "ESTABLISHED"},
			line{seg: ba("PA", 5001, 1001, 100), state: "ESTABLISHED"},
			line{seg: ba("PA", 5001, 1001, 100), state: "ESTABLISHED"},
			line{seg: ba("PA", 5001, 1001, 100), state: "ESTABLISHED", left: 124 * time.Minute},
			line{seg: ba("R", 5050, 0, 0), state: "ESTABLISHED", left: 4 * time.Minute},
		)},
		"zero window: max_retrans": {change: linux, lines: on(opened,
			line{seg: ab("PA", 1001, 5001, 10), state: "ESTABLISHED"},
			line{seg: seg{reply: true, flags: "A", seq: 5001, ack: 1011, win: noWindow}, state: "ESTABLISHED", left: 300 * time.Second},
			line{seg: ab("A", 1011, 5001, 1), state: "ESTABLISHED"}, // probes one byte beyond
		)},
		"FIN both ways, rfc times": {lines: on(opened,
			line{seg: ab("FA", 1001, 5001, 0), state: "FIN_WAIT", left: 4 * time.Minute},
			line{seg: ba("A", 5001, 1002, 0), state: "CLOSE_WAIT", left: 4 * time.Minute},
			line{seg: ba("FA", 5001, 1002, 0), state: "LAST_ACK", left: 4 * time.Minute},
			line{seg: ab("A", 1002, 5002, 0), state: "TIME_WAIT", left: 4 * time.Minute},
			line{after: 4*time.Minute - 1, seg: ab("A", 1002, 5002, 0), state: "TIME_WAIT", left: 4 * time.Minute},
		)},
		"picked up in the middle: no scale known, short time until answered": {lines: []line{
			{seg: ab("PA", 1000, 9000, 100), state: "ESTABLISHED", left: 2*time.Hour + 4*time.Minute},
			{seg: ba("PA", 9000, 1100, 60000), state: "ESTABLISHED"},
			{seg: ab("A", 900000, 9999999, 0), state: "ESTABLISHED"}, // liberal
			{seg: ab("FA", 1100, 69000, 0), state: "FIN_WAIT"},
		}},
		"not picked up": {change: func(c *Config) { c.NoTCPLoose = true }, lines: []line{
			{seg: ab("A", 1000, 9000, 0), reason: none},
			{seg: ab("SA", 1000, 9000, 0), reason: none},
			{seg: ab("FA", 1000, 9000, 0), reason: none},
			{seg: ab("R", 1000, 9000, 0), reason: none},
		}},
		"FIN and RST out of the window from both ends: tracking is lost, the time is cut": {change: linux, lines: on(opened,
			line{seg: ab("FA", 0x40000000, 5001, 0), reason: win, state: "ESTABLISHED", left: estab5d},
			line{seg: ba("FA", 0x40000000, 1001, 0), reason: win, state: "ESTABLISHED", left: 300 * time.Second},
		)},
		"old data sent again passes and teaches nothing": {lines: on(opened,
			line{seg: ab("PA", 1001, 5001, 1000), state: "ESTABLISHED"},
			line{seg: ba("A", 5001, 2001, 0), state: "ESTABLISHED"},
			line{seg: ab("PA", 1001, 5001, 1000), state: "ESTABLISHED"},
			line{seg: ab("PA", 2001-1900, 5001, 10), state: "ESTABLISHED"},
			line{seg: ab("PA", 2001, 5001+70000, 10), reason: win, state: "ESTABLISHED"}, // acknowledges what was never sent
		)},
		"SYN from the other end of a closed connection": {lines: on(opened,
			line{seg: ab("FA", 1001, 5001, 0), state: "FIN_WAIT"},
			line{seg: ba("FA", 5001, 1002, 0), state: "LAST_ACK"},
			line{seg: ab("A", 1002, 5002, 0), state: "TIME_WAIT"},
			line{seg: ba("S", 800000, 0, 0), state: "SYN_SENT", other: true},
		)},
		"CLOSE after the peer's RST: a new SYN passes, its SYN-ACK puts us right": {lines: on(opened,
			line{seg: ba("R", 5001, 0, 0), state: "CLOSE"},
			line{seg: ab("S", 90000, 0, 0), state: "CLOSE"},
			line{seg: ba("SA", 70000, 90001, 0), state: "SYN_RECV"},
		)},
	} {
		t.Run(name, func(t *testing.T) { runLines(t, tt.change, tt.lines) })
	}
}

func runLines(t *testing.T, change func(*Config), lines []line) {
	w := newWorld(t, change)
	var id Handle
	for i, l := range lines {
		w.now += Time(l.after)
		if reason := w.send(l.seg.bytes()); reason != l.reason {
			t.Fatalf("line %d: %v, want %v", i, reason, l.reason)
		}
		if w.c.ID != 0 {
			if l.other == (w.c.ID == id) && i > 0 {
				t.Fatalf("line %d: connection %x after %x", i, w.c.ID, id)
			}
			id = w.c.ID
		}
		s, alive := w.t.Lookup(w.now, id)
		if alive != (l.state != "") || alive && s.State != l.state {
			t.Fatalf("line %d: state %q, want %q", i, s.State, l.state)
		}
		if l.left != 0 && s.Timeout != Time(l.left) {
			t.Fatalf("line %d: %v left, want %v", i, time.Duration(s.Timeout), l.left)
		}
	}
}
