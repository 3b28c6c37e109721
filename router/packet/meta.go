package packet

// GSOType says what kind of super-segment a packet is.
type GSOType uint8

const (
	GSONone  GSOType = iota // one packet
	GSOTCPv4                // TCP over IPv4, cut into segments of Meta.SegSize
	GSOTCPv6                // TCP over IPv6
	GSOUDP                  // UDP datagrams of equal length (UDP_L4), either family
)

// Meta says how the kernel may finish or has left unfinished a packet. Zero: a whole packet with valid checksums.
type Meta struct {
	GSO                GSOType
	ECN                bool   // TCP segment with CWR: segmentation clears it after the first
	SegSize            uint16 // bytes of payload in a segment, 0 without GSO
	CsumStart, CsumOff uint16 // bytes from the IP header; CsumOff (from CsumStart) 0: checksum complete
	CsumValid          bool   // checked by the sender of the packet (DATA_VALID)
}

// Partial reports whether the transport checksum field holds only the folded, un-complemented sum of the
// pseudo-header (virtio NEEDS_CSUM): whoever sends the packet on must finish it or say so again.
func (m Meta) Partial() bool { return m.CsumOff != 0 }

// Time is a monotonic time in nanoseconds since an epoch of the caller's choice. It is always passed in: no room
// reads a clock.
type Time int64
