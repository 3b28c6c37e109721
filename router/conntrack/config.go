package conntrack

import "time"

// Config says how large a Table may grow and how long its connections live. A zero value is the default of each field, as
// in [DefaultConfig].
type Config struct {
	Shards       int  // one a worker; 0: 1
	Max          int  // connections; 0: 262144
	Buckets      int  // size of the index in slots, at the start: it grows as needed. 0: from Max
	MaxExpect    int  // expectations; 0: 4096; negative: none at all
	MaxPerSource int  // connections one inside host may hold; 0: no limit
	MaxUnreplied int  // 0: half of Max
	NoTCPLoose   bool // a TCP connection is known from its SYN on only, not picked up in its middle
	TCPLiberal   bool
	NoAccounting bool            // packets and bytes of connections are not counted
	Pass         []PassRule      // portless protocols, first match
	Timeouts     Timeouts        // each 0: that of the profile rfc
	Policies     []TimeoutPolicy // first match

	// Memory gives the memory of the connections and their index, in multiples of 2 MiB: zeroed, aligned to 128
	// bytes, the table's for as long as it is used. It may be called by several goroutines at once. nil, or an answer
	// that is too short: the Go heap. Memory of another kind does not count when the collector decides how much
	// garbage may pile up beside what is alive, and can be of huge pages.
	Memory func(bytes int) []byte
}

// Timeouts are those of docs/spec/conntrack.md, section 6; each a configuration key in snake case.
type Timeouts struct {
	TCPSynSent, TCPSynRecv, TCPEstablished, TCPFinWait, TCPCloseWait, TCPLastAck, TCPTimeWait, TCPClose,
	TCPMaxRetrans, TCPUnacknowledged,
	UDP, UDPStream, ICMP, ICMPv6, GRE, GREStream, Generic,
	SCTPClosed, SCTPCookieWait, SCTPCookieEchoed, SCTPEstablished, SCTPShutdownSent, SCTPShutdownRecd,
	SCTPShutdownAckSent, SCTPHeartbeatSent,
	DCCPRequest, DCCPRespond, DCCPPartOpen, DCCPOpen, DCCPCloseReq, DCCPClosing, DCCPTimeWait,
	FragmentIPv4, FragmentIPv6 time.Duration
}

// Profile names a set of default timeouts.
type Profile uint8

// The profiles of docs/spec/conntrack.md, section 6.
const (
	ProfileRFC Profile = iota
	ProfileLinux
)

const day = 24 * time.Hour

// linuxTimeouts were measured on Linux 6.18; DCCP's are those of RFC 4340 (section 8.1: an attempt is given up
// after 8 minutes at most; 4 MSL of 2 minutes) where Linux, which no longer tracks DCCP, has none.
var linuxTimeouts = Timeouts{
	TCPSynSent: 120 * time.Second, TCPSynRecv: 60 * time.Second, TCPEstablished: 5 * day,
	TCPFinWait: 120 * time.Second, TCPCloseWait: 60 * time.Second, TCPLastAck: 30 * time.Second,
	TCPTimeWait: 120 * time.Second, TCPClose: 10 * time.Second,
	TCPMaxRetrans: 300 * time.Second, TCPUnacknowledged: 300 * time.Second,
	UDP: 30 * time.Second, UDPStream: 120 * time.Second,
	ICMP: 30 * time.Second, ICMPv6: 30 * time.Second,
	GRE: 30 * time.Second, GREStream: 180 * time.Second, Generic: 600 * time.Second,
	SCTPClosed: 10 * time.Second, SCTPCookieWait: 3 * time.Second, SCTPCookieEchoed: 3 * time.Second,
	SCTPEstablished: 210 * time.Second, SCTPShutdownSent: 3 * time.Second, SCTPShutdownRecd: 3 * time.Second,
	SCTPShutdownAckSent: 3 * time.Second, SCTPHeartbeatSent: 30 * time.Second,
	DCCPRequest: 240 * time.Second, DCCPRespond: 480 * time.Second, DCCPPartOpen: 480 * time.Second,
	DCCPOpen: 12 * time.Hour, DCCPCloseReq: 64 * time.Second, DCCPClosing: 64 * time.Second,
	DCCPTimeWait: 240 * time.Second,
	FragmentIPv4: 30 * time.Second, FragmentIPv6: 60 * time.Second,
}

// Defaults of profile rfc.
const (
	transitory  = 4 * time.Minute             // RFC 5382 REQ-5, RFC 7857 section 2
	idleTCP     = 2*time.Hour + 4*time.Minute // RFC 5382 REQ-5
	udpDefault  = 5 * time.Minute             // RFC 4787 REQ-5c
	icmpDefault = 60 * time.Second            // RFC 5508 REQ-2
)

// DefaultTimeouts returns the timeouts of a profile.
func DefaultTimeouts(p Profile) Timeouts {
	t := linuxTimeouts
	if p == ProfileLinux {
		return t
	}
	for _, d := range []*time.Duration{
		&t.TCPSynSent, &t.TCPSynRecv, &t.TCPFinWait, &t.TCPCloseWait, &t.TCPLastAck, &t.TCPTimeWait, &t.TCPClose,
		// Other transports have no requirement of their own: as TCP.
		&t.SCTPClosed, &t.SCTPCookieWait, &t.SCTPCookieEchoed, &t.SCTPShutdownSent, &t.SCTPShutdownRecd,
		&t.SCTPShutdownAckSent, &t.SCTPHeartbeatSent,
		&t.DCCPRequest, &t.DCCPCloseReq, &t.DCCPClosing, &t.DCCPTimeWait,
	} {
		*d = transitory
	}
	t.TCPMaxRetrans, t.TCPUnacknowledged, t.SCTPEstablished = idleTCP, idleTCP, idleTCP
	t.UDP, t.UDPStream = udpDefault, udpDefault
	t.ICMP, t.ICMPv6 = icmpDefault, icmpDefault
	t.GRE, t.GREStream = 2*time.Minute, 5*time.Minute
	return t
}

// DefaultConfig returns the configuration that an empty file gives, for one shard.
func DefaultConfig() Config {
	return Config{
		Shards: 1, Max: 262144, MaxExpect: 4096,
		Timeouts: DefaultTimeouts(ProfileRFC),
	}
}

// withDefaults returns c with the defaults in the place of zero values.
func (c Config) withDefaults() Config {
	def := DefaultConfig()
	for _, f := range []struct{ field, def *int }{{&c.Shards, &def.Shards}, {&c.Max, &def.Max}, {&c.MaxExpect, &def.MaxExpect}} {
		if *f.field == 0 {
			*f.field = *f.def
		}
	}
	c.Timeouts = merge(def.Timeouts, c.Timeouts)
	return c
}
