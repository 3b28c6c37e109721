package conntrack

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// ftpExpect awaits B, from any port, at A's.
func ftpExpect(master Handle, port uint16) Expectation {
	return Expectation{
		Master: master, Tuple: tuple(hostB, 0, hostA, port, packet.ProtoTCP, 4), Mask: MaskAnyPort, Limit: 1, Lifetime: 300 * sec,
	}
}

func (w *world) expect(e Expectation) ExpectID {
	w.Helper()
	id, err := w.t.Expect(w.now, e)
	if err != nil {
		w.Fatal(err)
	}
	return id
}

// syn is a SYN to a port of A.
func syn(from seg, port uint16) []byte {
	b := from.bytes()
	b[22], b[23] = byte(port>>8), byte(port)
	return b
}

var dataSYN = seg{reply: true, flags: "S", seq: 1}

func TestExpectationIsUsedOnce(t *testing.T) {
	w := newWorld(t, nil)
	master := w.handshake(nil)
	w.t.SetMark(master, 42)
	e := ftpExpect(master, 5000)
	e.Helper = 3
	e.NAT.Dst = Manip{Key: 21, HasKey: true}
	w.expect(e)
	child := w.pass(syn(dataSYN, 5000)).ID
	w.want(InfoRelated, Expected|Confirmed)
	if w.c.Master != master || w.c.Mark != 42 || w.c.Helper != 3 || w.c.NAT != e.NAT {
		t.Fatalf("%+v", w.c)
	}
	if s := w.snap(child); s.Master != master || s.Mark != 42 || s.Helper != 3 {
		t.Fatalf("%+v", s)
	}
	if left := w.t.Expectations(w.now, master); len(left) != 0 {
		t.Fatalf("%+v", left)
	}
	// Until its reply the child's own packets stay RELATED.
	w.pass(syn(dataSYN, 5000))
	w.want(InfoRelated, Expected)
	// Another source port does not fit any more.
	other := syn(dataSYN, 5000)
	other[21]++
	w.pass(other)
	w.want(InfoNew, Confirmed)
	// The child outlives its master.
	w.t.Delete(w.now, master)
	w.reap()
	w.snap(child)
}

// TestExpectationOutlivesRefusal: a first packet that is dropped before its connection is confirmed leaves the expectation for
// the next one, and two that come at once don't both use it (docs/spec/conntrack.md, section 8).
func TestExpectationOutlivesRefusal(t *testing.T) {
	w := newWorld(t, nil)
	master := w.handshake(nil)
	id := w.expect(ftpExpect(master, 5000))
	w.track(syn(dataSYN, 5000)) // and then dropped
	w.want(InfoRelated, Expected)
	other := syn(dataSYN, 5000)
	other[21]++
	w.track(other)
	w.want(InfoRelated, Expected)
	late := w.c

	// While one is being confirmed no other takes it.
	if !w.t.expect.claim(id) || w.t.expect.claim(id) {
		t.Fatal("claimed twice")
	}
	early := late
	if reason := w.t.Confirm(0, w.now, &early); reason != packet.Clash {
		t.Fatalf("let in while another claims: %s", reason)
	}
	w.track(other)
	w.want(InfoNew, 0)
	w.t.expect.settle(id, false)

	// One that can't be confirmed leaves it, too: its reply tuple is taken.
	w.track(syn(dataSYN, 5000))
	stuck := w.c
	stuck.Tuples[Reply] = w.snap(master).Tuples[Reply]
	if reason := w.t.Confirm(0, w.now, &stuck); reason != packet.Clash || len(w.t.Expectations(w.now, master)) != 1 {
		t.Fatalf("%s, %+v", reason, w.t.Expectations(w.now, master))
	}

	child := w.pass(syn(dataSYN, 5000)).ID
	w.want(InfoRelated, Expected|Confirmed)
	if left := w.t.Expectations(w.now, master); len(left) != 0 || w.snap(child).Master != master {
		t.Fatalf("%+v", left)
	}
	if reason := w.t.Confirm(0, w.now, &late); reason != packet.Clash {
		t.Fatalf("a second one was let in: %s", reason)
	}
	// The same packet on two workers is one connection.
	e := ftpExpect(master, 5000)
	e.Tuple.Proto = packet.ProtoUDP
	w.expect(e)
	none := func(*Conn) {}
	c, d, reason := w.race(udp(hostB, 69, hostA, 5000), none, none)
	if reason != packet.NotDropped || !d.Merged || d.ID != c.ID || c.Status&Expected == 0 || w.t.expect.waiting() {
		t.Fatalf("%s: %+v and %+v", reason, c, d)
	}
}

