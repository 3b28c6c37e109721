// Package guest is the first process of a user-mode Linux guest in the PPTP tests: its kernel has the PPP and the MPPE
// that the machine's may lack, so pptp and pptpd run there with pppd as their users run them. The guest's root is the
// machine's own, read-only; what must be written is in memory.
//
// A guest is told its part on its command line ([Main]) and says what it has reached on its console, a line each.
// Authentication is MS-CHAPv2 (RFC 2759) and all data is encrypted (MPPE, RFC 3078, 128 bits).
package guest
