package conntrack

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/packet"
)

// specNext is what docs/spec/conntrack.md, section 4, says: by direction and event, a column a state. "SS*" is its
// note (a).
var specNext = transitions("../../docs/spec/conntrack.md")

// transitions reads the two tables whose heads begin with "original" and "reply". Notes but (a) are left out.
func transitions(page string) map[string]string {
	text, err := os.ReadFile(page)
	if err != nil {
		panic(err)
	}
	notes := strings.NewReplacer(" (a)", "*", " (b)", "", " (c)", "", " (d)", "", "|", " ")
	next, dir := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		cells := strings.Fields(notes.Replace(line))
		switch {
		case !strings.HasPrefix(line, "|") || len(cells) != 1+int(numTCPStates):
			dir = ""
		case cells[0] == "original" || cells[0] == "reply":
			dir = cells[0][:1] + " "
		case dir != "" && !strings.HasPrefix(cells[0], "-"):
			event := strings.ToUpper(strings.ReplaceAll(cells[0], "-", ""))
			next[dir+event] = strings.Join(cells[1:], " ")
		}
	}
	return next
}

var specStates = map[string]tcpStateID{
	"NO": tcpNone, "SS": tcpSynSent, "SR": tcpSynRecv, "ES": tcpEstablished, "FW": tcpFinWait, "CW": tcpCloseWait,
	"LA": tcpLastAck, "TW": tcpTimeWait, "CL": tcpClose, "S2": tcpSynSent2, "IG": tcpIgnore, "IV": tcpInvalid,
	"SS*": tcpSynSent,
}

var specEvents = map[string]tcpEvent{
	"SYN": evSYN, "SYNACK": evSYNACK, "FIN": evFIN, "ACK": evACK, "RST": evRST, "NONE": evNone,
}

func TestTCPTableIsTheSpecs(t *testing.T) {
	cells := 0
	for row, line := range specNext {
		var dir, event string
		fmt.Sscan(row, &dir, &event)
		d := Original
		if dir == "r" {
			d = Reply
		}
		for state, want := range strings.Fields(line) {
			cells++
			if got := tcpNext[d][specEvents[event]][state]; got != specStates[want] {
				t.Errorf("%s in %v: %v, want %s", row, tcpStateID(state), got, want)
			}
		}
	}
	if cells != 2*int(numTCPEvents)*int(numTCPStates) {
		t.Errorf("%d cells", cells)
	}
}

// reach are segments that bring a connection into a state; A's ISN is 1000, B's 5000.
var reach = map[tcpStateID][]seg{
	tcpSynSent:     {{flags: "S", seq: 1000}},
	tcpSynSent2:    {{flags: "S", seq: 1000}, {reply: true, flags: "S", seq: 5000}},
	tcpSynRecv:     {{flags: "S", seq: 1000}, {reply: true, flags: "SA", seq: 5000, ack: 1001}},
	tcpEstablished: estab,
	tcpFinWait:     then(estab, seg{flags: "FA", seq: 1001, ack: 5001}),
	tcpCloseWait:   then(estab, seg{flags: "FA", seq: 1001, ack: 5001}, seg{reply: true, flags: "A", seq: 5001, ack: 1002}),
	tcpLastAck:     then(estab, seg{flags: "FA", seq: 1001, ack: 5001}, seg{reply: true, flags: "FA", seq: 5001, ack: 1002}),
	tcpTimeWait: then(estab, seg{flags: "FA", seq: 1001, ack: 5001}, seg{reply: true, flags: "FA", seq: 5001, ack: 1002},
		seg{flags: "A", seq: 1002, ack: 5002}),
	tcpClose: then(estab, seg{flags: "RA", seq: 1001, ack: 5001}),
}

var estab = []seg{
	{flags: "S", seq: 1000}, {reply: true, flags: "SA", seq: 5000, ack: 1001}, {flags: "A", seq: 1001, ack: 5001},
}

func then(first []seg, more ...seg) []seg { return append(append([]seg(nil), first...), more...) }

