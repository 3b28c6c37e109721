// Package ppp is a small PPP (RFC 1661) in user space. It stands where pppd stands beside pptp and pptpd, for kernels
// that have no PPP: frames in HDLC as on a serial line, LCP, IPCP, and IP packets that a test makes and checks.
// [Main] is a program in place of pppd; the tests of package integration/pptp call it and [New].
//
// Limits: the default asynchronous map and both address and control field always, no authentication, no compression,
// no encryption, IPv4 only. Of the option negotiation automaton only what two willing ends need is here.
package ppp
