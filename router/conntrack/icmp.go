package conntrack

import "github.com/natrouter/natrouter/router/packet"

// inverseICMP returns the type that answers a type, or that it answers.
func inverseICMP(proto, typ uint8) (uint8, bool) {
	if proto == packet.ProtoICMP {
		switch typ {
		case packet.ICMPEcho:
			return packet.ICMPEchoReply, true
		case packet.ICMPEchoReply:
			return packet.ICMPEcho, true
		case packet.ICMPTimestamp, packet.ICMPInfo, packet.ICMPMask:
			return typ + 1, true
		case packet.ICMPTimestampReply, packet.ICMPInfoReply, packet.ICMPMaskReply:
			return typ - 1, true
		}
		return 0, false
	}
	switch typ {
	case packet.ICMPv6Echo, packet.ICMPv6NodeInfo:
		return typ + 1, true
	case packet.ICMPv6EchoReply, packet.ICMPv6NodeInfoAns:
		return typ - 1, true
	}
	return 0, false
}

// startsICMP reports whether a type is a question.
func startsICMP(proto, typ uint8) bool {
	if proto == packet.ProtoICMP {
		return typ == packet.ICMPEcho || typ == packet.ICMPTimestamp || typ == packet.ICMPInfo || typ == packet.ICMPMask
	}
	return typ == packet.ICMPv6Echo || typ == packet.ICMPv6NodeInfo
}

// neighbourhood reports the ICMPv6 types of one link's own business, which have no connection: MLD and neighbour
// discovery (RFC 2710, 3810, 4861).
func neighbourhood(typ uint8) bool {
	return typ >= packet.ICMPv6MLDQuery && typ <= packet.ICMPv6Redirect || typ == packet.ICMPv6MLDv2Report
}

// icmpKey sets the identifiers of a query, or says what else a message is. l4 has at least eight bytes.
func (k *key) icmpKey(l4 []byte, family uint8) (class, packet.DropReason) {
	m, proto := packet.ICMP(l4), k.proto()
	switch {
	case (proto == packet.ProtoICMP) != (family == 4):
		return 0, packet.NotTracked // ICMP of the other family
	case m.IsError(family):
		return classError, packet.NotDropped
	case family == 6 && neighbourhood(m.Type()):
		return classUntracked, packet.NotDropped
	}
	if _, ok := inverseICMP(proto, m.Type()); !ok {
		return 0, packet.NotTracked
	}
	k.ids = uint32(m.ID())<<16 | uint32(m.Type())<<8 | uint32(m.Code())
	return classFlow, packet.NotDropped
}