// TestTCPEveryCell sends a segment of each kind in each state through the whole table and compares what becomes of it
// with the specification: every cell of both directions but the row of no flags, which no legal segment has.
func TestTCPEveryCell(t *testing.T) {
	flags := map[string]string{"SYN": "S", "SYNACK": "SA", "FIN": "FA", "ACK": "A", "RST": "RA"}
	for row, line := range specNext {
		var dir, event string
		fmt.Sscan(row, &dir, &event)
		if event == "NONE" {
			continue
		}
		for state, want := range strings.Fields(line) {
			if dir == "r" && state == int(tcpNone) {
				continue // a first packet is of the original direction by definition
			}
			t.Run(fmt.Sprintf("%s/%v", row, tcpStateID(state)), func(t *testing.T) {
				w := newWorld(t, nil)
				for _, g := range reach[tcpStateID(state)] {
					w.pass(g.bytes())
				}
				old := w.c.ID
				g := seg{reply: dir == "r", flags: flags[event]}
				var numbers *tcpState
				if old != 0 {
					if numbers = w.tcp(); numbers.state != tcpStateID(state) {
						t.Fatalf("reached %v", numbers.state)
					}
					s, r := &numbers.side[Original], &numbers.side[Reply]
					if g.reply {
						s, r = r, s
					}
					g.seq, g.ack = s.end, r.end
				}
				checkCell(w, g, old, tcpStateID(state), want)
			})
		}
	}
}

func checkCell(w *world, g seg, old Handle, state tcpStateID, want string) {
	w.Helper()
	reason := w.send(g.bytes())
	switch want {
	case "IV":
		if reason == packet.NotDropped {
			w.Fatalf("passed")
		}
		if state != tcpNone && reason != packet.TCPState || state == tcpNone && reason != packet.NotTracked {
			w.Fatalf("reason %v", reason)
		}
		return
	case "SS*": // the states that reach got to have a FIN or an own RST behind them
		if reason != packet.NotDropped {
			w.Fatalf("dropped: %v", reason)
		}
		if g.reply || w.c.ID == old {
			// from the other end it opens a connection of its own
			if w.c.ID == old {
				w.Fatalf("not reopened")
			}
		}
		w.want(InfoNew, Confirmed)
		return
	}
	if reason != packet.NotDropped {
		w.Fatalf("dropped: %v", reason)
	}
	if want == "CL" && (state == tcpSynSent || state == tcpSynSent2 && !w.seen(old)) {
		if _, alive := w.t.Lookup(w.now, old); alive {
			w.Fatalf("RST without any reply did not end the connection")
		}
		return
	}
	expect := specStates[want]
	if want == "IG" {
		expect = state
	}
	if got := w.tcp().state; got != expect {
		w.Fatalf("state %v, want %v", got, expect)
	}
}

func (w *world) seen(id Handle) bool {
	s, ok := w.t.Lookup(w.now, id)
	return ok && s.Status&SeenReply != 0
}

func TestTCPFlags(t *testing.T) {
	legal := map[string]bool{
		"S": true, "SU": true, "SA": true, "R": true, "RA": true, "FA": true, "FAU": true, "A": true, "AU": true,
	}
	want := map[uint8]bool{}
	for f := range legal {
		want[flagsOf(f)] = true
	}
	for f := range 256 {
		w := newWorld(t, nil)
		b := seg{flags: "A", seq: 1, ack: 1}.bytes()
		b[20+13] = byte(f)
		bad := w.track(b) == packet.BadFlags
		if ok := want[uint8(f)&^(packet.FlagPSH|packet.FlagECE|packet.FlagCWR)]; ok == bad {
			t.Errorf("flags %08b: refused %v, want %v", f, bad, !ok)
		}
	}
}

