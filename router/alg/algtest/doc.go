// Package algtest is a router without I/O for the tests of helpers: conntrack, NAT and the kit with the helper's rules,
// and TCP connections whose two ends say what a test wants in whatever segments it wants. Clock and packets are the
// test's.
//
//	w := algtest.New(t, algtest.Config{Helpers: []alg.Helper{ftp.New()}, Rules: rules, NAT: []nat.Rule{algtest.Masquerade()}})
//	c := w.Dial("10.77.1.2:1025", "198.51.100.7:21")
//	c.Say(conntrack.Reply, "220 hello\r\n")
//	c.Heard(conntrack.Reply)           // what the client got of it
//	w.Connect("198.51.100.7:20", "203.0.113.1:5000") // "198.51.100.7:20>10.77.1.2:5000", or the reason of a refusal
//
// Each packet that leaves is checked: lengths, checksums, the room that there is for it. Each end checks what arrives:
// a byte that comes twice is the same, and nobody acknowledges what was not sent.
//
// # Limits
//
// One worker, two interfaces, routing by [Config].Inside, no MSS clamping, TTL or ICMP. A new connection from outside
// passes where NAT or an expectation lets it in, as in the router; there are no filter rules.
package algtest
