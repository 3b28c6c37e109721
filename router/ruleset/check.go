package ruleset

// CheckSpans reports ranges that are none.
func CheckSpans(l *Problems, at Place, list []Span) {
	for i, s := range list {
		switch {
		case !s.First.IsValid() || !s.Last.IsValid():
			l.Mistakef(at.Element(i), Place{}, "remove it, or write an address", "%s: a range without addresses", at.Key)
		case s.First.BitLen() != s.Last.BitLen():
			l.Mistakef(at.Element(i), Place{}, "write a range for each family", "%s: range %s-%s mixes families", at.Key, s.First, s.Last)
		case s.Last.Less(s.First):
			l.Mistakef(at.Element(i), Place{}, "write the smaller one first", "%s: range %s-%s ends before it begins", at.Key, s.First, s.Last)
		}
	}
}

// CheckPorts reports ranges of ports that are none. Port 0 is reserved (RFC 6335, section 6).
func CheckPorts(l *Problems, at Place, list []PortSpan) {
	for i, s := range list {
		if s.First > s.Last || s.First == 0 {
			l.Mistakef(at.Element(i), Place{}, "write ports from 1 to 65535, the smaller one first", "%s: %d-%d is no range of ports", at.Key, s.First, s.Last)
		}
	}
}

// Check reports what a rule can never match: ranges that are none, families that do not meet, and ports of a protocol
// without. at returns the place of one of the rule's keys.
func (m *Match) Check(l *Problems, at func(key string) Place) {
	before := len(*l)
	CheckSpans(l, at("source"), m.Source)
	CheckSpans(l, at("destination"), m.Destination)
	CheckPorts(l, at("port"), m.Ports)
	if len(m.Ports) > 0 && m.Proto != 0 && !HasPorts(m.Proto) {
		l.Mistakef(at("port"), Place{}, "remove port, or write a protocol that has some", "protocol %q has no ports", ProtocolName(m.Proto))
	}
	if len(*l) > before {
		return
	}
	sides := []struct {
		key string
		f   Families
	}{
		{"protocol", ProtocolFamilies(m.Proto)},
		{"source", FamiliesOf(m.Source)},
		{"destination", FamiliesOf(m.Destination)},
	}
	for i, a := range sides {
		for _, b := range sides[:i] {
			if a.f.And(b.f).None() {
				l.Mistakef(at(a.key), Place{}, "write both in one family",
					"%s is %s and %s is %s, so the rule matches nothing", a.key, a.f, b.key, b.f)
				return
			}
		}
	}
}
