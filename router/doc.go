// Package router moves packets between TUN devices: it tracks, translates, filters and forwards them.
//
// Read pipeline.go first: it is the way of one packet. [New] wires a [Router] from a [Config] and the devices;
// [Router.Run] moves packets until its context ends. gVisor's netstack routes first packets and is the router's own
// host; everything between is made of hooks in one ordered list. The rooms below know neither netstack nor devices:
// packet (bytes), conntrack (connections), nat (bindings), fragment (reassembly).
//
// A program that embeds a Router gives it any [tun.Device], such as one end of [tun.NewPair], and reads
// [Router.Status] and [Router.Flows]. The same packets, clock and seed give the same bytes out for one worker.
//
// Standards: RFC 1812, 2644, 3704, 4443, 4787, 5382, 5508, 6888, 8200. Limits: routes and rules are fixed when the
// router is made; multicast is not forwarded; a TUN is point to point, so a route's gateway is only shown.
package router
