package config

import (
	"slices"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/ruleset"
)

// filter builds [filter].
func (b *builder) filter(cfg *router.Config, t *table) {
	cfg.Filter = router.Filter{
		Forward:       value[router.FilterAction](t, "forward"),
		Input:         value[router.InputPolicy](t, "input"),
		NoReversePath: !value[bool](t, "reverse_path"),
	}
	for _, r := range t.tables["rule"] {
		cfg.Filter.Rules = append(cfg.Filter.Rules, b.filterRule(r))
	}
}

func (b *builder) filterRule(t *table) router.FilterRule {
	m := b.match(t)
	r := router.FilterRule{
		In:          value[string](t, "in"),
		Out:         value[string](t, "out"),
		Source:      m.source,
		Destination: m.destination,
		Proto:       m.proto,
		Ports:       m.ports,
		State:       value[list[string]](t, "state"),
		Helper:      value[string](t, "helper"),
		Action:      value[router.FilterAction](t, "action"),
		Line:        t.mark.line,
	}
	for i, s := range r.State {
		if slices.Contains(r.State[:i], s) {
			b.errorf(t.item("state", i), "state: %q stands twice: remove one of the two", s)
		}
	}
	if r.Helper != "" {
		if _, ok := helpers[r.Helper]; !ok || r.Helper == noHelper {
			b.errorf(t.line("helper"), "No such helper %q: %s", r.Helper, ruleset.Suggest(r.Helper, helperNames(false)))
		}
	}
	return r
}
