package conntrack

import (
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/router/packet"
)

// TestTableFull is docs/spec/conntrack.md, section 13.12.
func TestTableFull(t *testing.T) {
	for name, replied := range map[string]int{"two assured": 2, "one of them unreplied": 1} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.Max, c.MaxUnreplied = 2, 2 })
			var ids []Handle
			for i := range 2 {
				ids = append(ids, w.pass(udp(hostA, uint16(i), hostB, 53)).ID)
				if i < replied {
					w.pass(udp(hostB, 53, hostA, uint16(i)))
				}
				w.now += sec
			}
			reason := w.send(seg{flags: "S", seq: 1}.bytes())
			if replied == 2 {
				if reason != packet.TableFull || w.t.Len() != 2 {
					t.Fatal(reason, w.t.Len())
				}
				return
			}
			dead := w.reap()
			if reason != ok || len(dead) != 1 || !dead[0].Evicted || dead[0].ID != ids[1] {
				t.Fatalf("%v %+v", reason, dead)
			}
		})
	}
}

func TestFullTableAnnouncesItAtTrack(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Max = 1 })
	w.pass(udp(hostA, 1, hostB, 53))
	w.pass(udp(hostB, 53, hostA, 1))
	if reason := w.track(udp(hostA, 2, hostB, 53)); reason != packet.TableFull {
		t.Fatal(reason)
	}
	w.pass(udp(hostA, 1, hostB, 53)) // those that are there go on
}

func TestNothingIsEvictedForADroppedPacket(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Max = 1 })
	id := w.pass(udp(hostA, 1, hostB, 53)).ID
	if reason := w.track(udp(hostA, 2, hostB, 53)); reason != ok {
		t.Fatal(reason)
	}
	w.snap(id) // a filter drops the second
}

func TestSourceLimit(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxPerSource = 3 })
	for i := range 3 {
		w.pass(udp(hostA, uint16(i), hostB, 53))
	}
	w.refused(udp(hostA, 9, hostB, 53), packet.SourceLimit)
	w.pass(udp(hostA2, 9, hostB, 53))
	w.recount()
	// What comes from outside is not counted on the sender.
	b := udp(hostB, 1, hostA, 80)
	h, _ := packet.Parse(b)
	for i := range 5 {
		b[21] = byte(i)
		if reason := w.t.Track(0, w.now, &Packet{Bytes: b, H: &h, Inbound: true}, &w.c); reason != ok {
			t.Fatal(reason)
		}
		if reason := w.t.Confirm(0, w.now, &w.c); reason != ok {
			t.Fatal(reason)
		}
	}
	w.recount()
	w.now += 3600 * sec
	w.reap()
	w.recount()
	w.pass(udp(hostA, 9, hostB, 53))
}

// TestFlood: one host sends a new flow with every packet. It pushes out its own; a host that asks one question
// keeps the time to be answered, and connections with an answer stay.
func TestFlood(t *testing.T) {
	for _, shards := range []int{1, 3} {
		w := newWorld(t, func(c *Config) { c.Shards, c.Max, c.MaxUnreplied = shards, 1000, 0 })
		talk := w.pass(udp(hostA2, 1, hostB, 53)).ID
		w.pass(udp(hostB, 53, hostA2, 1))
		w.now += sec
		var question Handle
		evicted := 0
		for i := range 20000 {
			w.shard = i % shards
			w.now += sec / 10000
			if i == 3000 {
				question = w.pass(udp(hostA2, 2, hostB, 53)).ID
			}
			w.pass(udp(hostA, uint16(i), hostB, uint16(1000+i>>14)))
			if i%64 == 0 {
				for _, d := range w.reap() {
					if !d.Evicted || d.Tuples[0].SrcAddr() != hostA {
						t.Fatalf("ended: %+v", d)
					}
					evicted++
				}
			}
		}
		w.snap(talk)
		w.snap(question)
		if w.t.Unreplied() > 500 || evicted == 0 {
			t.Fatalf("%d unreplied, %d evicted", w.t.Unreplied(), evicted)
		}
		w.pass(udp(hostB, 53, hostA2, 2))
		w.recount()
	}
}

func TestSYNFlood(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Max = 1000 })
	good := w.handshake(nil)
	for i := range 5000 {
		src := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		w.now += sec / 1000
		b := seg{flags: "S", seq: uint32(i)}.bytes()
		copy(b[12:], src.AsSlice())
		fixIP(b)
		w.pass(b)
		w.reap()
	}
	if w.t.Len() > 501 {
		t.Fatal(w.t.Len())
	}
	w.snap(good)
	w.recount()
}

func TestChildrenAreNotEvicted(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Max, c.MaxUnreplied = 3, 1 })
	master := w.pass(udp(hostA, 1, hostB, 53)).ID
	w.pass(udp(hostB, 53, hostA, 1))
	if _, err := w.t.Expect(w.now, Expectation{Master: master, Tuple: tuple(hostB, 0, hostA, 9, packet.ProtoUDP, 4), Mask: MaskAnyPort}); err != nil {
		t.Fatal(err)
	}
	w.pass(udp(hostB, 77, hostA, 9))
	w.want(InfoRelated, Expected)
	w.refused(udp(hostA, 2, hostB, 53), packet.UnrepliedLimit)
}

// TestEvictionBehindChildren: the oldest unanswered connections are those that none may push out; the next ones still are.
func TestEvictionBehindChildren(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Max, c.MaxUnreplied = 1000, 500 })
	master := w.pass(udp(hostA, 7, hostB, 69)).ID
	w.pass(udp(hostB, 69, hostA, 7))
	const children = 100
	for i := range uint16(children) {
		w.expect(Expectation{Master: master, Tuple: tuple(hostB, 0, hostA, 10000+i, packet.ProtoUDP, 4), Mask: MaskAnyPort})
		w.pass(udp(hostB, 9, hostA, 10000+i))
		w.want(InfoRelated, Expected)
	}
	w.now += sec
	refused := 0
	for i := range uint16(2000) {
		if w.send(udp(hostA2, i, hostB, 53)) != ok {
			refused++
		}
		w.reap()
	}
	if refused != 0 {
		t.Errorf("%d of 2000 questions refused, with %d that give way", refused, 500-children)
	}
	for i := range uint16(children) {
		w.pass(udp(hostB, 9, hostA, 10000+i))
		w.want(InfoRelated, Expected|Confirmed)
	}
	w.recount()
}

func TestUnreaped(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Max = 10 })
	refused := 0
	for i := range 10 * minDead {
		w.now++
		if reason := w.send(udp(hostA, uint16(i), hostB, uint16(i>>16))); reason == packet.TableFull {
			refused++
		}
	}
	if used := w.t.shards[0].used; used > minDead+10 || refused == 0 {
		t.Fatalf("%d slots, %d refused: a table of which nobody reaps must not grow", used, refused)
	}
	w.reap()
	w.pass(udp(hostA, 7, hostB, 7))
}
