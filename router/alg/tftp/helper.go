package tftp

import (
	"fmt"
	"time"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/packet"
)

const (
	port     = 69              // RFC 1350, section 4
	lifetime = 5 * time.Minute // of an expectation
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
