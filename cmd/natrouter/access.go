package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/natrouter/natrouter/router"
)

// mostPairs is how many pairs of interfaces a summary lists.
const mostPairs = 32

// accessSummary says which interfaces' hosts may begin connections towards which, a line a pair, and by what.
func accessSummary(cfg *router.Config) (lines []string) {
	list := cfg.Access()
	for i, a := range list {
		if i == mostPairs {
			return append(lines, fmt.Sprintf("and %d more pairs of interfaces", len(list)-i))
		}
		lines = append(lines, fmt.Sprintf("hosts behind %s may begin towards %s: %s", a.In, a.Out, accessWords(cfg, &a)))
	}
	return lines
}

// accessWords says what may begin between two interfaces, with the lines of the rules that say so.
func accessWords(cfg *router.Config, a *router.Access) string {
	filter := func(n int) string { return strconv.Itoa(cfg.Filter.Rules[n].Line) }
	rule := func(n int) string { return strconv.Itoa(cfg.NAT[n].Line) }
	var s string
	switch {
	case a.All && a.Filter >= 0:
		s = "all connections, by the filter rule on line " + filter(a.Filter)
	case a.All:
		s = "all connections"
	case len(a.Forwards)+len(a.Accepted) == 0:
		return "nothing"
	default:
		var by []string
		if len(a.Forwards) > 0 {
			by = append(by, "forwards (line "+joinFunc(a.Forwards, rule)+")")
		}
		if len(a.Accepted) > 0 {
			by = append(by, "filter rules (line "+joinFunc(a.Accepted, filter)+")")
		}
		s = "only by " + strings.Join(by, " and ")
	}
	if len(a.Refused) > 0 {
		s += ", without what filter rules refuse (line " + joinFunc(a.Refused, filter) + ")"
	}
	if len(a.Translated) > 0 {
		s += ", translated (line " + joinFunc(a.Translated, rule) + ")"
	}
	return s
}
