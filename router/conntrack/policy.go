package conntrack

import (
	"bytes"
	"net/netip"
	"reflect"
	"time"
)

// PortRange is a range of ports, both ends included. The zero value is port 0 alone: an empty list means any.
type PortRange struct{ First, Last uint16 }

// AddrRange is a range of addresses of one family, both ends included.
type AddrRange struct{ First, Last netip.Addr }

// TimeoutPolicy sets timeouts of the connections that it matches, on their first packet.
type TimeoutPolicy struct {
	Proto       uint8       // 0: any
	Destination []AddrRange // empty: any; the destination before DNAT
	Ports       []PortRange // destination ports; empty: any
	Timeouts    Timeouts    // a zero duration: not changed
}

// PassRule says what a second inside host gets that uses a portless protocol to the same peer.
type PassRule struct {
	Proto       uint8
	Source      []AddrRange // inside; empty: any
	Destination []AddrRange // peer; empty: any
	Newest      bool        // true: the newest takes over; false: refused
}

// span is an AddrRange in the form of tuples.
type span struct {
	first, last [16]byte
	is4         bool
}

func spans(list []AddrRange) []span {
	out := make([]span, 0, len(list))
	for _, r := range list {
		out = append(out, span{r.First.As16(), r.Last.As16(), r.First.Unmap().Is4()})
	}
	return out
}

// within reports whether list is empty or holds addr.
func within(list []span, addr *[16]byte, family uint8) bool {
	for i := range list {
		s := &list[i]
		if s.is4 == (family == 4) && bytes.Compare(s.first[:], addr[:]) <= 0 && bytes.Compare(addr[:], s.last[:]) <= 0 {
			return true
		}
	}
	return len(list) == 0
}

// policy is a TimeoutPolicy made ready; the set with its own number stands in Table.sets.
type policy struct {
	proto       uint8
	destination []span
	ports       []PortRange
}

func (p *policy) matches(t *Tuple) bool {
	if p.proto != 0 && p.proto != t.Proto || !within(p.destination, &t.Dst, t.IP()) {
		return false
	}
	if len(p.ports) == 0 {
		return true
	}
	for _, r := range p.ports {
		if t.HasPorts() && r.First <= t.DstID && t.DstID <= r.Last {
			return true
		}
	}
	return false
}

// passRule is a PassRule made ready.
type passRule struct {
	proto               uint8
	source, destination []span
	newest              bool
}

// newest reports whether a second inside host takes a portless protocol over.
func (t *Table) newest(orig *Tuple) bool {
	for i := range t.pass {
		r := &t.pass[i]
		if r.proto == orig.Proto && within(r.source, &orig.Src, orig.IP()) && within(r.destination, &orig.Dst, orig.IP()) {
			return r.newest
		}
	}
	return false
}

// merge returns base with the durations of over that are not 0.
func merge(base, over Timeouts) Timeouts {
	b, o := reflect.ValueOf(&base).Elem(), reflect.ValueOf(over)
	for i := range o.NumField() {
		if d := o.Field(i).Interface().(time.Duration); d != 0 {
			b.Field(i).SetInt(int64(d))
		}
	}
	return base
}

// timeoutSet is Timeouts as the trackers ask for them.
type timeoutSet struct {
	tcp                     [numTCPStates]Time
	maxRetrans, unacked     Time
	udp, udpStream          Time
	icmp, icmpv6            Time
	gre, greStream, generic Time
	sctp                    [numSCTPStates]Time
	dccp                    [numDCCPStates]Time
	source                  Timeouts
}

func newTimeoutSet(t Timeouts) *timeoutSet {
	ns := func(d time.Duration) Time { return Time(d) }
	return &timeoutSet{
		tcp: [numTCPStates]Time{
			tcpSynSent: ns(t.TCPSynSent), tcpSynSent2: ns(t.TCPSynSent), tcpSynRecv: ns(t.TCPSynRecv),
			tcpEstablished: ns(t.TCPEstablished), tcpFinWait: ns(t.TCPFinWait), tcpCloseWait: ns(t.TCPCloseWait),
			tcpLastAck: ns(t.TCPLastAck), tcpTimeWait: ns(t.TCPTimeWait), tcpClose: ns(t.TCPClose),
		},
		maxRetrans: ns(t.TCPMaxRetrans), unacked: ns(t.TCPUnacknowledged),
		udp: ns(t.UDP), udpStream: ns(t.UDPStream), icmp: ns(t.ICMP), icmpv6: ns(t.ICMPv6),
		gre: ns(t.GRE), greStream: ns(t.GREStream), generic: ns(t.Generic),
		sctp: [numSCTPStates]Time{
			sctpClosed: ns(t.SCTPClosed), sctpCookieWait: ns(t.SCTPCookieWait), sctpCookieEchoed: ns(t.SCTPCookieEchoed),
			sctpEstablished: ns(t.SCTPEstablished), sctpShutdownSent: ns(t.SCTPShutdownSent),
			sctpShutdownRecd: ns(t.SCTPShutdownRecd), sctpShutdownAckSent: ns(t.SCTPShutdownAckSent),
			sctpHeartbeatSent: ns(t.SCTPHeartbeatSent),
		},
		dccp: [numDCCPStates]Time{
			dccpRequest: ns(t.DCCPRequest), dccpRespond: ns(t.DCCPRespond), dccpPartOpen: ns(t.DCCPPartOpen),
			dccpOpen: ns(t.DCCPOpen), dccpCloseReq: ns(t.DCCPCloseReq), dccpClosing: ns(t.DCCPClosing),
			dccpTimeWait: ns(t.DCCPTimeWait),
		},
		source: t,
	}
}
