package control

import (
	"net/url"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/router"
)

func TestParseFilter(t *testing.T) {
	for name, tt := range map[string]struct {
		query string
		want  router.FlowFilter
	}{
		"nothing":        {"", router.FlowFilter{}},
		"all":            {"protocol=TCP&source=10.0.0.0/8&destination=192.0.2.1&port=80&state=ESTABLISHED&limit=7", router.FlowFilter{Proto: "tcp", Source: "10.0.0.0/8", Destination: "192.0.2.1", Port: 80, State: "ESTABLISHED", Limit: 7}},
		"IPv6":           {"source=fd77::/64&destination=2001:db8::1", router.FlowFilter{Source: "fd77::/64", Destination: "2001:db8::1"}},
		"lower case":     {"protocol=sctp&state=shutdown_sent", router.FlowFilter{Proto: "sctp", State: "shutdown_sent"}},
		"any's state":    {"state=open", router.FlowFilter{State: "open"}},
		"protocol 0":     {"protocol=0", router.FlowFilter{Proto: "0"}},
		"largest values": {"protocol=255&port=65535&limit=2147483647", router.FlowFilter{Proto: "255", Port: 65535, Limit: 1<<31 - 1}},
	} {
		q, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseFilter(q); err != nil || got != tt.want {
			t.Errorf("%s: ParseFilter = %+v, %v, want %+v", name, got, err, tt.want)
		}
	}
}

func TestParseFilterRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ query, want string }{
		"unknown parameter":    {"proto=tcp", "proto: no such parameter"},
		"given twice":          {"port=1&port=2", "port: give it once"},
		"empty":                {"state=", "state: give it once, with a value"},
		"port 0 matches all":   {"port=0", `port "0"`},
		"port too large":       {"port=65536", `port "65536"`},
		"port name":            {"port=http", `port "http"`},
		"limit 0 is no limit":  {"limit=0", `limit "0"`},
		"negative limit":       {"limit=-1", `limit "-1"`},
		"limit overflows":      {"limit=2147483648", "limit"},
		"source":               {"source=10.0.0", `source "10.0.0": an address or a prefix`},
		"destination prefix":   {"destination=10.0.0.0/33", "destination"},
		"zone":                 {"source=fe80::1%25eth0", "source"},
		"protocol number":      {"protocol=256", "from 0 to 255"},
		"protocol punctuation": {"protocol=t/cp", `protocol "t/cp": no such protocol; there are ah, dccp, esp, gre, icmp, icmpv6, igmp, ipip, ipv6, ospf, pim, sctp, tcp, udp, udplite, vrrp, and numbers from 0 to 255`},
		"protocol":             {"protocol=foo", `protocol "foo": no such protocol; there are ah, `},
		"state":                {"state=open-ish", `state "open-ish": no protocol has such a state; there are CLOSE, CLOSED, CLOSEREQ, `},
		"another's state":      {"protocol=dccp&state=ESTABLISHED", `state "ESTABLISHED": dccp has no such state; it has NONE, REQUEST, RESPOND, PARTOPEN, OPEN, CLOSEREQ, CLOSING, TIMEWAIT`},
		"a state of UDP":       {"protocol=udp&state=ESTABLISHED", `state "ESTABLISHED": udp has no states`},
		"a state of 6":         {"protocol=6&state=OPEN", `state "OPEN": 6 has no such state; it has NONE, SYN_SENT`},
	} {
		q, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := ParseFilter(q); err == nil || !strings.Contains(err.Error(), tt.want) || f != (router.FlowFilter{}) {
			t.Errorf("%s: ParseFilter = %+v, %v, want %q", name, f, err, tt.want)
		}
	}
}

func FuzzParseFilter(f *testing.F) { // the law: what was understood is said again by query, and understood as the same
	f.Add("protocol=tcp&source=10.0.0.0/8&destination=192.0.2.1&port=80&state=ESTABLISHED&limit=7")
	f.Add("source=fd77::/64&limit=1")
	f.Add("port=%30")
	f.Fuzz(func(t *testing.T, s string) {
		q, err := url.ParseQuery(s)
		if err != nil {
			return
		}
		want, err := ParseFilter(q)
		if err != nil {
			return
		}
		if got, err := ParseFilter(query(want)); err != nil || got != want {
			t.Errorf("%q: %+v became %+v, %v", s, want, got, err)
		}
	})
}
