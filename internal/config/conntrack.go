package config

import (
	"slices"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/ruleset"
)

// conntrack builds [conntrack] and [[pass]].
func (b *builder) conntrack(cfg *router.Config, root *table) {
	t := root.sub("conntrack")
	profile := value[conntrack.Profile](t, "profile")
	cfg.Conntrack = conntrack.Config{
		Max:          value[int](t, "max"),
		Buckets:      value[int](t, "buckets"),
		MaxExpect:    orNone(value[int](t, "max_expectations")),
		MaxPerSource: value[int](t, "max_per_source"),
		MaxUnreplied: value[int](t, "max_unreplied"),
		NoTCPLoose:   !value[bool](t, "tcp_loose"),
		TCPLiberal:   value[bool](t, "tcp_liberal"),
		NoAccounting: !value[bool](t, "accounting"),
		Timeouts:     conntrack.DefaultTimeouts(profile),
	}
	cfg.Fragments = value[int](t, "fragment_memory")
	cfg.AutoHelper = value[bool](t, "auto_helper")
	ct := &cfg.Conntrack
	for _, limit := range []string{"max_per_source", "max_unreplied"} {
		if n := value[int](t, limit); n > ct.Max {
			b.errorf(max(t.line(limit), t.line("max")), "%s = %d is more than max = %d: write at most that, or 0", limit, n, ct.Max)
		}
	}
	if profile == conntrack.ProfileLinux {
		b.warnf(t.line("profile"), `profile = "linux" has timeouts below RFC 4787 REQ-5, RFC 5382 REQ-5 and RFC 5508 REQ-2: idle connections may be lost; write "rfc" to keep them`)
	}
	b.setTimeouts(&ct.Timeouts, t.sub("timeout"), false)
	for _, p := range t.tables["policy"] {
		ct.Policies = append(ct.Policies, b.policy(p))
	}
	for _, p := range root.tables["pass"] {
		ct.Pass = append(ct.Pass, b.pass(p))
	}
	if d := cfg.Defaults; d.MaxMappings > ct.Max {
		n := root.sub("nat_defaults")
		b.errorf(n.line("max_mappings"), "max_mappings = %d is more than conntrack.max = %d, and each mapping has a connection: write at most that, or 0",
			d.MaxMappings, ct.Max)
	}
}

// policy builds one [[conntrack.policy]].
func (b *builder) policy(t *table) conntrack.TimeoutPolicy {
	m := b.match(t)
	p := conntrack.TimeoutPolicy{Proto: m.proto, Destination: m.destination, Ports: m.ports}
	if len(t.tables["timeout"]) == 0 {
		if !t.has("timeout") {
			b.errorf(t.mark.line, `this policy sets no timeout: add one, as in timeout = { udp = "10s" }`)
		}
		return p
	}
	times := t.sub("timeout")
	if len(times.given) == 0 {
		b.errorf(t.line("timeout"), `this policy sets no timeout: add one, as in timeout = { udp = "10s" }`)
	}
	for _, k := range timeouts {
		if times.has(k.name) && m.proto != 0 && k.proto != m.proto && (k.proto != 0 || ownTimeouts(m.proto)) {
			b.errorf(times.line(k.name), "%s never applies to protocol %q, which is all that this policy matches: remove it",
				k.name, ruleset.ProtocolName(m.proto))
		}
	}
	wellKnown := len(m.ports) > 0 && !slices.ContainsFunc(m.ports, func(r conntrack.PortRange) bool { return r.Last > 1023 })
	b.setTimeouts(&p.Timeouts, times, wellKnown)
	return p
}

// ownTimeouts reports whether a protocol has timeouts of its own, so that generic isn't used for it.
func ownTimeouts(proto uint8) bool {
	for _, k := range timeouts {
		if k.proto == proto {
			return true
		}
	}
	return false
}

// pass builds one [[pass]].
func (b *builder) pass(t *table) conntrack.PassRule {
	r := conntrack.PassRule{
		Proto:       value[uint8](t, "protocol"),
		Source:      value[addrList](t, "source"),
		Destination: value[addrList](t, "destination"),
		Newest:      value[string](t, "conflict") == "newest",
	}
	return r
}
