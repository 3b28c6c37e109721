package tftp

import (
	"bytes"
	"encoding/binary"
)

// Opcodes of requests (RFC 1350, section 5). All others belong to a transfer.
const (
	opRead  = 1
	opWrite = 2
)

const (
	maxRequest = 512 // bytes (RFC 2347, "Packet Formats")
	maxOptions = 16  // of a request; four are in use (RFC 2348, RFC 2349, RFC 7440), others are vendors'
)

// kind is what a datagram of a client is.
type kind uint8

const (
	other     kind = iota // no request
	malformed             // has the opcode of one, and is not written as one
	request
)

// classify reads a datagram of a client's: opcode, file name, mode, and options as pairs of name and value, each a
// string that ends with a zero byte, and nothing behind the last (RFC 1350, section 5; RFC 2347).
func classify(b []byte) kind {
	if len(b) < 2 {
		return other
	}
	op := binary.BigEndian.Uint16(b)
	if op != opRead && op != opWrite {
		return other
	}
	if len(b) > maxRequest {
		return malformed
	}
	file, b, ok := cutString(b[2:])
	if !ok || !isFile(file) {
		return malformed
	}
	mode, b, ok := cutString(b)
	if !ok || !isMode(mode, op) || !areOptions(b) {
		return malformed
	}
	return request
}

// cutString takes a string and its zero byte off b.
func cutString(b []byte) (s, rest []byte, ok bool) { return bytes.Cut(b, []byte{0}) }

// isFile reports whether s may be a file name: not empty, no control characters. Bytes above ASCII are in use.
func isFile(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return len(s) > 0
}

// isMode reports whether s is a mode, in any case. Mail is only sent (RFC 1350, section 1).
func isMode(s []byte, op uint16) bool {
	return bytes.EqualFold(s, []byte("octet")) || bytes.EqualFold(s, []byte("netascii")) ||
		op == opWrite && bytes.EqualFold(s, []byte("mail"))
}

// areOptions reports whether b is a list of options, each given once. What a value may be is the server's matter: it
// leaves out of its answer what it does not take (RFC 2347).
func areOptions(b []byte) bool {
	var names [maxOptions][]byte
	for n := 0; len(b) > 0; n++ {
		name, rest, ok := cutString(b)
		if !ok || n == maxOptions || len(name) == 0 || !isPrintable(name) {
			return false
		}
		for _, o := range names[:n] {
			if bytes.EqualFold(o, name) {
				return false
			}
		}
		names[n] = name
		value, rest, ok := cutString(rest)
		if !ok || !isPrintable(value) {
			return false
		}
		b = rest
	}
	return true
}

// isPrintable reports whether s is of printable ASCII characters.
func isPrintable(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
