package conntrack

import "github.com/natrouter/natrouter/router/ruleset"

// Check says what is wrong with the rules of a configuration: mistakes, and policies and pass rules that an earlier one
// makes unreachable. The places are "conntrack.policy" and "pass", each with its index.
func Check(cfg *Config) ruleset.Problems {
	var l ruleset.Problems
	var policies, passes ruleset.Index
	for i := range cfg.Policies {
		p := &cfg.Policies[i]
		m := ruleset.Match{Destination: ruleset.Spans(p.Destination), Proto: p.Proto, Ports: ruleset.PortSpans(p.Ports)}
		l = append(l, policies.Check("conntrack.policy", i, &m, "the one that comes first decides all timeouts")...)
	}
	for i := range cfg.Pass {
		p := &cfg.Pass[i]
		at := ruleset.Key("pass", i, "protocol")
		const remedy = `remove it, since [[pass]] is for protocols without, as "gre" and "esp"`
		switch {
		case ruleset.HasPorts(p.Proto):
			l.Mistakef(at, ruleset.Place{}, remedy, "protocol %q has ports, by which nat keeps hosts apart", ruleset.ProtocolName(p.Proto))
		case p.Proto == 1 || p.Proto == 58:
			l.Mistakef(at, ruleset.Place{}, remedy, "protocol %q has identifiers, by which nat keeps hosts apart", ruleset.ProtocolName(p.Proto))
		}
		m := ruleset.Match{Source: ruleset.Spans(p.Source), Destination: ruleset.Spans(p.Destination), Proto: p.Proto}
		l = append(l, passes.Check("pass", i, &m, "")...)
	}
	return l
}
