package nat

import (
	"math"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// mapping binds an inside endpoint to an outside one. It has no pointers; slabs of it are not scanned by the
// collector.
type mapping struct {
	inside, outside         [16]byte
	remote                  [16]byte // part of the key by mapping behaviour; else that of the connection last evicted
	insidePort, outsidePort uint16   // host byte order; the identifier for ICMP, the call ID for GRE
	remotePort              uint16
	pool                    uint16
	pending                 uint16 // connections that are bound and not confirmed yet
	flags                   mappingFlags
	conns                   uint32 // confirmed ones, and expectations that hold it
	until                   uint32 // seconds: when it ends without connections, though pending or evicted
	proto                   uint8  // 0: the slot is free
	reserved                bool   // expectations may still come of it, which are among conns
}

// mappingFlags say how a mapping behaves.
type mappingFlags uint16

const (
	flagFiltering   mappingFlags = 3       // a Behaviour
	flagMapping     mappingFlags = 3 << 2  // a Behaviour
	flagKeep        mappingFlags = 1 << 4  // survives a change of the interface's address
	flagUnlisted    mappingFlags = 1 << 5  // not in the index of inside endpoints
	flagEvicted     mappingFlags = 1 << 6  // remote and remotePort are those of an evicted connection
	flagHairpin     mappingFlags = 1 << 7  // inside hosts reach it
	flagExpectation mappingFlags = 1 << 8  // the endpoint of expectations: found by its inside endpoint only by others
	flagShared      mappingFlags = 1 << 9  // others may have the same outside endpoint
	flagUsed        mappingFlags = 1 << 10 // a connection was confirmed by it: packets may have left
)

func (m *mapping) filtering() Behaviour { return Behaviour(m.flags & flagFiltering) }
func (m *mapping) mapping() Behaviour   { return Behaviour(m.flags & flagMapping >> 2) }

const (
	slabBits = 10 // mappings of a page of the slab
	slabSize = 1 << slabBits
)

// mappings is the table of mappings: a slab, and indexes by inside and by outside endpoint. It is guarded by
// NAT.mu.
type mappings struct {
	key      hashKey
	pages    []*[slabSize]mapping
	free     []uint32
	used     int
	inside   index
	outside  index
	remotes  remotes
	sweepPos uint32
}

// newMappings returns a table for so many mappings and connections. More of them make it grow.
func newMappings(key hashKey, mappingsMax, connsMax int) mappings {
	return mappings{key: key, inside: newIndex(mappingsMax), outside: newIndex(mappingsMax), remotes: newRemotes(connsMax)}
}

func (t *mappings) at(slot uint32) *mapping { return &t.pages[slot>>slabBits][slot&(slabSize-1)] }

// insideHash hashes what a new connection is looked up by.
func (t *mappings) insideHash(m *mapping) uint32 {
	v := uint64(m.insidePort) | uint64(m.pool)<<16 | uint64(m.proto)<<32
	if m.mapping() == EndpointIndependent {
		return uint32(t.key.sum(&m.inside, v))
	}
	if m.mapping() == AddressAndPortDependent {
		v |= uint64(m.remotePort)<<40 | 1<<56
	} else {
		v |= 1 << 57
	}
	return uint32(t.key.sum2(&m.inside, &m.remote, v))
}

func (t *mappings) outsideHash(addr *[16]byte, proto uint8, port uint16) uint32 {
	return uint32(t.key.sum(addr, uint64(port)|uint64(proto)<<16|1<<63))
}

// sameInside reports whether m and k have one key. Where k has an outside address, that is part of it.
func (m *mapping) sameInside(k *mapping) bool {
	const behaviour = flagMapping | flagExpectation
	if m.insidePort != k.insidePort || m.pool != k.pool || m.proto != k.proto || m.inside != k.inside ||
		m.flags&behaviour != k.flags&behaviour {
		return false
	}
	if k.outside != [16]byte{} && m.outside != k.outside {
		return false
	}
	switch m.mapping() {
	case AddressDependent:
		return m.remote == k.remote
	case AddressAndPortDependent:
		return m.remote == k.remote && m.remotePort == k.remotePort
	}
	return true
}

// findInside returns the slot of the mapping with the key of k.
func (t *mappings) findInside(k *mapping) (slot uint32, ok bool) {
	hash := t.insideHash(k)
	for i := t.inside.home(hash); t.inside.entries[i].slot != 0; i = t.inside.next(i) {
		if e := t.inside.entries[i]; e.hash == hash && t.at(e.slot-1).sameInside(k) {
			return e.slot - 1, true
		}
	}
	return 0, false
}

// eachOutside calls f for the mappings of an outside endpoint, of which there are several only where ports are
// overloaded, until it returns false.
func (t *mappings) eachOutside(addr *[16]byte, proto uint8, port uint16, f func(slot uint32, m *mapping) bool) {
	hash := t.outsideHash(addr, proto, port)
	for i := t.outside.home(hash); t.outside.entries[i].slot != 0; i = t.outside.next(i) {
		e := t.outside.entries[i]
		if e.hash != hash {
			continue
		}
		m := t.at(e.slot - 1)
		if m.outsidePort == port && m.proto == proto && m.outside == *addr && !f(e.slot-1, m) {
			return
		}
	}
}

// insert puts a mapping into a free slot and the indexes.
func (t *mappings) insert(m *mapping) uint32 {
	if len(t.free) == 0 {
		first := uint32(len(t.pages)) << slabBits
		t.pages = append(t.pages, new([slabSize]mapping))
		for i := uint32(slabSize); i > 0; i-- {
			t.free = append(t.free, first+i-1)
		}
	}
	slot := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	*t.at(slot) = *m
	t.used++
	if m.flags&flagUnlisted == 0 {
		t.inside.add(t.insideHash(m), slot)
	}
	t.outside.add(t.outsideHash(&m.outside, m.proto, m.outsidePort), slot)
	return slot
}

// remove frees a slot.
func (t *mappings) remove(slot uint32) {
	m := t.at(slot)
	t.unlist(slot)
	t.outside.remove(t.outsideHash(&m.outside, m.proto, m.outsidePort), slot)
	*m = mapping{}
	t.free = append(t.free, slot)
	t.used--
}

// unlist takes a mapping out of the index of inside endpoints: no new connection will use it.
func (t *mappings) unlist(slot uint32) {
	m := t.at(slot)
	if m.flags&flagUnlisted == 0 {
		t.inside.remove(t.insideHash(m), slot)
		m.flags |= flagUnlisted
	}
}

// admits reports whether a mapping's filtering lets a remote endpoint begin (RFC 4787, section 5). An overloaded
// endpoint names its host only together with the remote one.
func (t *mappings) admits(slot uint32, m *mapping, shared bool, remote *[16]byte, port uint16, now conntrack.Time) bool {
	sameAddr := m.remote == *remote
	samePort := sameAddr && m.remotePort == port
	if shared {
		return samePort
	}
	known := m.mapping() != EndpointIndependent || (m.flags&flagEvicted != 0 && seconds(now) < m.until)
	switch m.filtering() {
	case EndpointIndependent:
		return true
	case AddressDependent:
		return (known && sameAddr) || t.remotes.has(t.remoteHash(slot, remote))
	case AddressAndPortDependent:
		return known && samePort && m.mapping() != AddressDependent
	}
	return false
}

// keepsRemotes reports whether the remote addresses of a mapping's connections are noted. Where the mapping
// itself depends on the remote end, or filtering on its port, nothing is to note: a packet of a known remote port
// belongs to a connection.
func (m *mapping) keepsRemotes() bool {
	return m.mapping() == EndpointIndependent && m.filtering() == AddressDependent
}

func (t *mappings) remoteHash(slot uint32, remote *[16]byte) uint64 {
	return t.key.sum(remote, uint64(slot)|1<<62)
}

// seconds rounds a time up to seconds, as mappings keep it.
func seconds(t conntrack.Time) uint32 {
	return uint32(min((t+second-1)/second, math.MaxUint32))
}

const second = conntrack.Time(1e9)

// mappable reports whether connections of a tuple get a mapping.
func mappable(t *conntrack.Tuple) bool {
	return hasPorts(t.Proto) || t.Proto == packet.ProtoICMP || t.Proto == packet.ProtoICMPv6
}
