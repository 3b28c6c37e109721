package pptp

import (
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
)

// name is the call ID of an end as that end has it. It is unique to the two hosts (RFC 2637, sections 2.7 to 2.10),
// over all of their control connections: who gives it to a call has forgotten the call that had it.
type name struct {
	end  conntrack.Tuple // from the end to its peer as it addresses it, SrcID is the call ID
	peer [16]byte        // the peer itself: several may be known by one address
}

// nameOf returns the name of a call's end.
func (c *call) nameOf(m alg.Master, dir conntrack.Direction) name {
	at, leaving := c.tuple(m, dir), m.Leaving(dir)
	at.DstID = 0
	return name{at, leaving.Dst}
}

// shared is what other control connections may ask about a call. The helper's mu guards it.
type shared struct {
	gre  [2]conntrack.Tuple // what it has claimed; the zero value: nothing yet
	lost bool               // an ID of it is a call's of another control connection
}

// found is what was taken from a lost call.
type found struct {
	gre     [2]conntrack.Tuple
	expects [2]conntrack.ExpectID // 0: none
}

// name gives a name to a call. If a call of another control connection had it, that one is lost, and what it has is
// returned, to be ended. It sees that at its next look, and ends; its call IDs stay reserved until then, and rest from
// then on.
func (h *helper) name(c *call, n name) (f found, taken bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.shared.lost {
		return f, false
	}
	old := h.names[n]
	h.names[n] = c
	if old == nil || old == c || old.shared.lost {
		return f, false
	}
	old.shared.lost = true
	f.gre = old.shared.gre
	for dir, t := range f.gre {
		if had := h.claims[target(t)]; had.call == old {
			f.expects[dir] = had.expect
			delete(h.claims, target(t))
		}
	}
	return f, true
}

// unname forgets a name that a call still has.
func (h *helper) unname(c *call, n name) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.names[n] == c {
		delete(h.names, n)
	}
}

// lost reports whether another control connection's call has an ID of this one.
func (h *helper) lost(c *call) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return c.shared.lost
}

// takeOver gives a call the names of its ends, and ends the GRE of calls of other control connections that had them: a
// client that crashed dials again with the same ID, and late data of its old call must not come to the new one.
func (s *stream) takeOver(m alg.Master, c *call) {
	for dir := range conntrack.Direction(2) {
		if !c.ends[dir].known {
			continue
		}
		f, taken := s.helper.name(c, c.nameOf(m, dir))
		if !taken {
			continue
		}
		m.Count("superseded")
		m.Logf("call ID %d was another control connection's", c.ends[dir].inner)
		for side, id := range f.expects {
			if id != 0 {
				m.Unexpect(id)
			}
			snap, ok := m.Find(&f.gre[side])
			if ok && (snap.Tuples == f.gre || snap.Tuples == [2]conntrack.Tuple{f.gre[1], f.gre[0]}) && !m.Kill(snap.ID) {
				m.Count("blocked")
			}
		}
	}
}