// TestTCPVectors are those of docs/spec/conntrack.md, section 13, that are about TCP.
func TestTCPVectors(t *testing.T) {
	t.Run("1 handshake", func(t *testing.T) {
		w := newWorld(t, nil)
		w.pass(seg{flags: "S", seq: 1000}.bytes())
		w.want(InfoNew, Confirmed)
		w.state("SYN_SENT")
		w.pass(seg{reply: true, flags: "SA", seq: 5000, ack: 1001}.bytes())
		w.want(InfoEstablishedReply, SeenReply)
		w.state("SYN_RECV")
		w.pass(seg{flags: "A", seq: 1001, ack: 5001}.bytes())
		w.want(InfoEstablished, Assured)
		w.state("ESTABLISHED")
		w.timeout(w.c.ID, 5*24*time.Hour)
	})
	t.Run("2 refused at once", func(t *testing.T) {
		w := newWorld(t, nil)
		id := w.pass(seg{flags: "S", seq: 1000}.bytes()).ID
		w.pass(seg{reply: true, flags: "RA", seq: 0, ack: 1001}.bytes())
		w.want(InfoEstablishedReply, Confirmed)
		if _, ok := w.t.Lookup(w.now, id); ok || w.t.Len() != 0 {
			t.Fatal("still there")
		}
	})
	for _, last := range []seg{{reply: true, flags: "SA", seq: 5000, ack: 1001}, {reply: true, flags: "A", seq: 5001, ack: 1001}} {
		t.Run("3 simultaneous open, then "+last.flags, func(t *testing.T) {
			w := newWorld(t, nil)
			w.pass(seg{flags: "S", seq: 1000}.bytes())
			w.state("SYN_SENT")
			w.pass(seg{reply: true, flags: "S", seq: 5000}.bytes())
			w.state("SYN_SENT2")
			w.pass(seg{flags: "SA", seq: 1000, ack: 5001}.bytes())
			w.state("SYN_RECV")
			w.pass(last.bytes())
			w.state("ESTABLISHED")
		})
	}
	t.Run("4 reopen", func(t *testing.T) {
		w := newWorld(t, nil)
		for _, g := range reach[tcpTimeWait] {
			w.pass(g.bytes())
		}
		old := w.c.ID
		w.pass(seg{flags: "S", seq: 900000}.bytes())
		w.want(InfoNew, Confirmed)
		if w.c.ID == old || w.t.Len() != 1 {
			t.Fatalf("old %x, new %x, %d connections", old, w.c.ID, w.t.Len())
		}
	})
	t.Run("5 client reboots", func(t *testing.T) {
		w := newWorld(t, nil)
		id := w.handshake(nil)
		w.pass(seg{flags: "S", seq: 77000}.bytes())
		w.state("ESTABLISHED")
		w.pass(seg{reply: true, flags: "A", seq: 5001, ack: 1001}.bytes()) // challenge ACK
		w.state("ESTABLISHED")
		w.pass(seg{flags: "R", seq: 1001}.bytes())
		w.state("CLOSE")
		w.timeout(id, 4*time.Minute)
	})
	t.Run("6 scaling needs both", func(t *testing.T) {
		w := newWorld(t, nil)
		w.pass(seg{flags: "S", seq: 1000, win: 64240, opts: wscale7}.bytes())
		w.pass(seg{reply: true, flags: "SA", seq: 5000, ack: 1001}.bytes())
		if ts := w.tcp(); ts.side[Original].scale != 0 || ts.side[Reply].scale != 0 {
			t.Fatalf("scales %d %d", ts.side[Original].scale, ts.side[Reply].scale)
		}
	})
	for _, liberal := range []bool{false, true} {
		t.Run(fmt.Sprintf("7 beyond the window, liberal %v", liberal), func(t *testing.T) {
			w := newWorld(t, func(cfg *Config) { cfg.TCPLiberal = liberal })
			w.handshake(nil)
			ts := w.tcp()
			ts.side[Original] = tcpSide{end: 1000, maxEnd: 1000 + 65535, maxWin: 64240}
			ts.side[Reply].maxWin = 65535
			reason := w.send(seg{flags: "PA", seq: 70000, ack: 5001, n: 10}.bytes())
			if liberal != (reason == packet.NotDropped) || !liberal && reason != packet.TCPWindow {
				t.Fatal(reason)
			}
		})
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   time.Duration
	}{"linux": {linux, 10 * time.Second}, "rfc": {nil, 4 * time.Minute}} {
		t.Run("8 inexact RST, "+name, func(t *testing.T) {
			w := newWorld(t, tt.change)
			id := w.handshake(nil)
			w.pass(seg{reply: true, flags: "R", seq: 5002}.bytes())
			w.state("ESTABLISHED")
			w.timeout(id, tt.want)
			w.refused(seg{reply: true, flags: "R", seq: 5000}.bytes(), packet.TCPReset)
		})
	}
}

func (w *world) state(want string) {
	w.Helper()
	if got := w.snap(w.c.ID).State; got != want {
		w.Fatalf("state %s, want %s", got, want)
	}
}
