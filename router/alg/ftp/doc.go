// Package ftp is the helper for FTP (RFC 959; RFC 2428 for EPRT and EPSV, RFC 1639 for LPRT and LPSV): it reads the
// control connection, writes into PORT, EPRT and the replies to PASV and EPSV the endpoint that the other side can
// reach, and announces the data connection. The kit in package alg calls it; cmd wires it in.
//
// A control connection has two ends, and either may be behind NAT. Whoever names an endpoint for data names one of its
// own: the address becomes the one that the other end knows it by, the port one that is reserved there; and the data
// connection is awaited from the other end, to that endpoint. So which case of NAT it is never matters.
//
// What is read opens ports, so it is read with suspicion: see "What it refuses" in README.md. A stream is read from its
// first byte on or not at all; a greeting, a command of FTP and a login come before anything is opened.
//
// # Limits
//
// One data connection is awaited at a time, as RFC 959 has it: a client that sends the next PORT before the data
// connection of the one before is there loses that one. Lines of more than 512 bytes are not read. What is encrypted
// (AUTH TLS, FTPS) can't be read: such clients need passive mode and, behind DNAT, forwarded data ports.
package ftp
