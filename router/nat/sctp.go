package nat

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/natrouter/natrouter/router/packet"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // RFC 9260, appendix A

// applySCTP writes the ports. The CRC32c has no pseudo-header, so addresses leave it alone; with new ports it
// becomes what it was, exclusive-or the CRCs of the packet before and after: a right one stays right, a wrong one
// wrong. A packet whose CRC is left to the device, or cut short by fragmentation, is not summed.
func (r *Rewrite) applySCTP(l4 []byte, h *packet.Headers, m *packet.Meta) {
	if r.what&editIDs == 0 {
		return
	}
	if m.Partial() || h.Fragment {
		r.putIDs(l4)
		return
	}
	field := binary.LittleEndian.Uint32(l4[sctpSum:])
	before := crc32.Checksum(l4, castagnoli)
	r.putIDs(l4)
	after := crc32.Checksum(l4, castagnoli)
	// CRCs of equal length differ by a linear function of the difference, whatever stands in the field.
	binary.LittleEndian.PutUint32(l4[sctpSum:], field^before^after)
}

// sctpSum is where the CRC32c stands in the common header (RFC 9260, section 3.1).
const sctpSum = 8

// zeros is what portCRC sums behind a port.
var zeros [4096]byte

// portCRC returns what the CRC32c of a packet of a length changes by when diff is exclusive-ored to the port at off. The
// rest of the packet need not be there: CRCs of equal length differ by a linear function of the difference.
func portCRC(off int, diff uint16, length int) (crc uint32) {
	var ports [4]byte
	binary.BigEndian.PutUint16(ports[off:], diff)
	changed, same := crc32.Checksum(ports[:], castagnoli), crc32.Checksum(zeros[:4], castagnoli)
	for rest := length - len(ports); rest > 0; rest -= len(zeros) {
		part := zeros[:min(rest, len(zeros))]
		changed, same = crc32.Update(changed, castagnoli, part), crc32.Update(same, castagnoli, part)
	}
	return changed ^ same
}
