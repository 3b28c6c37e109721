package alg

import "github.com/natrouter/natrouter/router/ruleset"

// Check says what is wrong with rules whatever helpers there are: conditions that match nothing, and rules that an
// earlier one makes unreachable. The place is "helper" with the rule's index. What a helper refuses, [New] says.
func Check(rules []Rule) ruleset.Problems {
	var l ruleset.Problems
	var index ruleset.Index
	for i := range rules {
		r := &rules[i]
		m := ruleset.Match{
			Source: ruleset.Spans(r.Source), Destination: ruleset.Spans(r.Destination), Proto: r.Proto, Ports: ruleset.PortSpans(r.Ports),
		}
		l = append(l, index.Check("helper", i, &m, "a connection has one helper")...)
	}
	return l
}
