package nat

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// UnadjustQuote gives the TCP segment quoted in an ICMP error the numbers that its sender used, where helpers edit
// the connection (c.Status has SeqAdjust): its sequence number, and its acknowledgement and SACK blocks where the quote
// reaches that far. edits are the connection's, both directions; their lock is held. c is the error's connection, so the
// quoted segment went in the other direction than the error.
func UnadjustQuote(b []byte, h *packet.Headers, m *packet.Meta, c *conntrack.Conn, edits *[2]conntrack.Edits) packet.DropReason {
	q, ok := parseQuote(b, int(c.ErrorL3), int(h.Len))
	if !ok || h.FragOff != 0 {
		return packet.Malformed
	}
	if q.proto != packet.ProtoTCP || !q.has(4, 4) {
		return packet.NotDropped
	}
	tcp := b[q.l4:q.end]
	var body packet.Delta
	seq := edits[1-c.Dir].Ack(binary.BigEndian.Uint32(tcp[4:]))
	full := put32(tcp[4:8], seq)
	if q.has(8, 6) && tcp[13]&packet.FlagACK != 0 {
		ack := edits[c.Dir].Seq(binary.BigEndian.Uint32(tcp[8:]))
		full = full.Add(put32(tcp[8:12], ack))
		full = full.Add(unadjustSACK(tcp, &edits[c.Dir]))
	}
	body = full
	if q.has(16, 2) {
		body = body.Add(apply(tcp[16:], full))
	}
	if !m.Partial() {
		apply(b[h.L4+2:], body)
	}
	return packet.NotDropped
}

// unadjustSACK gives the SACK blocks of a TCP header, which may be cut, their sender's numbers, and returns the change.
// edits are of the direction that they acknowledge.
func unadjustSACK(tcp []byte, edits *conntrack.Edits) (changed packet.Delta) {
	end := min(max(int(tcp[12]>>4)*4, packet.TCPSize), len(tcp))
	for at := min(packet.TCPSize, end); at < end; {
		kind, v, rest, ok := packet.NextTCPOption(tcp[at:end])
		if !ok || kind == packet.OptEnd {
			return changed
		}
		if kind == packet.OptSACK {
			for off := end - len(rest) - len(v); off+4 <= end-len(rest); off += 4 {
				edge := edits.Seq(binary.BigEndian.Uint32(tcp[off:]))
				changed = changed.Add(atOffset(put32(tcp[off:off+4], edge), off))
			}
		}
		at = end - len(rest)
	}
	return changed
}

// put32 replaces four bytes and returns the change.
func put32(field []byte, to uint32) packet.Delta {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], to)
	return put(field, b[:])
}