func TestExpectationMatching(t *testing.T) {
	gre := tuple(hostB, 7, hostA, 9, packet.ProtoGRE, 4|GREv1)
	for name, tt := range map[string]struct {
		change func(*Expectation)
		b      []byte
		want   bool
	}{
		"as announced":             {nil, syn(dataSYN, 5000), true},
		"another port":             {nil, syn(dataSYN, 5001), false},
		"not a SYN":                {nil, syn(seg{reply: true, flags: "A", seq: 1}, 5000), false},
		"source port exact":        {func(e *Expectation) { e.Mask = MaskExact; e.Tuple.SrcID = 80 }, syn(dataSYN, 5000), true},
		"source port exact, other": {func(e *Expectation) { e.Mask = MaskExact; e.Tuple.SrcID = 81 }, syn(dataSYN, 5000), false},
		"another source": {func(e *Expectation) { e.Tuple.Src = router.As16() },
			syn(dataSYN, 5000), false},
		"any source": {func(e *Expectation) { e.Mask = Mask{}; e.Tuple.Src = router.As16() },
			syn(dataSYN, 5000), true},
		"source net": {func(e *Expectation) {
			e.Tuple.Src[15] = 0
			e.Mask.Src[15] = 0
		}, syn(dataSYN, 5000), true},
		"inactive":         {func(e *Expectation) { e.Inactive = true }, syn(dataSYN, 5000), false},
		"another protocol": {func(e *Expectation) { e.Tuple.Proto = packet.ProtoUDP }, syn(dataSYN, 5000), false},
		"enhanced gre": {func(e *Expectation) { e.Tuple = gre; e.Mask = MaskExact },
			grev1(hostB, hostA, 9), true},
		"plain gre is not enhanced": {func(e *Expectation) { e.Tuple = gre; e.Mask = MaskExact },
			testpkt.GREv0{Src: hostB, Dst: hostA, HasKey: true, Key: 9}.Bytes(), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			e := ftpExpect(w.handshake(nil), 5000)
			if tt.change != nil {
				tt.change(&e)
			}
			w.expect(e)
			w.pass(tt.b)
			if got := w.c.Info == InfoRelated; got != tt.want {
				t.Fatalf("matched %v", got)
			}
			if w.c.Tuples[Original].IsGREv1() && tt.want && w.c.Tuples != [2]Tuple{gre, gre.inverse()} {
				t.Fatalf("%v", w.c.Tuples)
			}
			if left := len(w.t.Expectations(w.now, 0)); (left == 0) != tt.want {
				t.Fatalf("%d left", left)
			}
		})
	}
}

