package pptp

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/router/conntrack"
)

// row is a message of RFC 2637, sections 2.7 to 2.15, as one end sends it and as the other gets it: call IDs at 12 and,
// in replies, at 14.
type row struct {
	name     string
	dir      conntrack.Direction // the client's is 0
	k        kind
	from, to [2]uint16
}

// TestEveryField goes through all messages that name a call, for a call of either kind, in all ways of translation: each
// call ID is translated as the end's address is that it belongs to, and nothing else is changed. The wanted IDs are
// taken, so where an end is translated its ID is another outside.
func TestEveryField(t *testing.T) {
	eachVariant(t, func(t *testing.T, w *world, v variant, c *control) {
		outside := netip.MustParseAddr(router)
		for _, id := range []uint16{7, 8, 70, 71} {
			if _, ok := w.NAT.ReserveCallID(w.Now, outside, netip.Addr{}, id); !ok {
				t.Fatal("not free")
			}
		}
		const p, q, a, b = 7, 8, 70, 71 // of the client, then of the server: in the call out, in the call in
		po := idAt(c.feed(0, msg(outgoingRequest, p, 1, 0)), 12)
		ao := idAt(c.feed(1, msg(outgoingReply, a, po, 1)), 12)
		bo := idAt(c.feed(1, msg(incomingRequest, b, 2, 0)), 12)
		qo := idAt(c.feed(0, msg(incomingReply, q, bo, 1)), 12)
		for _, x := range []struct {
			inner, outer uint16
			translated   bool
		}{{p, po, v.seen == router}, {q, qo, v.seen == router}, {a, ao, v.to == router}, {b, bo, v.to == router}} {
			if (x.inner != x.outer) != x.translated || x.outer == 0 {
				t.Errorf("%d is %d outside; translated: %v", x.inner, x.outer, x.translated)
			}
		}
		for _, r := range []row{
			{"Outgoing-Call-Request", 0, outgoingRequest, [2]uint16{p, 1}, [2]uint16{po, 1}},
			{"Outgoing-Call-Reply", 1, outgoingReply, [2]uint16{a, po}, [2]uint16{ao, p}},
			{"Incoming-Call-Request", 1, incomingRequest, [2]uint16{b, 2}, [2]uint16{bo, 2}},
			{"Incoming-Call-Reply", 0, incomingReply, [2]uint16{q, bo}, [2]uint16{qo, b}},
			{"Incoming-Call-Connected", 1, incomingConnected, [2]uint16{qo, 5}, [2]uint16{q, 5}},
			{"WAN-Error-Notify", 1, errorNotify, [2]uint16{po, 5}, [2]uint16{p, 5}},
			{"WAN-Error-Notify, call in", 1, errorNotify, [2]uint16{qo, 5}, [2]uint16{q, 5}},
			{"Set-Link-Info", 0, setLink, [2]uint16{ao, 5}, [2]uint16{a, 5}},
			{"Set-Link-Info, call in", 0, setLink, [2]uint16{bo, 5}, [2]uint16{b, 5}},
			{"Set-Link-Info by the PAC", 1, setLink, [2]uint16{po, 5}, [2]uint16{p, 5}},
			{"a reply that names nothing known", 1, outgoingReply, [2]uint16{999, 998}, [2]uint16{999, 998}},
			{"no call: Echo-Request", 0, echoRequest, [2]uint16{p, p}, [2]uint16{p, p}},
			{"no call: Echo-Reply", 1, echoReply, [2]uint16{po, po}, [2]uint16{po, po}},
		} {
			t.Run(r.name, func(t *testing.T) {
				in, want := msg(r.k, r.from[0], r.from[1], 1), msg(r.k, r.to[0], r.to[1], 1)
				if got := c.feed(r.dir, in); string(got) != string(want) {
					t.Errorf("% x\nbecame % x\n  want % x", in, got, want)
				}
			})
		}
		for _, call := range [][4]uint16{{p, po, a, ao}, {q, qo, b, bo}} {
			w.wantGRE(v.from, v.to, call[3], fmt.Sprintf("%s>%s:%d", v.seen, v.server, call[2]))
			w.wantGRE(v.server, v.seen, call[1], fmt.Sprintf("%s>%s:%d", v.to, v.from, call[0]))
			c.swap(0, msg(clearRequest, call[0], 0, 0), msg(clearRequest, call[1], 0, 0))
			c.swap(1, msg(disconnectNotify, call[2], 0x400, 0), msg(disconnectNotify, call[3], 0x400, 0))
			v.silent(w, call[1], call[3])
			// Of a call that is over IDs are translated for a while.
			c.swap(1, msg(errorNotify, call[1], 0, 0), msg(errorNotify, call[0], 0, 0))
			c.swap(0, msg(setLink, call[3], 0, 0), msg(setLink, call[2], 0, 0))
		}
	})
}
