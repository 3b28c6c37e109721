package conntrack

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"

	"github.com/natrouter/natrouter/router/packet"
)

// key is the part of a Tuple that packets carry and that takes part in hash and equality, in the form in which
// the table holds it: IPv4 addresses as one word. SrcID of enhanced GRE is 0 in it.
type key struct {
	pair     uint64   // IPv4: source<<32 | destination; IPv6: 0
	ids      uint32   // SrcID<<16 | DstID
	kind     uint32   // Proto | Family<<8 | Zone<<16
	src, dst [16]byte // IPv6 only
}

// Bits of key.kind and of entry.kind.
const (
	kindV6    = 2 << 8 // set in family 6, clear in family 4
	kindGREv1 = GREv1 << 8
)

func kindOf(proto, family uint8) uint32 { return uint32(proto) | uint32(family)<<8 }

func (k *key) proto() uint8 { return uint8(k.kind) }

// setAddrs takes the addresses of an IP header.
func (k *key) setAddrs(ip []byte, family uint8) {
	if family == 4 {
		k.pair = binary.BigEndian.Uint64(ip[12:])
		return
	}
	k.src, k.dst = [16]byte(ip[8:24]), [16]byte(ip[24:40])
}

func (t *Tuple) key() key {
	k := key{
		ids:  uint32(t.SrcID)<<16 | uint32(t.DstID),
		kind: uint32(t.Proto) | uint32(t.Family)<<8 | uint32(t.Zone)<<16,
	}
	if t.IsGREv1() {
		k.ids &= 0xffff
	}
	if k.kind&kindV6 != 0 {
		k.src, k.dst = t.Src, t.Dst
	} else {
		k.pair = uint64(binary.BigEndian.Uint32(t.Src[12:]))<<32 | uint64(binary.BigEndian.Uint32(t.Dst[12:]))
	}
	return k
}

// tuple returns what the packet of k says of its direction: enhanced GRE without its sender's call ID.
func (k *key) tuple() Tuple {
	t := Tuple{
		SrcID: uint16(k.ids >> 16), DstID: uint16(k.ids),
		Proto: uint8(k.kind), Family: uint8(k.kind >> 8), Zone: uint16(k.kind >> 16),
	}
	if k.kind&kindV6 != 0 {
		t.Src, t.Dst = k.src, k.dst
	} else {
		t.Src, t.Dst = mapped(uint32(k.pair>>32)), mapped(uint32(k.pair))
	}
	return t
}

// hasher is the secret of a table: random per process, so that nobody outside can choose tuples that meet in one
// place. Nothing that leaves the table depends on it.
type hasher struct {
	seed maphash.Seed // IPv6
	a, b uint64       // IPv4
}

func newHasher() hasher {
	h := hasher{seed: maphash.MakeSeed()}
	h.a, h.b = maphash.Bytes(h.seed, []byte{1}), maphash.Bytes(h.seed, []byte{2})
	return h
}

// hash of a short IPv4 key is two folded multiplications with secret factors, as Go's own maps do it where the
// processor has no AES; it is a third of the cost of a call to maphash, which does the long ones.
func (k *key) hash(secret *hasher) uint64 {
	rest := uint64(k.ids)<<32 | uint64(k.kind)
	if k.kind&kindV6 == 0 {
		return fold(fold(k.pair^secret.a, rest^secret.b)^secret.a, secret.b|1)
	}
	var b [40]byte
	binary.NativeEndian.PutUint64(b[:], rest)
	copy(b[8:], k.src[:])
	copy(b[24:], k.dst[:])
	return maphash.Bytes(secret.seed, b[:])
}

func fold(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	return hi ^ lo
}

// class says which tracker a packet goes to.
type class uint8

const (
	classFlow      class = iota // has a key
	classError                  // ICMP error: its quote has the key
	classUntracked              // neighbour discovery, MLD
)

// keyOf reads the key of a packet. l4 starts at the transport header and, for a packet that was quoted, may end
// after eight bytes.
func (k *key) keyOf(ip, l4 []byte, family, proto uint8) (class, packet.DropReason) {
	k.setAddrs(ip, family)
	k.kind = kindOf(proto, family)
	switch proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoUDPLite, packet.ProtoSCTP, packet.ProtoDCCP:
		if len(l4) < 8 {
			return 0, packet.Malformed
		}
		k.ids = binary.BigEndian.Uint32(l4)
	case packet.ProtoICMP, packet.ProtoICMPv6:
		if len(l4) < packet.ICMPSize {
			return 0, packet.Malformed
		}
		return k.icmpKey(l4, family)
	case packet.ProtoGRE:
		return classFlow, k.greKey(l4)
	}
	return classFlow, packet.NotDropped
}