func TestExpectationLives(t *testing.T) {
	w := newWorld(t, nil)
	sub := w.t.Subscribe(100, EventExpectNew, EventExpectDestroy)
	master := w.handshake(nil)
	a := w.expect(ftpExpect(master, 5000))
	w.now += 100 * sec
	// The same again is renewed, not refused: a retransmission.
	b := w.expect(ftpExpect(master, 5000))
	if left := w.t.Expectations(w.now, 0); len(left) != 1 || left[0].ID != b || a == b || left[0].Deadline != w.now+300*sec {
		t.Fatalf("%+v", left)
	}
	// The class is full: the oldest goes.
	c := w.expect(ftpExpect(master, 5001))
	if left := w.t.Expectations(w.now, 0); len(left) != 1 || left[0].ID != c {
		t.Fatalf("%+v", left)
	}
	// Another class has a limit of its own.
	e := ftpExpect(master, 5002)
	e.Class = 1
	w.expect(e)
	if left := w.t.Expectations(w.now, master); len(left) != 2 || left[0].ID != c {
		t.Fatalf("%+v", left)
	}
	w.now += 300*sec - 1
	w.t.Step(0, w.now, 10)
	if len(w.t.Expectations(w.now, 0)) != 2 {
		t.Fatal("expired too early")
	}
	w.now++
	if w.pass(syn(dataSYN, 5001)); w.c.Info != InfoNew {
		t.Fatal("used after its time")
	}
	w.t.Step(0, w.now, 10)
	if w.t.expect.waiting() || w.t.Unexpect(c) {
		t.Fatal("still there")
	}
	events := make([]Event, 100)
	n, lost := sub.Read(events)
	made := 0
	for _, ev := range events[:n] {
		if ev.Type == EventExpectNew {
			made++
		}
	}
	if n != 8 || made != 4 || lost != 0 {
		t.Fatalf("%d events, %d of them new, %d lost", n, made, lost)
	}
}

func TestExpectationRefusals(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxExpect = 3 })
	master := w.handshake(nil)
	other := w.pass(udp(hostB, 1, router, 2)).ID
	if _, err := w.t.Expect(w.now, ftpExpect(0, 5000)); !errors.Is(err, ErrNoMaster) {
		t.Error(err)
	}
	if _, err := w.t.Expect(w.now, ftpExpect(^Handle(0), 5000)); !errors.Is(err, ErrNoMaster) {
		t.Error(err)
	}
	w.expect(ftpExpect(master, 5000))
	// Of another master, or with another mask, it overlaps.
	if _, err := w.t.Expect(w.now, ftpExpect(other, 5000)); !errors.Is(err, ErrExpectBusy) {
		t.Error(err)
	}
	wild := ftpExpect(master, 5000)
	wild.Mask = Mask{}
	if _, err := w.t.Expect(w.now, wild); !errors.Is(err, ErrExpectBusy) {
		t.Error(err)
	}
	apart := ftpExpect(other, 5000)
	apart.Tuple.Src = router.As16()
	id := w.expect(apart)
	e := ftpExpect(w.pass(udp(router, 1, hostB, 2)).ID, 5001) // each is of a host of its own: none has its share
	w.expect(e)
	e.Tuple.DstID, e.Limit = 5002, 0
	if _, err := w.t.Expect(w.now, e); !errors.Is(err, ErrExpectFull) {
		t.Error(err)
	}
	if !w.t.Unexpect(id) || w.t.Unexpect(id) {
		t.Error("removed not exactly once")
	}
	w.expect(apart)
}

