package conntrack

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/packet"
)

// Bits of a GRE header (RFC 2784, section 2.1; RFC 2890, section 2; RFC 2637, section 4.1).
const (
	greChecksum = 0x80 // of the first byte
	greRouting  = 0x40
	greKeyBit   = 0x20
	greVersion  = 0x07 // of the second
	grePPP      = 0x880b
)

// greKey reads the identifiers of a GRE header: enhanced GRE gives its receiver's call ID, plain GRE the halves of
// its key.
func (k *key) greKey(l4 []byte) packet.DropReason {
	if len(l4) < packet.GRESize {
		return packet.Malformed
	}
	switch l4[1] & greVersion {
	case 0:
		at := packet.GRESize
		if l4[0]&(greChecksum|greRouting) != 0 {
			at += 4
		}
		if l4[0]&greKeyBit != 0 && len(l4) >= at+4 { // a quote may end before the key
			k.ids = binary.BigEndian.Uint32(l4[at:])
		}
		return packet.NotDropped
	case 1:
		if binary.BigEndian.Uint16(l4[2:]) != grePPP || l4[0]&(greChecksum|greRouting|greKeyBit) != greKeyBit || len(l4) < 8 {
			return packet.Malformed // RFC 2637, section 4.1: C=0, R=0, K=1
		}
		k.kind |= kindGREv1
		k.ids = uint32(binary.BigEndian.Uint16(l4[6:]))
		return packet.NotDropped
	}
	return packet.NotTracked // no other version exists
}

// grePair is the key of a shard's second index of GRE, for what the key of a packet can't find: enhanced GRE by the
// sender's call ID (the quotes of ICMP errors name it only there), plain GRE by its pair of addresses.
type grePair struct {
	src, dst [16]byte
	callID   uint16
	kind     uint32
}

func (t *Tuple) grePair() grePair {
	p := grePair{src: t.Src, dst: t.Dst, kind: kindOf(t.Proto, t.Family)}
	if t.IsGREv1() {
		p.callID = t.SrcID
	}
	return p
}

// addPairs enters both directions of a GRE connection in the second index, removePairs takes them out.
func (s *shard) addPairs(slot uint32, e *entry) {
	if s.pairs == nil {
		s.pairs = make(map[grePair][]uint32)
	}
	for dir := range Direction(2) {
		if e.flags&flagReplyOnly != 0 && dir == Original {
			continue
		}
		t := s.tuple(e, dir)
		p := t.grePair()
		s.pairs[p] = append(s.pairs[p], slot<<1|uint32(dir))
	}
}

func (s *shard) removePairs(slot uint32, e *entry) {
	for dir := range Direction(2) {
		t := s.tuple(e, dir)
		p := t.grePair()
		list := s.pairs[p]
		for i, item := range list {
			if item == slot<<1|uint32(dir) {
				list[i] = list[len(list)-1]
				list = list[:len(list)-1]
				break
			}
		}
		if len(list) == 0 {
			delete(s.pairs, p)
		} else {
			s.pairs[p] = list
		}
	}
}

// findPair returns the only connection of a pair in this shard; n is how many there are, 2 if more than one: a pair may
// have thousands of keys.
func (s *shard) findPair(now Time, p *grePair) (slot uint32, dir Direction, n int) {
	for _, item := range s.pairs[*p] {
		if s.entry(item>>1).deadline > now {
			slot, dir = item>>1, Direction(item&1)
			if n++; n == 2 {
				break
			}
		}
	}
	return slot, dir, n
}
