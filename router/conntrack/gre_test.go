package conntrack

import (
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

func grev1(src, dst netip.Addr, callID uint16) []byte {
	return testpkt.GREv1{Src: src, Dst: dst, CallID: callID, HasSeq: true, Payload: []byte("ppp")}.Bytes()
}

// TestGRECall is a call as PPTP's helper announces it: the client A with call ID P behind T, where it is P', to the
// server B with C.
func TestGRECall(t *testing.T) {
	const p, pOut, c = 0x1111, 0x934f, 0x2222
	for name, fromServer := range map[string]bool{"client first": false, "server first": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			set := w.t.AddTimeouts(Timeouts{GRE: 10 * time.Minute, GREStream: 5 * time.Hour})
			w.nat = snat(natT, 40000)
			master := w.handshakeNAT()
			w.t.SetMark(master, 5)
			out := Expectation{
				Master: master, Tuple: tuple(hostA, p, hostB, c, packet.ProtoGRE, 4|GREv1), Mask: MaskExact, Timeouts: set,
				NAT: ExpectNAT{Follow: true, Dir: Original, Src: Manip{Key: pOut, HasKey: true}, Dst: Manip{Key: c, HasKey: true}},
			}
			in := Expectation{
				Master: master, Tuple: tuple(hostB, c, natT, pOut, packet.ProtoGRE, 4|GREv1), Mask: MaskExact, Timeouts: set,
				NAT: ExpectNAT{Follow: true, Dir: Reply, Src: Manip{Key: c, HasKey: true}, Dst: Manip{Key: p, HasKey: true}},
			}
			for _, e := range []Expectation{out, in} {
				if _, err := w.t.Expect(w.now, e); err != nil {
					t.Fatal(err)
				}
			}
			w.nat = applyExpectNAT
			first, second := grev1(hostA, hostB, c), grev1(hostB, natT, pOut)
			if fromServer {
				first, second = second, first
			}
			id := w.pass(first).ID
			if w.want(InfoRelated, Expected); w.c.Master != master || w.c.Mark != 5 {
				t.Fatalf("%+v", w.c)
			}
			w.timeout(id, 10*time.Minute)
			wantOrig, wantReply := tuple(hostA, p, hostB, c, packet.ProtoGRE, 4|GREv1), tuple(hostB, c, natT, pOut, packet.ProtoGRE, 4|GREv1)
			if fromServer {
				wantOrig, wantReply = wantReply, wantOrig
			}
			if s := w.snap(id); s.Tuples != [2]Tuple{wantOrig, wantReply} {
				t.Fatalf("%v\n%v", s.Tuples[0], s.Tuples[1])
			}
			w.pass(second)
			if w.want(InfoEstablishedReply, Expected); w.c.ID != id || w.c.NAT.Set() {
				t.Fatalf("%+v", w.c)
			}
			w.pass(first)
			w.timeout(id, 5*time.Hour)
			// An error about a packet of the call quotes the other end's ID only.
			w.pass(icmpError(router, natT, 3, 4, grev1(natT, hostB, c)))
			if w.c.ID != id || w.c.ErrorL3 == 0 || fromServer != (w.c.Dir == Original) {
				t.Fatalf("%+v", w.c)
			}
			w.refused(icmpError(router, natT, 3, 4, grev1(natT, hostB, c+1)), packet.UnknownICMPError)
			w.pass(icmpError(hostA, hostB, 3, 2, grev1(hostB, hostA, p)))
			if w.c.ID != id || fromServer != (w.c.Dir == Reply) {
				t.Fatalf("%+v", w.c)
			}
			w.recount()
			w.t.Delete(w.now, id)
			w.reap()
			if len(w.t.shards[0].pairs) != 0 {
				t.Error("pairs left")
			}
		})
	}
}

// applyExpectNAT is what router/nat does with an expectation's NAT.
func applyExpectNAT(c *Conn) {
	r := &c.Tuples[Reply]
	if m := c.NAT.Src; m.HasAddr {
		r.Dst = m.Addr
	}
	if m := c.NAT.Dst; m.HasAddr {
		r.Src = m.Addr
	}
	if m := c.NAT.Src; m.HasKey {
		r.DstID = m.Key
	}
	if m := c.NAT.Dst; m.HasKey {
		r.SrcID = m.Key
	}
	c.Status |= SrcNATDone | DstNATDone
}

