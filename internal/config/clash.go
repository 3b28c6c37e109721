package config

import (
	"errors"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/nat"
)

// clashes asks nat what it would refuse: rules against each other, and pools against the router's own addresses. Each
// message names the other line too.
func (b *builder) clashes(cfg *router.Config) {
	rules := nat.Config{Rules: cfg.NAT, Defaults: cfg.Defaults, Max: cfg.Conntrack.Max}
	for _, i := range cfg.Interfaces {
		rules.Interfaces = append(rules.Interfaces,
			nat.Interface{Name: i.Name, Outside: i.Side == router.Outside, Addresses: i.Address, Line: i.Line})
	}
	b.refused(nat.Check(rules))
}

// refused reports the errors that are joined in err.
func (b *builder) refused(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			b.refused(e)
		}
		return
	}
	var rule *nat.RuleError
	switch {
	case err == nil:
	case !errors.As(err, &rule):
		b.errorf(0, "%v", err)
	case rule.Other != 0:
		b.errorf(rule.Line, "%s (line %d)", rule.Msg, rule.Other)
	default:
		b.errorf(rule.Line, "%s", rule.Msg)
	}
}
