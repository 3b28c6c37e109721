package pptp

import (
	"fmt"
	"testing"
)

// A client that always dials from one port, again at once after its connection was closed or reset: the new connection
// is read from its beginning.
func TestRedialSamePort(t *testing.T) {
	for name, v := range variants {
		for _, reset := range []bool{false, true} {
			t.Run(fmt.Sprint(name, reset), func(t *testing.T) {
				w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"))
				for i := range uint16(3) {
					c := w.dial(v.from+":1025", v.to+":1723", nil).start()
					id, own := c.up(7, i, 70)
					v.flows(w, 7, id, i == 1)
					if reset {
						c.Reset(0)
					} else {
						c.Close(0)
						c.Close(1)
						c.Ack(0, nil)
						c.Ack(1, nil)
					}
					v.silent(w, id, own)
				}
			})
		}
	}
}