// No host takes what is left for all others, over however many masters, and gets it back when its own are gone. What
// stands behind a port forward counts as one host, whoever calls it.
func TestExpectationShare(t *testing.T) {
	forward := func(c *Conn) {
		if c.Tuples[Original].Dst == router.As16() {
			c.Tuples[Reply].Src, c.Status = hostA.As16(), c.Status|DstNAT
		}
	}
	for name, master := range map[string]func(i byte) []byte{
		"one host":   func(i byte) []byte { return udp(hostA, uint16(i), hostB, 2) },
		"one server": func(i byte) []byte { return udp(netip.AddrFrom4([4]byte{192, 0, 2, i}), 1, router, 2) },
	} {
		w := newWorld(t, func(c *Config) { c.MaxExpect = 8 })
		w.nat = forward
		port := uint16(5000)
		ask := func(master Handle) (ExpectID, error) {
			port++
			e := ftpExpect(master, port)
			e.Limit = 0
			return w.t.Expect(w.now, e)
		}
		var ids []ExpectID
		for i := range byte(20) {
			id, err := ask(w.pass(master(1 + i)).ID)
			if want := i < 4; (err == nil) != want || !want && !errors.Is(err, ErrExpectHost) {
				t.Fatalf("%s: expectation %d: %v", name, i, err)
			}
			if err == nil {
				ids = append(ids, id)
			}
		}
		for i := range byte(3) { // others find room
			if _, err := ask(w.pass(udp(netip.AddrFrom4([4]byte{10, 77, 0, 100 + i}), 1, hostB, 2)).ID); err != nil {
				t.Fatalf("%s: another host: %v", name, err)
			}
		}
		own := w.pass(master(1)).ID
		if list := w.t.Expectations(w.now, own); len(list) != 1 {
			t.Fatalf("%s: %d expectations", name, len(list))
		} else if again, err := w.t.Expect(w.now, list[0]); err != nil { // it had that already
			t.Fatalf("%s: renewed: %v", name, err)
		} else {
			ids[0] = again
		}
		if _, err := ask(own); !errors.Is(err, ErrExpectHost) {
			t.Fatalf("%s: over its share: %v", name, err)
		}
		for _, id := range ids {
			w.t.Unexpect(id)
		}
		if _, err := ask(own); err != nil {
			t.Fatalf("%s: with none waiting: %v", name, err)
		}
	}
}

func TestExpectationsDieWithTheirMaster(t *testing.T) {
	w := newWorld(t, nil)
	master := w.handshake(nil)
	w.expect(ftpExpect(master, 5000))
	w.t.Delete(w.now, master)
	if len(w.t.Expectations(w.now, 0)) != 0 {
		t.Fatal("still there")
	}
	// The same when a packet finds that the master's time is over, before any Step did.
	master = w.handshake(nil)
	e := ftpExpect(master, 5000)
	e.Lifetime = 0
	w.expect(e)
	w.now += 6 * 24 * 3600 * sec
	if w.pass(syn(dataSYN, 5000)); w.c.Info != InfoNew {
		t.Fatal("related to a connection that has ended")
	}
	w.t.Step(0, w.now, 10)
	if w.t.expect.waiting() {
		t.Fatal("still there")
	}
}

func TestExpectationPermanentAndInactive(t *testing.T) {
	w := newWorld(t, nil)
	master := w.handshake(nil)
	e := ftpExpect(master, 5000)
	e.Permanent = true
	id := w.expect(e)
	for i := range byte(3) {
		b := syn(dataSYN, 5000)
		b[21] = i
		w.pass(b)
		w.want(InfoRelated, Expected)
	}
	w.t.SetInactive(id, true)
	b := syn(dataSYN, 5000)
	b[21] = 99
	w.pass(b)
	w.want(InfoNew, Confirmed)
	if !w.t.SetInactive(id, false) || w.t.SetInactive(id+1, false) {
		t.Fatal("SetInactive")
	}
}

// An expectation of several connections lets in as many, and those that are not confirmed do not count. What is listed says
// how many are left; renewed, it has its number anew.
func TestExpectationUses(t *testing.T) {
	w := newWorld(t, nil)
	master := w.handshake(nil)
	e := ftpExpect(master, 5000)
	var last byte
	child := func() []byte {
		last++
		b := syn(dataSYN, 5000)
		b[21] = last
		return b
	}
	for uses, lets := range map[int]int{0: 1, 1: 1, 3: 3} {
		e.Uses = uses
		id := w.expect(e)
		for i := range lets {
			if got, ok := w.t.Expectation(w.now, id); !ok || max(got.Uses, 1) != lets-i {
				t.Errorf("of %d after %d: %d are left, %v", lets, i, got.Uses, ok)
			}
			w.pass(child())
			w.want(InfoRelated, Expected)
		}
		w.pass(child())
		w.want(InfoNew, Confirmed)
		if w.t.expect.waiting() {
			t.Errorf("of %d: something is left", lets)
		}
	}
	e.Uses = 2
	first := w.expect(e)
	for range 2 { // at once, as on two lanes: both are let in, a third is not
		if !w.t.expect.claim(first) {
			t.Error("not let in")
		}
	}
	if w.t.expect.claim(first) {
		t.Error("a third was let in")
	}
	w.t.expect.settle(first, false)
	w.t.expect.settle(first, true)
	if got, ok := w.t.Expectation(w.now, first); !ok || got.Uses != 1 {
		t.Errorf("%+v, %v: one is left", got, ok)
	}
	e.Uses = 3
	again := w.expect(e)
	if got, ok := w.t.Expectation(w.now, again); !ok || got.Uses != 3 || len(w.t.Expectations(w.now, master)) != 1 {
		t.Errorf("renewed: %+v, %v", got, ok)
	}
}

