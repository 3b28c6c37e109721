// Package alg is what a helper (application-level gateway) is, its registry and assignment, the byte stream that
// helpers read, and the edits that they return. It knows no device and no netstack: bytes in, bytes out.
package alg

import (
	"net/netip"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// Spec is what a helper is registered as.
type Spec struct {
	Name    string // at most 15 characters, the word of configuration, logs and metrics
	Proto   uint8  // packet.ProtoTCP or packet.ProtoUDP
	Port    uint16 // server port: for automatic assignment and display only
	Classes []Class
}

// Class is a policy for a helper's expectations; a helper has at most conntrack.MaxClasses.
type Class struct {
	Name     string
	Limit    int           // expectations that one master may have; 0: no limit
	Lifetime time.Duration // of an expectation
}

// Helper is the ALG of one protocol: one value serves all connections. It is a StreamHelper or a DatagramHelper.
type Helper interface {
	Spec() Spec
	// Configure reads the options of a rule (keys and types as in the configuration); what it returns is given to
	// New for connections of that rule. nil options: the defaults. An error names the option.
	Configure(options map[string]any) (any, error)
}

// StreamHelper is a helper of a TCP protocol. It never sees a TCP header.
type StreamHelper interface {
	Helper
	New(m Master, config any) Stream
}

// DatagramHelper is a helper of a UDP protocol.
type DatagramHelper interface {
	Helper
	New(m Master, config any) Datagram
}

// Stream is a helper's state for one connection. The kit calls it for one connection at a time, with the
// connection's own lock held; a panic detaches it from that connection.
type Stream interface {
	// Stream gets the bytes of a direction in order, each once: b begins with what the last call did not consume.
	Stream(m Master, dir conntrack.Direction, b []byte) Result
	// End is told once that no more bytes of a direction will come (FIN), or of either (RST).
	End(m Master, dir conntrack.Direction, reset bool)
	// Destroy is called exactly once, when the connection ends or the helper is detached by an operator.
	Destroy(m Master)
	// Tick is called about once a second while [Master.Wake] is due; see there.
	Tick(m Master)
}

// Adopter is what a Stream is besides when it wants to know that a direction begins in the middle: the connection was
// there before the router, or the router dropped what came before.
type Adopter interface {
	// Adopt is called before the first bytes of such a direction.
	Adopt(m Master, dir conntrack.Direction)
}

// Yielder is what a Stream is besides when it can go on after bytes that it holds have left all the same; any other is
// taken off then.
type Yielder interface {
	// LetGo is called when what the helper holds of a direction leaves as it is: no more has come for 2 s, or the
	// receiver's window has no room for more. It can't be edited after that, and what it says must open nothing.
	LetGo(m Master, dir conntrack.Direction)
}

// Result is what a Stream makes of its bytes.
type Result struct {
	Consumed int    // bytes of b that are done with; they may leave, edited
	Edits    []Edit // within b[:Consumed], in order, not overlapping; the slice may be reused at the next call
	Hold     bool   // the bytes behind Consumed must not leave before more has come; the kit bounds bytes and time, see [Yielder]
	Detach   bool   // the stream is not, or no more, understood: pass all from here on and never call again
}

// Edit replaces bytes.
type Edit struct {
	Off, Len int    // in b
	New      []byte // may be longer or shorter; kept by the kit
}

// Datagram is a helper's state for one UDP connection; the same rules as for Stream hold.
type Datagram interface {
	Datagram(m Master, dir conntrack.Direction, b []byte) ([]Edit, packet.Verdict)
	Destroy(m Master)
}

// Master is what a helper sees of its connection, and the doors it may use. It is valid during the call only.
type Master interface {
	Now() conntrack.Time
	ID() conntrack.Handle
	// Arriving is the tuple that packets of a direction carry when they come in; Leaving, when they go out. They
	// differ by NAT. Addresses in payload are compared with the one and replaced from the other.
	Arriving(dir conntrack.Direction) conntrack.Tuple
	Leaving(dir conntrack.Direction) conntrack.Tuple

	// Expect announces a connection: e.Master, Limit and Lifetime are filled in from the class. A refusal is
	// counted; the sentinel errors are those of conntrack.Table.Expect.
	Expect(e conntrack.Expectation) (conntrack.ExpectID, error)
	// Unexpect takes one back: the connection's own, or one of another connection with the same helper for packets from
	// one address of this connection to the other, which stands in its way.
	Unexpect(id conntrack.ExpectID) bool
	Expectations() []conntrack.Expectation

	// Reserve takes a port, or call ID for packet.ProtoGRE, of an outside address to stand for an inside endpoint: the
	// same if it is free, else another of its class. It is held until Unreserve, at the latest until the
	// connection ends, and on by connections that came of it; while those last, that endpoint gets it again. A call ID is
	// the only one for the address at the same peer, and rests for 30 s after that: nobody gets it meanwhile.
	Reserve(proto uint8, outside netip.Addr, inside netip.AddrPort) (uint16, bool)
	Unreserve(proto uint8, outside netip.Addr, id uint16)

	// Find returns the confirmed connection that a packet with this tuple would belong to.
	Find(t *conntrack.Tuple) (conntrack.Snapshot, bool)
	// Kill ends a connection: one of the helper's own children, or what is in the way of one and concerns no third
	// host, which is GRE or a child of another master between the hosts of this connection. false: it is none of these,
	// or has ended.
	Kill(id conntrack.Handle) bool
	// Timeouts makes a set of timeouts for children (Expectation.Timeouts), the same for equal durations.
	Timeouts(t conntrack.Timeouts) uint16

	// Wake asks for Tick at a time; the zero Time takes it back. Nothing tells a helper that its expectation was used or
	// that its child ended: who must know looks with Find at such times. A look that comes late costs nothing, for
	// packets of a child never ask expectations, and a child that ended leaves none to be missed for long.
	Wake(at conntrack.Time)
	// Count adds to a named counter of the helper ("messages", "desync", ...).
	Count(name string)
	// Logf logs at debug level, with the helper's name and the connection.
	Logf(format string, args ...any)
}
