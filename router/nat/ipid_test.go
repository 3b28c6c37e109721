package nat

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// TestRestoreID: what an error quotes has the identification that its sender chose, of two hosts each its own, of a
// super-segment each segment's; one that is forgotten stays as it left.
func TestRestoreID(t *testing.T) {
	w := newWorld(t, masquerade)
	send := func(from string, id uint16, m packet.Meta) (left []byte, c conntrack.Conn) {
		t.Helper()
		b := w.pass(lan, testpkt.UDP{Src: ap(from), Dst: ap("198.51.100.7:53"), ID: id, Payload: make([]byte, 100)}.Bytes())
		h, _ := packet.Parse(b)
		w.nat.RewriteID(b, &h, &m)
		return bytes.Clone(b), w.conn
	}
	quoted := func(left []byte, c conntrack.Conn) uint16 {
		t.Helper()
		b := testpkt.ICMP{Src: addr("192.0.2.99"), Dst: addr("203.0.113.1"), Type: 11, Payload: left}.Bytes()
		h, _ := packet.Parse(b)
		c.Dir, c.ErrorL3 = conntrack.Reply, 28
		w.nat.RestoreID(b, &h, &packet.Meta{}, &c)
		if err := testpkt.Verify(b); err != nil {
			t.Fatal(err)
		}
		quote := packet.IPv4(b[28:])
		if packet.Checksum(quote[:20], 0) != 0xffff {
			t.Error("the quoted header's sum is wrong")
		}
		return quote.ID()
	}
	first, c := send("10.77.1.2:5000", 77, packet.Meta{})
	second, other := send("10.77.1.3:5001", 77, packet.Meta{})
	super, _ := send("10.77.1.3:5001", 65535, packet.Meta{GSO: packet.GSOUDP, SegSize: 40})
	if packet.IPv4(first).ID() == packet.IPv4(second).ID() {
		t.Fatal("both left with one identification")
	}
	if a, b := quoted(first, c), quoted(second, other); a != 77 || b != 77 {
		t.Errorf("quotes show %d and %d, both sent 77", a, b)
	}
	if a := quoted(super, other); a != 65535 {
		t.Errorf("the first segment's quote shows %d, want 65535", a)
	}
	last := bytes.Clone(super)
	setID(last, packet.IPv4(super).ID()+2)
	if a := quoted(last, other); a != 1 {
		t.Errorf("the third segment's quote shows %d, want 1", a)
	}
	never := bytes.Clone(first)
	setID(never, packet.IPv4(first).ID()-1)
	if a := quoted(never, c); a != packet.IPv4(never).ID() {
		t.Errorf("the quote of what never was shows %d", a)
	}
	// Another pair's, which would be remembered in the same place.
	hash := func(b []byte) uint64 {
		return w.nat.identHash(binary.LittleEndian.Uint64(b[12:]), packet.ProtoUDP)
	}
	another := testpkt.UDP{Src: ap("203.0.113.1:5000"), Dst: ap("198.51.100.8:53"), Payload: make([]byte, 100)}.Bytes()
	setID(another, uint16(hash(first)>>16)+packet.IPv4(first).ID()-uint16(hash(another)>>16))
	if a := quoted(another, c); a != packet.IPv4(another).ID() {
		t.Errorf("another pair's quote shows %d", a)
	}
	c.Status = 0
	if a := quoted(first, c); a != packet.IPv4(first).ID() {
		t.Errorf("of a connection that is not translated the quote shows %d", a)
	}
	c.Status = other.Status
	for range sentIdents {
		send("10.77.1.2:5000", 9, packet.Meta{})
	}
	if a := quoted(first, c); a != 9 {
		t.Errorf("after a round the quote shows %d, want that of the last with this number", a)
	}
}

// setID writes an identification, with the sum.
func setID(b []byte, id uint16) {
	changed := put16(b[4:], id)
	apply(b[10:], changed)
}