func TestGREErrorAmbiguous(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Shards = 2 })
	for i, host := range []netip.Addr{hostA, hostA2} {
		w.shard = i
		w.nat = func(c *Conn) {
			c.Tuples[Original].SrcID = 9
			c.Tuples[Reply] = tuple(hostB, 0x2222, natT, uint16(i+1), packet.ProtoGRE, 4|GREv1)
		}
		w.pass(grev1(host, hostB, 0x2222))
	}
	w.refused(icmpError(router, natT, 3, 4, grev1(natT, hostB, 0x2222)), packet.ForgedICMPError)
}

func TestGREForms(t *testing.T) {
	v1 := grev1(hostA, hostB, 0)
	change := func(at int, to byte) []byte {
		b := append([]byte(nil), v1...)
		b[at] = to
		return b
	}
	// What packet.Parse refuses before the tracker sees it counts as well.
	for name, tt := range map[string]struct {
		b    []byte
		want packet.DropReason
	}{
		"call ID 0 is legal":                {v1, ok},
		"v1 of another protocol":            {change(22, 8), packet.Malformed},
		"v1 without a key":                  {change(20, 0x10), packet.Malformed},
		"v1 with a checksum":                {change(20, 0xb0), packet.Malformed},
		"version 2":                         {change(21, 2), packet.NotTracked},
		"v0 vector 11: keys 0/0":            {testpkt.GREv0{Src: hostA, Dst: hostB}.Bytes(), ok},
		"v0 with checksum and key together": {testpkt.GREv0{Src: hostA, Dst: hostB, HasChecksum: true, HasKey: true, Key: 0x10002}.Bytes(), ok},
	} {
		w := newWorld(t, nil)
		if reason := w.send(tt.b); reason != tt.want {
			t.Errorf("%s: %v, want %v", name, reason, tt.want)
		}
	}
}

func TestGREKeys(t *testing.T) {
	w := newWorld(t, nil)
	key := func(s, d netip.Addr, k uint32) []byte {
		return testpkt.GREv0{Src: s, Dst: d, HasKey: true, Key: k}.Bytes()
	}
	one := w.pass(key(hostA, hostB, 0x10002)).ID
	if tp := w.c.Tuples[Original]; tp.SrcID != 1 || tp.DstID != 2 || w.c.Tuples[Reply].SrcID != 1 {
		t.Fatalf("%v", tp)
	}
	w.pass(key(hostB, hostA, 0x10002))
	if w.want(InfoEstablishedReply, SeenReply); w.c.ID != one {
		t.Fatal("another connection")
	}
	// A peer that uses a key of its own, or none, is found while the pair has one connection.
	w.pass(key(hostB, hostA, 0x77))
	if w.want(InfoEstablishedReply, SeenReply); w.c.ID != one {
		t.Fatal("another connection")
	}
	w.pass(testpkt.GREv0{Src: hostB, Dst: hostA}.Bytes())
	if w.c.ID != one {
		t.Fatal("another connection")
	}
	// The quote of an error may end before the key.
	w.pass(icmpError(router, hostA, 3, 3, key(hostA, hostB, 0x10002)[:28]))
	if w.want(InfoRelatedReply, SeenReply); w.c.ID != one {
		t.Fatal("another connection")
	}
	// A key of its own in the original direction is a connection of its own; then an unknown one fits none of both.
	if w.pass(key(hostA, hostB, 0x20002)); w.c.ID == one {
		t.Fatal("two keys, one connection")
	}
	w.pass(key(hostB, hostA, 0x77))
	w.want(InfoNew, Confirmed)
	w.t.Delete(w.now, w.c.ID)
	// IPv6 as well, and a pair of addresses does not match another.
	w.pass(key(hostA6, hostB6, 1))
	w.pass(key(hostA2, hostB, 1))
	if w.c.ID == one || w.t.Len() != 4 {
		t.Fatal("one connection for two hosts")
	}
}
