package alg

import (
	"sync"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// TestRace: both directions, the clock, operators and the end of the connection at once.
func TestRace(t *testing.T) {
	w := open(t, "")
	w.say("HELLO 1\n")
	var all sync.WaitGroup
	for dir := range w.ends {
		c := w.conn
		c.Dir = conntrack.Direction(dir)
		all.Go(func() {
			from, to := w.ends[dir], w.ends[1-dir]
			for i := range uint32(300) {
				pkt := testpkt.TCP{
					Src: from.addr, Dst: to.addr, Seq: from.isn + 1 + i*8, Ack: to.isn + 1 + i*8, Flags: packet.FlagACK, Payload: []byte("HELLO 2\n"),
				}.Bytes()
				h, _ := packet.Parse(pkt)
				w.kit.Handle(w.now, &c, &Packet{pkt, &h, new(packet.Meta), 1500}, discard{})
			}
		})
	}
	all.Go(func() {
		for range 100 {
			w.kit.Tick(w.now)
			w.kit.Counters()
			w.kit.MasterHelper(w.conn.ID)
		}
		w.kit.Detach(w.now, w.conn.ID)
		w.table.Delete(w.now, w.conn.ID)
		w.reap()
	})
	all.Wait()
	if n := w.toy.streams[0].destroyed; n != 1 {
		t.Errorf("destroyed %d times", n)
	}
}

// discard is a sink of nothing.
type discard struct{}

func (discard) Send([]byte, packet.Meta) {}
