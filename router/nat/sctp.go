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
	field := binary.LittleEndian.Uint32(l4[8:])
	before := crc32.Checksum(l4, castagnoli)
	r.putIDs(l4)
	after := crc32.Checksum(l4, castagnoli)
	// CRCs of equal length differ by a linear function of the difference, whatever stands in the field.
	binary.LittleEndian.PutUint32(l4[8:], field^before^after)
}
