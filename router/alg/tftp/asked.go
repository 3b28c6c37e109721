package tftp

import (
	"hash/crc32"
	"slices"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// maxWaiting is how many different requests of one port of a client may wait for their answers. A client that is true to
// RFC 1350, section 4, has a port for each.
const maxWaiting = 8

// asked is the helper's state for one connection: a client's port towards a server's port 69. Its caller holds the
// connection's lock.
type asked struct {
	expect   conntrack.ExpectID // what awaits the answers; 0: none has been awaited
	requests []uint32           // checksums of the different requests that have been awaited together, oldest first
	sent     int                // datagrams of these, with those sent again, less those answered from the port that was asked
}

// Datagram implements [alg.Datagram]. A client may ask again from the same port: for the same, because no answer came,
// or for another file.
func (a *asked) Datagram(m alg.Master, dir conntrack.Direction, b []byte) ([]alg.Edit, packet.Verdict) {
	if dir == conntrack.Reply {
		if a.expect != 0 && answers(b) {
			a.answered(m)
		}
		return nil, packet.Accept
	}
	switch classify(b) {
	case request:
		m.Count("requests")
		a.ask(m, b)
	case malformed:
		m.Count("malformed")
	}
	return nil, packet.Accept
}

// ask awaits an answer for each request that has none yet. The same once more is the same request: its answer was lost, or
// is on its way.
func (a *asked) ask(m alg.Master, b []byte) {
	left := 0
	if e, ok := a.waiting(m); ok {
		left = e.Uses
	}
	if left == 0 { // all are answered
		a.requests, a.sent = a.requests[:0], 0
	}
	if sum := crc32.ChecksumIEEE(b); !slices.Contains(a.requests, sum) { // if two have one sum, one more has to ask again
		if len(a.requests) == maxWaiting {
			a.requests = slices.Delete(a.requests, 0, 1)
		}
		a.requests = append(a.requests, sum)
	}
	a.sent++
	a.await(m, min(left+1, len(a.requests)), conntrack.Time(lifetime))
}

// waiting returns what awaits the answers; its Uses is how many are still to come.
func (a *asked) waiting(m alg.Master) (conntrack.Expectation, bool) {
	if a.expect == 0 {
		return conntrack.Expectation{}, false
	}
	list := m.Expectations()
	i := slices.IndexFunc(list, func(e conntrack.Expectation) bool { return e.ID == a.expect })
	if i < 0 {
		return conntrack.Expectation{}, false
	}
	return list[i], true
}

// await announces n answers: from the server's address and any port, to the endpoint that the requests came from as the
// server sees it, and there to the client's own. They leave with the address that the client asked, so it looks the
// same to a client that reaches the server by a port forward. The client's port may be a privileged one: boot loaders
// send from 69, and the server knows that port already.
func (a *asked) await(m alg.Master, n int, lifetime conntrack.Time) {
	answer, out := m.Arriving(conntrack.Reply), m.Leaving(conntrack.Reply)
	answer.SrcID = 0
	id, err := m.Expect(conntrack.Expectation{
		Tuple: answer, Mask: conntrack.MaskAnyPort, Uses: n, Lifetime: lifetime,
		NAT: conntrack.ExpectNAT{
			Src: conntrack.Manip{Addr: out.Src, HasAddr: true}, // the port is chosen as for any connection, its own if free
			Dst: conntrack.Manip{Addr: out.Dst, Key: out.DstID, HasAddr: true, HasKey: true},
		},
	})
	if err != nil {
		m.Logf("answer %s not expected: %v", answer, err)
		return
	}
	a.expect = id
}

// answered takes back what was awaited for a request that the server has answered from the port that was asked. It does not
// say which that was. If several wait, one answer fewer is awaited, but no fewer than datagrams are left without an answer:
// a request that was sent again may be answered again.
func (a *asked) answered(m alg.Master) {
	n := 0
	var e conntrack.Expectation
	if len(a.requests) > 1 {
		var ok bool
		if e, ok = a.waiting(m); !ok {
			a.expect = 0
			return
		}
		a.sent--
		elsewhere := len(a.requests) - e.Uses
		n = min(e.Uses, a.sent-elsewhere)
	}
	switch {
	case n <= 0:
		m.Unexpect(a.expect)
		a.expect = 0
	case n < e.Uses:
		a.await(m, n, e.Deadline-m.Now())
	}
}

// Destroy implements [alg.Datagram]: expectations end with their master.
func (*asked) Destroy(alg.Master) {}
