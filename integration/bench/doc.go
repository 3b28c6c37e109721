// Command bench measures natrouter beside what else could carry the same packets, in one run on one machine, and
// prints ratios. `make bench` runs it; docs/performance.md shows a run and says what it means.
//
// Every system under test stands between two network namespaces of its own, a client's and a server's, with the same
// addresses, and all are up for the whole run. For each workload the systems take turns, round by round, so that
// whatever else the machine does hits all alike; a ratio is made within a round, and the table shows the median of
// the rounds with the least and the largest. A ratio is refused when either side failed or moved nothing.
//
// The load generator is this process: plain sockets in the namespaces, sendmmsg(2) and recvmmsg(2) for datagrams. It
// counts what arrived at the far socket, never what was sent.
//
// The bare copy loop and stock netstack run as processes of their own (this program again), so that their CPU time can
// be told from that of the load.
//
// Limits: Linux only; needs root, or a user namespace with /dev/net/tun. IPv4, but for bulk TCP. Client, router and server share the
// machine's cores, as they would not in the field: a system that wastes CPU time slows its own load down.
package main
