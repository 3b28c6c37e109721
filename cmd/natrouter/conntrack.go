package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/natrouter/natrouter/router"
)

// conntrackProtocols are the protocols that conntrack-tools call by name, and their IANA numbers. Others are "unknown"
// with their number.
var conntrackProtocols = map[string]uint8{
	"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "icmpv6": 58, "sctp": 132, "udplite": 136,
}

// otherProtocols are names that the router may use and conntrack-tools don't (IANA, Protocol Numbers).
var otherProtocols = map[string]uint8{
	"igmp": 2, "ipip": 4, "ipv6": 41, "esp": 50, "ah": 51, "ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115,
}

// conntrackLine is a flow in the text format of conntrack-tools, without the reference count, which says nothing here. Counters
// are left out where the router does not count.
func conntrackLine(f *router.Flow) string {
	name, number := f.Proto, 0
	if n, ok := conntrackProtocols[f.Proto]; ok {
		number = int(n)
	} else {
		name = "unknown"
		if n, ok := otherProtocols[f.Proto]; ok {
			number = int(n)
		} else if n, err := strconv.ParseUint(f.Proto, 10, 8); err == nil {
			number = int(n)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %d %d ", name, number, int64(max(f.Timeout, 0)))
	if f.State != "" {
		b.WriteString(f.State + " ")
	}
	counted := f.Original.Packets > 0 // a connection has had at least its first packet
	conntrackTuple(&b, f.Proto, &f.Original, counted)
	if !hasStatus(f, "seen-reply") {
		b.WriteString("[UNREPLIED] ")
	}
	conntrackTuple(&b, f.Proto, &f.Reply, counted)
	if hasStatus(f, "assured") {
		b.WriteString("[ASSURED] ")
	}
	fmt.Fprintf(&b, "mark=%d", f.Mark)
	if f.Helper != "" {
		b.WriteString(" helper=" + f.Helper)
	}
	return b.String()
}

func conntrackTuple(b *strings.Builder, proto string, t *router.FlowTuple, counted bool) {
	fmt.Fprintf(b, "src=%s dst=%s ", t.Source, t.Destination)
	if t.SourcePort != nil && t.DestinationPort != nil {
		if proto == "gre" {
			fmt.Fprintf(b, "srckey=0x%x dstkey=0x%x ", *t.SourcePort, *t.DestinationPort)
		} else {
			fmt.Fprintf(b, "sport=%d dport=%d ", *t.SourcePort, *t.DestinationPort)
		}
	}
	if t.ICMPType != nil && t.ICMPCode != nil && t.ICMPID != nil {
		fmt.Fprintf(b, "type=%d code=%d id=%d ", *t.ICMPType, *t.ICMPCode, *t.ICMPID)
	}
	if counted {
		fmt.Fprintf(b, "packets=%d bytes=%d ", t.Packets, t.Bytes)
	}
}

// protocolName is the name of an IANA protocol number, the number where there is none, and empty for 0, which matches any.
func protocolName(n uint8) string {
	if n == 0 {
		return ""
	}
	for _, names := range []map[string]uint8{conntrackProtocols, otherProtocols} {
		for name, number := range names {
			if number == n {
				return name
			}
		}
	}
	return strconv.Itoa(int(n))
}
