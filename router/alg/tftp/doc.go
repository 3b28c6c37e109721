// Package tftp is the helper for TFTP (RFC 1350, RFC 2347): a server answers a request from a port that it chooses for
// the transfer, so the answer is no part of the connection that the request began. The helper reads the requests and
// announces that answer. It changes no byte. The kit in package alg calls it; cmd wires it in.
//
// # Limits
//
// The answer must come from the address that was asked: multicast transfers (RFC 2090) and servers that answer from
// another address are not helped. A request without a whole file name passes and opens nothing.
package tftp
