package tftp

import (
	"fmt"
	"time"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

const (
	port       = 69              // RFC 1350, section 4
	lifetime   = 5 * time.Minute // of an expectation
	privileged = 1024            // ports below are never opened
)

// helper is the TFTP helper. It has no state of its own.
type helper struct{}

// New returns the TFTP helper. It has no options.
func New() alg.DatagramHelper { return helper{} }

// Spec implements [alg.Helper].
func (helper) Spec() alg.Spec {
	return alg.Spec{
		Name: "tftp", Proto: packet.ProtoUDP, Port: port,
		Classes: []alg.Class{{Name: "transfer", Limit: 1, Lifetime: lifetime}},
	}
}

// Configure implements [alg.Helper].
func (helper) Configure(options map[string]any) (any, error) {
	for name := range options {
		return nil, fmt.Errorf("tftp: no option %q", name)
	}
	return nil, nil
}

// New implements [alg.DatagramHelper].
func (helper) New(alg.Master, any) alg.Datagram { return new(asked) }

// asked is the helper's state for one connection: a client's port towards a server's port 69. Its caller holds the
// connection's lock.
type asked struct {
	expect conntrack.ExpectID // 0: no answer is awaited
}

// Datagram implements [alg.Datagram]. A client may ask again from the same port: for the same, because no answer came,
// or for another file.
func (a *asked) Datagram(m alg.Master, dir conntrack.Direction, b []byte) ([]alg.Edit, packet.Verdict) {
	if dir == conntrack.Reply {
		a.answered(m)
		return nil, packet.Accept
	}
	switch classify(b) {
	case request:
		m.Count("requests")
		a.await(m)
	case malformed:
		m.Count("malformed")
	}
	return nil, packet.Accept
}

// await announces the answer: from the server's address and any port, to the endpoint that the request came from as
// the server sees it, and there to the client's own. It leaves with the address that the client asked, so it looks the
// same to a client that reaches the server by a port forward.
func (a *asked) await(m alg.Master) {
	answer, out := m.Arriving(conntrack.Reply), m.Leaving(conntrack.Reply)
	if answer.DstID < privileged || out.DstID < privileged {
		m.Count("refused-port")
		return
	}
	answer.SrcID = 0
	id, err := m.Expect(conntrack.Expectation{
		Tuple: answer, Mask: conntrack.MaskAnyPort,
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

// answered takes back what is awaited: the server answers from the port that was asked, with an error or all of it.
func (a *asked) answered(m alg.Master) {
	if a.expect != 0 {
		m.Unexpect(a.expect)
		a.expect = 0
	}
}

// Destroy implements [alg.Datagram]: expectations end with their master.
func (*asked) Destroy(alg.Master) {}