// TestExpectationFollowsItsMaster: the child leaves with the addresses with which its master's packets leave.
func TestExpectationFollowsItsMaster(t *testing.T) {
	w := newWorld(t, nil)
	w.nat = snat(natT, 40000)
	master := w.handshakeNAT()
	e := Expectation{
		Master: master, Tuple: tuple(hostB, 0, natT, 5000, packet.ProtoTCP, 4), Mask: MaskAnyPort,
		NAT: ExpectNAT{Follow: true, Dir: Reply, Dst: Manip{Key: 5001, HasKey: true}},
	}
	w.expect(e)
	w.nat = applyExpectNAT
	b := testpkt.TCP{Src: tcpB, Dst: addrPort(natT, 5000), Flags: packet.FlagSYN}.Bytes()
	w.pass(b)
	w.want(InfoRelated, Expected)
	if out := w.c.Target(); out.String() != "tcp 192.0.2.9:80->10.77.0.2:5001" {
		t.Fatalf("leaves as %v", out)
	}
}

// Expectations are listed by master, oldest first, and found by name, while they wait.
func TestExpectationLists(t *testing.T) {
	w := newWorld(t, nil)
	master := w.handshake(nil)
	var ids []ExpectID
	for port := range uint16(5) {
		e := ftpExpect(master, 5000+port)
		e.Limit, e.Lifetime = 0, Time(10+port)*sec
		ids = append(ids, w.expect(e))
	}
	w.t.Unexpect(ids[1])
	w.now += 12 * sec
	for _, of := range []Handle{master, 0} {
		list := w.t.Expectations(w.now, of)
		if len(list) != 2 || list[0].ID != ids[3] || list[1].ID != ids[4] {
			t.Errorf("of %d: %+v", of, list)
		}
	}
	if list := w.t.Expectations(w.now, master+1); len(list) != 0 {
		t.Errorf("of another: %+v", list)
	}
	for i, id := range ids {
		e, ok := w.t.Expectation(w.now, id)
		if want := i >= 3; ok != want || ok && (e.ID != id || e.Master != master || e.Tuple.DstID != 5000+uint16(i)) {
			t.Errorf("%d: %+v, %v", i, e, ok)
		}
	}
}

// Who makes and removes expectations all the time leaves nothing behind.
func TestExpectationQueueIsBounded(t *testing.T) {
	w := newWorld(t, nil)
	master := w.handshake(nil)
	stays := w.expect(ftpExpect(master, 4000))
	for i := range uint16(10000) {
		e := ftpExpect(master, 5000+i)
		e.Limit = 0
		w.t.Unexpect(w.expect(e))
		if n := len(w.t.expect.queue); n > 2*expectSlack {
			t.Fatalf("%d in the queue for one that waits", n)
		}
	}
	w.now += 301 * sec
	w.t.Step(0, w.now, 1000)
	if _, ok := w.t.Expectation(w.now, stays); ok || len(w.t.expect.byID) != 0 {
		t.Errorf("%d are left after their time", len(w.t.expect.byID))
	}
}
