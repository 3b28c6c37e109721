package irc

import (
	"fmt"
	"time"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/packet"
)

const (
	port       = 6667 // RFC 7194, section 1
	privileged = 1024 // ports below are never opened
)

// settings are the options of a rule.
type settings struct {
	maxDCC  int           // offers of one client that wait at a time
	timeout time.Duration // how long an offer waits
}

var defaults = settings{maxDCC: 8, timeout: 5 * time.Minute}

// helper is the IRC helper. It has no state of its own.
type helper struct{}

// New returns the IRC helper. Its options are max_dcc (int, 1 to 255) and timeout (time.Duration, at least a second).
func New() alg.StreamHelper { return helper{} }

// Spec implements [alg.Helper].
func (helper) Spec() alg.Spec {
	return alg.Spec{
		Name: "irc", Proto: packet.ProtoTCP, Port: port,
		Classes: []alg.Class{{Name: "dcc", Limit: defaults.maxDCC, Lifetime: defaults.timeout}},
	}
}

// Configure implements [alg.Helper].
func (helper) Configure(options map[string]any) (any, error) {
	s := defaults
	for name, v := range options {
		var ok bool
		switch name {
		case "max_dcc":
			s.maxDCC, ok = v.(int)
			ok = ok && s.maxDCC >= 1 && s.maxDCC <= 255
		case "timeout":
			s.timeout, ok = v.(time.Duration)
			ok = ok && s.timeout >= time.Second
		default:
			return nil, fmt.Errorf("irc: no option %q", name)
		}
		if !ok {
			return nil, fmt.Errorf("irc: %s: bad value %v", name, v)
		}
	}
	return s, nil
}

// New implements [alg.StreamHelper].
func (helper) New(_ alg.Master, config any) alg.Stream {
	s, ok := config.(settings)
	if !ok {
		s = defaults
	}
	return &stream{settings: s}
}
