package router

import (
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// TestDefaultTimeouts: no default is below what the standards ask for.
func TestDefaultTimeouts(t *testing.T) {
	d := DefaultConfig().Conntrack.Timeouts
	const idle, transitory = 2*time.Hour + 4*time.Minute, 4 * time.Minute
	for name, tt := range map[string]struct{ got, least time.Duration }{
		"tcp_established":    {d.TCPEstablished, idle},       // RFC 5382, REQ-5
		"tcp_max_retrans":    {d.TCPMaxRetrans, idle},        // the same: it is established
		"tcp_unacknowledged": {d.TCPUnacknowledged, idle},    // the same
		"tcp_syn_sent":       {d.TCPSynSent, transitory},     // RFC 5382, REQ-5
		"tcp_syn_recv":       {d.TCPSynRecv, transitory},     // the same
		"tcp_fin_wait":       {d.TCPFinWait, transitory},     // the same
		"tcp_close_wait":     {d.TCPCloseWait, transitory},   // the same
		"tcp_last_ack":       {d.TCPLastAck, transitory},     // the same
		"tcp_time_wait":      {d.TCPTimeWait, transitory},    // RFC 7857, section 2.1
		"tcp_close":          {d.TCPClose, transitory},       // RFC 7857, section 2.2
		"udp":                {d.UDP, 5 * time.Minute},       // RFC 4787, REQ-5c
		"udp_stream":         {d.UDPStream, 5 * time.Minute}, // the same
		"icmp":               {d.ICMP, time.Minute},          // RFC 5508, REQ-2
		"icmpv6":             {d.ICMPv6, time.Minute},        // the same
	} {
		if tt.got < tt.least {
			t.Errorf("%s is %s, want at least %s", name, tt.got, tt.least)
		}
	}
}

// TestErrorAboutOptions: the ports of a quoted packet stand behind its IP options (RFC 5508, REQ-3b).
func TestErrorAboutOptions(t *testing.T) {
	n := newNetwork(t, testConfig())
	options := []byte{1, 1, 7, 7, 8, 0, 0, 0, 0, 0, 0, 0} // no operation, twice; a full record route (RFC 791, section 3.1)
	for _, other := range []uint16{5000, 5001} {
		from := client4
		if other == 5001 {
			from = other4
		}
		sent := testpkt.UDP{Src: port(from, 5000), Dst: port(server4, 53), IPOptions: options, Payload: []byte("q"), TTL: 65}.Bytes()
		out := n.one(n.send("lan0", sent), "wan0")
		got := n.one(n.send("wan0", testpkt.ICMP{Src: server4, Dst: wan4, Type: 3, Code: 3, Payload: out}.Bytes()), "lan0")
		l, err := testpkt.Parse(got)
		if err != nil {
			t.Fatal(err)
		}
		if e := endpoints(t, got[l.L4+8:]); e != endpoints(t, sent) {
			t.Errorf("the error quotes %v, sent was %v", e, endpoints(t, sent))
		}
		if _, to := layoutAddrs(&l); to != from {
			t.Errorf("the error went to %s, want %s", to, from)
		}
	}
}
