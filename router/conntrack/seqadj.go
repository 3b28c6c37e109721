package conntrack

import (
	"encoding/binary"
	"errors"

	"github.com/natrouter/natrouter/router/packet"
)

// Limits of one direction's edits that are not acknowledged yet.
const (
	maxEdits     = 64
	maxEditBytes = 16 << 10 // of their new bytes
)

// Errors of [Edits.Add].
var (
	ErrEditOrder = errors.New("edit overlaps or precedes another")
	ErrEditFull  = errors.New("too many unacknowledged edits")
	ErrEditEmpty = errors.New("edit replaces nothing")
)

// Edit is one replacement in the byte stream of one direction of a TCP connection. Len is at least 1: what is
// inserted goes with a byte beside it, so that some segment carries it.
type Edit struct {
	Start uint32 // sequence number of the first byte replaced, as its sender numbers it
	Len   uint32 // bytes replaced
	New   []byte // in their place; kept by the Edits
}

// seqEdit is an Edit without its bytes: all that numbers need.
type seqEdit struct{ start, oldLen, newLen uint32 }

// seqShift maps sequence numbers of one direction between the sender's (original) and those after the edits. The
// first bytes of a replacement stand for the bytes replaced, one for one; the last byte replaced stands for all that
// is left of the replacement. So a segment's image is the same however the stream is cut. The zero value maps each
// number to itself.
type seqShift struct {
	base  uint32 // sum of newLen-oldLen over edits that are acknowledged and gone
	edits []seqEdit
}

// adjusted returns the image of an original number.
func (m *seqShift) adjusted(seq uint32) uint32 {
	shift := m.base
	for _, e := range m.edits {
		at := seq - e.start
		if int32(at) <= 0 {
			break
		}
		if at < e.oldLen {
			return e.start + shift + min(at, e.newLen)
		}
		shift += e.newLen - e.oldLen
	}
	return seq + shift
}

// original returns the highest number whose image is not above seq: what an acknowledgement of seq acknowledges.
func (m *seqShift) original(seq uint32) uint32 {
	shift := m.base
	for _, e := range m.edits {
		at := seq - (e.start + shift)
		if int32(at) < 0 {
			break
		}
		if at < e.newLen {
			return e.start + min(at, e.oldLen-1)
		}
		shift += e.newLen - e.oldLen
	}
	return seq - shift
}

// originalLeft returns the lowest number whose image is not below seq: where a SACK block that begins at seq begins.
func (m *seqShift) originalLeft(seq uint32) uint32 {
	shift := m.base
	for _, e := range m.edits {
		at := seq - (e.start + shift)
		if int32(at) <= 0 {
			break
		}
		if at <= e.newLen {
			return e.start + min(at, e.oldLen)
		}
		shift += e.newLen - e.oldLen
	}
	return seq - shift
}

// Edits is the list of edits of one direction, kept until they are acknowledged. The zero value is empty. It has no
// lock of its own: a connection's stand in its [Ext].
type Edits struct {
	shift seqShift
	bytes [][]byte // of shift.edits
	size  int      // of bytes
}

// Empty reports whether nothing was ever edited: numbers map to themselves.
func (d *Edits) Empty() bool { return d.shift.base == 0 && len(d.shift.edits) == 0 }

// Pending returns how many edits wait to be acknowledged.
func (d *Edits) Pending() int { return len(d.shift.edits) }

// Add appends an edit; Edits keeps e.New. Edits come in the order of the stream. One that is there already, bytes and
// all, changes nothing.
func (d *Edits) Add(e Edit) error {
	if e.Len == 0 {
		return ErrEditEmpty
	}
	for i, old := range d.shift.edits {
		if old == (seqEdit{e.Start, e.Len, uint32(len(e.New))}) && string(d.bytes[i]) == string(e.New) {
			return nil
		}
	}
	if n := len(d.shift.edits); n > 0 {
		last := d.shift.edits[n-1]
		if before(e.Start, last.start+last.oldLen) {
			return ErrEditOrder
		}
	}
	if len(d.shift.edits) == maxEdits || d.size+len(e.New) > maxEditBytes {
		return ErrEditFull
	}
	d.shift.edits = append(d.shift.edits, seqEdit{e.Start, e.Len, uint32(len(e.New))})
	d.bytes = append(d.bytes, e.New)
	d.size += len(e.New)
	return nil
}

