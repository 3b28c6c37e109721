package config

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/ruleset"
)

// noHelper is the name that assigns none.
const noHelper = "none"

// helpers are the names that [[helper]] takes: the protocols that a helper is for, its usual port, and its options. A
// helper has its options' defaults itself: they are handed to it only if given.
var helpers = map[string]struct {
	proto   uint8 // 0: any
	port    int
	options []key
}{
	noHelper: {},
	"pptp": {packet.ProtoTCP, 1723, []key{ // RFC 2637, section 2
		{name: "timeout", read: duration(time.Second, maxTimeout)},
		{name: "stream_timeout", read: duration(time.Second, maxTimeout)},
		{name: "max_calls", read: number(1, 65535, "calls")}, // a call ID has 16 bits
	}},
	"ftp": {packet.ProtoTCP, 21, []key{ // RFC 959, section 8
		{name: "loose", read: addresses},
		{name: "data_port", read: ports},
		{name: "min_port", read: number(1, 65535, "")},
		{name: "deny_port", read: ports},
		{name: "strict20", read: boolean},
		{name: "lprt", read: boolean},
		{name: "ccc", read: boolean},
	}},
	"tftp": {packet.ProtoUDP, 69, nil}, // RFC 1350, section 4
	"irc": {packet.ProtoTCP, 6667, []key{ // RFC 7194, section 1
		{name: "max_dcc", read: number(1, 255, "offers")},
		{name: "timeout", read: duration(time.Second, maxTimeout)},
	}},
}

// helperNames returns the names in order; with none or without.
func helperNames(none bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(helpers)), func(n string) bool { return n == noHelper && !none })
}

// helperOptions returns the keys that a [[helper]] takes because of its name. Under an unknown name it takes all, so that
// the name is the only mistake.
func helperOptions(raw map[string]any) []key {
	name, _ := raw["name"].(string)
	if h, ok := helpers[name]; ok {
		return h.options
	}
	var all []key
	for _, n := range helperNames(false) {
		all = append(all, helpers[n].options...)
	}
	return all
}

// helper builds one [[helper]]. Its messages are those of the kernel's CT target, and what to write.
func (b *builder) helper(t *table) router.HelperRule {
	m := b.match(t)
	r := router.HelperRule{
		Name:        value[string](t, "name"),
		Proto:       m.proto,
		Ports:       m.ports,
		Source:      m.source,
		Destination: m.destination,
		Line:        t.mark.line,
	}
	if !t.has("name") {
		return r
	}
	h, known := helpers[r.Name]
	switch {
	case !known:
		b.errorf(t.line("name"), "No such helper %q: %s", r.Name, ruleset.Suggest(r.Name, helperNames(true)))
	case !t.has("protocol"):
		b.errorf(t.line("name"), "%s: add protocol = %q", needProtocol, ruleset.ProtocolName(cmp.Or(h.proto, packet.ProtoTCP)))
	case m.proto != 0 && h.proto != 0 && m.proto != h.proto:
		b.errorf(t.line("protocol"), "No such helper %q for protocol %q: write protocol = %q", r.Name, ruleset.ProtocolName(m.proto),
			ruleset.ProtocolName(h.proto))
	}
	if known && r.Name != noHelper && !t.has("port") {
		b.errorf(t.line("name"), "helper %q would read every connection: add the port of its servers, port = %d", r.Name, h.port)
	}
	for _, o := range h.options {
		if v, ok := t.values[o.name]; ok {
			if r.Options == nil {
				r.Options = map[string]any{}
			}
			r.Options[o.name] = plain(v)
		}
	}
	return r
}

// plain returns a list as helpers know it, and what is no list as it is.
func plain(v any) any {
	switch l := v.(type) {
	case addrList:
		return []conntrack.AddrRange(l)
	case portList:
		return []conntrack.PortRange(l)
	}
	return v
}
