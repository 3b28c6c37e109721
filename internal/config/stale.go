package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/BurntSushi/toml"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/ruleset"
)

// Readdressed is an interface that has other addresses than the file said that a router was started with.
type Readdressed struct {
	Interface string
	Gone      []netip.Addr // that no interface has any more
	Now       []netip.Addr // that this one has
}

// Stale returns a warning for each value of a file that still names an address which is gone, or only a network that the
// interface has left: rules, pools, routes and all else that does not follow an interface to its new address. name stands
// for the file, which [Parse] accepted, in messages.
func Stale(name string, text []byte, moved []Readdressed) []Warning {
	p := problems{file: name}
	var root map[string]any
	_, _ = toml.Decode(string(text), &root) // there is no error: it was decoded before
	eachText("", root, scanMarks(string(text)), func(path string, s string, m *mark) {
		if why := stale(s, moved); why != "" {
			p.warnf(m.line, "%s names %s: write what it is now, and restart the router to apply it", path, why)
		}
	})
	p.sort()
	return p.warnings
}

// Stale says which address that is gone the older file named here, and so does the router until it is restarted: as
// `203.0.113.1, which interface "wan0" no longer has`. It returns "" if it named none.
func (c Change) Stale(moved []Readdressed) (why string) {
	eachText(c.Key, c.old, &mark{}, func(_ string, s string, _ *mark) {
		if why == "" {
			why = stale(s, moved)
		}
	})
	return why
}

// eachText calls f with every text below v, but for the addresses of interfaces, and the path of its key.
func eachText(path string, v any, m *mark, f func(path, s string, m *mark)) {
	if list, ok := tableList(v); ok {
		for i, t := range list {
			eachText(fmt.Sprintf("%s[%d]", path, i), t, m.item(i), f)
		}
		return
	}
	switch v := v.(type) {
	case string:
		f(path, v, m)
	case []any:
		for i, e := range v {
			eachText(path, e, m.item(i), f)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if !isOwnAddress(path, name) {
				eachText(join(path, name), v[name], m.key(name), f)
			}
		}
	}
}

// stale says which address that is gone a text names; "" if none, or if the text is no address.
func stale(s string, moved []Readdressed) string {
	r, ok := namedAddresses(s)
	if !ok {
		return ""
	}
	for _, m := range moved {
		for _, gone := range m.Gone {
			switch {
			case !contains(r, gone):
			case r.First == r.Last:
				return fmt.Sprintf("%s, which interface %q no longer has", s, m.Interface)
			case leftBehind(r, gone, m.Now):
				return fmt.Sprintf("%s, which has %s and none of the present addresses of interface %q", s, gone, m.Interface)
			}
		}
	}
	return ""
}

// namedAddresses reads a text in any of the forms that addresses have in the file.
func namedAddresses(s string) (r conntrack.AddrRange, ok bool) {
	if t, err := parseTarget(s); err == nil {
		return t.addrs, t.hasAddr()
	}
	p, err := parsePrefix(s) // host_address, whose later bits may be set
	if err != nil {
		return r, false
	}
	return conntrack.AddrRange(ruleset.SpanOf(p)), true
}

func contains(r conntrack.AddrRange, a netip.Addr) bool {
	return r.First.BitLen() == a.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// leftBehind reports whether an interface that had an address of r has one of its family instead, and none in r.
func leftBehind(r conntrack.AddrRange, gone netip.Addr, now []netip.Addr) bool {
	return slices.ContainsFunc(now, func(a netip.Addr) bool { return a.BitLen() == gone.BitLen() }) &&
		!slices.ContainsFunc(now, func(a netip.Addr) bool { return contains(r, a) })
}