// Seq maps a sequence number of this direction's sender to what its receiver sees.
func (d *Edits) Seq(seq uint32) uint32 { return d.shift.adjusted(seq) }

// Ack maps an acknowledgement by this direction's receiver to the sender's numbers: all that it acknowledges whole.
func (d *Edits) Ack(ack uint32) uint32 { return d.shift.original(ack) }

// SACK maps a SACK block's edges likewise: the block may become smaller, never larger.
func (d *Edits) SACK(left, right uint32) (uint32, uint32) {
	return d.shift.originalLeft(left), d.shift.original(right)
}

// Acked drops the edits that the receiver, in its own numbers, has acknowledged whole. Whatever is sent again of
// them later lies below its window and is not looked at.
func (d *Edits) Acked(ack uint32) {
	for len(d.shift.edits) > 0 {
		e := d.shift.edits[0]
		if before(ack, e.start+d.shift.base+e.newLen) {
			return
		}
		d.shift.base += e.newLen - e.oldLen
		d.size -= len(d.bytes[0])
		d.shift.edits, d.bytes = d.shift.edits[1:], d.bytes[1:]
	}
}

// Render appends to dst what stands in the edited stream in place of payload, whose first byte has the original
// number seq. However the stream is cut or repeated, equal places give equal bytes. Where [Edits.Seq] of a segment
// goes with it.
func (d *Edits) Render(dst, payload []byte, seq uint32) []byte {
	for i, e := range d.shift.edits {
		at := int64(int32(e.start - seq)) // of the edit in payload, may be negative
		end := at + int64(e.oldLen)
		if at >= int64(len(payload)) {
			break
		}
		if end <= 0 {
			continue
		}
		if at > 0 {
			dst = append(dst, payload[:at]...)
		}
		from := image(max(-at, 0), e)
		to := image(min(int64(len(payload)), end)-at, e)
		dst = append(dst, d.bytes[i][from:to]...)
		used := min(end, int64(len(payload)))
		payload, seq = payload[used:], seq+uint32(used)
	}
	return append(dst, payload...)
}

// image is how many new bytes stand for the first n replaced ones.
func image(n int64, e seqEdit) uint32 {
	if uint32(n) >= e.oldLen {
		return e.newLen
	}
	return min(uint32(n), e.newLen)
}

// AdjustTCP maps the numbers of a TCP header that goes in direction dir, in place, with its checksum: the sequence
// number by the edits of dir, acknowledgement and SACK blocks by those of the other direction. partial says that the
// checksum is unfinished, so that only the pseudo-header counts in it. hdr was checked by [packet.ParseTCP].
// packet.SeqAdjust: its options contradict themselves.
func AdjustTCP(hdr packet.TCP, dir Direction, edits *[2]Edits, partial bool) packet.DropReason {
	own, other := &edits[dir], &edits[1-dir]
	var old [60]byte
	n := copy(old[:], hdr[:hdr.HeaderLen()])
	hdr.SetSeq(own.Seq(hdr.Seq()))
	if hdr.Flags()&packet.FlagACK != 0 && !other.Empty() {
		hdr.SetAck(other.Ack(hdr.Ack()))
		if !adjustSACK(hdr, other) {
			copy(hdr, old[:n])
			return packet.SeqAdjust
		}
	}
	if !partial {
		sum := packet.Change(old[4:16], hdr[4:16])
		sum = sum.Add(packet.Change(old[packet.TCPSize:n], hdr[packet.TCPSize:n]))
		hdr.SetChecksum(sum.Apply(hdr.Checksum()))
	}
	return packet.NotDropped
}

// adjustSACK maps all SACK blocks; false: the options are malformed.
func adjustSACK(hdr packet.TCP, edits *Edits) bool {
	for opts := hdr.Options(); len(opts) > 0; {
		kind, v, rest, ok := packet.NextTCPOption(opts)
		if !ok || kind == packet.OptSACK && len(v)%8 != 0 {
			return false
		}
		if kind == packet.OptEnd {
			break
		}
		if kind == packet.OptSACK {
			for ; len(v) > 0; v = v[8:] {
				left, right := edits.SACK(binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]))
				binary.BigEndian.PutUint32(v, left)
				binary.BigEndian.PutUint32(v[4:], right)
			}
		}
		opts = rest
	}
	return true
}
