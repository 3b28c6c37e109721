package config

import (
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// timeouts are the names of the keys of [conntrack.timeout], and what they set.
var timeouts = []struct {
	name  string
	proto uint8 // 0: no protocol of its own
	field func(*conntrack.Timeouts) *time.Duration
}{
	{"tcp_syn_sent", packet.ProtoTCP, func(t *conntrack.Timeouts) *time.Duration { return &t.TCPSynSent }},
	{"tcp_syn_recv", packet.ProtoTCP, func(t *conntrack.Timeouts) *time.Duration { return &t.TCPSynRecv }},
	{"tcp_established", packet.ProtoTCP, func(t *conntrack.Timeouts) *time.Duration { return &t.TCPEstablished }},
	{"tcp_fin_wait", packet.ProtoTCP, func(t *conntrack.Timeouts) *time.Duration { return &t.TCPFinWait }},
	{"tcp_close_wait", packet.ProtoTCP, func(t *conntrack.Timeouts) *time.Duration { return &t.TCPCloseWait }},
	{"tcp_last_ack", packet.ProtoTCP, func(t *conntrack.Timeouts) *time.Duration { return &t.TCPLastAck }},
	{"tcp_time_wait", packet.ProtoTCP, func(t *conntrack.Timeouts) *time.Duration { return &t.TCPTimeWait }},
	{"tcp_close", packet.ProtoTCP, func(t *conntrack.Timeouts) *time.Duration { return &t.TCPClose }},
	{"tcp_max_retrans", packet.ProtoTCP, func(t *conntrack.Timeouts) *time.Duration { return &t.TCPMaxRetrans }},
	{"tcp_unacknowledged", packet.ProtoTCP, func(t *conntrack.Timeouts) *time.Duration { return &t.TCPUnacknowledged }},
	{"udp", packet.ProtoUDP, func(t *conntrack.Timeouts) *time.Duration { return &t.UDP }},
	{"udp_stream", packet.ProtoUDP, func(t *conntrack.Timeouts) *time.Duration { return &t.UDPStream }},
	{"icmp", packet.ProtoICMP, func(t *conntrack.Timeouts) *time.Duration { return &t.ICMP }},
	{"icmpv6", packet.ProtoICMPv6, func(t *conntrack.Timeouts) *time.Duration { return &t.ICMPv6 }},
	{"gre", packet.ProtoGRE, func(t *conntrack.Timeouts) *time.Duration { return &t.GRE }},
	{"gre_stream", packet.ProtoGRE, func(t *conntrack.Timeouts) *time.Duration { return &t.GREStream }},
	{"generic", 0, func(t *conntrack.Timeouts) *time.Duration { return &t.Generic }},
	{"sctp_closed", packet.ProtoSCTP, func(t *conntrack.Timeouts) *time.Duration { return &t.SCTPClosed }},
	{"sctp_cookie_wait", packet.ProtoSCTP, func(t *conntrack.Timeouts) *time.Duration { return &t.SCTPCookieWait }},
	{"sctp_cookie_echoed", packet.ProtoSCTP, func(t *conntrack.Timeouts) *time.Duration { return &t.SCTPCookieEchoed }},
	{"sctp_established", packet.ProtoSCTP, func(t *conntrack.Timeouts) *time.Duration { return &t.SCTPEstablished }},
	{"sctp_shutdown_sent", packet.ProtoSCTP, func(t *conntrack.Timeouts) *time.Duration { return &t.SCTPShutdownSent }},
	{"sctp_shutdown_recd", packet.ProtoSCTP, func(t *conntrack.Timeouts) *time.Duration { return &t.SCTPShutdownRecd }},
	{"sctp_shutdown_ack_sent", packet.ProtoSCTP, func(t *conntrack.Timeouts) *time.Duration { return &t.SCTPShutdownAckSent }},
	{"sctp_heartbeat_sent", packet.ProtoSCTP, func(t *conntrack.Timeouts) *time.Duration { return &t.SCTPHeartbeatSent }},
	{"dccp_request", packet.ProtoDCCP, func(t *conntrack.Timeouts) *time.Duration { return &t.DCCPRequest }},
	{"dccp_respond", packet.ProtoDCCP, func(t *conntrack.Timeouts) *time.Duration { return &t.DCCPRespond }},
	{"dccp_part_open", packet.ProtoDCCP, func(t *conntrack.Timeouts) *time.Duration { return &t.DCCPPartOpen }},
	{"dccp_open", packet.ProtoDCCP, func(t *conntrack.Timeouts) *time.Duration { return &t.DCCPOpen }},
	{"dccp_close_req", packet.ProtoDCCP, func(t *conntrack.Timeouts) *time.Duration { return &t.DCCPCloseReq }},
	{"dccp_closing", packet.ProtoDCCP, func(t *conntrack.Timeouts) *time.Duration { return &t.DCCPClosing }},
	{"dccp_time_wait", packet.ProtoDCCP, func(t *conntrack.Timeouts) *time.Duration { return &t.DCCPTimeWait }},
	{"defrag_v4", 0, func(t *conntrack.Timeouts) *time.Duration { return &t.FragmentIPv4 }},
	{"defrag_v6", 0, func(t *conntrack.Timeouts) *time.Duration { return &t.FragmentIPv6 }},
}

// floor is the least that a standard asks of a timeout.
type floor struct {
	least  time.Duration
	clause string
}

// The floors of TCP that several timeouts share.
var (
	transitory = floor{4 * time.Minute, "RFC 5382 REQ-5"}
	idle       = floor{2*time.Hour + 4*time.Minute, "RFC 5382 REQ-5"}
)

// floors are those of the timeouts that have one, by key.
var floors = map[string]floor{
	"tcp_syn_sent":       transitory,
	"tcp_syn_recv":       transitory,
	"tcp_established":    idle,
	"tcp_fin_wait":       transitory,
	"tcp_close_wait":     transitory,
	"tcp_last_ack":       transitory,
	"tcp_time_wait":      {4 * time.Minute, "RFC 7857 section 2"},
	"tcp_close":          {4 * time.Minute, "RFC 7857 section 2"}, // after RST
	"tcp_max_retrans":    idle,
	"tcp_unacknowledged": idle,
	"udp":                {2 * time.Minute, "RFC 4787 REQ-5"},
	"udp_stream":         {2 * time.Minute, "RFC 4787 REQ-5"},
	"icmp":               {time.Minute, "RFC 5508 REQ-2"},
	"icmpv6":             {time.Minute, "RFC 5508 REQ-2"},
}

// timeoutKeys have no default of their own: it is the profile's, or in a policy no change.
func timeoutKeys() []key {
	keys := make([]key, len(timeouts))
	for i := range timeouts {
		keys[i] = key{name: timeouts[i].name, read: duration(time.Second, maxTimeout)}
	}
	return keys
}

// setTimeouts puts the timeouts that t gives into dst. wellKnown says that it does so for well-known ports only, where
// UDP may have shorter ones (RFC 4787 REQ-5a).
func (b *builder) setTimeouts(dst *conntrack.Timeouts, t *table, wellKnown bool) {
	for _, k := range timeouts {
		d := value[time.Duration](t, k.name)
		if d == 0 {
			continue // not given; or not readable, and reported
		}
		*k.field(dst) = d
		if f := floors[k.name]; d < f.least && !(wellKnown && k.proto == packet.ProtoUDP) {
			least := formatDuration(f.least)
			b.warnf(t.line(k.name), "%s = %q is below the %s of %s, so idle connections may be lost: write %q or more",
				k.name, formatDuration(d), least, f.clause, least)
		}
	}
}
