package tftp

import (
	"bytes"
	"encoding/binary"
)

// Opcodes (RFC 1350, section 5; RFC 2347).
const (
	opRead  = 1
	opWrite = 2
	opData  = 3
	opAck   = 4
	opError = 5
	opOAck  = 6
)

// kind is what a datagram of a client is.
type kind uint8

const (
	other     kind = iota // no request
	malformed             // has the opcode of one, and no whole file name
	request
)

// classify reads a datagram of a client's: opcode, and a file name that ends with a zero byte (RFC 1350, section 5). What
// follows, the mode and options (RFC 2347), is for the server to judge: it answers all of these, be it by an error, and from
// a port of its own.
func classify(b []byte) kind {
	if op := opcode(b); op != opRead && op != opWrite {
		return other
	}
	if name, _, ok := bytes.Cut(b[2:], []byte{0}); !ok || !isFile(name) {
		return malformed
	}
	return request
}

// opcode returns what a datagram begins with, 0 if it is too short.
func opcode(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

// isFile reports whether s may be a file name: not empty, no control characters. Bytes above ASCII are in use. This also
// keeps STUN out, which a web page can send to any port: its binding request begins as a read request does, with a length
// where the name would be (RFC 8489, section 5).
func isFile(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return len(s) > 0
}

// answers reports whether a datagram of a server's is the first that a request is answered with: an error, the first block
// of a file, the acknowledgement of a request to write, which has block number 0, or that of options (RFC 1350, section 4;
// RFC 2347). All other blocks belong to a transfer that goes on.
func answers(b []byte) bool {
	switch opcode(b) {
	case opError, opOAck:
		return true
	case opData:
		return len(b) >= 4 && binary.BigEndian.Uint16(b[2:]) == 1
	case opAck:
		return len(b) >= 4 && binary.BigEndian.Uint16(b[2:]) == 0
	}
	return false
}
