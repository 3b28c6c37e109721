package router

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// TestBuffersAreTakenBack: what a lane makes itself (fragments here) uses the same buffers batch after batch.
func TestBuffersAreTakenBack(t *testing.T) {
	cfg := testConfig()
	cfg.Interfaces[1].MTU = 600
	n := newNetwork(t, cfg)
	b := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: pattern(1400)}.Bytes()
	n.send("lan0", b)
	first := len(n.lane("lan0").spare.buffers)
	for range 20 {
		n.send("lan0", b)
	}
	if now := len(n.lane("lan0").spare.buffers); first == 0 || now != first {
		t.Errorf("%d buffers after the first batch, %d after 21", first, now)
	}
}

// TestRoom: small packets share a buffer and do not overlap; nothing of a buffer can be reached through another's slice.
func TestRoom(t *testing.T) {
	var s spare
	var all [][]byte
	for i := range 3000 {
		b := s.room(1 + i%200)
		if len(b) != headroom+1+i%200 || cap(b) != len(b) {
			t.Fatalf("room for %d of %d", len(b), cap(b))
		}
		for j := range b {
			b[j] = byte(i)
		}
		all = append(all, b)
	}
	for i, b := range all {
		if !bytes.Equal(b, bytes.Repeat([]byte{byte(i)}, len(b))) {
			t.Fatalf("packet %d was written over", i)
		}
	}
	if len(s.buffers) > 10 {
		t.Errorf("3000 packets of 100 bytes took %d buffers", len(s.buffers))
	}
	whole := s.take()
	s.giveBack()
	if again := s.take(); &again[0] != &whole[0] {
		t.Error("what was given back is not taken again")
	}
	for range 3 * mostSpare {
		s.take()
	}
	if s.reset(); s.full() || len(s.buffers) != 2*mostSpare {
		t.Errorf("%d buffers are kept", len(s.buffers))
	}
}

// TestLaneMemory: a lane's buffers are bounded whatever one batch is made of: datagrams that leave in a thousand fragments
// each, fragments that are held, packets that each need a buffer.
func TestLaneMemory(t *testing.T) {
	n := newNetwork(t, testConfig())
	const datagrams = 6
	var last []tun.Frame
	fragments := 0
	for i := range uint32(datagrams) {
		d := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: make([]byte, 30000), ID: uint16(i)}
		parts := testpkt.Fragments(d.Bytes(), 68, i)
		fragments += len(parts)
		var held []tun.Frame
		for _, b := range parts[:len(parts)-1] {
			held = append(held, frame(b, packet.Meta{}))
		}
		n.lane("lan0").serve(held)
		if now := len(n.lane("lan0").spare.buffers); now > 1 {
			t.Fatalf("%d buffers for fragments that are held", now)
		}
		last = append(last, frame(parts[len(parts)-1], packet.Meta{}))
	}
	out := n.sendFrames("lan0", last...)["wan0"]
	if len(out) != fragments {
		t.Fatalf("%d fragments came out of %d; drops %v", len(out), fragments, n.drops())
	}
	for i := range out {
		if err := testpkt.Verify(out[i].Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if now := len(n.lane("lan0").spare.buffers); now > mostSpare {
		t.Errorf("%d buffers for %d fragments", now, fragments)
	}
	var refused []tun.Frame
	for i := range uint16(5 * mostSpare) {
		refused = append(refused, frame(testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), ID: i, TTL: 1}.Bytes(), packet.Meta{}))
	}
	n.lane("lan0").serve(refused)
	if now := len(n.lane("lan0").spare.buffers); now > 2*mostSpare {
		t.Errorf("%d buffers for %d packets", now, len(refused))
	}
}

// TestFragmentTimeoutMemory: so is what the router's own host needs to tell the senders of thousands of datagrams that theirs did
// not become whole.
func TestFragmentTimeoutMemory(t *testing.T) {
	n := newNetwork(t, testConfig())
	for s := range byte(20) {
		src := netip.AddrFrom4([4]byte{198, 51, 101, s + 1})
		var first []tun.Frame
		for id := range uint16(256) {
			d := testpkt.UDP{Src: port(src, id), Dst: port(wan4, 53), ID: id, Payload: make([]byte, 80)}
			first = append(first, frame(testpkt.Fragments(d.Bytes(), 28, uint32(id))[0], packet.Meta{}))
		}
		n.lane("wan0").serve(first)
	}
	held := n.r.fragments.Len()
	n.tick(31 * time.Second)
	if got := n.drops()[packet.FragmentTimeout.String()]; held < 2000 || got != uint64(held) {
		t.Errorf("%d timeouts of %d", got, held)
	}
	if now := len(n.r.local.lane.spare.buffers); now == 0 || now > 4 {
		t.Errorf("%d buffers for %d errors", now, held)
	}
}
