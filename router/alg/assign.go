package alg

import (
	"fmt"
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
)

// Rule assigns a helper to new connections, the first that matches; see [Kit.Assign].
type Rule struct {
	Name        string                // or None
	Proto       uint8                 // required
	Ports       []conntrack.PortRange // destination ports before DNAT; empty: any
	Source      []conntrack.AddrRange // empty: any
	Destination []conntrack.AddrRange // before DNAT; empty: any
	Options     map[string]any        // read by the helper's Configure
	Line        int                   // of the configuration file; 0: none
}

// RuleError says which rule cannot be used, and why.
type RuleError struct {
	Rule int // from 1 on
	Line int
	Err  error
}

// Error begins with the reason, in the words of the kernel's CT target where it has them.
func (e *RuleError) Error() string {
	if e.Line != 0 {
		return fmt.Sprintf("%v (helper rule %d, line %d)", e.Err, e.Rule, e.Line)
	}
	return fmt.Sprintf("%v (helper rule %d)", e.Err, e.Rule)
}

// Unwrap returns the reason.
func (e *RuleError) Unwrap() error { return e.Err }

// message is an error whose text others fixed.
type message string

func (m message) Error() string { return string(m) }

// ErrNoProtocol refuses a rule that names no protocol.
const ErrNoProtocol = message("You must specify a L4 protocol and not use inversions on it")

// UnknownHelperError refuses a rule whose helper is not there, or not for its protocol.
type UnknownHelperError struct{ Name string }

func (e *UnknownHelperError) Error() string { return fmt.Sprintf("No such helper %q", e.Name) }

// rule is a Rule made ready.
type rule struct {
	Rule
	helper *registered // nil: None
	config any
}

func compile(r *Registry, rules []Rule) ([]rule, error) {
	var list []rule
	for i := range rules {
		c := rule{Rule: rules[i]}
		if err := c.resolve(r); err != nil {
			return nil, &RuleError{Rule: i + 1, Line: c.Line, Err: err}
		}
		list = append(list, c)
	}
	return list, nil
}

func (c *rule) resolve(r *Registry) (err error) {
	if c.Name != None && r.byName(c.Name, 0) == nil {
		return &UnknownHelperError{c.Name}
	}
	if c.Proto == 0 {
		return ErrNoProtocol
	}
	if c.Name == None {
		return nil
	}
	if c.helper = r.byName(c.Name, c.Proto); c.helper == nil {
		return &UnknownHelperError{c.Name}
	}
	if c.config, err = c.helper.Configure(c.Options); err != nil {
		return fmt.Errorf("helper %q: %w", c.Name, err)
	}
	return nil
}

// matches reports whether a rule is for connections that begin with a tuple.
func (c *rule) matches(t *conntrack.Tuple) bool {
	return c.Proto == t.Proto && (len(c.Ports) == 0 || t.HasPorts() && inPorts(c.Ports, t.DstID)) &&
		inAddresses(c.Source, t.SrcAddr()) && inAddresses(c.Destination, t.DstAddr())
}

func inPorts(list []conntrack.PortRange, port uint16) bool {
	for _, r := range list {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}

func inAddresses(list []conntrack.AddrRange, a netip.Addr) bool {
	for _, r := range list {
		if r.First.BitLen() == a.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 {
			return true
		}
	}
	return len(list) == 0
}

// ruleFor returns the first rule that matches, nil if none does. Rules don't change, so it answers the same at any
// time of a connection's life.
func (k *Kit) ruleFor(t *conntrack.Tuple) *rule {
	for i := range k.rules {
		if k.rules[i].matches(t) {
			return &k.rules[i]
		}
	}
	return nil
}

// Assign gives a new connection its helper: call it for each unconfirmed one, before NAT. What an expectation let in
// has its helper from there, if any; else the first rule that matches says. Where no rule does and the legacy switch is
// on, the server's port does (docs/spec/helpers.md, sections 2 to 4).
func (k *Kit) Assign(c *conntrack.Conn) {
	if c.Status&(conntrack.Confirmed|conntrack.HelperSet) != 0 || c.ErrorL3 != 0 {
		return
	}
	if c.Status&conntrack.Expected != 0 {
		k.matched(c.Master)
		return
	}
	if r := k.ruleFor(&c.Tuples[conntrack.Original]); r != nil {
		c.Status |= conntrack.HelperSet
		if r.helper != nil {
			c.Helper = r.helper.id
		}
		return
	}
	c.Helper = k.lookup(&c.Tuples[conntrack.Reply])
}

// Reassign looks again after NAT has changed the reply tuple of an unconfirmed connection: only where the helper came
// by the server's port, never where a rule or an expectation said. A helper of another sort is not taken instead: the
// connection then has none.
func (k *Kit) Reassign(c *conntrack.Conn) {
	if c.Status&(conntrack.Confirmed|conntrack.HelperSet|conntrack.Expected) != 0 || c.ErrorL3 != 0 {
		return
	}
	found := k.lookup(&c.Tuples[conntrack.Reply])
	if c.Helper != 0 && found != c.Helper {
		found = 0
	}
	c.Helper = found
}

// lookup returns the helper of a server's port where the legacy switch is on. Where it is off it warns, once.
func (k *Kit) lookup(reply *conntrack.Tuple) uint8 {
	if !k.auto && k.warned.Load() || !reply.HasPorts() {
		return 0
	}
	h := k.registry.byPort(reply.Proto, reply.SrcID)
	switch {
	case h == nil:
		return 0
	case k.auto:
		return h.id
	}
	if k.warned.CompareAndSwap(false, true) {
		k.log.Warn("automatic helper assignment is off for security reasons: a connection that it would have matched "+
			"gets none; add a [[helper]] rule for the servers concerned", "helper", h.Name, "port", h.Port)
	}
	return 0
}
