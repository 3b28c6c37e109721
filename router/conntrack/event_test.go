package conntrack

import (
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// handshakeNAT is a handshake through w.nat's source translation to T:40000.
func (w *world) handshakeNAT() Handle {
	w.Helper()
	w.pass(seg{flags: "S", seq: 1000}.bytes())
	w.pass(testpkt.TCP{Src: tcpB, Dst: addrPort(natT, 40000), Seq: 5000, Ack: 1001, Flags: packet.FlagSYN | packet.FlagACK}.Bytes())
	w.pass(seg{flags: "A", seq: 1001, ack: 5001}.bytes())
	return w.c.ID
}

func TestEvents(t *testing.T) {
	w := newWorld(t, nil)
	sub := w.t.Subscribe(100)
	id := w.handshake(nil)
	w.t.SetMark(id, 1)
	w.t.SetHelper(id, 2)
	x := w.t.Ext(id)
	x.Mu.Lock()
	w.t.SetLabels(x, [2]uint64{1, 2})
	if err := w.t.AddEdit(x, Original, Edit{Start: 1001, Len: 1, New: []byte("ab")}); err != nil {
		t.Fatal(err)
	}
	x.Mu.Unlock()
	w.pass(seg{flags: "FA", seq: 1001, ack: 5001}.bytes())
	w.t.Delete(w.now, id)
	got := make([]Event, 100)
	n, lost := sub.Read(got)
	want := []struct {
		typ    EventType
		update Update
		state  string
	}{
		{EventNew, 0, "SYN_SENT"},
		{EventUpdate, UpdateReply | UpdateProto, "SYN_RECV"},
		{EventUpdate, UpdateAssured | UpdateProto, "ESTABLISHED"},
		{EventUpdate, UpdateMark, "ESTABLISHED"},
		{EventUpdate, UpdateHelper, "ESTABLISHED"},
		{EventUpdate, UpdateLabel, "ESTABLISHED"},
		{EventUpdate, UpdateSeqAdj, "ESTABLISHED"},
		{EventUpdate, UpdateProto, "FIN_WAIT"},
		{EventDestroy, 0, "FIN_WAIT"},
	}
	if n != len(want) || lost != 0 {
		t.Fatalf("%d events, %d lost", n, lost)
	}
	for i, ev := range got[:n] {
		if ev.Type != want[i].typ || ev.Update != want[i].update || ev.Conn.State != want[i].state || ev.Conn.ID != id {
			t.Errorf("event %d: %+v", i, ev)
		}
	}
	select {
	case <-sub.Wake():
	default:
		t.Error("nobody was woken")
	}
	sub.Close()
	w.pass(udp(hostA, 1, hostB, 2))
	if n, _ := sub.Read(got); n != 0 {
		t.Error("events after Close")
	}
	if dead := w.reap(); len(dead) != 1 || dead[0].Ext != x || x.Labels != [2]uint64{1, 2} {
		t.Errorf("%+v", dead)
	}
}

// TestSlowReader: a reader that does not keep up loses a gap, is told how wide, and holds nobody up.
func TestSlowReader(t *testing.T) {
	w := newWorld(t, nil)
	slow, quick := w.t.Subscribe(4, EventNew), w.t.Subscribe(100, EventNew, EventDestroy)
	for i := range 10 {
		w.pass(udp(hostA, uint16(i), hostB, 2))
	}
	buf := make([]Event, 3)
	if n, lost := slow.Read(buf); n != 3 || lost != 0 || buf[0].Conn.Tuples[0].SrcID != 0 {
		t.Fatal(n, lost)
	}
	w.pass(udp(hostA, 10, hostB, 2)) // there would be room again, but the gap comes first
	if n, lost := slow.Read(buf); n != 1 || lost != 7 || buf[0].Conn.Tuples[0].SrcID != 3 {
		t.Fatal(n, lost)
	}
	w.pass(udp(hostA, 11, hostB, 2))
	if n, lost := slow.Read(buf); n != 1 || lost != 0 || buf[0].Conn.Tuples[0].SrcID != 11 {
		t.Fatal(n, lost)
	}
	if n, lost := quick.Read(make([]Event, 100)); n != 12 || lost != 0 {
		t.Fatal(n, lost)
	}
}
