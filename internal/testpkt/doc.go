// Package testpkt builds packets for tests, checks packets, and reads captures. Only tests import it.
//
// It is the slow and plain second opinion: nothing here uses the header views or checksums of router/packet, so that
// [Parse] and [Verify] can stand as an oracle against them. Builders panic on what no test can mean, such as
// addresses of two families.
package testpkt
