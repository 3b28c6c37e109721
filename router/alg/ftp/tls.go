package ftp

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/alg"
)

// Records of TLS (RFC 8446, section 5.1; RFC 5246, section 6.2.3).
const (
	recordHeader = 5
	recordFirst  = 20 // change_cipher_spec
	recordLast   = 23 // application_data
	recordMost   = 1<<14 + 2048
)

// records reads over what is encrypted in one direction, record by record, up to where plain text begins again: after CCC
// (RFC 4217, section 12.3).
type records struct {
	on   bool
	some bool // a record was read
	skip int  // bytes of the record that are still to come
}

// encrypt is the beginning of encryption in both directions, behind the reply in hand. After CCC nobody says how far the
// dialogue got, but the login, which must come before it, is over.
func (s *stream) encrypt(m alg.Master) {
	m.Count("encrypted")
	if !s.settings.ccc {
		s.lost = true
		return
	}
	s.pending, s.loggedIn = queue{}, true
	s.tls[0].on, s.tls[1].on = true, true
}

// read returns how many bytes it is done with, 0 if more must come first; ok is false where there is neither a record nor
// plain text.
func (r *records) read(b []byte) (n int, ok bool) {
	if r.skip > 0 {
		n = min(r.skip, len(b))
		r.skip -= n
		return n, true
	}
	switch {
	case r.some && b[0] > ' ' && b[0] <= '~':
		*r = records{}
		return 0, true
	case b[0] < recordFirst || b[0] > recordLast || len(b) > 1 && b[1] != 3:
		return 0, false
	case len(b) < recordHeader:
		return 0, true
	}
	r.some, r.skip = true, int(binary.BigEndian.Uint16(b[3:]))
	return recordHeader, r.skip <= recordMost
}
