package pptp

import (
	"fmt"
	"sync"
	"time"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

const (
	port     = 1723            // RFC 2637, section 2
	lifetime = 5 * time.Minute // of an expectation
	second   = conntrack.Time(time.Second)
)

// settings are the options of a rule.
type settings struct {
	timeout  time.Duration // of GRE that only one end has sent
	stream   time.Duration // of GRE in both directions
	maxCalls int           // that one control connection may have at a time
}

var defaults = settings{timeout: 10 * time.Minute, stream: 5 * time.Hour, maxCalls: 64}

// helper is the PPTP helper. It holds what its connections share: which call has which IDs and which GRE, for a redial
// takes over from a control connection that died unseen. Lock order: a connection's own lock before mu; no Master is called under
// mu.
type helper struct {
	mu     sync.Mutex
	claims map[conntrack.Tuple]claim // guarded by mu; by the tuples of GRE, without the sender's call ID
	names  map[name]*call            // guarded by mu
}

// New returns the PPTP helper. Its options are timeout and stream_timeout (time.Duration, at least a second) and
// max_calls (int, 1 to 65535).
func New() alg.StreamHelper {
	return &helper{claims: make(map[conntrack.Tuple]claim), names: make(map[name]*call)}
}

// Spec implements [alg.Helper].
func (h *helper) Spec() alg.Spec {
	return alg.Spec{
		Name: "pptp", Proto: packet.ProtoTCP, Port: port,
		Classes: []alg.Class{{Name: "gre", Limit: 2 * defaults.maxCalls, Lifetime: lifetime}},
	}
}

// Configure implements [alg.Helper].
func (h *helper) Configure(options map[string]any) (any, error) {
	s := defaults
	for name, v := range options {
		var ok bool
		switch name {
		case "timeout":
			s.timeout, ok = v.(time.Duration)
			ok = ok && s.timeout >= time.Second
		case "stream_timeout":
			s.stream, ok = v.(time.Duration)
			ok = ok && s.stream >= time.Second
		case "max_calls":
			s.maxCalls, ok = v.(int)
			ok = ok && s.maxCalls >= 1 && s.maxCalls <= 65535 // a call ID has 16 bits
		default:
			return nil, fmt.Errorf("pptp: no option %q", name)
		}
		if !ok {
			return nil, fmt.Errorf("pptp: %s: bad value %v", name, v)
		}
	}
	return s, nil
}

// New implements [alg.StreamHelper].
func (h *helper) New(_ alg.Master, config any) alg.Stream {
	s, ok := config.(settings)
	if !ok {
		s = defaults
	}
	return newStream(h, s)
}

// claim says whose some GRE is.
type claim struct {
	call   *call              // all but its shared belongs to its connection
	expect conntrack.ExpectID // of the call, for this GRE; 0: none
}

// target is the key of claims.
func target(t conntrack.Tuple) conntrack.Tuple {
	t.SrcID = 0
	return t
}

// claim gives GRE tuples to a call, and returns what was expected of them by those that had them. They see it at their
// next look and end. A lost call gets none.
func (h *helper) claim(c *call, tuples [2]conntrack.Tuple) (before [2]conntrack.ExpectID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.shared.lost {
		return before
	}
	c.shared.gre = tuples
	for dir, t := range tuples {
		if old := h.claims[target(t)]; old.call != c {
			before[dir] = old.expect
			h.claims[target(t)] = claim{call: c}
		}
	}
	return before
}

// claimed reports whether a call still has its tuples.
func (h *helper) claimed(c *call, tuples [2]conntrack.Tuple) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.claims[target(tuples[0])].call == c && h.claims[target(tuples[1])].call == c
}

// expecting notes the expectation of a call for one of its tuples. false: another has taken the tuple meanwhile.
func (h *helper) expecting(c *call, t conntrack.Tuple, id conntrack.ExpectID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.claims[target(t)].call != c {
		return false
	}
	h.claims[target(t)] = claim{c, id}
	return true
}

// unclaim forgets those of its tuples that a call still has.
func (h *helper) unclaim(c *call, tuples [2]conntrack.Tuple) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.shared.gre = [2]conntrack.Tuple{}
	for _, t := range tuples {
		if h.claims[target(t)].call == c {
			delete(h.claims, target(t))
		}
	}
}
